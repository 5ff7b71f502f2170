"""Files: looking at paths and reading with clear errors, and atomic writing.

``pathlib`` raises where a directory may not be entered or a name is too long, even from
``exists``. So paths are looked at with the functions of this module alone: a path that cannot
exist does not, and one that may not be examined is told in one line.
"""

import errno
import fnmatch
import os
import re
import secrets
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import platformdirs

from wsdarts_registry._arguments import check_kind
from wsdarts_registry._file_lock import NoLocksError, lock_open_file, try_lock
from wsdarts_registry.errors import ArtifactError, FileAccessError

# What a path that does not exist, or that no file can have, is answered with.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EBADF, errno.EINVAL)
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))
_PART = 2**20  # bytes that are read at once


def exists(path: Path) -> bool:
    """Return whether there is something at a path; a link that leads nowhere is nothing.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    return status(path) is not None


def is_file(path: Path, *, follow_links: bool = True) -> bool:
    """Return whether a path leads to a regular file.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    found = status(path, follow_links=follow_links)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_directory(path: Path, *, follow_links: bool = True) -> bool:
    """Return whether a path leads to a directory.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    found = status(path, follow_links=follow_links)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_link(path: Path) -> bool:
    """Return whether there is a symbolic link at a path, wherever it leads.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    found = status(path, follow_links=False)
    return found is not None and stat.S_ISLNK(found.st_mode)


def status(path: Path, *, follow_links: bool = True) -> os.stat_result | None:
    """Return size, times and kind of what is at a path; None where there is nothing.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    try:
        return path.stat() if follow_links else path.lstat()
    except (OSError, ValueError) as error:
        if _is_absent(error):
            return None
        raise _no_access(path, error) from error


def modified(path: Path) -> int:
    """Return when a file was written last, in nanoseconds since the epoch; 0 where there is none.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    found = status(path)
    return 0 if found is None else found.st_mtime_ns


Identity = tuple[int, int]
"""Device and inode of a directory, which another directory at the same path does not have."""


def identity(directory: Path) -> Identity | None:
    """Return the identity of a directory; None where there is nothing.

    Raises:
        FileAccessError: A directory on the way may not be entered.
    """
    found = status(directory)
    return None if found is None else (found.st_dev, found.st_ino)


def check_identity(directory: Path, before: Identity | None) -> None:
    """Refuse to go on in a directory that was moved away, removed or unmounted meanwhile.

    Args:
        directory: Its path.
        before: Its identity when the work began; None if there was nothing.

    Raises:
        OSError: There is another directory now, or none.
    """
    if before is not None and identity(directory) != before:
        raise FileNotFoundError(
            errno.ENOENT, "it was moved away or unmounted meanwhile", str(directory)
        )


def entries(directory: Path) -> tuple[Path, ...]:
    """Return the paths in a directory, sorted; none if there is no directory.

    Raises:
        FileAccessError: The directory may not be read.
    """
    return tuple(directory / name for name in names_in(directory))


def names_in(directory: Path) -> tuple[str, ...]:
    """Return the names in a directory, sorted; none if there is no directory.

    Raises:
        FileAccessError: The directory may not be read.
    """
    return tuple(sorted(unsorted_names(directory)))


def unsorted_names(directory: Path) -> Sequence[str]:
    """Return the names in a directory in any order; none if there is no directory.

    Raises:
        FileAccessError: The directory may not be read.
    """
    try:
        return os.listdir(directory)  # noqa: PTH208 - paths of 100,000 are slow
    except (OSError, ValueError) as error:
        if _is_absent(error):
            return ()
        raise _no_access(directory, error) from error


def matching(directory: Path, pattern: str) -> tuple[Path, ...]:
    """Return the paths in a directory whose name matches a pattern such as ``"*.json"``, sorted.

    Raises:
        FileAccessError: The directory may not be read.
    """
    return tuple(p for p in entries(directory) if fnmatch.fnmatchcase(p.name, pattern))


def as_path(path: str | Path, what: str = "the path") -> Path:
    """Return a path that is given as such or as text.

    Args:
        path: What was given.
        what: What it is called in the error.

    Raises:
        ArgumentError: It is neither.
    """
    check_kind(path, (str, os.PathLike), what, "text or a pathlib.Path")
    return Path(path)


