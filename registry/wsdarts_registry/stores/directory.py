"""A registry in a directory, which may be shared or mounted.

Layout::

    registry.json                   name, default probe, thresholds
    artifacts/NAME/v3/              one version: the files of an artifact
    artifacts/NAME/v3.yanked.json   why and when it was hidden, and perhaps restored
    artifacts/NAME/v3.signature.json  a signature over its files
    artifacts/NAME/aliases/stable.json  which version NAME@stable means
    .staging/RANDOM/                a push that is under way, and
    .staging/RANDOM.lock            the lock that it holds
    .lock                           held while something above is decided and written

What reads more than manifests is imported where it is needed: listing needs no numpy.

A version appears by one rename of a directory that was copied, verified and flushed before.
A rename onto a directory that has content fails, so of two pushes of one version one wins, even
where files cannot be locked.
"""

import errno
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wsdarts_registry._file_lock import HeldLock, wait_for_lock
from wsdarts_registry._files import (
    check_identity,
    entries,
    exists,
    identity,
    is_directory,
    make_directories,
    matching,
    move_into_place,
    names_in,
    remove_abandoned,
    resolved,
    unsorted_names,
    write_atomically,
)
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.artifact.checked_files import (
    claimed_digest,
    read_checked,
    read_limited,
    read_manifest,
)
from wsdarts_registry.artifact.reference import Reference, check_name, is_name
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import (
    ArtifactError,
    FileAccessError,
    RegistryError,
    RegistryWarning,
)
from wsdarts_registry.stores._directory_files import ALIASES, DirectoryRecords, StagingArea
from wsdarts_registry.stores._listing_cache import Listing, listed_versions
from wsdarts_registry.stores._seen_states import Row, row_of
from wsdarts_registry.stores.catalogue import parsed
from wsdarts_registry.stores.records import Alias
from wsdarts_registry.stores.store import (
    Entry,
    RegistryConfig,
    Store,
    VersionInfo,
    Yank,
    published_version,
)

if TYPE_CHECKING:
    from wsdarts_registry.architecture.genotype import Genotype
    from wsdarts_registry.artifact.reader import Artifact
    from wsdarts_registry.artifact.writer import Edition
    from wsdarts_registry.embedding.embedding import TaskEmbedding

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


_CONFIG = "registry.json"
_ARTIFACTS = "artifacts"
_STAGING = ".staging"
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_LOCK = ".lock"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_LOCK_TIMEOUT = 60.0  # seconds; a change takes a fraction of one
_changed = threading.local()  # the registries that this thread is changing


