"""Rankings: the artifacts whose tasks are nearest to a task, and whether the first is near."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wsdarts_registry._text import sanitize
from wsdarts_registry._views import Viewable
from wsdarts_registry.embedding.distance import TOLERANCE, scan, symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding.embedding_space import Figures, NearThreshold, figures, is_near
from wsdarts_registry.embedding.matrix import EmbeddingMatrix
from wsdarts_registry.errors import EmbeddingError


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
