"""Download and upload of artifacts.

Pulled artifacts lie in ``artifacts/HEX`` of the cache, those without weights in ``outlines/HEX``.
Files are cached one by one, so that an interrupted pull continues, and are linked from there; a
directory appears by one rename after everything in it was verified.
"""

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

import yaml  # type: ignore[import-untyped, unused-ignore]
from huggingface_hub import CommitOperationAdd

from wsdarts_registry._files import cache_directory, discarded_on_error, inside
from wsdarts_registry._memory import thread_pool
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, FileRecord
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import ArtifactError, CacheError
from wsdarts_registry.stores.huggingface._artifact_repository import (
    RECORD,
    SIGNATURES,
    ArtifactRepository,
)
from wsdarts_registry.stores.huggingface._client import TAG, HuggingFaceClient
from wsdarts_registry.stores.records import Entry

_AT_ONCE = 8


class Extent(Enum):
    """Part of an artifact that is fetched; its value is the folder in the cache."""

    WHOLE = "artifacts"
    WITHOUT_WEIGHTS = "outlines"

    @property
    def excluded(self) -> frozenset[str]:
        """Files that are not fetched."""
        return HEAVY if self is Extent.WITHOUT_WEIGHTS else frozenset()


def pulled_path(digest: str, extent: Extent = Extent.WHOLE) -> Path:
    """Return the path of a pulled artifact with that digest."""
    return cache_directory() / extent.value / digest.removeprefix("sha256:")


def read_pulled(digest: str, extent: Extent = Extent.WHOLE) -> Artifact | None:
    """Return a pulled artifact, verified; None if it is missing or damaged."""
    with suppress(ArtifactError):
        return read_artifact(pulled_path(digest, extent), digest, without=extent.excluded)
    return None


def fetch_artifact(
    client: HuggingFaceClient,
    repository: ArtifactRepository,
    commit: str,
    entry: Entry,
    extent: Extent = Extent.WHOLE,
) -> Artifact:
    """Fetch an artifact into the cache and verify it; two processes may do so at once.

    Args:
        client: Client of the Hub.
        repository: Its repository.
        commit: Commit of its tag.
        entry: Its verified manifest.
        extent: Part to fetch.

    Raises:
        ArtifactError: A file is missing, or does not match the manifest.
        RegistryError: A request to the Hub failed, or the cache cannot be written.
    """
    wanted = {
        path: record for path, record in entry.manifest.files.items() if path not in extent.excluded
    }
    manifest = repository.manifest_bytes(commit, entry.digest)
    found = {path: kept for path, record in wanted.items() if (kept := client.cached(record))}
    missing = [path for path in wanted if path not in found]
    if missing:
        repository.check_files(commit, entry.manifest, entry.digest)

    def fetch(path: str) -> Path:
        return client.fetch(repository.remote, commit, path, wanted[path])

    with thread_pool(_AT_ONCE) as pool:
        found |= zip(missing, pool.map(fetch, missing), strict=True)
    try:
        return _place(found, manifest, entry, extent)
    except OSError as error:
        raise CacheError(
            f"cannot keep {entry.reference} in {cache_directory()}: {error.strerror}",
            hint="free some space, or name another cache in WSDARTS_HUB_CACHE",
        ) from error


def _place(found: Mapping[str, Path], manifest: bytes, entry: Entry, extent: Extent) -> Artifact:
    target = pulled_path(entry.digest, extent)
    temporary = target.parent / f".{target.name[:12]}.{uuid.uuid4().hex}"
    with discarded_on_error(temporary):
        (temporary / MANIFEST).write_bytes(manifest)
        (temporary / CHECKSUM).write_bytes(checksum_line(entry.digest.removeprefix("sha256:")))
        for path, source in found.items():
            _link(source, inside(temporary, path))
        artifact = read_artifact(temporary, entry.digest, without=extent.excluded)
        _move(temporary, target, entry.digest, extent)
    return replace(artifact, directory=target)


def _move(temporary: Path, target: Path, digest: str, extent: Extent) -> None:
    """Rename a verified directory to its place, unless another process was faster."""
    try:
        temporary.rename(target)
    except OSError:
        if read_pulled(digest, extent) is None:
            # The old one is damaged; moved away first, so that nobody reads a part of it.
            away = temporary.with_name(f"{temporary.name}.damaged")
            target.rename(away)
            temporary.rename(target)
            shutil.rmtree(away, ignore_errors=True)
        else:
            shutil.rmtree(temporary, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
# Larger files are LFS files, sent from the disk and named by their sha256.
_SMALL = 2**20


def check_publishable(edition: Edition) -> None:
    """Refuse an artifact that could not be found on the Hub, or would overwrite its record.

    Raises:
        ArtifactError: Its card lacks our tag, or a path is reserved.
    """
    reserved = [
        path for path in edition.manifest.files if path.split("/")[0] in (RECORD, SIGNATURES)
    ]
    if reserved:
        raise ArtifactError(
            f"the artifact has a file {reserved[0]}, which on the Hub is the registry's own",
            hint="rename it",
        )
    if TAG not in _tags(edition.card):
        raise ArtifactError(
            f"the card of the artifact does not say `library_name: {TAG}`, by which it is found "
            "on the Hub",
            hint="publish it with `wsdarts-hub push`, which writes the card",
        )


def upload_operations(edition: Edition) -> list[CommitOperationAdd]:
    """Return the additions of an artifact's files, verified as they are read.

    Raises:
        ArtifactError: One is damaged, or cannot be read.
    """
    found = [
        CommitOperationAdd(MANIFEST, edition.content),
        CommitOperationAdd(CHECKSUM, edition.checksum),
    ]
    for path, record in edition.manifest.files.items():
        if record.size <= _SMALL or path in edition.replaced:
            found.append(_addition(path, edition.read(path)))
            continue
        found.append(_addition(path, edition.source.directory / path, record))
        if path in HEAVY:
            edition.check_taken(path)
    return found


def _addition(
    path: str, source: bytes | Path, record: FileRecord | None = None
) -> CommitOperationAdd:
    """Return the addition of a file; a file on the disk is hashed by huggingface_hub.

    The Hub stores it by that hash, and refuses other bytes.
    """
    content = source if isinstance(source, bytes) else str(source.absolute())
    try:
        addition = CommitOperationAdd(path, content)
        sha256 = addition.upload_info.sha256.hex()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be sent to the Hub: {error}") from error
    if record is not None and sha256 != record.sha256:
        raise ArtifactError(
            f"{source!s} has another sha256 than its manifest says",
            hint="the artifact is damaged or was changed: nothing was published",
        )
    return addition


def _tags(card: str) -> set[str]:
    """Return the tags under which the Hub lists a repository with that card."""
    head = _HEAD.match(card)
    try:
        data = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return set()
    if not isinstance(data, dict):
        return set()
    tags = data.get("tags")
    listed = tags if isinstance(tags, list) else [tags]
    return {str(tag) for tag in (data.get("library_name"), *listed) if isinstance(tag, str)}
