"""Files that are never half written, and paths that never leave their directory."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wsdarts_registry.errors import ArtifactError

_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a file to read; never wait at a pipe or read from a device.

    Raises:
        OSError: There is no such file, it is no regular one, or it may not be read.
    """
    descriptor = os.open(path, _FLAGS | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0)))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        OSError: As in ``atomic_file``.
    """
    with atomic_file(path) as file:
        file.write(content)
    return path


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write and read a file that replaces ``path`` when the block ends, and not if it raises.

    The content goes to a temporary name in the same directory, is flushed to the disk and
    renamed over ``path``; missing parent directories are made.

    Raises:
        OSError: The directory cannot be written (full, read-only); ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


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
            f"file path {relative!r} is not allowed; expected a plain relative path such as "
            "'embeddings/probe.safetensors'"
        )
    return root.joinpath(*parts)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
