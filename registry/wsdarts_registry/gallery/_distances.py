"""Distances between the tasks of one embedding space, places in the plane, and a heat map.

Metric scaling places the tasks in the plane; hierarchical clustering orders the rows of the heat
map such that near tasks stand side by side. Both take the square of the number of tasks, and more,
so of many tasks some are chosen that are spread over all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.embedding.distance import (
    TOLERANCE,
    distance_matrix,
    scan,
    symmetric_distance,
)
from wsdarts_registry.embedding.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding.embedding_space import (
    EmbeddingSpace,
    Figures,
    NearThreshold,
    figures,
    is_near,
)
from wsdarts_registry.gallery._items import GalleryItem

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
MOST_MAPPED = 500  # tasks of a map: more dots cover each other, and make pages slow


def spread_out(rows: Rows, count: int) -> tuple[int, ...]:
    """Choose tasks such that every other is near to one of them.

    The first is chosen, and then always the one that is farthest from those that are.

    Args:
        rows: Fisher diagonals, shape ``(tasks, filters)``.
        count: How many to choose, at most all.

    Returns:
        Their indices, ascending.

    Source:
        Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985: no choice has
        half the greatest distance of a task from the nearest chosen one.
    """
    chosen = [0]
    nearest = scan(rows[0].astype(np.float64), rows)
    while len(chosen) < count:
        nearest[chosen[-1]] = -1.0  # of equal tasks each is chosen once
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, scan(rows[chosen[-1]].astype(np.float64), rows))
    return tuple(sorted(chosen))


def side_by_side(distances: Floats) -> tuple[int, ...]:
    """Order tasks for a heat map.

    Clusters are joined by average linkage; of the four ways to put two side by side, the one is
    taken whose meeting ends are nearest to each other (the first of those that are equal).

    Args:
        distances: Shape ``(tasks, tasks)``, symmetric, zeros on the diagonal.

    Returns:
        Indices of all tasks; none for none.

    Source:
        Gruvaeus and Wainer, "Two additions to hierarchical cluster analysis", 1972.
    """
    count = len(distances)
    orders: dict[int, list[int]] = {i: [i] for i in range(count)}
    between = distances.astype(np.float64, copy=True)
    np.fill_diagonal(between, np.inf)
    for _ in range(count - 1):
        a, b = divmod(int(between.argmin()), count)
        sizes = len(orders[a]), len(orders[b])
        orders[a] = _joined(orders[a], orders.pop(b), distances)
        merged = (sizes[0] * between[a] + sizes[1] * between[b]) / sum(sizes)
        merged[a] = np.inf
        between[a], between[:, a] = merged, merged
        between[b], between[:, b] = np.inf, np.inf
    return tuple(index for order in orders.values() for index in order)


def _joined(left: list[int], right: list[int], distances: Floats) -> list[int]:
    ways = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    best = min(ways, key=lambda way: float(distances[way[0][-1], way[1][0]]))
    return best[0] + best[1]


_STEPS = 500
_SETTLED = 1e-7  # relative change of the squared differences after which nothing moves any more


@dataclass(frozen=True, kw_only=True, eq=False)
class PointMap:
    """Tasks as points in the plane.

    Attributes:
        points: Shape ``(tasks, 2)``, around the origin, the widest direction along the first axis.
        stress: Kruskal's stress 1, the root of the squared differences between distances in the
            plane and those asked for, relative to the latter: 0 is a map without distortion.
    """

    points: Floats
    stress: float


def point_map(distances: Floats) -> PointMap:
    r"""Place tasks in the plane by metric scaling (SMACOF), the same way each time.

    Minimises $\sum_{i<j} (\lVert x_i - x_j \rVert - d_{ij})^2$ from the classical solution.

    Args:
        distances: Shape ``(tasks, tasks)``, symmetric, >= 0, zeros on the diagonal.

    Source:
        de Leeuw, "Applications of convex analysis to multidimensional scaling", 1977: the
        Guttman transform with equal weights. Kruskal, 1964, for the stress.
    """
    count = len(distances)
    total = float(np.square(distances).sum())
    if total == 0:
        return PointMap(points=np.zeros((count, 2)), stress=0.0)
    points = _classical(distances)
    found = _plane(points)
    loss = float(np.square(found - distances).sum())
    for _ in range(_STEPS):
        ratio = np.divide(distances, found, out=np.zeros_like(found), where=found > 0)
        points = (ratio.sum(axis=1)[:, None] * points - ratio @ points) / count
        found = _plane(points)
        before, loss = loss, float(np.square(found - distances).sum())
        if before - loss <= _SETTLED * total:
            break
    return PointMap(points=_turned(points), stress=float(np.sqrt(loss / total)))


def _classical(distances: Floats) -> Floats:
    """Return Torgerson's solution: the two strongest axes of the doubly centred squares."""
    squares = np.square(distances)
    rows = squares.mean(axis=1)
    values, vectors = np.linalg.eigh(-0.5 * (squares - rows - rows[:, None] + squares.mean()))
    lengths = np.sqrt(np.maximum(values[-2:], 0))
    points: Floats = np.zeros((len(distances), 2))
    points[:, -len(lengths) :] = vectors[:, -2:] * lengths
    return points[:, ::-1].copy()


