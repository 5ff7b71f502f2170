"""The images of a task: digests, a check that they decode, and their pixels, all cached.

The cache of digests works as git's index: a digest counts for as long as inode, size, mtime and
ctime of the file are unchanged, and only if the file was not being changed when it was read. The
ctime cannot be set, so content that changes under an old mtime is noticed. (Where a file system
has no ctime, as on Windows, size and mtime have to do.) Each source has an index file of its own.
"""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from wsdarts_registry._files import open_regular
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import (
    DECODER_VERSION,
    CorruptImage,
    Read,
    Resize,
    decode,
    in_threads,
    open_pixels,
    unusable_cache,
    write_cached,
    write_pixels,
)
from wsdarts_sdk.data.sources.base import FILE_STAT, ImageSource, is_reliable
from wsdarts_sdk.data.split import image_digest, list_digest
from wsdarts_sdk.progress import Progress

_ENTRY = np.dtype([("stat", FILE_STAT), ("digest", "S64")])
_CHECKSUM = hashlib.sha256().digest_size


def index_path(cache: Path, location: str) -> Path:
    """Return the file that keeps the digests of the source at that location."""
    key = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache / "digests" / f"{key}.v1.index"


def known_digests(path: Path, stats: NDArray[np.void]) -> NDArray[np.bytes_]:
    """Return the digest of each image whose stat is in the index, shape ``(images,)``; else b"".

    Args:
        path: The index; a missing or damaged one is empty.
        stats: Stat of each image as it is now, shape ``(images,)``.

    Raises:
        TaskError: The cache cannot be read.
    """
    entries = _read(path)
    known = dict(zip(_keys(entries["stat"]), entries["digest"].tolist(), strict=True))
    found = [known.get(key, b"") for key in _keys(stats)]
    return np.array(found, dtype="S64")


def remember_digests(
    path: Path, stats: NDArray[np.void], digests: NDArray[np.bytes_], now: int
) -> None:
    """Replace the index by the images of a source whose stat is reliable.

    Args:
        path: The index.
        stats: Stat of each image, taken before it was read, shape ``(images,)``.
        digests: Digest of each image, b"" for those that cannot be read, shape ``(images,)``.
        now: Nanoseconds since the epoch, taken before the stats.

    Raises:
        TaskError: The cache cannot be written.
    """
    trusted = is_reliable(stats, now) & (digests != b"")
    if not trusted.any():
        return
    entries = np.zeros(int(trusted.sum()), dtype=_ENTRY)
    entries["stat"], entries["digest"] = stats[trusted], digests[trusted]
    content = entries.tobytes()
    write_cached(path, hashlib.sha256(content).digest() + content)


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


def _keys(stats: NDArray[np.void]) -> list[bytes]:
    content, size = stats.tobytes(), FILE_STAT.itemsize
    return [content[start : start + size] for start in range(0, len(content), size)]


