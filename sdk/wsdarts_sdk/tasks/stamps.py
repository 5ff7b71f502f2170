"""What the file system says about where an image lies, so that it need not be read again."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STAMP = np.dtype(
    [("inode", "<u8"), ("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("row", "<i8")]
)
"""Inode, size in bytes, mtime and ctime in nanoseconds of a file, and the row within it.

The inode alone names the file: no path, so links and renamed folders change nothing. All
zeros mean that nothing is known.
"""

_MARGIN = 2_000_000_000  # nanoseconds; the coarsest clock of a file system in use (FAT) ticks so


def file_stamps(files: Iterable[Path]) -> NDArray[np.void]:
    """Return the stamp of each file, row 0, shape ``(files,)``; zeros where it has no status."""
    return np.array([_stamp(file) for file in files], dtype=STAMP)


def is_settled(stamps: NDArray[np.void], now: int) -> NDArray[np.bool_]:
    """Tell which stamps say that a file has rested for long enough to be trusted, shape ``(n,)``.

    A file that changes twice within one tick of the file system's clock has the same stamp
    after both. So a stamp counts only if it was older than that when the file was read.

    Args:
        stamps: Taken before the files were read.
        now: Nanoseconds since the epoch, taken before the stamps.

    Source:
        git's rule for "racily clean" entries (its technical documentation, racy-git).
    """
    latest = np.maximum(stamps["modified"], stamps["changed"])
    return np.asarray((stamps["changed"] != 0) & (latest < now - _MARGIN))


def _stamp(file: Path) -> tuple[int, int, int, int, int]:
    try:
        status = file.stat()
    except OSError:  # whoever reads the file will say what is wrong
        return 0, 0, 0, 0, 0
    inode = status.st_ino % 2**64
    return inode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, 0
