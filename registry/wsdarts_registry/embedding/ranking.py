"""Rankings: the artifacts whose tasks are nearest to a task, and whether the first is near.

A registry keeps each embedding in its own artifact. To rank thousands of them, their values are
copied once into a file in the user's cache for each registry and embedding space,
``nearest/HASH.npy``: a float32 array of shape ``(artifacts, filters)``, mapped into memory,
and behind it an array with digest and kind of each.

Rows belong to the digests of artifacts, whose content never changes, so none can be out of date:
artifacts that are missing are added, and those that are no longer asked for are then left out.
The file only says which artifacts to look at (``shortlist``); what is reported is computed from the
artifacts (``rank``).
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsdarts_registry import _json
from wsdarts_registry._files import atomic_file, cache_directory, open_regular
from wsdarts_registry._text import sanitize
from wsdarts_registry._views import Viewable
from wsdarts_registry.embedding.distance import TOLERANCE, scan, symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding.embedding_space import (
    EmbeddingSpace,
    Figures,
    NearThreshold,
    figures,
    is_near,
)
from wsdarts_registry.errors import EmbeddingError

_MATRIX_FORMAT = 1
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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An artifact that can be ranked.

    Attributes:
        reference: Exact reference, ``"NAME@3"``.
        kind: ``"transfer"`` or ``"meta-transfer"``.
        embedding: Embedding of its task, or the mean over its tasks.
    """

    reference: str
    kind: str
    embedding: TaskEmbedding


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One artifact of a ranking.

    Attributes:
        reference: Exact reference, ``"NAME@3"``.
        distance: Symmetric Task2Vec distance from the query, in [0, 1].
        kind: ``"transfer"`` or ``"meta-transfer"``.
        task_name: Name of its task or tasks.
        images: Images that its embedding was made from.
        classes: Classes that they have.
    """

    reference: str
    distance: float
    kind: str
    task_name: str
    images: int
    classes: int


class UnreadVersion(Protocol):
    """A version that was to be ranked and cannot be read; registries have a class for it."""

    @property
    def reference(self) -> object:
        """Exact reference, ``NAME@3``."""
        ...

    @property
    def word(self) -> str:
        """``damaged`` or ``unreadable``."""
        ...

    @property
    def why(self) -> str:
        """The reason."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ranking(Viewable):
    """The nearest artifacts, nearest first, with a judgement.

    Attributes:
        neighbours: Nearest first; of equal distances, by reference.
        threshold: Largest distance that counts as near; None where none was measured.
        near: Whether the nearest single task is near; None without a threshold.
        why: The judgement in words.
        damaged: Versions that were to be ranked and cannot be read.
        total: How many were ranked, of which these are the nearest; None where that is not kept,
            as in the record of a run.
    """

    neighbours: tuple[Neighbour, ...]
    threshold: float | None
    near: bool | None
    why: str
    damaged: tuple[UnreadVersion, ...] = ()
    total: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        listed = ", ".join(
            f"{n.reference} {distance}"
            for n, distance in zip(self.neighbours, self.figures.distances, strict=True)
        )
        return f"<Ranking: {listed}; {sanitize(self.why, 400)}>"

    @property
    def figures(self) -> Figures:
        """The distances and the threshold as text that orders them as their verdicts do."""
        return figures((n.distance for n in self.neighbours), self.threshold)

    def first(self, k: int) -> "Ranking":
        """Return the same judgement with at most ``k`` neighbours."""
        return replace(self, neighbours=self.neighbours[:k])


def rank(query: TaskEmbedding, entries: Iterable[Candidate]) -> tuple[Neighbour, ...]:
    """Order artifacts by the distance of their tasks from the query's.

    Args:
        query: Embedding of the task that looks for a neighbour.
        entries: Artifacts with embeddings of the query's space.

    Returns:
        All of them, nearest first; of equal distances, by reference.

    Raises:
        EmbeddingError: An embedding is of another space or width; names both.
    """
    candidates = tuple(entries)
    if not candidates:
        return ()
    embeddings = [candidate.embedding for candidate in candidates]
    check_comparable(query, embeddings)
    distances = symmetric_distance(query.values, np.stack([e.values for e in embeddings]))
    neighbours = (
        Neighbour(
            reference=candidate.reference,
            distance=float(distance),
            kind=candidate.kind,
            task_name=candidate.embedding.task_name,
            images=candidate.embedding.images,
            classes=candidate.embedding.classes,
        )
        for candidate, distance in zip(candidates, distances, strict=True)
    )
    return tuple(sorted(neighbours, key=lambda n: (n.distance, n.reference)))