class _CheckRecord(BaseModel):
    """The images of a task that did not decode; all others did."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1] = 1
    failed: tuple[str, ...]


def record_path(cache: Path, digests: NDArray[np.bytes_]) -> Path:
    """Return the path of the record of which of these images decode."""
    key = list_digest(np.unique(digests))
    return cache / "checked" / f"{key}.v{DECODER_VERSION}.json"


def read_record(path: Path) -> frozenset[bytes] | None:
    """Return the digests of the images that did not decode; None without a valid record.

    Raises:
        TaskError: The cache cannot be read.
    """
    try:
        with open_regular(path) as file:
            record = _CheckRecord.model_validate_json(file.read(), strict=True)
    except (FileNotFoundError, ValidationError):  # a damaged record is made again
        return None
    except OSError as error:
        raise unusable_cache(path, error) from error
    return frozenset(digest.encode() for digest in record.failed)


def write_record(path: Path, failed: Iterable[bytes]) -> None:
    """Record that these images did not decode and all others did.

    Raises:
        TaskError: The cache cannot be written.
    """
    content = {"format": 1, "failed": sorted({digest.decode() for digest in failed})}
    write_cached(path, json.dumps(content).encode())


CHECKED_SIZE = 84
"""Pixels a side at which images are decoded to check them: the size of the paper's images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskImages:
    """The images of one task in canonical order.

    Attributes:
        source: The source that they come from.
        rows: Row of each image in the source, shape ``(images,)``.
        digests: Digest of each image, shape ``(images,)``.
        cache: The cache directory.
        task: Digest of the task, ``"sha256:…"``.
        whole: The images of the task that this one is a subset of.
    """

    source: ImageSource
    rows: NDArray[np.int64]
    digests: NDArray[np.bytes_]
    cache: Path
    task: str
    whole: "TaskImages | None" = None

    def pixels(
        self, size: int, progress: Progress | None, resize: Resize = "squash"
    ) -> NDArray[np.uint8]:
        """Return the pixels from the cache, shape ``(images, size, size, 3)``; make it first.

        Raises:
            TaskError: The cache cannot be written, or the source has changed.
        """
        path = self._path(size, resize)
        shape = (len(self.rows), size, size, 3)
        found = open_pixels(path, shape)
        if found is None:
            with _quiet_pillow():
                failed = write_pixels(path, shape, self._decoded(size, progress, resize))
            if failed:
                raise corrupt_images(self.source, self._by_row(failed))
            found = open_pixels(path, shape)
        if found is None:
            raise TaskError(
                f"the cache file {path} vanished as soon as it was made", hint="try again"
            )
        return found

    def read(
        self,
        indices: NDArray[np.int64],
        size: int,
        progress: Progress | None,
        resize: Resize = "squash",
    ) -> NDArray[np.uint8]:
        """Decode some images without the cache, shape ``(chosen, size, size, 3)``.

        Raises:
            TaskError: The source has changed.
        """
        distinct, inverse = np.unique(indices, return_inverse=True)
        pixels = np.empty((len(distinct), size, size, 3), dtype=np.uint8)
        failed = {}
        with _quiet_pillow():
            for position, result in self._decoded_from_source(distinct, size, progress, resize):
                if isinstance(result, CorruptImage):
                    failed[int(distinct[position])] = result
                else:
                    pixels[position] = result
        if failed:
            raise corrupt_images(self.source, self._by_row(failed))
        return pixels[inverse]

    def find_corrupt(self, progress: Progress | None) -> dict[int, CorruptImage]:
        """Return the images that do not decode, by row.

        All are decoded the first time, which fills the cache if all decode. The result is
        recorded by content, so the next time only those that failed are tried again
        (another version of Pillow may decode them).

        Raises:
            TaskError: The cache cannot be written.
        """
        path = record_path(self.cache, self.digests)
        known = read_record(path)
        if known is None:
            shape = (len(self.rows), CHECKED_SIZE, CHECKED_SIZE, 3)
            with _quiet_pillow():
                decoded = self._decoded(CHECKED_SIZE, progress)
                failed = write_pixels(self._path(CHECKED_SIZE), shape, decoded)
            write_record(path, (self.digests[i] for i in failed))
            return self._by_row(failed)
        suspects = np.sort(self.rows[np.isin(self.digests, list(known))])
        found = {}
        with _quiet_pillow():
            for row, read in self.source.images(suspects):
                content = read()
                result = content if isinstance(content, CorruptImage) else decode(content, 8)
                if isinstance(result, CorruptImage):
                    found[row] = result
        return found

    def _path(self, size: int, resize: Resize = "squash") -> Path:
        # Tasks of equal digest may number their classes differently, so the order of the
        # images is a part of the name.
        order = list_digest(self.digests)[:16]
        directory = self.cache / "tasks" / self.task.removeprefix("sha256:")
        kind = "" if resize == "squash" else f"-{resize}"
        return directory / f"{order}-{size}px{kind}.v{DECODER_VERSION}.npy"

    def _by_row(self, failed: Mapping[int, CorruptImage]) -> dict[int, CorruptImage]:
        return dict(sorted((int(self.rows[i]), reason) for i, reason in failed.items()))

    def _decoded(
        self, size: int, progress: Progress | None, resize: Resize = "squash"
    ) -> Iterator[tuple[int, NDArray[np.uint8] | CorruptImage]]:
        """Yield the position and the pixels of every image, in any order."""
        if self.whole is None:
            every = np.arange(len(self.rows), dtype=np.int64)
            yield from self._decoded_from_source(every, size, progress, resize)
            return
        pixels = self.whole.pixels(size, progress, resize)
        by_row = np.argsort(self.whole.rows)
        in_whole = by_row[np.searchsorted(self.whole.rows, self.rows, sorter=by_row)]
        for position, index in enumerate(in_whole.tolist()):
            yield position, pixels[index]

    def _decoded_from_source(
        self,
        indices: NDArray[np.int64],
        size: int,
        progress: Progress | None,
        resize: Resize = "squash",
    ) -> Iterator[tuple[int, NDArray[np.uint8] | CorruptImage]]:
        """Yield the position in ``indices`` and the pixels of each of these images."""
        rows, digests = self.rows[indices], self.digests[indices]
        order = np.argsort(rows)
        position_of = dict(zip(rows[order].tolist(), order.tolist(), strict=True))

        def work(row: int, read: Read) -> NDArray[np.uint8] | CorruptImage:
            content = read()
            if isinstance(content, CorruptImage):
                return content
            if image_digest(content) != digests[position_of[row]]:
                return CorruptImage("it has changed since the task was loaded (load it again)")
            return decode(content, size, resize)

        images = self.source.images(rows[order])
        for row, result in in_threads(
            work, images, what="decoding images", total=len(rows), progress=progress
        ):
            yield position_of[row], result


