"""Distances between the tasks of one embedding space, drawn as a map and as a heat map.

Metric scaling places the tasks in the plane; hierarchical clustering orders the rows of the heat
map such that near tasks stand side by side.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsdarts_registry._format import pluralize
from wsdarts_registry._text import clipped, display_width
from wsdarts_registry.drawing.svg import element, number, text
from wsdarts_registry.embedding.distance import distance_matrix, symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.embedding.nearness import Figures, NearThreshold, figures, is_near
from wsdarts_registry.gallery.items import GalleryItem

Floats = NDArray[np.float64]


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
        distances: Of the members' tasks from each other, shape ``(members, members)``.
        order: The members such that near ones stand side by side.
        map: The members as points in the plane.
        threshold: Up to which distance a task is near; None where that was not measured.
    """

    space: EmbeddingSpace
    members: tuple[GalleryItem, ...]
    embeddings: tuple[TaskEmbedding, ...]
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
        distances = distance_matrix(np.stack([e.values for e in embeddings]))
        return cls(
            space=space,
            members=members,
            embeddings=embeddings,
            distances=distances,
            order=side_by_side(distances),
            map=point_map(distances),
            threshold=threshold,
        )

    @property
    def key(self) -> str:
        """Short name that is safe in a file name and as an element's id."""
        return self.space.key

    def figures(self, distances: Iterable[float], *, digits: int = 4) -> Figures:
        """Write distances and the threshold with digits that keep each on its side of it."""
        limit = self.threshold.distance if self.threshold else None
        return figures(distances, limit, digits=digits)

    def neighbours(self, item: GalleryItem, k: int) -> tuple[tuple[GalleryItem, float], ...] | None:
        """Return the nearest other names, nearest first; None if it has no embedding here."""
        if item in self.members:
            distances = self.distances[self.members.index(item)]
        elif item.entry.manifest.ranking_record(self.space) is not None:
            embedding = item.artifact.embedding(self.space)
            check_comparable(embedding, self.embeddings[:1])
            distances = symmetric_distance(
                embedding.values, np.stack([e.values for e in self.embeddings])
            )
        else:
            return None
        others = [
            (member, float(distance))
            for member, distance in zip(self.members, distances, strict=True)
            if member.entry.name != item.entry.name
        ]
        return tuple(sorted(others, key=lambda other: (other[1], other[0].reference))[:k])


_TALLEST, _SHORTEST = 330.0, 200.0
_MARGIN = 30.0  # of the dots above and below: names stand there
_SIDE = 58.0  # at both sides
_SCALE_HEIGHT = 34.0  # the bar at the bottom
_MOST_NAMES = 40
_CHARACTER, _LINE = 7.2, 15.0
_SCALES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_TURNS, _TURNED_DOTS = 60, 400  # of half a circle, fewer of many dots
_SMALLEST = 0.75  # of the largest scale, for the sake of names that cross no line
_DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
_STEPS_AWAY = (11.0, 22.0, 40.0)  # beyond the first, a line leads from the dot to its name
Point = tuple[float, float]
Line = tuple[Point, Point]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Dot:
    x: float
    y: float
    place: int


@dataclass(frozen=True, kw_only=True)
class _Name:
    """A name beside its dot.

    Attributes:
        x: Where the text begins.
        y: Its base line.
        box: What it covers.
        leader: Where a line from the dot ends; None where the name stands beside it.
    """

    x: float
    y: float
    box: Box
    leader: Point | None


@dataclass(frozen=True, kw_only=True)
class _Arrangement:
    """The dots of a map, turned such that they fill its frame.

    Attributes:
        dots: One for each member.
        names: By the dots' places, of those that found one.
        crossed: How often a line passes through a name.
        unit: A distance of 1.
        height: With the bar of the scale.
    """

    dots: tuple[_Dot, ...]
    names: dict[int, _Name]
    crossed: int
    unit: float
    height: float

    @property
    def faults(self) -> tuple[int, int]:
        """How many names found no place, and how many lines pass through the others."""
        return len(self.dots) - len(self.names), self.crossed


def task_maps(space: RankedSpace) -> tuple[Markup, ...]:
    """Return the map, and beside it one for telephones, where it has names to read."""
    wide = task_map(space)
    many = len(space.members) > _MOST_NAMES
    return (wide,) if many else (wide, task_map(space, narrow=True))


def task_map(space: RankedSpace, *, narrow: bool = False) -> Markup:
    """Draw the map as an SVG element; its colours are in the gallery's style sheet.

    Each task is joined with the one that is nearest to it by its distance, not by the map. A plane
    has no directions of its own: the map is turned such that it fills its frame.

    Args:
        space: The space.
        narrow: Whether it is for a telephone.
    """
    many = len(space.members) > _MOST_NAMES
    width, tallest = (310.0, _TALLEST + 60) if narrow else (600.0, _TALLEST)
    pairs = () if many else _nearest_pairs(space)
    shown = _arranged(space, pairs, width, tallest, named=not many)
    lines = "".join(_lines(shown, space, pairs))
    marks = "".join(_mark(dot, space, shown.names.get(dot.place), many=many) for dot in shown.dots)
    tasks = pluralize(len(shown.dots), "task")
    style = "map" if many else "map narrow" if narrow else "map wide"
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="{style}" '
        f'viewBox="0 0 {number(width)} {number(shown.height)}" role="group" '
        f'aria-label="Map of {tasks}">{lines}{marks}{_scale(shown.unit, width, shown.height)}</svg>'
    )


