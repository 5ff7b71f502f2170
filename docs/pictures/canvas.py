"""Parts of the pictures: words, boxes, arrows, chips of operations."""

from collections.abc import Sequence

from wsdarts_registry.drawing.svg import MONO, Picture, element, family_of, number, text

WIDTH = 400.0
"""Of every picture, in pixels: on a telephone the letters are still 10 pixels high."""
MARGIN = 18.0
SIZE = 13.0

Point = tuple[float, float]


def words(
    x: float,
    y: float,
    content: str,
    *,
    style: str = "ink",
    anchor: str = "start",
    size: float = SIZE,
    bold: bool = False,
    mono: bool = False,
) -> str:
    """One line of text; ``y`` is its base line."""
    more: dict[str, str | float] = {"font_weight": "600"} if bold else {}
    if mono:
        more["font_family"] = MONO
    return element(
        "text", style, text(content), x=x, y=y, font_size=size, text_anchor=anchor, **more
    )


def lines(x: float, y: float, content: Sequence[str], *, style: str = "soft") -> str:
    """Several lines below each other, from the base line ``y`` of the first."""
    return "".join(words(x, y + 17 * row, line, style=style) for row, line in enumerate(content))


def heading(y: float, content: str) -> str:
    """A heading at the left margin."""
    return words(MARGIN, y, content, bold=True, size=14)


def box(
    x: float, y: float, width: float, height: float, *, style: str = "port", rx: float = 7
) -> str:
    """A rectangle with round corners."""
    return element("rect", style, x=x, y=y, width=width, height=height, rx=rx, stroke_width=1.3)


def named_box(
    x: float, y: float, width: float, height: float, content: str, *, index: str = ""
) -> str:
    """A box with a word in its middle, perhaps with an index set as a subscript."""
    low = element("tspan", None, text(index), dy=3, font_size=10) if index else ""
    return box(x, y, width, height) + element(
        "text",
        "ink",
        text(content) + low,
        x=x + width / 2,
        y=y + height / 2 + 4.6,
        font_size=SIZE,
        text_anchor="middle",
    )


def arrow(start: Point, end: Point, *, style: str = "wire-odd", dashed: bool = False) -> str:
    """A straight arrow, level or upright."""
    (x0, y0), (x1, y1) = start, end
    back_x, back_y = (
        (0.0, 6.0 if y1 > y0 else -6.0) if x0 == x1 else (6.0 if x1 > x0 else -6.0, 0.0)
    )
    shaft = f"M{number(x0)} {number(y0)}L{number(x1 - back_x)} {number(y1 - back_y)}"
    side_x, side_y = (4.0, 0.0) if x0 == x1 else (0.0, 4.0)
    head = (
        f"M{number(x1 - back_x - side_x)} {number(y1 - back_y - side_y)}L{number(x1)} {number(y1)}"
        f"L{number(x1 - back_x + side_x)} {number(y1 - back_y + side_y)}"
    )
    dashes: dict[str, str | float] = {"stroke_dasharray": "4 4"} if dashed else {}
    return element("path", style, d=shaft, fill="none", stroke_width=1.8, **dashes) + element(
        "path", style, d=head, fill="none", stroke_width=1.8, stroke_linejoin="round"
    )


def line(start: Point, end: Point, *, style: str = "rule", width: float = 1.3) -> str:
    """A straight line."""
    (x0, y0), (x1, y1) = start, end
    d = f"M{number(x0)} {number(y0)}L{number(x1)} {number(y1)}"
    return element("path", style, d=d, fill="none", stroke_width=width)


def operation(x: float, y: float, name: str, *, width: float = 118) -> str:
    """An operation's chip in its family's colour, 22 pixels high."""
    family = family_of(name)
    return element(
        "rect", f"{family.key}-tint", x=x, y=y, width=width, height=22, rx=11, stroke_width=1.3
    ) + words(
        x + width / 2,
        y + 15.4,
        name,
        style=f"{family.key}-ink",
        anchor="middle",
        size=12,
        mono=True,
    )


def picture(name: str, body: Sequence[str], height: float, title: str, description: str) -> str:
    """The whole SVG document, on a panel of its own that follows the system's light or dark."""
    found = Picture(
        body="\n".join(body), width=WIDTH, height=height, title=title, description=description
    )
    return found.framed(f"wsd-{name}")