def read_digests(
    source: ImageSource, cache: Path, progress: Progress | None
) -> tuple[NDArray[np.bytes_], dict[int, CorruptImage]]:
    """Return the digest of each image, shape ``(images,)``, and the unreadable images by row.

    Files that have not changed since they were read before are not read again.

    Raises:
        TaskError: The cache cannot be read or written.
    """
    if source.location is None:
        return _read_unknown(source, np.zeros(len(source.labels), dtype="S64"), progress)
    path = index_path(cache, source.location)
    began = time.time_ns()
    stats = source.file_stats()
    known = known_digests(path, stats)
    digests, failed = _read_unknown(source, known, progress)
    if (digests != known).any():
        remember_digests(path, stats, digests, began)
    return digests, failed


def _read_unknown(
    source: ImageSource, known: NDArray[np.bytes_], progress: Progress | None
) -> tuple[NDArray[np.bytes_], dict[int, CorruptImage]]:
    """Read the images whose digest is not known yet (b"")."""

    def work(_row: int, read: Read) -> bytes | CorruptImage:
        content = read()
        return content if isinstance(content, CorruptImage) else image_digest(content)

    digests = known.copy()
    unknown = np.flatnonzero(known == b"").astype(np.int64)
    failed = {}
    images = source.images(unknown)
    with _quiet_pillow():
        for row, result in in_threads(
            work, images, what="reading images", total=len(unknown), progress=progress
        ):
            if isinstance(result, CorruptImage):
                failed[row] = result
            else:
                digests[row] = result
    return digests, failed


def corrupt_images(source: ImageSource, failed: Mapping[int, CorruptImage]) -> TaskError:
    """Return the error for images that do not decode: the first by name, and how many more."""
    (row, first), *others = failed.items()
    more = f" (and {len(others)} more cannot, either)" if others else ""
    return TaskError(
        f"{source.describe(row)} cannot be decoded: {first.reason}{more}",
        hint=(
            "repair or remove it, or leave such images out with --skip-corrupt (skip_corrupt=True)"
        ),
    )


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd files: images that do not decode are reported anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
