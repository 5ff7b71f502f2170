"""Artifacts from the Hub on this machine: ``artifacts/HEX`` in the cache, each whole or not there.

Whoever only looks at them gets them without their weights, in ``outlines/HEX``.

Files come through the client's own cache and are linked from there (or copied, where that is on
another disk). A directory appears by one rename after everything in it was verified.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

from wsdarts_registry.artifact import HEAVY, Artifact, read_artifact
from wsdarts_registry.cache import cache_directory
from wsdarts_registry.checked_files import check_file
from wsdarts_registry.entry import Entry
from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.files import inside, resolved
from wsdarts_registry.hub.client import HubClient
from wsdarts_registry.hub.repository import ArtifactRepository
from wsdarts_registry.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.staging import discarded_on_error

_AT_ONCE = 8
# Fetches a file of the artifact, anew if asked to, and returns where it is.
_Fetch = Callable[[str, bool], Path]


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

    def fetch(path: str, again: bool) -> Path:
        return client.fetch(repository.place, commit, path, again=again)

    files = (path for path in entry.manifest.files if path not in extent.without)
    paths = [MANIFEST, CHECKSUM, *files]
    if not all(client.is_cached(repository.place, commit, path) for path in paths):
        repository.check_files(commit, entry.manifest, entry.digest)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(paths, pool.map(lambda path: fetch(path, False), paths), strict=True))
    try:
        return _place(found, fetch, entry, extent)
    except OSError as error:
        raise RegistryError(
            f"cannot keep {entry.reference} in {cache_directory()}: {error.strerror}; free some "
            "space, or name another cache in WSDARTS_HUB_CACHE"
        ) from error


def _place(found: dict[str, Path], fetch: _Fetch, entry: Entry, extent: Extent) -> Artifact:
    target = pulled(entry.digest, extent)
    temporary = target.parent / f".{target.name[:12]}.{uuid.uuid4().hex}"
    with discarded_on_error(temporary):
        for path, source in found.items():
            _link(source, inside(temporary, path))
        try:
            artifact = read_artifact(temporary, entry.digest, without=extent.without)
        except ArtifactError:
            # What lies in the client's cache is damaged: the one case to fetch it again.
            _mend(temporary, fetch, entry, found.keys())
            artifact = read_artifact(temporary, entry.digest, without=extent.without)
        _move(temporary, target, entry.digest, extent)
    return replace(artifact, directory=target)


def _mend(directory: Path, fetch: _Fetch, entry: Entry, paths: Iterable[str]) -> None:
    """Fetch the files again that are not what the manifest says."""
    for path in (path for path in paths if path in entry.manifest.files):
        try:
            check_file(directory, path, entry.manifest.files[path])
        except ArtifactError:
            inside(directory, path).unlink()
            _link(fetch(path, True), inside(directory, path))
    for path in (MANIFEST, CHECKSUM):
        inside(directory, path).unlink()
        _link(fetch(path, True), inside(directory, path))


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
    real = resolved(source)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
