"""The images of a task: reading, checking and decoding them from their source."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.tasks.checks import read_record, record_path, write_record
from wsdarts_sdk.tasks.decoding import DECODER_VERSION, Undecodable, decode
from wsdarts_sdk.tasks.digest_index import index_path, known_digests, remember_digests
from wsdarts_sdk.tasks.identity import image_digest, list_digest
from wsdarts_sdk.tasks.pixels import Progress, in_threads, open_pixels, write_pixels
from wsdarts_sdk.tasks.sources import ImageSource
from wsdarts_sdk.tasks.sources.base import Read

CHECKED_SIZE = 84
"""Pixels a side at which images are decoded to check them: the size of the paper's images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskImages:
    """The images of one task in canonical order.

    Attributes:
        source: Where they come from.
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

    def pixels(self, size: int, progress: Progress | None) -> NDArray[np.uint8]:
        """Return the pixels from the cache, shape ``(images, size, size, 3)``; make it first.

        Raises:
            TaskError: The cache cannot be written, or the source has changed.
        """
        path = self._path(size)
        shape = (len(self.rows), size, size, 3)
        found = open_pixels(path, shape)
        if found is None:
            with _quiet_pillow():
                failed = write_pixels(path, shape, self._decoded(size, progress))
            if failed:
                raise corrupt_images(self.source, self._by_row(failed))
            found = open_pixels(path, shape)
        if found is None:
            raise TaskError(f"the cache file {path} vanished as soon as it was made; try again")
        return found

    def read(
        self, indices: NDArray[np.int64], size: int, progress: Progress | None
    ) -> NDArray[np.uint8]:
        """Decode some images without the cache, shape ``(chosen, size, size, 3)``.

        Raises:
            TaskError: The source has changed.
        """
        places, positions = np.unique(indices, return_inverse=True)
        pixels = np.empty((len(places), size, size, 3), dtype=np.uint8)
        failed = {}
        with _quiet_pillow():
            for place, result in self._decoded_from_source(places, size, progress):
                if isinstance(result, Undecodable):
                    failed[int(places[place])] = result
                else:
                    pixels[place] = result
        if failed:
            raise corrupt_images(self.source, self._by_row(failed))
        return pixels[positions]

    def find_corrupt(self, progress: Progress | None) -> dict[int, Undecodable]:
        """Return the images that do not decode, by row.

        All are decoded the first time, which fills the cache if all is well; that is
        recorded by content, so the next time only those that failed are tried again
        (another version of Pillow may know better).

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
                result = content if isinstance(content, Undecodable) else decode(content, 8)
                if isinstance(result, Undecodable):
                    found[row] = result
        return found

    def _path(self, size: int) -> Path:
        # Tasks of equal digest may number their classes differently, so the order of the
        # images is a part of the name.
        order = list_digest(self.digests)[:16]
        directory = self.cache / "tasks" / self.task.removeprefix("sha256:")
        return directory / f"{order}-{size}px.v{DECODER_VERSION}.npy"

    def _by_row(self, failed: Mapping[int, Undecodable]) -> dict[int, Undecodable]:
        return dict(sorted((int(self.rows[i]), reason) for i, reason in failed.items()))

    def _decoded(
        self, size: int, progress: Progress | None
    ) -> Iterator[tuple[int, NDArray[np.uint8] | Undecodable]]:
        """Yield the position and the pixels of every image, in any order."""
        if self.whole is None:
            every = np.arange(len(self.rows), dtype=np.int64)
            yield from self._decoded_from_source(every, size, progress)
            return
        pixels = self.whole.pixels(size, progress)
        by_row = np.argsort(self.whole.rows)
        places = by_row[np.searchsorted(self.whole.rows, self.rows, sorter=by_row)]
        for position, place in enumerate(places.tolist()):
            yield position, pixels[place]

    def _decoded_from_source(
        self, indices: NDArray[np.int64], size: int, progress: Progress | None
    ) -> Iterator[tuple[int, NDArray[np.uint8] | Undecodable]]:
        """Yield the position in ``indices`` and the pixels of each of these images."""
        rows, digests = self.rows[indices], self.digests[indices]
        order = np.argsort(rows)
        position_of = dict(zip(rows[order].tolist(), order.tolist(), strict=True))

        def work(row: int, read: Read) -> NDArray[np.uint8] | Undecodable:
            content = read()
            if isinstance(content, Undecodable):
                return content
            if image_digest(content) != digests[position_of[row]]:
                return Undecodable("it has changed since the task was loaded (load it again)")
            return decode(content, size)

        images = self.source.images(rows[order])
        for row, result in in_threads(
            work, images, what="decoding images", total=len(rows), progress=progress
        ):
            yield position_of[row], result


def read_digests(
    source: ImageSource, cache: Path, progress: Progress | None
) -> tuple[NDArray[np.bytes_], dict[int, Undecodable]]:
    """Return the digest of each image, shape ``(images,)``, and what cannot be read, by row.

    Files that are what they were when they were read before are not read again.

    Raises:
        TaskError: The cache cannot be read or written.
    """
    if source.location is None:
        return _read_unknown(source, np.zeros(len(source.labels), dtype="S64"), progress)
    path = index_path(cache, source.location)
    began = time.time_ns()
    stamps = source.stamps()
    known = known_digests(path, stamps)
    digests, failed = _read_unknown(source, known, progress)
    if (digests != known).any():
        remember_digests(path, stamps, digests, began)
    return digests, failed


def _read_unknown(
    source: ImageSource, known: NDArray[np.bytes_], progress: Progress | None
) -> tuple[NDArray[np.bytes_], dict[int, Undecodable]]:
    """Read the images whose digest is not known yet (b"")."""

    def work(_row: int, read: Read) -> bytes | Undecodable:
        content = read()
        return content if isinstance(content, Undecodable) else image_digest(content)

    digests = known.copy()
    unknown = np.flatnonzero(known == b"").astype(np.int64)
    failed = {}
    images = source.images(unknown)
    with _quiet_pillow():
        for row, result in in_threads(
            work, images, what="reading images", total=len(unknown), progress=progress
        ):
            if isinstance(result, Undecodable):
                failed[row] = result
            else:
                digests[row] = result
    return digests, failed


def corrupt_images(source: ImageSource, failed: Mapping[int, Undecodable]) -> TaskError:
    """Describe images that do not decode: the first by name, and how many more."""
    (row, first), *others = failed.items()
    more = f" (and {len(others)} more cannot, either)" if others else ""
    return TaskError(
        f"{source.describe(row)} cannot be decoded: {first.reason}{more}; expected whole images "
        "only. Repair or remove it, or leave such images out with --skip-corrupt "
        "(skip_corrupt=True)"
    )


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd files: what does not decode is reported anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
