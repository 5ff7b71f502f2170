"""Map of tasks, drawn so that near ones stand side by side, with their names.

The page's script ``task_map.js`` zooms it, and writes the names of a map that has too many for all
of them as soon as few enough tasks are in view.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from wsdarts_registry._format import pluralize
from wsdarts_registry._text import clipped, display_width
from wsdarts_registry.drawing.svg import element, number, text
from wsdarts_registry.gallery._distances import RankedSpace
from wsdarts_registry.gallery._items import GalleryItem

_SHORTEST = 200.0
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
class _Frame:
    """The size of a map, and its margins, in which no dot but names may stand.

    Attributes:
        style: Its class in the style sheet.
        width: The whole width.
        tallest: The whole height at most, with the bar of the scale.
        margin: Above and below.
        side: At both sides.
    """

    style: str
    width: float
    tallest: float
    margin: float = 30.0
    side: float = 58.0


_WIDE = _Frame(style="wide", width=600, tallest=330)
_NARROW = _Frame(style="narrow", width=310, tallest=390)  # for telephones
_MANY = _Frame(style="many", width=440, tallest=440, margin=12, side=12)  # dots alone


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
        """Number of names that found no place, and of lines that pass through the others."""
        return len(self.dots) - len(self.names), self.crossed


def task_maps(space: RankedSpace) -> tuple[Markup, ...]:
    """Return the map, and beside it one for telephones, where it has names to read."""
    wide = task_map(space)
    many = len(space.mapped) > _MOST_NAMES
    return (wide,) if many else (wide, task_map(space, narrow=True))


def task_map(space: RankedSpace, *, narrow: bool = False) -> Markup:
    """Draw the map as an SVG element; its colours are in the gallery's style sheet.

    Each task is joined with the one that is nearest to it by its distance, not by the map. A plane
    has no directions of its own: the map is turned such that it fills its frame.

    Args:
        space: The space.
        narrow: Whether it is for a telephone.
    """
    many = len(space.mapped) > _MOST_NAMES
    frame = _MANY if many else _NARROW if narrow else _WIDE
    nearest = _nearest(space)
    pairs = () if many else tuple(sorted({(min(a, b), max(a, b)) for a, b in nearest.items()}))
    shown = _arranged(space, pairs, frame)
    lines = "".join(_lines(shown, space, pairs))
    marks = "".join(
        _mark(dot, space, shown.names.get(dot.place), nearest.get(dot.place), many=many)
        for dot in shown.dots
    )
    tasks = pluralize(len(shown.dots), "task")
    width, plane = number(frame.width), number(shown.height - _SCALE_HEIGHT)
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="map {frame.style}" viewBox="0 0 {width} {number(shown.height)}" role="group" '
        f'aria-label="Map of {tasks}" data-unit="{shown.unit:.6g}" data-most="{_MOST_NAMES}">'
        # Clips what a zoom moves out of it.
        f'<svg class="plane" width="{width}" height="{plane}">{lines}{marks}</svg>'
        f"{_scale(shown.unit, frame.width, shown.height)}</svg>"
    )


def _arranged(
    space: RankedSpace, pairs: tuple[tuple[int, int], ...], frame: _Frame
) -> _Arrangement:
    """Return the largest map whose names have few faults."""
    named = frame is not _MANY
    turns = max(1, min(_TURNS, _TURNED_DOTS // len(space.mapped)))
    turned = sorted(
        (_framed(space, np.pi * turn / turns, frame) for turn in range(turns)),
        key=lambda arranged: -arranged.unit,
    )
    best = _named(turned[0], space, pairs, frame.width) if named else turned[0]
    for smaller in turned[1:] if named else ():
        if best.faults == (0, 0) or smaller.unit < _SMALLEST * turned[0].unit:
            break
        best = min(best, _named(smaller, space, pairs, frame.width), key=lambda a: a.faults)
    return best


def _framed(space: RankedSpace, angle: float, frame: _Frame) -> _Arrangement:
    """Turn the points and scale them to a frame."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = space.map.points @ turn
    low, high = points.min(axis=0), points.max(axis=0)
    spread = max(float(abs(space.map.points).max()), 1e-9)
    unit = min(
        (frame.width - 2 * frame.side) / max(float(high[0] - low[0]), spread / 4),
        (frame.tallest - 2 * frame.margin - _SCALE_HEIGHT)
        / max(float(high[1] - low[1]), spread / 4),
    )
    tall = unit * float(high[1] - low[1])
    height = max(_SHORTEST, tall + 2 * frame.margin + _SCALE_HEIGHT)
    lift = (height - _SCALE_HEIGHT - tall) / 2
    shift = (frame.width - unit * float(high[0] - low[0])) / 2
    dots = tuple(
        _Dot(x=shift + unit * float(x - low[0]), y=lift + unit * float(high[1] - y), place=place)
        for place, (x, y) in enumerate(points)
    )
    return _Arrangement(dots=dots, names={}, crossed=0, unit=unit, height=height)