def judge(
    neighbours: tuple[Neighbour, ...], threshold: NearThreshold | None, *, images: int
) -> Ranking:
    """Return the ranking, with a verdict whether its nearest single task is near.

    Thresholds are measured between single tasks. The mean embedding of a meta-transfer artifact
    is near to everything, so it is judged only where there is no single task.

    Args:
        neighbours: At least one, nearest first, as ``rank`` returns them.
        threshold: The threshold of their embedding space, if one was measured.
        images: How many images the query's embedding was made from; distances grow with fewer.

    Raises:
        EmbeddingError: There is no neighbour.
    """
    if not neighbours:
        raise EmbeddingError("there is no neighbour to judge", hint="rank at least one artifact")
    nearest = next((n for n in neighbours if n.kind == "transfer"), neighbours[0])
    shown = figures((nearest.distance,), threshold.distance if threshold else None)
    found = f"{nearest.reference} is at distance {shown.distances[0]}"
    if threshold is None:
        why = f"{found}; no threshold was measured for this probe and estimator"
        return Ranking(neighbours=neighbours, threshold=None, near=None, why=why)
    near = is_near(nearest.distance, threshold.distance)
    why = (
        f"{found}, {'within' if near else 'beyond'} the threshold of {shown.threshold} "
        f"({threshold.measured}; this task: {images}): {'near' if near else 'nothing is near'}"
    )
    return Ranking(neighbours=neighbours, threshold=threshold.distance, near=near, why=why)


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
    identity = _json.dump([_MATRIX_FORMAT, place, space.to_json()])
    return cache_directory() / "nearest" / f"{hashlib.sha256(identity).hexdigest()[:32]}.npy"


def read_matrix(path: Path, digests: Collection[str], width: int, read: Read) -> EmbeddingMatrix:
    """Map a matrix from its file; if artifacts are missing there, write it anew.

    Args:
        path: The file, by ``matrix_path``.
        digests: Artifacts that have to be known.
        width: How many filters each embedding has.
        read: Reads an artifact that is not in the file.
    """
    kept = _open_matrix(path)
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
    return _write_matrix(path, sorted(found, key=_by_scale), width)


def _by_scale(row: _Row) -> tuple[bool, float]:
    """Return a sort key: rows without values last, others by their scale."""
    values = row[2]
    return values is None, 0.0 if values is None else float(np.median(values))


def _write_matrix(path: Path, found: list[_Row], width: int) -> EmbeddingMatrix:
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
            return _map_matrix(path, file)
    except OSError:
        # A cache that is full or read-only makes the next ranking slower, not wrong.
        matrix = np.array(rows, _VALUES).reshape(len(rows), width)
        return _labelled(path, matrix, labels)


def _open_matrix(path: Path) -> EmbeddingMatrix | None:
    """Return the matrix in a file; None if there is none, or none that can be used."""
    try:
        with open_regular(path) as file:
            return _map_matrix(path, file)
    except (OSError, ValueError):
        return None


def _map_matrix(path: Path, file: BinaryIO) -> EmbeddingMatrix:
    """Map the rows of a file.

    Raises:
        ValueError: It is not what ``_write_matrix`` writes, or is truncated.
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


def shortlist(
    query: TaskEmbedding,
    matrix: EmbeddingMatrix,
    digests: Collection[str],
    k: int,
    *,
    kind: str | None = None,
) -> dict[str, float]:
    """Find the artifacts that can be among the nearest, without reading any.

    Args:
        query: Embedding of the task that looks for a neighbour.
        matrix: Embeddings of the query's space.
        digests: The artifacts that may be ranked; others of the matrix are passed over.
        k: How many neighbours are wanted.
        kind: Kind of the artifacts that may be ranked; any by default.

    Returns:
        Digests of the ``k`` nearest artifacts and of the nearest one of a single task, with
        every other whose distance is the same within what the scan leaves open, and what the
        scan found. Empty if none of the artifacts is in the matrix.
    """
    own = matrix.digests[: len(matrix.rows)]
    wanted = np.fromiter(map(digests.__contains__, own), np.bool_, len(own))
    if kind is not None:
        wanted &= matrix.of_kind(kind)
    if not wanted.any():
        return {}
    distances = np.where(wanted, scan(query.values, matrix.rows), np.inf)
    limit = np.partition(distances, k - 1)[k - 1] if k < len(distances) else 1.0
    chosen = distances <= limit + 2 * TOLERANCE
    single = matrix.of_kind("transfer") & wanted
    if single.any():
        chosen |= single & (distances <= distances[single].min() + 2 * TOLERANCE)
    return {own[i]: float(distances[i]) for i in np.flatnonzero(chosen & wanted)}
