"""Artifacts from the Hub on this machine: ``artifacts/HEX`` in the cache, each whole or not there.

Whoever only looks at them gets them without their weights, in ``outlines/HEX``.

Files are kept one by one as they arrive, so that an interrupted pull goes on, and are linked from
there. A directory appears by one rename after everything in it was verified.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

from wsdarts_registry._files import cache_directory, discarded_on_error, inside
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.stores.huggingface.client import HubClient
from wsdarts_registry.stores.huggingface.repository import ArtifactRepository
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