def expanded(path: str | Path, what: str = "the path") -> Path:
    """Return a path with ``~`` replaced by the home directory; an unknown user's stays.

    Raises:
        ArgumentError: As for ``as_path``.
    """
    given = as_path(path, what)
    try:
        return given.expanduser()
    except RuntimeError:
        return given


def resolved(path: Path) -> Path:
    """Return the absolute path without links; links that go round in circles stay."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # no file can have that name
        return path.absolute()


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Return the content of a regular file; never wait at a pipe or read from a device.

    Args:
        path: The file.
        limit: The most bytes to read; all by default.

    Raises:
        FileAccessError: There is no such file, it is no regular one, or it may not be read.
    """
    try:
        with open_regular(path) as file:
            return file.read() if limit < 0 else read_at_most(file, limit)
    except (OSError, ValueError) as error:
        raise _no_access(path, error) from error


def read_at_most(file: BinaryIO, limit: int) -> bytes:
    """Return the content of an open file up to a limit; ``read`` would take memory for the limit.

    Raises:
        OSError: It cannot be read.
    """
    content = bytearray()
    while part := file.read(min(limit - len(content), _PART)):
        content += part
    return bytes(content)


def _is_absent(error: OSError | ValueError) -> bool:
    """Return whether nothing is there; a ValueError tells of a null byte or a lone surrogate."""
    return isinstance(error, ValueError) or error.errno in _ABSENT


def _no_access(path: Path, error: OSError | ValueError) -> FileAccessError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return FileAccessError.of(
        f"cannot read {path}: {reason}",
        error,
        str(path),
        hint="check the path, and that you may read it and enter the directories above it",
    )


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a file to read; never wait at a pipe or read from a device.

    Raises:
        OSError: There is no such file, it is no regular one, or it may not be read.
    """
    try:
        descriptor = os.open(path, _FLAGS | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0)))
    except ValueError as error:  # a null byte, or a lone surrogate
        raise OSError(errno.EINVAL, f"no file has such a name ({error})", str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, as far as that is known before anything is written.

    For those who compute for long before they write.

    Raises:
        OSError: There is something else than a file, or as in ``check_place``.
    """
    if is_directory(path):
        raise OSError(errno.EISDIR, "it is a directory", str(path))
    if exists(path) and not is_file(path):
        raise OSError(errno.EINVAL, "there is something else than a file", str(path))
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a path at which nothing can be made, as far as that is known before.

    Raises:
        OSError: No file can have such a name, or what is above is no directory or may not be
            written.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # told below
    except ValueError as error:  # a null byte, or what the system's encoding has not
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    above = next(parent for parent in path.absolute().parents if exists(parent))
    if not is_directory(above):
        raise OSError(errno.ENOTDIR, f"{above} is no directory", str(path))
    # Asked for the effective user, as writing is, where the system can.
    effective = os.access in os.supports_effective_ids
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=effective):
        raise OSError(errno.EACCES, f"{above} may not be written", str(path))


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> Path:
    """Write a file so that readers see the old content or the new, never a part.

    Args:
        path: Where it is to be.
        content: All of it.
        mode: Permissions; those that the process gives new files by default.

    Raises:
        OSError: As in ``atomic_file``.
    """
    with atomic_file(path, mode=mode) as file:
        file.write(content)
    return path


