"""Artifacts from the Hub on this machine: ``artifacts/HEX`` in the cache, each whole or not there.

Whoever only looks at them gets them without their weights, in ``outlines/HEX``.

Files are kept one by one as they arrive, so that an interrupted pull goes on, and are linked from
there. A directory appears by one rename after everything in it was verified.

What of an artifact is sent to the Hub, and whether it can be.
"""

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

import yaml  # type: ignore[import-untyped, unused-ignore]
from huggingface_hub import CommitOperationAdd

from wsdarts_registry._files import cache_directory, inside
from wsdarts_registry._staging import discarded_on_error
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, FileRecord
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import ArtifactError, RegistryError, VersionConflictError
from wsdarts_registry.stores.huggingface._artifact_repository import (
    RECORD,
    SIGNATURES,
    ArtifactRepository,
    State,
)
from wsdarts_registry.stores.huggingface._client import TAG, HubClient
from wsdarts_registry.stores.records import Entry

_AT_ONCE = 8


class Extent(Enum):
    """How much of an artifact is fetched; its value is the folder in the cache."""

    WHOLE = "artifacts"
    WITHOUT_WEIGHTS = "outlines"

    @property
    def without(self) -> frozenset[str]:
        """The files that are not fetched."""
        return HEAVY if self is Extent.WITHOUT_WEIGHTS else frozenset()


def pulled(digest: str, extent: Extent = Extent.WHOLE) -> Path:
    """Where an artifact with that digest is, once it was pulled."""
    return cache_directory() / extent.value / digest.removeprefix("sha256:")


def read_pulled(digest: str, extent: Extent = Extent.WHOLE) -> Artifact | None:
    """An artifact that was pulled before, verified; None if it was not, or is damaged."""
    with suppress(ArtifactError):
        return read_artifact(pulled(digest, extent), digest, without=extent.without)
    return None


def fetch_artifact(
    client: HubClient,
    repository: ArtifactRepository,
    commit: str,
    entry: Entry,
    extent: Extent = Extent.WHOLE,
) -> Artifact:
    """Fetch an artifact, verify it, and keep it; two processes may do so at once.

    Args:
        client: The Hub.
        repository: Where it is.
        commit: That its tag means.
        entry: Its verified manifest.
        extent: How much of it.

    Raises:
        ArtifactError: A file is missing, or is not what the manifest says.
        RegistryError: The Hub cannot be asked, or the cache cannot be written.
    """
    wanted = {
        path: record for path, record in entry.manifest.files.items() if path not in extent.without
    }
    manifest = repository.manifest_bytes(commit, entry.digest)
    found = {path: kept for path, record in wanted.items() if (kept := client.kept(record))}
    missing = [path for path in wanted if path not in found]
    if missing:
        repository.check_files(commit, entry.manifest, entry.digest)

    def fetch(path: str) -> Path:
        return client.fetch(repository.place, commit, path, wanted[path])

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found |= zip(missing, pool.map(fetch, missing), strict=True)
    try:
        return _place(found, manifest, entry, extent)
    except OSError as error:
        raise RegistryError(
            f"cannot keep {entry.reference} in {cache_directory()}: {error.strerror}",
            hint="free some space, or name another cache in WSDARTS_HUB_CACHE",
        ) from error


def _place(found: Mapping[str, Path], manifest: bytes, entry: Entry, extent: Extent) -> Artifact:
    target = pulled(entry.digest, extent)
    temporary = target.parent / f".{target.name[:12]}.{uuid.uuid4().hex}"
    with discarded_on_error(temporary):
        (temporary / MANIFEST).write_bytes(manifest)
        (temporary / CHECKSUM).write_bytes(checksum_line(entry.digest.removeprefix("sha256:")))
        for path, source in found.items():
            _link(source, inside(temporary, path))
        artifact = read_artifact(temporary, entry.digest, without=extent.without)
        _move(temporary, target, entry.digest, extent)
    return replace(artifact, directory=target)


def _move(temporary: Path, target: Path, digest: str, extent: Extent) -> None:
    """Rename a verified directory to its place, unless another process was faster."""
    try:
        temporary.rename(target)
    except OSError:
        if read_pulled(digest, extent) is None:
            # What is there is damaged. It is moved away first, so that nobody finds a half.
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
# Larger files are sent from where they are; they are LFS files, named by their sha256.
_SMALL = 2**20


def check_publishable(edition: Edition) -> None:
    """Refuse what could not be found on the Hub, or would overwrite the record.

    Raises:
        ArtifactError: Its card does not say that it is ours, or a path is taken.
    """
    taken = [path for path in edition.manifest.files if path.split("/")[0] in (RECORD, SIGNATURES)]
    if taken:
        raise ArtifactError(
            f"the artifact has a file {taken[0]}, which on the Hub is the registry's own",
            hint="rename it",
        )
    if TAG not in _tags(edition.card):
        raise ArtifactError(
            (
                f"the card of the artifact does not say `library_name: {TAG}`, by which it is "
                "found on the Hub"
            ),
            hint="publish it with `wsdarts-hub push`, which writes the card",
        )


def operations(edition: Edition) -> list[CommitOperationAdd]:
    """The files of an artifact, verified as they are read.

    Raises:
        ArtifactError: One is damaged, or cannot be read.
    """
    found = [
        CommitOperationAdd(MANIFEST, edition.content),
        CommitOperationAdd(CHECKSUM, edition.checksum),
    ]
    for path, record in edition.manifest.files.items():
        if record.size <= _SMALL or path in edition.replaced:
            found.append(_added(path, edition.read(path)))
            continue
        found.append(_added(path, edition.source.directory / path, record))
        if path in HEAVY:
            edition.check_taken(path)
    return found


def _added(path: str, source: bytes | Path, record: FileRecord | None = None) -> CommitOperationAdd:
    """The addition of a file; of one on the disk the client hashes what it will send.

    The Hub stores that by its hash, and refuses bytes that have another one.
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


def next_version(state: State, version: int | None, digest: str, name: str) -> int:
    """The number that a push takes, given what it found.

    Numbers of pushes that ended before their last step are taken, too: only the same content may
    go on with them.

    Raises:
        VersionConflictError: The version that is asked for was begun with other content.
    """
    begun = {found: number for number, found in state.untagged.items()}
    if version is None:
        return begun.get(digest) or max(state.record.digests, default=0) + 1
    other = state.untagged.get(version, digest)
    if other != digest:
        raise VersionConflictError(
            (
                f"{name}@{version} was begun with digest {other} by a push that did not end, and "
                f"what is pushed has {digest}"
            ),
            hint="versions are write-once: leave the version out to take the next",
        )
    return version


def _tags(card: str) -> set[str]:
    """The tags under which the Hub lists a repository with that card."""
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
