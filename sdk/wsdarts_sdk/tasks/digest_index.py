"""Digests of images that were read before, so that a known source is not read again.

As in git's index: a digest counts for as long as inode, size, mtime and ctime of the file
stay what they were, and only if the file had rested when it was read. The ctime cannot be
set, so content that changes under an old mtime is noticed. (Where a file system has no such
time, as on Windows, size and mtime have to do.) The index of a source is a file of its own,
so a source that moves is read once more.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.files import open_regular, write_atomically
from wsdarts_sdk.tasks.pixels import unusable_cache
from wsdarts_sdk.tasks.stamps import STAMP, is_settled

_ENTRY = np.dtype([("stamp", STAMP), ("digest", "S64")])
_CHECKSUM = hashlib.sha256().digest_size


def index_path(cache: Path, location: str) -> Path:
    """Return the file that keeps the digests of the source at that location."""
    key = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache / "digests" / f"{key}.v1.index"


def known_digests(path: Path, stamps: NDArray[np.void]) -> NDArray[np.bytes_]:
    """Return the digest of each image whose stamp is known, shape ``(images,)``; else b"".

    Args:
        path: The index; one that is missing or damaged knows nothing.
        stamps: Stamp of each image as it is now, shape ``(images,)``.

    Raises:
        TaskError: The cache cannot be read.
    """
    entries = _read(path)
    known = dict(zip(_keys(entries["stamp"]), entries["digest"].tolist(), strict=True))
    found = [known.get(key, b"") for key in _keys(stamps)]
    return np.array(found, dtype="S64")


def remember_digests(
    path: Path, stamps: NDArray[np.void], digests: NDArray[np.bytes_], now: int
) -> None:
    """Replace the index by the images of the source whose digests can be trusted later.

    Args:
        path: The index.
        stamps: Stamp of each image, taken before it was read, shape ``(images,)``.
        digests: Digest of each image, b"" for those that cannot be read, shape ``(images,)``.
        now: Nanoseconds since the epoch, taken before the stamps.

    Raises:
        TaskError: The cache cannot be written.
    """
    trusted = is_settled(stamps, now) & (digests != b"")
    if not trusted.any():
        return
    entries = np.zeros(int(trusted.sum()), dtype=_ENTRY)
    entries["stamp"], entries["digest"] = stamps[trusted], digests[trusted]
    content = entries.tobytes()
    try:
        write_atomically(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        raise unusable_cache(path, error) from error


def _read(path: Path) -> NDArray[np.void]:
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise unusable_cache(path, error) from error
    checksum, body = content[:_CHECKSUM], content[_CHECKSUM:]
    if hashlib.sha256(body).digest() != checksum or len(body) % _ENTRY.itemsize:
        body = b""  # missing or damaged: it is made again
    return np.frombuffer(body, dtype=_ENTRY)


def _keys(stamps: NDArray[np.void]) -> list[bytes]:
    content, size = stamps.tobytes(), STAMP.itemsize
    return [content[start : start + size] for start in range(0, len(content), size)]