@contextmanager
def atomic_file(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Write and read a file that replaces ``path`` when the block ends, and not if it raises.

    The content goes to a temporary name in the same directory, is flushed to the disk and
    renamed over ``path``; missing parent directories are made.

    Raises:
        OSError: The directory cannot be written (full, read-only), or there is something else
            than a file; ``path`` is unchanged.
    """
    if exists(path) and not is_file(path):  # a device would become a file
        raise OSError(errno.EINVAL, "there is something else than a file", str(path))
    make_directories(path.parent)
    with temporary_file(path) as (file, temporary):
        yield file
        file.flush()
        if mode is not None:
            temporary.chmod(mode)
        os.fsync(file.fileno())
        temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Make a file beside ``path`` to write and read, and remove it unless it was renamed.

    It is locked while the block runs, so that ``remove_abandoned`` leaves it alone.

    Raises:
        OSError: It cannot be made.
    """
    while True:
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        with _opened_anew(temporary) as file:
            if not _is_mine(file):
                continue
            try:
                yield file, temporary
            finally:
                temporary.unlink(missing_ok=True)
            return


def _opened_anew(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "w+b")


_TEMPORARY = re.compile(r"\..+\.tmp|\..+\.[0-9a-f]{32}")


def is_temporary(name: str) -> bool:
    """Return whether ``temporary_file`` or ``staged`` gives such names."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(temporary: Path) -> bool:
    """Remove a temporary file or directory whose writer has ended; return whether that was done.

    A writer that lives holds its lock. Where the file system has no locks, nothing is removed.

    Raises:
        OSError: It cannot be removed.
    """
    try:
        lock = try_lock(temporary)
    except OSError:
        return False
    if lock is None:
        return False
    with lock:
        if is_directory(temporary, follow_links=False):
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
    return True


def _is_mine(new: BinaryIO) -> bool:
    """Lock a new file; False where a clean-up was faster and removes it."""
    try:
        return lock_open_file(new.fileno()) and os.fstat(new.fileno()).st_nlink > 0
    except NoLocksError:
        return True


def make_directories(path: Path) -> None:
    """Make a directory and its missing parents, all of which then survive a power cut.

    Raises:
        OSError: One of them cannot be made, or a file is in the way.
    """
    missing = [path.absolute()]
    while not os.path.isdir(parent := missing[-1].parent) and parent != missing[-1]:  # noqa: PTH112
        missing.append(parent)
    made = not os.path.isdir(path)  # noqa: PTH112 - raises nothing
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing) if made else ():
        with suppress(PermissionError):  # one may write into a directory without reading it
            sync_directory(each.parent)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inside(root: Path, relative: str) -> Path:
    """Join a relative POSIX path to ``root`` and refuse every way out of it.

    Raises:
        ArtifactError: The path is absolute, has ``..``, a backslash, a drive, an empty
            part, or control characters.
    """
    parts = relative.split("/")
    hostile = (
        not relative
        or any(part in ("", ".", "..") for part in parts)
        or any(c in relative for c in "\\:")
        or any(ord(c) < 32 or ord(c) == 127 for c in relative)
    )
    if hostile:
        raise ArtifactError(
            f"file path {relative!r} is not allowed",
            expected="a plain relative path such as 'embeddings/probe.safetensors'",
        )
    return root.joinpath(*parts)


CACHE_VARIABLE = "WSDARTS_HUB_CACHE"


def cache_directory() -> Path:
    """Return the directory of everything that can be deleted and made again.

    The environment variable ``WSDARTS_HUB_CACHE`` names it where it is set and not empty;
    else it is the user's cache directory of the platform. It may not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen)
    return platformdirs.user_cache_path("wsdarts-hub")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Fill a directory beside ``target`` and move it there in one step.

    The block writes into the directory that it is given. When it ends, that is flushed and
    renamed to ``target``; when it raises, it is removed and ``target`` is as it was.

    Args:
        target: A path that does not exist, or an empty directory.

    Raises:
        OSError: The directory cannot be written, or ``target`` is there and not empty.
    """
    with discarded_on_error(target.absolute().parent / f".{target.name}.{uuid.uuid4().hex}") as new:
        yield new
        move_into_place(new, target)


@contextmanager
def discarded_on_error(path: Path) -> Iterator[Path]:
    """Make a directory, with its parents, that is removed if the block raises.

    It is locked while the block runs, so that cleaning the cache leaves it alone.
    """
    path.mkdir(parents=True)
    lock = None
    with suppress(OSError):  # the file system has no locks
        lock = try_lock(path)
    try:
        yield path
    except BaseException:
        # What cannot be removed now (a failing disk) is hidden, and left to `wsdarts-hub gc`.
        shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            lock.release()


def move_into_place(directory: Path, target: Path) -> None:
    """Flush a directory and rename it to ``target``, which then survives a power cut.

    Raises:
        OSError: ``target`` is there and not empty (``errno.ENOTEMPTY`` or ``errno.EEXIST``), or
            something cannot be written.
    """
    for below, _, _ in os.walk(directory):
        sync_directory(Path(below))
    make_directories(target.parent)
    directory.rename(target)
    sync_directory(target.absolute().parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk; missing parent directories are made.

    Raises:
        OSError: The file exists or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def is_vacant(path: Path) -> bool:
    """Return whether ``path`` does not exist or is an empty directory, and no link.

    Raises:
        OSError: The path cannot be examined.
    """
    if is_directory(path, follow_links=False):
        return not entries(path)
    return status(path, follow_links=False) is None
