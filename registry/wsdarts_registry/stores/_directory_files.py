"""Files of a directory registry beside its versions: records of a name, and uploads.

Each record is a small file of its own, so that two processes never write the same one for
different reasons. A push prepares its version in ``RANDOM/`` and holds the lock ``RANDOM.lock``;
kernels drop the locks of dead processes alone, so a free lock means that its push has ended.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wsdarts_registry._file_lock import HeldLock, NoLocksError, try_lock
from wsdarts_registry._files import entries, exists, is_directory, write_atomically
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.artifact.checked_files import read_limited
from wsdarts_registry.artifact.reference import is_alias
from wsdarts_registry.errors import ArtifactError, RecordError, RegistryError
from wsdarts_registry.stores.records import Alias, Status, Yank

ALIASES = "aliases"
_SUFFIX = ".json"


@dataclass(frozen=True)
class DirectoryRecords:
    """Files with the records of one name.

    Every method raises RecordError for a malformed record, and OSError as files do.

    Attributes:
        folder: Where the versions of the name are.
    """

    folder: Path

    def aliases(self) -> dict[str, int]:
        """Return the aliases of the name and the version that each means."""
        found = {alias: self._alias(alias) for alias in self._alias_names()}
        return {alias: record.version for alias, record in found.items() if record is not None}

    def status(self, version: int) -> Status:
        """Return the status of one version; an alias that is malformed means none."""
        return Status(
            yank=self._yank(version),
            aliases=tuple(alias for alias in self._alias_names() if self._means(alias, version)),
            signed=exists(self._signature(version)),
        )

    def readable_status(self, version: int) -> Status:
        """Return ``status``, or an empty one if a record is malformed."""
        try:
            return self.status(version)
        except RecordError:
            return Status()

    def signature(self, version: int) -> bytes | None:
        """Return the signature of a version; None if it was not signed."""
        path = self._signature(version)
        return _read(path, "the signature") if exists(path) else None

    def write_yank(self, version: int, yank: Yank) -> None:
        """Replace the record of a yank."""
        write_atomically(self._yanked(version), yank.to_bytes())

    def write_alias(self, alias: str, record: Alias | None) -> None:
        """Replace the record of an alias, or remove it."""
        path = self._alias_path(alias)
        if record is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, record.to_bytes())

    def write_signature(self, version: int, signature: bytes) -> None:
        """Replace a signature."""
        write_atomically(self._signature(version), signature)

    def _alias_names(self) -> list[str]:
        folder = self.folder / ALIASES
        found = [path.name for path in entries(folder)]
        names = [file.removesuffix(_SUFFIX) for file in found if file.endswith(_SUFFIX)]
        return [name for name in names if is_alias(name)]

    def _means(self, alias: str, version: int) -> bool:
        try:
            record = self._alias(alias)
        except RecordError:
            return False
        return record is not None and record.version == version

    def _yank(self, version: int) -> Yank | None:
        path = self._yanked(version)
        if not exists(path):
            return None
        content = _read(path, f"why {self.folder.name}@{version} was yanked")
        return Yank.from_bytes(content, what=str(path), error=RecordError)

    def _alias(self, alias: str) -> Alias | None:
        """Return the record of an alias; None if it was removed since it was listed."""
        path = self._alias_path(alias)
        try:
            content = _read(path, f"what {self.folder.name}@{alias} means")
        except RegistryError as error:
            if error.__cause__ and isinstance(error.__cause__.__cause__, FileNotFoundError):
                return None
            raise
        return Alias.from_bytes(content, what=str(path), error=RecordError)

    def _yanked(self, version: int) -> Path:
        return self.folder / f"v{version}.yanked{_SUFFIX}"

    def _signature(self, version: int) -> Path:
        return self.folder / f"v{version}.signature{_SUFFIX}"

    def _alias_path(self, alias: str) -> Path:
        return self.folder / ALIASES / f"{alias}{_SUFFIX}"


def _read(path: Path, what: str) -> bytes:
    try:
        return read_limited(path.parent, path.name, MAX_RECORD_BYTES)
    except ArtifactError as error:
        raise RecordError(f"cannot read {what}: {error}") from error


_LOCK = ".lock"
_REMOVED = ".removed"


class StagingArea:
    """Hidden directories of unfinished pushes, each with a lock file that its push holds."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def new(self) -> Iterator[Path]:
        """Make an empty directory that is this block's alone, and remove what is left of it.

        On a file system without locks, only ``remove_stale_uploads(unlocked=True)`` removes what
        a killed process leaves.

        Raises:
            OSError: It cannot be made.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        name, lock = self._claimed()
        path = self._root / name
        try:
            path.mkdir()
            yield path
        finally:
            # What cannot be removed now (a failing disk) is removed by later pushes.
            shutil.rmtree(path, ignore_errors=True)
            if lock is not None:
                with suppress(OSError):
                    lock.path.unlink()
                lock.release()

    def remove_stale_uploads(self, *, unlocked: bool = False) -> None:
        """Remove the remains of killed pushes.

        Args:
            unlocked: Remove, too, what has no lock to ask. A push by an earlier version of this
                library, or one on a file system without locks, may still be working there.

        Raises:
            FileAccessError: The directory cannot be read.
        """
        for lock in self._free_locks():
            with lock:
                self._remove(lock.path.name.removesuffix(_LOCK))
                with suppress(OSError):
                    lock.path.unlink()
        if unlocked:
            for path in self.unlocked_uploads():
                self._remove(path.name)

    def stale_uploads(self) -> tuple[Path, ...]:
        """Return the paths that ``remove_stale_uploads`` would remove, except for empty lock files.

        Raises:
            FileAccessError: The directory cannot be read.
        """
        found = []
        for lock in self._free_locks():
            with lock:
                name = lock.path.name.removesuffix(_LOCK)
                places = (self._root / name, self._root / f"{name}{_REMOVED}")
                found += [path for path in places if is_directory(path, follow_links=False)]
        return tuple(found)

    def unlocked_uploads(self) -> tuple[Path, ...]:
        """Return directories without a lock, which a push may or may not be using.

        Raises:
            FileAccessError: The directory cannot be read.
        """
        return tuple(path for path in self._entries() if not self._has_lock(path))

    def _has_lock(self, path: Path) -> bool:
        """Return whether a path has a lock, held or free."""
        name = path.name.removesuffix(_LOCK).removesuffix(_REMOVED)
        try:
            lock = try_lock(self._root / f"{name}{_LOCK}")
        except OSError:
            return False
        if lock is not None:
            lock.release()
        return True

    def _claimed(self) -> tuple[str, HeldLock | None]:
        """Return a new name and its lock; None for the lock where the file system has none."""
        while True:
            name = uuid.uuid4().hex
            path = self._root / f"{name}{_LOCK}"
            try:
                # Between making and locking it somebody who sweeps may lock or remove it.
                with suppress(FileNotFoundError):
                    if (lock := try_lock(path, create=True)) is not None:
                        return name, lock
            except NoLocksError:
                path.unlink(missing_ok=True)
                return name, None

    def _free_locks(self) -> Iterator[HeldLock]:
        for path in self._entries():
            lock = None
            # It may be gone, somebody else's alone, or not to be locked at all.
            with suppress(OSError):
                lock = try_lock(path) if path.name.endswith(_LOCK) else None
            if lock is not None:
                yield lock

    def _entries(self) -> tuple[Path, ...]:
        return entries(self._root) if is_directory(self._root, follow_links=False) else ()

    def _remove(self, name: str) -> None:
        """Rename a directory, so that a push in it fails at once, and remove it."""
        path, removed = self._root / name, self._root / f"{name}{_REMOVED}"
        shutil.rmtree(removed, ignore_errors=True)
        with suppress(OSError):  # there is none, or somebody else is removing it
            if path.is_dir() and not path.is_symlink():
                path.rename(removed)
            else:
                path.unlink()
        shutil.rmtree(removed, ignore_errors=True)
