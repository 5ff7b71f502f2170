"""Directories that appear whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsdarts_registry._file_lock import try_lock
from wsdarts_registry._files import entries, is_directory, status, sync_directory


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

    It is locked while the block runs, so that whoever cleans the cache leaves it alone.
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
    target.parent.mkdir(parents=True, exist_ok=True)
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
    """Whether ``path`` does not exist or is an empty directory, and no link.

    Raises:
        OSError: The path cannot be examined.
    """
    if is_directory(path, follow_links=False):
        return not entries(path)
    return status(path, follow_links=False) is None