def _plane(points: Floats) -> Floats:
    """Return the distances of points from each other."""
    products = points @ points.T
    lengths = np.diagonal(products)
    squares = lengths + lengths[:, None] - 2 * products
    np.fill_diagonal(squares, 0)
    found: Floats = np.sqrt(np.maximum(squares, 0))
    return found


def _turned(points: Floats) -> Floats:
    """Turn points to their main axes, each directed to its farthest point."""
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned: Floats = centred @ axes[:, ::-1]
    far = turned[np.abs(turned).argmax(axis=0), [0, 1]]
    return turned * np.where(far < 0, -1.0, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedSpace:
    """An embedding space of a registry, with the items that rank in it.

    Attributes:
        space: Probe and estimator.
        members: The latest version of each name that has an embedding in it.
        embeddings: Of each member, the one that it is ranked by.
        mapped: The members that are on the map: all, or ``MOST_MAPPED`` that are spread over them.
        distances: Of the mapped tasks from each other, shape ``(mapped, mapped)``.
        order: The mapped members such that near ones stand side by side.
        map: The mapped members as points in the plane.
        threshold: Up to which distance a task is near; None where that was not measured.
    """

    space: EmbeddingSpace
    members: tuple[GalleryItem, ...]
    embeddings: tuple[TaskEmbedding, ...]
    mapped: tuple[GalleryItem, ...]
    distances: NDArray[np.float64]
    order: tuple[int, ...]
    map: PointMap
    threshold: NearThreshold | None

    @classmethod
    def of(
        cls,
        space: EmbeddingSpace,
        members: tuple[GalleryItem, ...],
        threshold: NearThreshold | None,
    ) -> Self:
        """Measure at least one member.

        Raises:
            EmbeddingError: Their embeddings have different widths.
        """
        embeddings = tuple(member.artifact.embedding(space) for member in members)
        check_comparable(embeddings[0], embeddings[1:])
        if len(members) <= MOST_MAPPED:
            chosen = tuple(range(len(members)))
        else:
            chosen = spread_out(_rows(embeddings), MOST_MAPPED)
        distances = distance_matrix(np.stack([embeddings[place].values for place in chosen]))
        return cls(
            space=space,
            members=members,
            embeddings=embeddings,
            mapped=tuple(members[place] for place in chosen),
            distances=distances,
            order=side_by_side(distances),
            map=point_map(distances),
            threshold=threshold,
        )

    @property
    def key(self) -> str:
        """Short name that is safe in a file name and as an element's id."""
        return self.space.key

    @property
    def whole(self) -> bool:
        """Whether every member is on the map."""
        return len(self.mapped) == len(self.members)

    @cached_property
    def places(self) -> dict[GalleryItem, int]:
        """The place of each member among them."""
        return {member: place for place, member in enumerate(self.members)}

    @cached_property
    def rows(self) -> Rows:
        """The embeddings of the members, shape ``(members, filters)``."""
        return _rows(self.embeddings)

    def figures(self, distances: Iterable[float], *, digits: int = 4) -> Figures:
        """Write distances and the threshold with digits that keep each on its side of it."""
        limit = self.threshold.distance if self.threshold else None
        return figures(distances, limit, digits=digits)

    def neighbours(self, item: GalleryItem, k: int) -> tuple[tuple[GalleryItem, float], ...] | None:
        """Return the nearest other names, nearest first; None if it has no embedding here."""
        place = self.places.get(item)
        near: Iterable[tuple[GalleryItem, float]]
        if place is not None and self.whole:
            near = zip(self.members, self.distances[place].tolist(), strict=True)
        elif item.entry.manifest.ranking_record(self.space) is not None:
            near = self._near(item, k)
        else:
            return None
        others = [(member, d) for member, d in near if member.entry.name != item.entry.name]
        return tuple(sorted(others, key=lambda other: (other[1], other[0].reference))[:k])

    def _near(self, item: GalleryItem, k: int) -> Iterable[tuple[GalleryItem, float]]:
        """Return the members that can be among the nearest other names, and their distances."""
        embedding = item.artifact.embedding(self.space)
        check_comparable(embedding, self.embeddings[:1])
        scanned = scan(embedding.values, self.rows)
        last = min(k, len(scanned) - 1)  # one more than asked for: it may be the item's own name
        chosen = np.flatnonzero(scanned <= np.partition(scanned, last)[last] + 2 * TOLERANCE)
        exact = symmetric_distance(
            embedding.values, np.stack([self.embeddings[place].values for place in chosen])
        )
        return zip((self.members[place] for place in chosen), exact.tolist(), strict=True)

    def is_judged(self, *items: GalleryItem) -> bool:
        """Return whether the threshold applies between items.

        It was measured between single tasks; a mean of several is near to everything.
        """
        return self.threshold is not None and all(item.sort != "meta" for item in items)

    @cached_property
    def has_unjudged(self) -> bool:
        """Whether there is a threshold that does not apply to some on the map."""
        return self.threshold is not None and not self.is_judged(*self.mapped)

    def is_near(self, a: int, b: int) -> bool:
        """Return whether two on the map are within the threshold; means are not judged."""
        return (
            a != b
            and self.threshold is not None
            and self.is_judged(self.mapped[a], self.mapped[b])
            and is_near(float(self.distances[a, b]), self.threshold.distance)
        )


def _rows(embeddings: tuple[TaskEmbedding, ...]) -> Rows:
    return np.stack([embedding.values for embedding in embeddings], dtype=np.float32)


SHADES = 10
# Beyond that a table is no longer read; a script paints the map.
_MOST_ROWS = 40
_LISTED = 4  # the nearest others, on narrow screens


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The rows of a heat map and the threshold that frames cells.

    Attributes:
        rows: Near ones side by side.
        threshold: With as many digits as set it apart from every cell; None without one.
    """

    rows: tuple["HeatRow", ...]
    threshold: str | None


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """The distances of one task.

    Attributes:
        item: The artifact.
        cells: Of each column the distance in words, the shade, 0 the nearest, and whether it is
            another task within the threshold.
        nearest: The nearest others: artifact, distance, the same in words, and whether it is near.
    """

    item: GalleryItem
    cells: tuple[tuple[str, int, bool], ...]
    nearest: tuple[tuple[GalleryItem, float, str, bool], ...]


def heat_map(space: RankedSpace) -> HeatMap | None:
    """Return the heat map of a space as a table; None if it would have too many rows."""
    if len(space.mapped) > _MOST_ROWS:
        return None
    largest = float(space.distances.max()) or 1.0
    shown = space.figures(space.distances.ravel().tolist(), digits=2)

    def cell(row: int, column: int) -> tuple[str, int, bool]:
        distance = float(space.distances[row, column])
        shade = min(SHADES - 1, int(SHADES * distance / largest))
        words = shown.distances[row * len(space.mapped) + column]
        return words, shade, space.is_near(row, column)

    def nearest(row: int) -> tuple[tuple[GalleryItem, float, str, bool], ...]:
        others = sorted((float(space.distances[row, c]), c) for c in space.order if c != row)
        return tuple(
            (space.mapped[column], distance, cell(row, column)[0], cell(row, column)[2])
            for distance, column in others[:_LISTED]
        )

    rows = tuple(
        HeatRow(
            item=space.mapped[row],
            cells=tuple(cell(row, column) for column in space.order),
            nearest=nearest(row),
        )
        for row in space.order
    )
    return HeatMap(rows=rows, threshold=shown.threshold)
