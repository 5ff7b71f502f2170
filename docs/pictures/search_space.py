"""The cell as a graph with a mixed operation on every edge."""

from docs.pictures.canvas import (
    MARGIN,
    WIDTH,
    arrow,
    heading,
    line,
    lines,
    named_box,
    operation,
    picture,
    words,
)
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_registry.drawing.cells import node_name
from wsdarts_registry.drawing.svg import element, number

_CENTRE = 190.0
_HALF = 30.0
_TOP = 62.0
_PITCH = 58.0
_EXAMPLE = (3, 5)  # the edge that is shown in full, from node 1 to node 3


def search_space() -> str:
    """Draw all edges of a cell, and one of them with its candidate operations."""
    inner = 2 + DARTS.nodes
    bottom = _y(inner)
    body = [heading(32, f"A cell: {DARTS.nodes} nodes, {len(DARTS.edges)} edges")]
    body += [_edge(source, target) for source, target in DARTS.edges]
    body += [_output(target) for target in range(2, inner)]
    body += [_node(index) for index in range(inner)]
    body.append(named_box(_CENTRE - _HALF, bottom, 2 * _HALF, 28, "c", index="k"))
    body.append(words(_CENTRE + _HALF + 12, bottom + 19, "all four, concatenated", style="soft"))
    body += _mixed(bottom + 72)
    candidates = ", ".join(DARTS.candidates)
    return picture(
        "search-space",
        body,
        bottom + 72 + 345,
        "The search space: a cell, and the mixed operation on each of its edges",
        "A cell has two inputs, c_{k-2} and c_{k-1}, the outputs of the two cells before it, and "
        "four intermediate nodes. Each intermediate node has an edge from both inputs and from "
        "every intermediate node before it: 2 + 3 + 4 + 5 = 14 edges. The cell's output c_{k} "
        "concatenates the four nodes. Each edge is a mixed operation: all eight candidates "
        f"({candidates}) are applied to its source, each result is multiplied by its share of "
        "the softmax over that edge's row of alpha, and the results are added.",
    )


def _y(index: int) -> float:
    return _TOP + index * _PITCH


def _node(index: int) -> str:
    place = (_CENTRE - _HALF, _y(index), 2 * _HALF, 28)
    if index < 2:
        return named_box(*place, "c", index=f"k−{2 - index}")
    return named_box(*place, node_name(index))


def _edge(source: int, target: int) -> str:
    """Edges from one node to the next are straight, the others arcs at the side of their source."""
    style, width = ("wire-odd", 3.6) if (source, target) == _EXAMPLE else ("wire", 1.8)
    if target == source + 1:
        d = f"M{number(_CENTRE)} {number(_y(source) + 28)}V{number(_y(target))}"
    else:
        side = -1 if source % 2 == 0 else 1
        out = _CENTRE + side * (_HALF + 14 * (target - source) + 8 * (source < 2))
        edge, start, end = _CENTRE + side * _HALF, _y(source) + 18, _y(target) + 10
        d = (
            f"M{number(edge)} {number(start)}C{number(out)} {number(start + 12)} "
            f"{number(out)} {number(end - 12)} {number(edge)} {number(end)}"
        )
    return element("path", style, d=d, fill="none", stroke_width=width)


def _output(target: int) -> str:
    """The dashed line from an intermediate node to the output, by way of the right."""
    right = WIDTH - MARGIN - 40
    start, end = _y(target) + 18, _y(2 + DARTS.nodes) - 8
    d = f"M{number(_CENTRE + _HALF)} {number(start)}H{number(right)}V{number(end)}"
    d += f"H{number(_CENTRE + 12)}V{number(end + 8)}"
    return element("path", "bus", d=d, fill="none", stroke_width=1.4, stroke_dasharray="2 3")


def _curve(start: tuple[float, float], end: tuple[float, float], *, before: float) -> str:
    """A curve that is level at both ends, and for a while before it bends."""
    (x0, y0), (x1, y1) = start, end
    bend = x0 + before
    half = number((bend + x1) / 2)
    d = (
        f"M{number(x0)} {number(y0)}H{number(bend)}C{half} {number(y0)} {half} {number(y1)} "
        f"{number(x1)} {number(y1)}"
    )
    return element("path", "wire", d=d, fill="none", stroke_width=1.4)


def _mixed(top: float) -> list[str]:
    """The example's edge: source, candidates, sum, target."""
    source, target = _EXAMPLE
    left, chips, right = MARGIN + 52, 104.0, 222.0
    middle = top + 28 + 4 * 32 - 5
    body = [
        heading(top, f"An edge, {node_name(source)} → {node_name(target)}: all candidates at once"),
        named_box(MARGIN, middle - 14, 44, 28, node_name(source)),
        named_box(WIDTH - MARGIN - 44, middle - 14, 44, 28, node_name(target)),
    ]
    for row, name in enumerate(DARTS.candidates):
        y = top + 23 + row * 32
        body.append(_curve((left - 8, middle), (chips, y + 11), before=0))
        body.append(_curve((chips + 118, y + 11), (right + 70, middle), before=30))
        body.append(operation(chips, y, name))
        body.append(words(right + 4, y + 7, f"× p{'₁₂₃₄₅₆₇₈'[row]}", style="soft", size=12))
    body.append(words(right + 74, middle + 5, "Σ", bold=True, size=16))
    body.append(arrow((right + 90, middle), (WIDTH - MARGIN - 46, middle)))
    low = top + 23 + 8 * 32 + 14
    body.append(line((MARGIN, low - 8), (WIDTH - MARGIN, low - 8)))
    body.append(
        lines(
            MARGIN,
            low + 14,
            ("p = softmax of this edge's row of α: eight numbers", "that the search learns."),
        )
    )
    return body
