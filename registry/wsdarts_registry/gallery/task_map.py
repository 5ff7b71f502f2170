"""The map of the tasks: each a dot that leads to its page, near tasks near each other."""

from dataclasses import dataclass

from markupsafe import Markup

from wsdarts_registry.gallery.ranked_space import RankedSpace
from wsdarts_registry.inert import clipped, display_width
from wsdarts_registry.svg import element, number, text

_WIDTH, _TALLEST, _SHORTEST = 760.0, 470.0, 220.0
_MARGIN = 46.0
_SCALE_HEIGHT = 34.0  # the bar at the bottom
_RIGHT_MARGIN = 165.0  # names stand at the right of their dots
_MOST_NAMES = 40
_CHARACTER, _LINE = 7.5, 15.0
_SCALES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Dot:
    x: float
    y: float
    place: int


def task_map(space: RankedSpace) -> Markup:
    """Draw the map as an SVG element; its colours are in the gallery's style sheet."""
    many = len(space.members) > _MOST_NAMES
    right = _MARGIN if many else _RIGHT_MARGIN
    spread = max(float(abs(space.map.points).max()), 1e-9)
    points = space.map.points
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (_WIDTH - _MARGIN - right) / max(float(high[0] - low[0]), spread)
    unit = min(unit, (_TALLEST - 2 * _MARGIN) / max(float(high[1] - low[1]), spread / 4))
    tall = unit * float(high[1] - low[1])
    height = max(_SHORTEST, tall + 2 * _MARGIN + _SCALE_HEIGHT)
    lift = (height - _SCALE_HEIGHT - tall) / 2
    shift = (_WIDTH + _MARGIN - right - unit * float(high[0] - low[0])) / 2
    dots = [
        _Dot(x=shift + unit * float(x - low[0]), y=lift + unit * float(high[1] - y), place=place)
        for place, (x, y) in enumerate(points)
    ]
    names = {} if many else _names(dots, space)
    marks = "".join(_mark(dot, space, names.get(dot.place), many=many) for dot in dots)
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="map" viewBox="0 0 {number(_WIDTH)} {number(height)}" role="group" '
        f'aria-label="Map of {len(dots)} tasks">{marks}{_scale(unit, height)}</svg>'
    )


def _mark(dot: _Dot, space: RankedSpace, name: str | None, *, many: bool) -> str:
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
        element("title", None, text(f"{member.reference}: {tasks}")),
        shape,
        name or "",
        href=member.page,
        class_=member.sort,
        data_r=member.reference,
        **skipped,
    )


def _names(dots: list[_Dot], space: RankedSpace) -> dict[int, str]:
    """Names beside the dots, where they cover neither a dot nor another name."""
    taken: list[Box] = [(dot.x - 8, dot.y - 8, dot.x + 8, dot.y + 8) for dot in dots]
    names = {}
    for dot in dots:
        name = clipped(space.members[dot.place].entry.name, 28)
        width = _CHARACTER * display_width(name)
        for x, y in (
            (dot.x + 11, dot.y + 4),
            (dot.x - 11 - width, dot.y + 4),
            (dot.x - width / 2, dot.y - 12),
            (dot.x - width / 2, dot.y + 21),
            (dot.x - 7, dot.y - 12),
            (dot.x - 7, dot.y + 21),
        ):
            box = (x, y - _LINE + 3, x + width, y + 3)
            if box[0] >= 0 and box[2] <= _WIDTH and not any(_overlap(box, b) for b in taken):
                taken.append(box)
                names[dot.place] = element("text", None, text(name), x=x, y=y)
                break
    return names


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _scale(unit: float, height: float) -> str:
    """A bar as long as a round distance."""
    length = next((s for s in _SCALES if unit * s <= _WIDTH / 4), _SCALES[-1])
    left, y = 16.0, height - 12
    bar = f"M{number(left)} {number(y - 4)}v4h{number(unit * length)}v-4"
    return element("path", None, d=bar, class_="scale") + element(
        "text", None, text(f"distance {length:g}"), x=left + 4, y=y - 8, class_="soft"
    )
