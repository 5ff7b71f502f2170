"""Removing files below a directory, and never through a link out of it."""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def remove_below(root: Path, path: Path) -> None:
    """Remove a file or a whole directory; what is gone already is no error.

    Every directory between ``root`` and it is opened as itself, so that a link which takes the
    place of one meanwhile leads nowhere. A directory is renamed first: nobody finds a half.

    Args:
        root: A directory.
        path: What to remove; below ``root``.

    Raises:
        OSError: It cannot be removed, or a directory on the way is a link.
        ValueError: It is not below ``root``.
    """
    *way, name = path.relative_to(root).parts
    with suppress(FileNotFoundError), _opened(root, way) as folder:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        hidden = f".{name[:12]}.{uuid.uuid4().hex}"
        os.rename(name, hidden, src_dir_fd=folder, dst_dir_fd=folder)
        shutil.rmtree(hidden, dir_fd=folder)


@contextmanager
def _opened(root: Path, way: list[str]) -> Iterator[int]:
    """A descriptor of the directory that the way leads to."""
    descriptor = os.open(root, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        for part in way:
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)