def _nearest(space: RankedSpace) -> dict[int, int]:
    """Return for each task on the map the one that is nearest to it."""
    count = len(space.mapped)
    if count < 2:
        return {}
    between = space.distances + np.diag(np.full(count, np.inf))
    return dict(enumerate(between.argmin(axis=1).tolist()))


def _lines(
    shown: _Arrangement, space: RankedSpace, pairs: Iterable[tuple[int, int]]
) -> Iterable[str]:
    """Draw the lines between tasks, each in its style, and from dots to far names."""
    for a, b in pairs:
        start, end = shown.dots[a], shown.dots[b]
        line = f"M{number(start.x)} {number(start.y)}L{number(end.x)} {number(end.y)}"
        yield element("path", None, d=line, class_=f"tie {_tie(space, a, b)}")
    for place, name in shown.names.items():
        if name.leader:
            dot, (x, y) = shown.dots[place], name.leader
            line = f"M{number(dot.x)} {number(dot.y)}L{number(x)} {number(y)}"
            yield element("path", None, d=line, class_="leader")


def _tie(space: RankedSpace, a: int, b: int) -> str:
    """Return the style of a line: ``near``, ``far``, or ``mean`` where no threshold applies."""
    if space.has_unjudged and not space.is_judged(space.mapped[a], space.mapped[b]):
        return "mean"
    return "near" if space.is_near(a, b) else "far"


def _mark(
    dot: _Dot, space: RankedSpace, name: _Name | None, nearest: int | None, *, many: bool
) -> str:
    member = space.mapped[dot.place]
    size = 3.5 if many else 6.5
    shape = (
        element("rect", x=dot.x - size, y=dot.y - size, width=2 * size, height=2 * size)
        if member.sort == "meta"
        else element("circle", cx=dot.x, cy=dot.y, r=size)
    )
    tasks = ", ".join(task.name for task in member.entry.manifest.tasks)
    # The list has the same links: a keyboard need not pass through a thousand dots.
    more = {"tabindex": "-1"} if many else {}
    if nearest is not None:
        more |= {"data_n": str(nearest), "data_tie": _tie(space, dot.place, nearest)}
    return element(
        "a",
        None,
        element("title", None, text(f"{member.reference}: {tasks}{_nearest_words(dot, space)}")),
        shape,
        element("text", None, text(_short(member)), x=name.x, y=name.y) if name else "",
        href=member.page,
        class_=member.sort,
        data_r=member.reference,
        **more,
    )


def _nearest_words(dot: _Dot, space: RankedSpace) -> str:
    found = space.neighbours(space.mapped[dot.place], 1) or ()
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
    for dot in sorted(dots, key=lambda d: -display_width(_short(space.mapped[d.place]))):
        width = _CHARACTER * display_width(_short(space.mapped[dot.place]))
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
