"""WebDataset archives: uncompressed tar files whose members of one name are one sample.

``0001.jpg`` and ``0001.cls`` are an image and its label; ``0001.json`` has labels under its keys,
``0001.txt`` is a label itself. Nothing else in an archive is decoded, and only regular members
count.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa

from wsdarts_registry import _json
from wsdarts_registry._files import open_regular
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.sources._table import Table, rows_at_once
from wsdarts_sdk.data.sources.listing import EXTENSIONS

IMAGE = "image"
_TEXTS = ("cls", "txt")
_LONGEST_TEXT = 2**20
_Extent = tuple[int, int]  # offset and size of a member in the archive


class TarTable(Table):
    """One archive; images are read on demand."""

    follow_paths = False

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path
        try:
            with open_regular(path) as file:
                samples = list(_samples(file, self.where))
        except (OSError, ValueError, OverflowError, tarfile.TarError) as error:
            raise self._damaged(error) from error
        self._columns, self._images = _columns(samples)
        if not self._images:
            raise TaskError(
                f"{path} has no images",
                expected=(
                    "an uncompressed tar file of WebDataset, with members such as 0001.jpg and "
                    "0001.cls"
                ),
            )
        features = {name: {"_type": "Image"} for name in self._images}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        kinds = [
            (name, pa.binary() if name in self._images else _type(values))
            for name, values in self._columns.items()
        ]
        self.schema = pa.schema(kinds, metadata)

    def batches(self, column: str) -> Iterator[list[Any]]:
        """Yield the values of one column in order, some rows at a time."""
        values = self._columns[column]
        if column not in self._images:
            yield values
            return
        sizes = [0 if extent is None else extent[1] for extent in values]
        rows = rows_at_once([(len(sizes), sum(sizes))])
        try:
            with open_regular(Path(self.where)) as file:
                for start in range(0, len(values), rows):
                    yield [_read(file, extent) for extent in values[start : start + rows]]
        except OSError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> TaskError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return TaskError(
            f"{self.where} cannot be read as a tar file ({reason})",
            expected="an uncompressed one of WebDataset",
            hint="decompress it, or download it again",
        )


class _Bounded:
    """A file that is never read beyond its end, whatever sizes a header claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        file.seek(0, 2)
        self.size = file.tell()
        file.seek(0)

    def read(self, count: int = -1) -> bytes:
        left = max(self.size - self._file.tell(), 0)
        return self._file.read(left if count < 0 else min(count, left))


def _samples(file: BinaryIO, where: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of each sample: extents of images, and texts.

    A file may hold several archives one behind another, as ``cat`` writes them.
    """
    bounded: Any = _Bounded(file)
    start: int | None = 0
    while start is not None:
        file.seek(start)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield from _samples_of_one(archive, file, bounded.size, where)
            start = _next_archive(file, archive.offset)


def _samples_of_one(
    archive: tarfile.TarFile, file: BinaryIO, size: int, where: str
) -> Iterator[dict[str, Any]]:
    current, sample = "", dict[str, Any]()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined] # else all members stay in memory
        key, _, extension = PurePosixPath(member.name).name.partition(".")
        plain = member.isreg() and not member.issparse() and member.size >= 0
        if not plain or not key or not extension or key.startswith("__"):
            continue
        name = f"{PurePosixPath(member.name).parent}/{key}"
        if name != current and sample:
            yield sample
            sample = {}
        current = name
        if member.offset_data + member.size > size:
            raise tarfile.ReadError("it is cut off")
        for field, value in _fields(file, extension.lower(), member, where):
            if field in sample:
                raise TaskError(
                    f"{where} has two {field!r} of the sample {name!r}",
                    expected="one",
                    hint="write the archive again",
                )
            sample[field] = value
    if sample:
        yield sample


def _next_archive(file: BinaryIO, end: int) -> int | None:
    """Return where the next archive in a file begins, behind blocks of zeros; None at the end.

    Raises:
        tarfile.ReadError: No block of zeros, with which every archive ends, is at ``end``.
    """
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is cut off")
    if block.strip(b"\0"):  # `tarfile` ends there without an error
        raise tarfile.ReadError(f"there is no member at byte {end}")
    start = end
    while block and not block.strip(b"\0"):
        start += len(block)
        block = file.read(tarfile.BLOCKSIZE)
    return start if block else None


def _fields(
    file: BinaryIO, extension: str, member: tarfile.TarInfo, where: str
) -> Iterator[tuple[str, _Extent | int | str | bool]]:
    extent = member.offset_data, member.size
    if f".{extension.rpartition('.')[2]}" in EXTENSIONS:
        yield extension, extent
    elif (extension in _TEXTS or extension == "json") and member.size <= _LONGEST_TEXT:
        position = file.tell()
        content = _read(file, extent) or b""
        file.seek(position)
        if extension in _TEXTS:
            yield extension, content.decode().strip()
            return
        remedy = "write the archive again, with an object that has a label"
        what = f"{member.name} of {where}"
        data = _json.load(content, what=what, error=TaskError, remedy=remedy)
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, int | str):
                yield key, value


def _columns(samples: Sequence[dict[str, Any]]) -> tuple[dict[str, list[Any]], frozenset[str]]:
    """Return the columns of the samples, and which hold images: one if each sample has one."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    columns = {name: [sample.get(name) for sample in samples] for name in names}
    images = [name for name in names if any(isinstance(v, tuple) for v in columns[name])]
    if images and all(sum(name in sample for name in images) <= 1 for sample in samples):
        extents = [next((s[name] for name in images if name in s), None) for s in samples]
        others = {n: c for n, c in columns.items() if n not in images and n != IMAGE}
        return {IMAGE: extents, **_numbered(others)}, frozenset({IMAGE})
    return _numbered(columns), frozenset(images)


def _numbered(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns with whole numbers in texts as numbers."""
    for name in _TEXTS:
        values = columns.get(name)
        if values and all(value is None or _is_whole(value) for value in values):
            columns[name] = [None if value is None else int(value) for value in values]
    return columns


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return len(text) < 19 and digits.isascii() and digits.isdigit()


def _type(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    return {bool: pa.bool_(), int: pa.int64()}.get(next(iter(kinds), str), pa.string())


def _read(file: BinaryIO, extent: _Extent | None) -> bytes | None:
    if extent is None:
        return None
    offset, size = extent
    file.seek(offset)
    return file.read(size)