class DirectoryStore(Store):
    """A registry in a directory.

    Args:
        root: Its directory.
        create: Make the registry if the directory is missing or empty.
        read_only: Refuse to publish and to yank, whatever the file system allows.

    Raises:
        RegistryError: The directory is no registry, of an unknown format version, or cannot
            be read or made.
    """

    def __init__(self, root: str | Path, *, create: bool = False, read_only: bool = False) -> None:
        self._root = Path(root)
        self._read_only = read_only
        self._staging = StagingArea(self._root / _STAGING)
        if create and not exists(self._root / _CONFIG):
            self._create()
        _ = self.config  # reads it: a directory that is no registry is refused here

    @property
    def location(self) -> str:
        """The directory."""
        return str(self._root)

    @property
    def config(self) -> RegistryConfig:
        """Content of ``registry.json``.

        Raises:
            RegistryError: It is missing, malformed or of an unknown format version.
        """
        try:
            content = read_limited(self._root, _CONFIG, MAX_RECORD_BYTES)
        except ArtifactError as error:
            raise RegistryError(
                f"{self._root} is not a registry: {_CONFIG} cannot be read",
                hint=(
                    "name another one with --registry DIR, or make one by pushing to a new "
                    "directory"
                ),
            ) from error
        return RegistryConfig.from_bytes(
            content, what=str(self._root / _CONFIG), error=RegistryError
        )

    @property
    def state_key(self) -> str | None:
        """The absolute path; links in it are not followed, since they may lead elsewhere later."""
        return os.path.abspath(self._root)  # noqa: PTH100 - Path.absolute keeps ".."

    def configure(self, config: RegistryConfig) -> None:
        """Replace ``registry.json``.

        Raises:
            RegistryError: The registry cannot be written.
        """
        with self._writing():
            write_atomically(self._root / _CONFIG, config.to_bytes())

    def names(self) -> tuple[str, ...]:
        """Return the names with at least one version, yanked or not, sorted.

        A name whose directory cannot be read is left out with a RegistryWarning.
        """
        return tuple(name for name in self._listed_names() if self._has_versions(name))

    def iter_versions(self, include_yanked: bool = False) -> Iterator[tuple[str, VersionInfo]]:
        """Yield all versions by name and version; each name is read when it is its turn."""
        rows: dict[str, Row] = {}
        for name in self._listed_names():
            versions = self._readable_versions(name)
            rows[name] = row_of(name, versions)
            for info in versions:
                if include_yanked or info.yanked is None:
                    yield name, info
        self.compare_rows(rows, whole=True)

    def listing(self) -> Listing:
        """Return the versions of each name that has one; only names that changed are read again."""
        folder = self._root / _ARTIFACTS
        with self._reading():
            return listed_versions(folder, unsorted_names(folder), self._readable_versions)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name, ascending; none for an unknown name.

        Raises:
            RegistryError: The directory cannot be read.
        """
        with self._reading():
            status = self._records(name).readable_status
            return tuple(
                VersionInfo(version=n, digest=claimed_digest(self.path(name, n)), status=status(n))
                for n in self._numbers(name)
            )

    def entry(self, name: str, version: int) -> Entry:
        """Return one version with its manifest.

        Raises:
            ArtifactError: The manifest is missing, damaged or malformed.
            RecordError: What is said of it is malformed: whether it was yanked.
        """
        manifest, digest = read_manifest(self.path(name, version))
        with self._reading():
            status = self._records(name).status(version)
        return Entry(name=name, version=version, digest=digest, manifest=manifest, status=status)

    def path(self, name: str, version: int) -> Path:
        """Return the directory of one version."""
        check_name(name)
        return self._root / _ARTIFACTS / name / f"v{version}"

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """Return the embedding that ranks an entry in a space; None if it has none there."""
        from wsdarts_registry.artifact.reader import read_embedding  # noqa: PLC0415

        record = entry.manifest.ranking_record(space)
        if record is None:
            return None
        return read_embedding(self.path(entry.name, entry.version), entry.manifest, record)

    def genotype(self, entry: Entry) -> "Genotype":
        """Return the genotype of an entry; reads no weights."""
        from wsdarts_registry.artifact.reader import read_cells  # noqa: PLC0415

        return read_cells(self.path(entry.name, entry.version), entry.manifest)[0]

    def read(self, entry: Entry, path: str) -> bytes:
        """Return one small file of a published version, verified."""
        return read_checked(self.path(entry.name, entry.version), path, entry.manifest.files[path])

    def pull(self, reference: str | Reference, out: str | Path | None = None) -> "Artifact":
        """Verify an artifact where it lies or, with ``out``, in a copy."""
        from wsdarts_registry.artifact.reader import read_artifact  # noqa: PLC0415
        from wsdarts_registry.artifact.writer import copied_out  # noqa: PLC0415

        wanted = parsed(reference)
        found = self.find(wanted)
        self._records(wanted.name).status(found.version)  # refuses one that may be yanked or not
        artifact = read_artifact(self.path(wanted.name, found.version), found.digest)
        self.check_trusted(wanted.name, found, artifact)
        return artifact if out is None else copied_out(artifact, Path(out))

    def publish(
        self, artifact: "str | Path | Edition", name: str, version: int | None = None
    ) -> Entry:
        """Copy an artifact in, verified on the way, and let it appear by one rename."""
        from wsdarts_registry.artifact.writer import Edition  # noqa: PLC0415

        Reference(name=name, version=version)  # refuses bad names and numbers
        with self._writing():
            edition = artifact if isinstance(artifact, Edition) else Edition.of(artifact)
            published = published_version(self, name, version, edition.digest)
            if published is not None:
                edition.check_bytes()
            else:
                self._remove_leftovers(name)
                with self._staging.new() as copy:
                    place = identity(copy)
                    edition.write_to(copy)
                    check_identity(copy, place)
                    published = self._claim(copy, name, version, edition.digest)
            self.remember(name, self.versions(name))
            return self.entry(name, published)

    def _remove_leftovers(self, name: str) -> None:
        """Remove the remains of killed pushes, and of records that were not written to the end."""
        self._staging.remove_stale_uploads()
        folder = self._root / _ARTIFACTS / name
        for place in (self._root, folder, folder / ALIASES):
            for file in matching(place, ".*.tmp"):
                with suppress(OSError):  # somebody else's, or gone
                    remove_abandoned(file)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing the registry while the block decides and writes.

        Raises:
            RegistryError: It cannot be written, or another process does not finish a change.
        """
        place = str(resolved(self._root))
        held: set[str] = _changed.__dict__.setdefault("places", set())
        if place in held:
            yield
            return
        with self._writing():
            lock = self._lock()
        held.add(place)
        try:
            yield
        finally:
            held.remove(place)
            if lock is not None:
                lock.release()

    def stale_uploads(self) -> tuple[Path, ...]:
        """Return the directories of pushes whose processes have ended."""
        with self._reading():
            return self._staging.stale_uploads()

    def unlocked_uploads(self) -> tuple[Path, ...]:
        """Return the directories of pushes that have no lock, which may have ended or not."""
        with self._reading():
            return self._staging.unlocked_uploads()

    def remove_stale_uploads(self, *, unlocked: bool = False) -> None:
        """Remove the directories of ended pushes and, if asked to, of those without a lock."""
        with self._writing():
            self._staging.remove_stale_uploads(unlocked=unlocked)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the aliases of a name and the version that each means.

        Raises:
            RegistryError: A record of an alias is malformed, or the directory cannot be read.
        """
        check_name(name)
        with self._reading():
            return self._records(name).aliases()

    def signature(self, name: str, version: int) -> bytes | None:
        """Return the signature beside a version; None if it was not signed."""
        with self._reading():
            return self._records(name).signature(version)

    def write_yank(self, name: str, version: int, change: Callable[[Yank | None], Yank]) -> None:
        """Write the reason beside the version; the version itself is not touched."""
        records = self._records(name)
        with self.changing(), self._writing():
            records.write_yank(version, change(records.readable_status(version).yank))

    def write_alias(self, name: str, alias: str, record: Alias | None) -> None:
        """Write or remove the file of an alias."""
        with self._writing():
            self._records(name).write_alias(alias, record)

    def write_signature(self, name: str, version: int, signature: bytes) -> None:
        """Write the signature beside the version."""
        with self._writing():
            self._records(name).write_signature(version, signature)

    def _records(self, name: str) -> DirectoryRecords:
        return DirectoryRecords(self._root / _ARTIFACTS / name)

    def _claim(self, copy: Path, name: str, version: int | None, digest: str) -> int:
        """Rename a finished copy to its version, unless the content was published meanwhile."""
        with self.changing():
            while True:
                # The number is taken before contents are compared: where there are no locks,
                # whoever publishes in between takes that number.
                number = version or max(self._numbers(name), default=0) + 1
                published = published_version(self, name, version, digest)
                if published is not None:
                    return published
                try:
                    move_into_place(copy, self.path(name, number))
                except OSError as error:
                    if error.errno not in _TAKEN:
                        raise
                else:
                    return number

    def _lock(self) -> HeldLock | None:
        """Take the lock of the registry; None where there is none to be had.

        A process that may not make the file gets the error when the change itself is written.
        """
        with suppress(OSError):
            lock = wait_for_lock(self._root / _LOCK, seconds=_LOCK_TIMEOUT)
            if lock is None:
                raise RegistryError(
                    (
                        f"another process has been changing the registry {self._root} for "
                        f"{_LOCK_TIMEOUT:.0f} s"
                    ),
                    expected="a fraction of a second: end that process if it hangs, then try again",
                )
            return lock
        return None

    def _create(self) -> None:
        with self._writing():
            make_directories(self._root)
            # Hidden files do not count: another process may be creating the same registry.
            others = sorted(p.name for p in entries(self._root) if not p.name.startswith("."))
            if others and others != ["lost+found"] and _CONFIG not in others:
                raise RegistryError(
                    f"{self._root} holds other files ({', '.join(others[:3])})",
                    expected="a new or empty directory for a registry",
                )
        with self.changing(), self._writing():
            if not exists(self._root / _CONFIG):
                name = self._root.absolute().name
                config = RegistryConfig(name=name if is_name(name) else "registry")
                write_atomically(self._root / _CONFIG, config.to_bytes())
                self.forget_state()

    def _listed_names(self) -> list[str]:
        """Return the names that have a directory, sorted."""
        with self._reading():
            return [name for name in names_in(self._root / _ARTIFACTS) if is_name(name)]

    def _has_versions(self, name: str) -> bool:
        try:
            return bool(self._numbers(name))
        except RegistryError as error:
            _warn_left_out(name, error)
            return False

    def _readable_versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name; warn of a directory that cannot be read."""
        try:
            return self.versions(name)
        except RegistryError as error:
            _warn_left_out(name, error)
            return ()

    def _numbers(self, name: str) -> list[int]:
        folder = self._root / _ARTIFACTS / name
        with self._reading(folder):
            found = [
                int(match[1])
                for path in entries(folder)
                if (match := _VERSION.fullmatch(path.name)) and is_directory(path)
            ]
        return sorted(found)

    @contextmanager
    def _reading(self, place: Path | None = None) -> Iterator[None]:
        try:
            yield
        except FileAccessError as error:  # says already which path it is about
            raise RegistryError(str(error)) from error
        except OSError as error:
            raise RegistryError(
                f"cannot read the registry {place or self._root}: {error.strerror}",
                hint="check that it is mounted and that you may read it",
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._read_only:
            raise RegistryError(
                f"the registry {self._root} is read-only",
                hint="name one of your own with --registry DIR",
            )
        try:
            before = identity(self._root)
            yield
            check_identity(self._root, before)
        except FileAccessError as error:  # says already which path it is about
            raise RegistryError(str(error)) from error
        except OSError as error:
            raise _write_error(self._root, error) from error


def _warn_left_out(name: str, error: RegistryError) -> None:
    warnings.warn(f"{name} is left out: {error}", RegistryWarning, stacklevel=5)


def _write_error(registry: Path, error: OSError) -> RegistryError:
    if error.errno in _FULL:
        return RegistryError(
            f"the disk of the registry {registry} is full, and nothing was published",
            hint="free some space, or name another registry with --registry DIR",
        )
    if error.errno in _READ_ONLY:
        return RegistryError(
            f"the registry {registry} is read-only for you ({error.strerror})",
            hint=("ask its owner for write access, or name one of your own with --registry DIR"),
        )
    return RegistryError(
        f"cannot write the registry {registry}: {error.strerror}, and nothing was published",
        hint="name another one with --registry DIR",
    )