def _arranged(
    space: RankedSpace,
    pairs: tuple[tuple[int, int], ...],
    width: float,
    tallest: float,
    *,
    named: bool,
) -> _Arrangement:
    """Return the largest map whose names have few faults."""
    turns = max(1, min(_TURNS, _TURNED_DOTS // len(space.members)))
    turned = sorted(
        (_framed(space, np.pi * turn / turns, width, tallest) for turn in range(turns)),
        key=lambda arranged: -arranged.unit,
    )
    best = _named(turned[0], space, pairs, width) if named else turned[0]
    for smaller in turned[1:] if named else ():
        if best.faults == (0, 0) or smaller.unit < _SMALLEST * turned[0].unit:
            break
        best = min(best, _named(smaller, space, pairs, width), key=lambda a: a.faults)
    return best


def _framed(space: RankedSpace, angle: float, width: float, tallest: float) -> _Arrangement:
    """Turn the points and scale them to a frame."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = space.map.points @ turn
    low, high = points.min(axis=0), points.max(axis=0)
    spread = max(float(abs(space.map.points).max()), 1e-9)
    unit = min(
        (width - 2 * _SIDE) / max(float(high[0] - low[0]), spread / 4),
        (tallest - 2 * _MARGIN - _SCALE_HEIGHT) / max(float(high[1] - low[1]), spread / 4),
    )
    tall = unit * float(high[1] - low[1])
    height = max(_SHORTEST, tall + 2 * _MARGIN + _SCALE_HEIGHT)
    lift = (height - _SCALE_HEIGHT - tall) / 2
    shift = (width - unit * float(high[0] - low[0])) / 2
    dots = tuple(
        _Dot(x=shift + unit * float(x - low[0]), y=lift + unit * float(high[1] - y), place=place)
        for place, (x, y) in enumerate(points)
    )
    return _Arrangement(dots=dots, names={}, crossed=0, unit=unit, height=height)


def _nearest_pairs(space: RankedSpace) -> tuple[tuple[int, int], ...]:
    """Return each task with its nearest, no pair twice."""
    count = len(space.members)
    if count < 2:
        return ()
    between = space.distances + np.diag(np.full(count, np.inf))
    nearest = between.argmin(axis=1).tolist()
    return tuple(sorted({(min(a, b), max(a, b)) for a, b in enumerate(nearest)}))


def _lines(
    shown: _Arrangement, space: RankedSpace, pairs: Iterable[tuple[int, int]]
) -> Iterable[str]:
    """Draw the lines between tasks, solid within the threshold, and from dots to far names."""
    for a, b in pairs:
        start, end = shown.dots[a], shown.dots[b]
        line = f"M{number(start.x)} {number(start.y)}L{number(end.x)} {number(end.y)}"
        yield element("path", None, d=line, class_="tie near" if _near(space, a, b) else "tie")
    for place, name in shown.names.items():
        if name.leader:
            dot, (x, y) = shown.dots[place], name.leader
            line = f"M{number(dot.x)} {number(dot.y)}L{number(x)} {number(y)}"
            yield element("path", None, d=line, class_="leader")


def _near(space: RankedSpace, a: int, b: int) -> bool:
    """Whether two tasks are within the threshold; a mean over several tasks is not judged."""
    return (
        a != b
        and space.threshold is not None
        and "meta" not in (space.members[a].sort, space.members[b].sort)
        and is_near(float(space.distances[a, b]), space.threshold.distance)
    )


def _mark(dot: _Dot, space: RankedSpace, name: _Name | None, *, many: bool) -> str:
    member = space.members[dot.place]
    size = 3.5 if many else 6.5
    shape = (
        element("rect", x=dot.x - size, y=dot.y - size, width=2 * size, height=2 * size)
        if member.sort == "meta"
        else element("circle", cx=dot.x, cy=dot.y, r=size)
    )
    tasks = ", ".join(task.name for task in member.entry.manifest.tasks)
    # The list has the same links: a keyboard need not pass through a thousand dots.
    skipped = {"tabindex": "-1"} if many else {}
    return element(
        "a",
        None,
        element("title", None, text(f"{member.reference}: {tasks}{_nearest_words(dot, space)}")),
        shape,
        element("text", None, text(_short(member)), x=name.x, y=name.y) if name else "",
        href=member.page,
        class_=member.sort,
        data_r=member.reference,
        **skipped,
    )


def _nearest_words(dot: _Dot, space: RankedSpace) -> str:
    found = space.neighbours(space.members[dot.place], 1) or ()
    return "".join(
        f"; nearest: {other.reference} at {space.figures([distance]).distances[0]}"
        for other, distance in found
    )


def _short(member: GalleryItem) -> str:
    return clipped(member.entry.name, 28)


def _named(
    arranged: _Arrangement, space: RankedSpace, pairs: Iterable[tuple[int, int]], whole: float
) -> _Arrangement:
    """Write names beside the dots, where they cover neither a dot nor another name.

    Of the places that are free, a name takes the nearest through which the fewest lines pass. The
    longest names, which fit into the fewest places, choose first.
    """
    dots = arranged.dots
    taken: list[Box] = [(dot.x - 8, dot.y - 8, dot.x + 8, dot.y + 8) for dot in dots]
    lines: list[Line] = [((dots[a].x, dots[a].y), (dots[b].x, dots[b].y)) for a, b in pairs]
    frame = (0.0, 0.0, whole, arranged.height - _SCALE_HEIGHT)
    names, crossings = {}, 0
    for dot in sorted(dots, key=lambda d: -display_width(_short(space.members[d.place]))):
        width = _CHARACTER * display_width(_short(space.members[dot.place]))
        free = [
            name
            for name in _places(dot, width)
            if _within(name.box, frame) and not any(_overlap(name.box, b) for b in taken)
        ]
        if free:
            others = taken[: dot.place] + taken[dot.place + 1 :]
            crossed = [
                sum(_crosses(line, name.box) for line in lines)
                + sum(_crosses(line, box) for line in _leader(dot, name) for box in others)
                for name in free
            ]
            best = crossed.index(min(crossed))
            crossings += crossed[best]
            names[dot.place] = free[best]
            taken.append(free[best].box)
            lines += _leader(dot, free[best])
    return replace(arranged, names=names, crossed=crossings)


def _leader(dot: _Dot, name: _Name) -> list[Line]:
    return [((dot.x, dot.y), name.leader)] if name.leader else []


def _places(dot: _Dot, width: float) -> Iterable[_Name]:
    """Yield the places of a name around its dot, nearest first."""
    for away in _STEPS_AWAY:
        for right, down in _DIRECTIONS:
            x = dot.x + right * away + (right - 1) * width / 2
            if right and down:  # above or below, from the dot on
                x = dot.x + right * (away - 18) + (right - 1) * width / 2
            y = dot.y + 4 + down * (away + 6)
            box = (x, y - _LINE + 3, x + width, y + 3)
            leader = (min(max(dot.x, box[0]), box[2]), min(max(dot.y, box[1]), box[3]))
            yield _Name(
                x=x,
                y=y,
                box=box,
                leader=leader if away > _STEPS_AWAY[0] else None,
            )


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _within(a: Box, b: Box) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def _crosses(line: Line, box: Box) -> bool:
    """Whether a line passes through a box: the part of it that is within both bands is not empty.

    Source:
        Liang and Barsky, "A new concept and method for line clipping", 1984.
    """
    enter, leave = 0.0, 1.0
    for axis in (0, 1):
        start, step = line[0][axis], line[1][axis] - line[0][axis]
        low, high = box[axis] - start, box[axis + 2] - start
        if step == 0:
            if low > 0 or high < 0:
                return False
        else:
            enter = max(enter, min(low / step, high / step))
            leave = min(leave, max(low / step, high / step))
    return enter < leave


def _scale(unit: float, whole: float, height: float) -> str:
    """Draw a bar as long as a round distance."""
    length = next((s for s in _SCALES if unit * s <= whole / 4), _SCALES[-1])
    left, y = 16.0, height - 12
    bar = f"M{number(left)} {number(y - 4)}v4h{number(unit * length)}v-4"
    return element("path", None, d=bar, class_="scale") + element(
        "text", None, text(f"distance {length:g}"), x=left + 4, y=y - 8, class_="soft"
    )


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
    if len(space.members) > _MOST_ROWS:
        return None
    largest = float(space.distances.max()) or 1.0
    shown = space.figures(space.distances.ravel().tolist(), digits=2)

    def cell(row: int, column: int) -> tuple[str, int, bool]:
        distance = float(space.distances[row, column])
        shade = min(SHADES - 1, int(SHADES * distance / largest))
        words = shown.distances[row * len(space.members) + column]
        return words, shade, _near(space, row, column)

    def nearest(row: int) -> tuple[tuple[GalleryItem, float, str, bool], ...]:
        others = sorted((float(space.distances[row, c]), c) for c in space.order if c != row)
        return tuple(
            (space.members[column], distance, cell(row, column)[0], cell(row, column)[2])
            for distance, column in others[:_LISTED]
        )

    rows = tuple(
        HeatRow(
            item=space.members[row],
            cells=tuple(cell(row, column) for column in space.order),
            nearest=nearest(row),
        )
        for row in space.order
    )
    return HeatMap(rows=rows, threshold=shown.threshold)
