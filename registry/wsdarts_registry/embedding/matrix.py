"""The embeddings of a registry as one memory-mapped matrix, in the user's cache.

A registry keeps each embedding in its own artifact. To rank thousands of them, their values are
copied once into a file for each registry and embedding space, ``nearest/HASH.npy``: a float32
array of shape ``(artifacts, filters)``, and behind it an array with digest and kind of each.

Rows belong to the digests of artifacts, whose content never changes, so none can be out of date:
artifacts that are missing are added, and those that are no longer asked for are then left out.
The file only says which artifacts to look at; what is reported is computed from the artifacts.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsdarts_registry import _json
from wsdarts_registry._files import atomic_file, cache_directory, open_regular
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace

_FORMAT = 1
# In a header of the .npy format, version 1.0: eight bytes of magic and version, two of length.
_HEADER_START = 10
_SHAPE = re.compile(rb"'shape': \(([0-9, ]{1,40})\)")
_KINDS = ("transfer", "meta-transfer")
_VALUES = np.dtype("<f4")
_LABEL = np.dtype([("digest", "S71"), ("kind", "u1")])

# Digest, kind, and values if the artifact has an embedding in the space.
_Row = tuple[str, int, NDArray[np.float32] | None]
# Reads the kind of the artifact with a digest, and its embedding if it has one in the space; None
# for one that is damaged, which then has no row.
Read = Callable[[str], tuple[str, TaskEmbedding | None] | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingMatrix:
    """Embeddings of artifacts in one space.

    Attributes:
        path: The file for it.
        rows: Fisher diagonals, shape ``(rows, filters)``, those of similar scale side by side.
        digests: The artifact of each row, and then those that have no embedding in this space.
        kinds: Their kinds, as indices of ``_KINDS``.
    """

    path: Path
    rows: NDArray[np.float32]
    digests: tuple[str, ...]
    kinds: NDArray[np.uint8]

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """Return whether each row is of an artifact of that kind, shape ``(rows,)``."""
        return np.equal(self.kinds[: len(self.rows)], _KINDS.index(kind))


def matrix_path(location: str, space: EmbeddingSpace) -> Path:
    """Return the file of the matrix of a registry and an embedding space."""
    place = location if "://" in location else os.path.abspath(location)  # noqa: PTH100
    identity = _json.dump([_FORMAT, place, space.to_json()])
    return cache_directory() / "nearest" / f"{hashlib.sha256(identity).hexdigest()[:32]}.npy"


def read_matrix(path: Path, digests: Collection[str], width: int, read: Read) -> EmbeddingMatrix:
    """Map a matrix from its file; if artifacts are missing there, write it anew.

    Args:
        path: The file, by ``matrix_path``.
        digests: Artifacts that have to be known.
        width: How many filters each embedding has.
        read: Reads an artifact that is not in the file.
    """
    kept = _open(path)
    if kept is None or kept.rows.shape[1] != width:
        kept = EmbeddingMatrix(
            path=path,
            rows=np.empty((0, width), _VALUES),
            digests=(),
            kinds=np.empty(0, np.uint8),
        )
    if kept.digests and set(kept.digests).issuperset(digests):
        return kept
    known = {digest: number for number, digest in enumerate(kept.digests)}
    found: list[_Row] = []
    added = False
    for digest in digests:
        if digest in known:
            number = known[digest]
            values = kept.rows[number] if number < len(kept.rows) else None
            found.append((digest, int(kept.kinds[number]), values))
        elif (answer := read(digest)) is not None:
            kind, embedding = answer
            values = None if embedding is None else embedding.values.astype(_VALUES)
            found.append((digest, _KINDS.index(kind), values))
            added = True
    if not added:
        return kept
    return _write(path, sorted(found, key=_place), width)


def _place(row: _Row) -> tuple[bool, float]:
    """Return a sort key: rows without values last, others by their scale."""
    values = row[2]
    return values is None, 0.0 if values is None else float(np.median(values))


def _write(path: Path, found: list[_Row], width: int) -> EmbeddingMatrix:
    """Write a matrix row by row and map it; where the cache cannot be written, keep it here."""
    rows = [values for _, _, values in found if values is not None]
    labels = np.array([(digest.encode(), kind) for digest, kind, _ in found], _LABEL)
    try:
        with atomic_file(path) as file:
            npy.write_array_header_1_0(
                file, {"descr": _VALUES.str, "fortran_order": False, "shape": (len(rows), width)}
            )
            for values in rows:
                file.write(values.tobytes())
            npy.write_array(file, labels, allow_pickle=False)
            file.flush()
            file.seek(0)
            return _map(path, file)
    except OSError:
        # A cache that is full or read-only makes the next ranking slower, not wrong.
        matrix = np.array(rows, _VALUES).reshape(len(rows), width)
        return _labelled(path, matrix, labels)


def _open(path: Path) -> EmbeddingMatrix | None:
    """Return the matrix in a file; None if there is none, or none that can be used."""
    try:
        with open_regular(path) as file:
            return _map(path, file)
    except (OSError, ValueError):
        return None


def _map(path: Path, file: BinaryIO) -> EmbeddingMatrix:
    """Map the rows of a file.

    Raises:
        ValueError: It is not what ``_write`` writes, or is truncated.
    """
    size = os.fstat(file.fileno()).st_size
    height, width = _read_shape(file, _VALUES, 2)
    begin = file.tell()
    end = begin + height * width * _VALUES.itemsize
    if end > size:
        raise ValueError(f"{path} is truncated")
    file.seek(end)
    (count,) = _read_shape(file, _LABEL, 1)
    if count < height or count * _LABEL.itemsize != size - file.tell():
        raise ValueError(f"{path} is damaged")
    labels = np.frombuffer(file.read(count * _LABEL.itemsize), _LABEL)
    shape = (height, width)
    rows = np.memmap(file, _VALUES, "r", begin, shape) if height else np.empty(shape, _VALUES)
    return _labelled(path, rows, labels)


def _read_shape(file: BinaryIO, dtype: np.dtype[Any], dimensions: int) -> tuple[int, ...]:
    """Read the shape in an array's header, which must be as numpy writes it for that type.

    numpy's own reader evaluates the header as a Python literal and claims memory for it.

    Raises:
        ValueError: It is not.
    """
    start = file.read(_HEADER_START)
    header = file.read(int.from_bytes(start[-2:], "little"))
    sizes = _SHAPE.search(header)
    shape = tuple(map(int, re.findall(rb"[0-9]+", sizes[1]))) if sizes else ()
    expected = io.BytesIO()
    description = npy.dtype_to_descr(dtype)
    npy.write_array_header_1_0(
        expected, {"descr": description, "fortran_order": False, "shape": shape}
    )
    if len(shape) != dimensions or start + header != expected.getvalue():
        raise ValueError("no array that was written here")
    return shape


def _labelled(path: Path, rows: NDArray[np.float32], labels: NDArray[np.void]) -> EmbeddingMatrix:
    digests = tuple(digest.decode() for digest in labels["digest"].tolist())
    return EmbeddingMatrix(path=path, rows=rows, digests=digests, kinds=labels["kind"])
