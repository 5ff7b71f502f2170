"""Locks on files, which the kernel holds for an open file and drops when its process ends.

``flock(2)`` is what tells a living process from a dead one: unlike process ids it means the same
in every PID namespace, and unlike ages it does not depend on a clock. It holds between all
processes of one machine on local file systems, and between machines on NFS since version 4 and on
most cluster file systems. ``docs/decisions/push-locks.md`` says where it
does not.
"""

import errno
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl

_BUSY = (errno.EAGAIN, errno.EACCES)
# What a system answers whose files cannot be locked.
_NO_LOCKS = tuple(
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "EBADF")
)
# A directory, or a file that may only be read: on local disks that suffices for a lock.
_NOT_TO_WRITE = (errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC"))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds


class NoLocksError(OSError):
    """Files of this file system cannot be locked."""


class HeldLock:
    """A lock that this process holds; ``release`` or the end of a ``with`` block drops it.

    Attributes:
        path: The file, or the directory, that is locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def try_lock(path: Path, *, create: bool = False) -> HeldLock | None:
    """Lock a file or a directory without waiting.

    Args:
        path: What to lock; no link.
        create: Make an empty file if there is nothing.

    Returns:
        The lock; None where another process holds it.

    Raises:
        FileNotFoundError: There is nothing at that path, or not any more.
        NoLocksError: The file system has no locks.
        OSError: It cannot be opened.
    """
    descriptor = _opened(path, create=create)
    held = False
    try:
        if not lock_open_file(descriptor):
            return None
        if not _is_at(descriptor, path):  # it was removed, and perhaps made again, meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        held = True
    finally:
        if not held:
            os.close(descriptor)
    return HeldLock(path, descriptor)


def wait_for_lock(path: Path, *, seconds: float) -> HeldLock | None:
    """Lock a file, made if it is missing; wait while another process holds it.

    Args:
        path: The file.
        seconds: How long to wait.

    Returns:
        The lock; None where it was not to be had for so long.

    Raises:
        NoLocksError: The file system has no locks.
        OSError: It cannot be opened.
    """
    end = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while (held := try_lock(path, create=True)) is None:
        left = end - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return held


def lock_open_file(descriptor: int) -> bool:
    """Lock an open file until it is closed; False where another process holds the lock.

    Raises:
        NoLocksError: The file system has no locks.
    """
    if sys.platform == "win32":
        raise NoLocksError(errno.ENOSYS, "this system has no such locks")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _NO_LOCKS:
            raise NoLocksError(error.errno, error.strerror) from error
        raise
    return True


def _opened(path: Path, *, create: bool) -> int:
    flags = _FLAGS | (os.O_CREAT if create else 0)
    try:
        return os.open(path, flags | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno not in _NOT_TO_WRITE:
            raise
        try:
            return os.open(path, _FLAGS | os.O_RDONLY)
        except FileNotFoundError:
            raise error from None


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
