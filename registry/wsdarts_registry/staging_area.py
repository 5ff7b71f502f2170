"""Where pushes to a directory registry are prepared, and removed after those that died.

A push works in ``RANDOM/`` and holds the lock of ``RANDOM.lock`` for as long. Who gets that lock
knows that the push has ended: kernels drop the locks of dead processes and of nobody else.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsdarts_registry.file_lock import HeldLock, NoLocksError, try_lock
from wsdarts_registry.files import entries, is_directory

_LOCK = ".lock"
_REMOVED = ".removed"


class StagingArea:
    """Hidden directories, each of one push, which holds a lock beside it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def new(self) -> Iterator[Path]:
        """Make an empty directory that is this block's alone, and remove what is left of it.

        Where the file system has no locks there is none; then only ``sweep(unlocked=True)``
        removes what a killed process leaves.

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

    def sweep(self, *, unlocked: bool = False) -> None:
        """Remove what pushes left that were killed.

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
            for path in self.unlocked():
                self._remove(path.name)

    def abandoned(self) -> tuple[Path, ...]:
        """What ``sweep`` would remove, the empty files of locks apart.

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

    def unlocked(self) -> tuple[Path, ...]:
        """What nothing tells of whether a push is working there: it has no lock to ask.

        Raises:
            FileAccessError: The directory cannot be read.
        """
        return tuple(path for path in self._entries() if not self._has_lock(path))

    def _has_lock(self, path: Path) -> bool:
        """Whether there is a lock for a path that says something: it is held, or to be had."""
        name = path.name.removesuffix(_LOCK).removesuffix(_REMOVED)
        try:
            lock = try_lock(self._root / f"{name}{_LOCK}")
        except OSError:
            return False
        if lock is not None:
            lock.release()
        return True

    def _claimed(self) -> tuple[str, HeldLock | None]:
        """A new name and its lock; None where there are no locks."""
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
        """Rename a directory, so that whoever works there fails at once, and remove it."""
        path, removed = self._root / name, self._root / f"{name}{_REMOVED}"
        shutil.rmtree(removed, ignore_errors=True)
        with suppress(OSError):  # there is none, or somebody else is removing it
            if path.is_dir() and not path.is_symlink():
                path.rename(removed)
            else:
                path.unlink()
        shutil.rmtree(removed, ignore_errors=True)
