"""The embeddings of a registry as one memory-mapped matrix, in the user's cache.

A registry keeps each embedding in its own artifact. To rank thousands of them, their values are
copied once into a file for each registry and embedding space, ``nearest/HASH.npy``: a float32
array of shape ``(artifacts, filters)``, and behind it an array with digest and kind of each.

Rows belong to the digests of artifacts, whose content never changes, so none can be out of date:
artifacts that are missing are added, and those that are no longer asked for are then left out.
The file only says which artifacts to look at; what is reported is computed from the artifacts.
"""

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsdarts_registry import strict_json
from wsdarts_registry.cache import cache_directory
from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.embedding_space import EmbeddingSpace
from wsdarts_registry.files import atomic_file

_FORMAT = 1
_SINGLE = "transfer"
_KINDS = (_SINGLE, "meta-transfer", "none")  # an artifact without an embedding is known, too
_NONE = _KINDS.index("none")
_VALUES = np.dtype("<f4")
_LABEL = np.dtype([("digest", "S71"), ("kind", "u1")])

# Reads the kind of the artifact with a digest, and its embedding if it has one in the space.
Read = Callable[[str], tuple[str, TaskEmbedding | None]]


@dataclass(frozen=True, kw_only=True)
class Label:
    """Whose embedding a row is: digest of the artifact, and index of its kind."""

    digest: str
    kind: int

    @property
    def single(self) -> bool:
        """Whether it is of a single task."""
        return _KINDS[self.kind] == _SINGLE


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingMatrix:
    """Embeddings of artifacts in one space.

    Attributes:
        path: The file for it.
        rows: Fisher diagonals, shape ``(artifacts, filters)``, those of similar scale side by side.
        labels: Whose they are; behind them the artifacts that have none in this space.
    """

    path: Path
    rows: NDArray[np.float32]
    labels: tuple[Label, ...]


def matrix_path(location: str, space: EmbeddingSpace) -> Path:
    """Where the matrix of a registry and an embedding space is kept."""
    place = location if "://" in location else os.path.abspath(location)  # noqa: PTH100
    identity = strict_json.dump([_FORMAT, place, space.to_json()])
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
        kept = EmbeddingMatrix(path=path, rows=np.empty((0, width), _VALUES), labels=())
    known = {label.digest: number for number, label in enumerate(kept.labels)}
    if known and known.keys() >= set(digests):
        return kept
    found: list[tuple[Label, NDArray[np.float32] | None]] = []
    for digest in digests:
        if digest in known:
            number = known[digest]
            label = kept.labels[number]
            found.append((label, None if label.kind == _NONE else kept.rows[number]))
        else:
            found.append(_row(digest, *read(digest)))
    rows = sorted(
        ((label, values) for label, values in found if values is not None),
        key=lambda row: float(np.median(row[1])),
    )
    labels = (*(label for label, _ in rows), *(label for label, v in found if v is None))
    return _write(path, [values for _, values in rows], labels, width)


def _row(
    digest: str, kind: str, embedding: TaskEmbedding | None
) -> tuple[Label, NDArray[np.float32] | None]:
    if embedding is None:
        return Label(digest=digest, kind=_NONE), None
    return Label(digest=digest, kind=_KINDS.index(kind)), embedding.values.astype(_VALUES)


def _write(
    path: Path, rows: list[NDArray[np.float32]], labels: tuple[Label, ...], width: int
) -> EmbeddingMatrix:
    """Write a matrix row by row and map it; where the cache cannot be written, keep it here."""
    stored = np.array([(label.digest.encode(), label.kind) for label in labels], _LABEL)
    try:
        with atomic_file(path) as file:
            npy.write_array_header_1_0(
                file, {"descr": _VALUES.str, "fortran_order": False, "shape": (len(rows), width)}
            )
            for values in rows:
                file.write(values.tobytes())
            npy.write_array(file, stored, allow_pickle=False)
            file.flush()
            file.seek(0)
            return _map(path, file)
    except OSError:
        # A cache that is full or read-only makes the next ranking slower, not wrong.
        return EmbeddingMatrix(
            path=path, rows=np.array(rows, _VALUES).reshape(len(rows), width), labels=labels
        )


def _open(path: Path) -> EmbeddingMatrix | None:
    """The matrix in a file; None if there is none, or none that can be used."""
    try:
        with path.open("rb") as file:
            return _map(path, file)
    except (OSError, ValueError):
        return None


def _map(path: Path, file: BinaryIO) -> EmbeddingMatrix:
    """Map the rows of a file.

    Raises:
        ValueError: It is not what ``_write`` writes, or is truncated.
    """
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    if dtype != _VALUES or len(shape) != 2:
        raise ValueError(f"{path} holds no matrix")
    begin = file.tell()
    file.seek(begin + shape[0] * shape[1] * _VALUES.itemsize)
    stored = npy.read_array(file, allow_pickle=False)
    whole = stored.dtype == _LABEL and len(stored) >= shape[0] and not file.read(1)
    if not whole or (stored["kind"] >= len(_KINDS)).any():
        raise ValueError(f"{path} is damaged")
    labels = tuple(Label(digest=digest.decode(), kind=kind) for digest, kind in stored.tolist())
    rows = np.memmap(file, _VALUES, "r", begin, shape) if shape[0] else np.empty(shape, _VALUES)
    return EmbeddingMatrix(path=path, rows=rows, labels=labels)
