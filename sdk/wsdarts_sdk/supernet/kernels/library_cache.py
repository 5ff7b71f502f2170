"""The cache of compiled libraries: machine code that this process may load.

A library is loaded only if its content has the digest in its name, and if only this user or root
could have written it, in a directory that only its owner can write. What was checked is loaded:
the open file, not its path. See ``docs/decisions/compiled-kernels.md``.
"""

import ctypes
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wsdarts_registry._files import cache_directory, exists, write_atomically
from wsdarts_registry.errors import FileAccessError

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{64})\.so")
_LARGEST = 2**26
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryCache:
    """A private directory of compiled libraries.

    Attributes:
        path: The directory.
        descriptor: The open directory; it stays the same if its path leads elsewhere later.
    """

    path: Path
    descriptor: int

    def find(self, key: str) -> ctypes.CDLL | None:
        """Return a library that was stored under a key; None where no sound one is kept.

        Raises:
            OSError: It is sound, and cannot be loaded here.
        """
        for name in self._names(key):
            with suppress(FileNotFoundError):
                descriptor = self._open_sound(name)
                if descriptor is not None:
                    return _loaded(descriptor, self.path / name)
        return None

    def holds(self, key: str) -> bool:
        """Return whether a sound library is stored under a key."""
        for name in self._names(key):
            with suppress(FileNotFoundError):
                descriptor = self._open_sound(name)
                if descriptor is not None:
                    os.close(descriptor)
                    return True
        return False

    def store(self, key: str, content: bytes) -> ctypes.CDLL:
        """Write a library, flushed to the disk and renamed, and load it.

        Raises:
            OSError: It cannot be written, or not be loaded; it is not kept then.
        """
        name = f"{key}-{hashlib.sha256(content).hexdigest()}.so"
        self._make_room(name)
        write_atomically(self.path / name, content, mode=0o600)
        descriptor = self._open_sound(name)
        if descriptor is None:
            raise OSError(f"{self.path / name} was changed by someone else")
        try:
            return _loaded(descriptor, self.path / name)
        except OSError:
            with suppress(OSError):
                os.unlink(name, dir_fd=self.descriptor)
            raise

    def _make_room(self, name: str) -> None:
        """Remove what stands in the place of a library and is no file, such as a pipe."""
        with suppress(OSError):
            found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                os.unlink(name, dir_fd=self.descriptor)

    def _names(self, key: str) -> tuple[str, ...]:
        names = os.listdir(self.descriptor)  # noqa: PTH208 (of what is open, not of a path)
        found = (_NAME.fullmatch(name) for name in sorted(names))
        return tuple(match[0] for match in found if match and match[1] == key)

    def _open_sound(self, name: str) -> int | None:
        """Open a library whose content and owner are right; None where it is not to be loaded."""
        try:
            descriptor = os.open(name, _FILE, dir_fd=self.descriptor)
        except FileNotFoundError:
            raise
        except OSError:  # a link, or a file that may not be read
            return None
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and not _writable_by_others(status):
            content = bytearray()
            while len(content) <= _LARGEST and (part := os.read(descriptor, 2**20)):
                content += part
            if name.endswith(f"-{hashlib.sha256(content).hexdigest()}.so"):
                return descriptor
        os.close(descriptor)
        return None


@contextmanager
def library_cache() -> Iterator[LibraryCache | str]:
    """Open the directory ``kernels`` of the cache; the reason, where no library is to lie there.

    It is made so that only its owner can write to it, and made so again where it is this user's
    and others can. A link is followed if this user or root made it.
    """
    path = _path()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and not _is_strangers(status):
            path = path.resolve()
        descriptor = os.open(path, _DIRECTORY)
    except OSError as error:
        yield f"{path} cannot be used: {error.strerror or error}"
        return
    try:
        _take_back(descriptor)
        status = os.fstat(descriptor)
        if _writable_by_others(status):
            yield (
                f"{path} can be written by others (owner {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):o}); name a cache of your own in "
                "WSDARTS_HUB_CACHE"
            )
        else:
            yield LibraryCache(path=path, descriptor=descriptor)
    finally:
        os.close(descriptor)


def is_made() -> bool:
    """Return whether there is anything where libraries are kept."""
    with suppress(FileAccessError):
        return exists(_path())
    return False


def load_private(path: Path) -> ctypes.CDLL:
    """Load a library that this process has just made, in a directory of its own.

    Raises:
        OSError: It cannot be loaded.
    """
    return _loaded(os.open(path, _FILE), path)


def _path() -> Path:
    return cache_directory() / "kernels"


def _take_back(descriptor: int) -> None:
    """Let only its owner write to a directory, if it is this user's."""
    status = os.fstat(descriptor)
    if hasattr(os, "geteuid") and status.st_uid == os.geteuid():
        with suppress(OSError):  # a file system without modes
            os.chmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def _writable_by_others(status: os.stat_result) -> bool:
    """Whether anyone but this user and root could have written it."""
    return _is_strangers(status) or bool(status.st_mode & _OTHERS_WRITE)


def _is_strangers(status: os.stat_result) -> bool:
    """Whether it is neither this user's nor root's."""
    return hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0)


def _loaded(descriptor: int, path: Path) -> ctypes.CDLL:
    """Load an open file. It stays open: the loader knows libraries by name, so by descriptor."""
    by_descriptor = _DESCRIPTORS / str(descriptor)
    try:
        return ctypes.CDLL(str(by_descriptor if _DESCRIPTORS.is_dir() else path))
    except OSError as error:
        os.close(descriptor)
        raise OSError(str(error).replace(str(by_descriptor), str(path))) from error
