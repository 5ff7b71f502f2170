"""Drawings of cells as SVG and as plain text, and of operation masks as SVG.

A drawing is a function of what is drawn alone: equal genotypes give equal bytes.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from markupsafe import Markup

from wsdarts_registry._text import clipped, display_width, padded, sanitize
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.drawing._layout import (
    FONT_SIZE,
    OUTPUT,
    Box,
    CellLayout,
    Label,
    Node,
    Wire,
    lay_out,
)
from wsdarts_registry.drawing.svg import (
    FAMILIES,
    MONO,
    Family,
    Picture,
    element,
    family_of,
    fingerprint,
    number,
    text,
)

_MARGIN = 22.0
_TITLE_HEIGHT = 46.0
_INPUTS = ("cell before the previous one", "previous cell")
_SUBTITLES = {
    "normal": "keeps the resolution",
    "reduction": "operations on the two inputs have stride 2",
}


def node_name(index: int) -> str:
    """Return a node's name: ``c_{k-2}`` and ``c_{k-1}`` for inputs, 0, 1, …; ``c_{k}`` for −1."""
    if index == OUTPUT:
        return "c_{k}"
    return ("c_{k-2}", "c_{k-1}")[index] if index < 2 else str(index - 2)


def connections_text(connections: Sequence[Connection]) -> str:
    """Write the inputs of a node: ``sep_conv_3x3 of 0, skip_connect of c_{k-1}``; – for none."""
    return ", ".join(f"{c.operation} of {node_name(c.source)}" for c in connections) or "–"


def edge_name(source: int, target: int) -> str:
    """Return an edge's name, such as ``c_{k-1} → 0``."""
    return f"{node_name(source)} → {node_name(target)}"


def cell_svg(genotype: Genotype, kind: str) -> str:
    """Draw the ``"normal"`` or the ``"reduction"`` cell as an SVG document.

    Args:
        genotype: The pair of cells.
        kind: Which of the two to draw.

    Returns:
        A self-contained SVG: readable on light and on dark ground (it brings its own panel),
        with a title and a description for those who cannot see it.
    """
    return _cell_picture(genotype, kind).framed(f"wsd-{kind}-{fingerprint(genotype.to_json())}")


def genotype_svg(genotype: Genotype) -> str:
    """Draw both cells of a genotype above each other, with a legend, as one SVG document."""
    pictures = [_cell_picture(genotype, kind) for kind in CELL_KINDS]
    used = {
        family_of(c.operation).key for kind in CELL_KINDS for n in genotype.cell(kind) for c in n
    }
    legend, legend_width, legend_height = _legend([f for f in FAMILIES if f.key in used])
    width = max([picture.width for picture in pictures] + [legend_width + 2 * _MARGIN])
    parts, top = [], 0.0
    for picture in pictures:
        parts.append(element("g", None, picture.body, transform=f"translate(0 {number(top)})"))
        top += picture.height
        parts.append(
            element("path", "rule", d=f"M{number(_MARGIN)} {number(top)}H{number(width - _MARGIN)}")
        )
        top += 4
    parts.append(
        element("g", None, legend, transform=f"translate({number(_MARGIN)} {number(top + 14)})")
    )
    whole = Picture(
        body="\n".join(parts),
        width=width,
        height=top + legend_height + 28,
        title="Genotype: normal cell and reduction cell",
        description=" ".join(picture.description for picture in pictures),
    )
    return whole.framed(f"wsd-genotype-{fingerprint(genotype.to_json())}")


def cell_text(genotype: Genotype, kind: str) -> str:
    """Draw one cell in plain text, from the inputs at the left to the nodes at the right.

    Returns:
        Lines without a final newline; fixed-width characters, no terminal escapes.
    """
    cell = genotype.cell(kind)
    operations = [clipped(c.operation, 32) for node in cell for c in node]
    width = max(display_width(operation) for operation in operations)
    lines = [f"{kind} cell"]
    for target, node in enumerate(cell, start=2):
        for row, connection in enumerate(node):
            source = padded(node_name(connection.source), 7)
            operation = padded(f"{clipped(connection.operation, 32)} ", width + 3, "─")
            lines.append(f"  {source} ── {operation}{_joint(row, len(node))}".rstrip())
            if row == (len(node) - 1) // 2:
                lines[-1] += f"─▸ {node_name(target)}"
    inside = ", ".join(node_name(target) for target in range(2, 2 + len(cell)))
    lines.append(f"  {inside} ── concatenated ─▸ {node_name(OUTPUT)}")
    return "\n".join(lines)


def _joint(row: int, rows: int) -> str:
    """Return the character at the right that joins a row of a node to the others."""
    out = row == (rows - 1) // 2
    if rows == 1:
        return "─"
    if row == 0:
        return "┬" if out else "┐"
    if row == rows - 1:
        return "┴" if out else "┘"
    return "┼" if out else "┤"


def _cell_picture(genotype: Genotype, kind: str) -> Picture:
    cell = genotype.cell(kind)
    layout = lay_out(cell)
    top = _MARGIN + _TITLE_HEIGHT
    # Wires first: labels and nodes lie over their ends.
    body = [_heading(kind), f'<g transform="translate({number(_MARGIN)} {number(top)})">']
    body += _wires(layout.wires)
    body += [f'<g font-family="{MONO}" font-size="{number(FONT_SIZE)}" text-anchor="middle">']
    body += [_label(label, layout) for label in layout.labels]
    body += ["</g>", '<g font-size="13" font-weight="600" text-anchor="middle">']
    body += [_node(node, _reading(genotype, kind, node.index)) for node in layout.nodes]
    body += ["</g>", "</g>"]
    sentences = [_reading(genotype, kind, index) for index in range(2, 2 + len(cell))]
    return Picture(
        body="\n".join(body),
        width=max(layout.width + 2 * _MARGIN, 360),
        height=top + layout.height + _MARGIN,
        title=f"{kind.capitalize()} cell",
        description=f"{kind.capitalize()} cell. "
        + " ".join([*sentences, _output_reading(len(cell))]),
    )


def _reading(genotype: Genotype, kind: str, index: int) -> str:
    """Describe a node in words."""
    if index == OUTPUT:
        return _output_reading(genotype.space.nodes)
    if index < 2:
        return f"{node_name(index)} is the output of the {_INPUTS[index]}."
    chosen = genotype.cell(kind)[index - 2]
    terms = " plus ".join(f"{sanitize(c.operation)} of {node_name(c.source)}" for c in chosen)
    return f"Node {node_name(index)} is {terms}."


def _output_reading(nodes: int) -> str:
    listed = ", ".join(str(node) for node in range(nodes))
    return f"{node_name(OUTPUT)} concatenates {'nodes' if nodes > 1 else 'node'} {listed}."


def _heading(kind: str) -> str:
    name = text(f"{kind.capitalize()} cell")
    return element("text", "ink", name, x=_MARGIN, y=32, font_size=15, font_weight="600") + element(
        "text", "soft", text(_SUBTITLES[kind]), x=_MARGIN, y=50, font_size=11.5
    )


def _wires(wires: tuple[Wire, ...]) -> list[str]:
    """Draw all wires; where those of two sources cross, the later one has a halo around it."""
    dashed = "".join(_curve(wire) for wire in wires if wire.source == OUTPUT)
    drawn = [
        element("path", "bus", d=dashed, fill="none", stroke_width=1.6, stroke_dasharray="2 3")
    ]
    curves: dict[tuple[float, float], str] = {}
    for wire in wires:
        if wire.source != OUTPUT:
            curves[wire.start] = curves.get(wire.start, "") + _curve(wire)
    odd = {wire.start for wire in wires if wire.source != OUTPUT and wire.source % 2}
    for start, d in curves.items():
        # Two tones in turn, so that neighbouring sources can be told apart in a tangle.
        style = "wire-odd" if start in odd else "wire"
        drawn.append(element("path", "halo", d=d, fill="none", stroke_width=5))
        # Round ends close the seam to the lane that the wire goes on from.
        line = element("path", style, d=d, fill="none", stroke_width=1.8, stroke_linecap="round")
        drawn.append(line)
    return drawn


def _curve(wire: Wire) -> str:
    through = f"H{number(wire.end[0])}" if wire.end > wire.bend else ""
    return _bend(wire.start, wire.bend) + through


def _bend(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return the path of a curve that is level at both ends."""
    (x0, y0), (x1, y1) = start, end
    half = number((x0 + x1) / 2)
    return (
        f"M{number(x0)} {number(y0)}C{half} {number(y0)} {half} {number(y1)} "
        f"{number(x1)} {number(y1)}"
    )


def _label(label: Label, layout: CellLayout) -> str:
    family, box = family_of(label.operation), label.box
    node = next(node.box for node in layout.nodes if node.index == label.target)
    stem = _bend((box.right, box.middle), (node.left, node.middle))
    edge = f"{edge_name(label.source, label.target)}: {label.operation}"
    return element(
        "g",
        None,
        element("title", None, text(edge)),
        element("path", f"{family.key}-line", d=stem, fill="none", stroke_width=2.2),
        element("rect", f"{family.key}-tint", **_rectangle(box), rx=box.height / 2),
        element(
            "text",
            f"{family.key}-ink",
            text(label.text),
            x=box.left + box.width / 2,
            y=box.middle + 4.2,
        ),
    )


def _node(node: Node, reading: str) -> str:
    box = node.box
    port = node.index < 2
    style = "port" if port else "node"
    return element(
        "g",
        None,
        element("title", None, text(reading)),
        element("rect", style, **_rectangle(box), rx=7 if port else box.height / 2),
        element(
            "text",
            "ink" if port else "on-node",
            _name_markup(node.index),
            x=box.left + box.width / 2,
            y=box.middle + 4.6,
        ),
    )


def _rectangle(box: Box) -> dict[str, float]:
    return {
        "x": box.left,
        "y": box.top,
        "width": box.width,
        "height": box.height,
        "stroke_width": 1.3,
    }


def _name_markup(index: int) -> str:
    """Write a node's name with its index as a subscript."""
    if index >= 2:
        return text(node_name(index))
    subscript = node_name(index)[3:-1].replace("-", "−")
    return "c" + element("tspan", None, text(subscript), dy=3, font_size=10)


def _legend(families: list[Family]) -> tuple[str, float, float]:
    parts, left = [], 0.0
    for family in families:
        parts.append(element("rect", f"{family.key}-tint", x=left, y=0, width=22, height=12, rx=6))
        title = text(family.title)
        parts.append(element("text", "soft", title, x=left + 29, y=10.3, font_size=11.5))
        left += 29 + 6.4 * len(family.title) + 20
    return "".join(parts), left - 20, 14.0


_MASKS_MARGIN = 22.0
_SQUARE = 15.0
_PITCH = 18.0
_EDGE_WIDTH = 64.0
_NODE_GAP = 6.0
_CHARACTER = 6.9
_HEADING = 56.0


def masks_svg(masks: OperationMasks) -> str:
    """Draw both masks as grids, one row an edge and one column a candidate, as one SVG.

    A full square survives, an empty one is gone; rows of the same target stand together.
    """
    names = [clipped(candidate, 16) for candidate in masks.space.candidates]
    slope = max(display_width(name) for name in names) * _CHARACTER * 0.7071
    grid_width = _EDGE_WIDTH + len(names) * _PITCH
    pitch = grid_width + max(slope, 24.0) + 14
    rows = len(masks.space.edges)
    height = _HEADING + slope + rows * _PITCH + (masks.space.nodes - 1) * _NODE_GAP + _MASKS_MARGIN
    parts = [f'<g font-size="11" font-family="{MONO}">']
    for place, kind in enumerate(CELL_KINDS):
        left = _MASKS_MARGIN + place * pitch
        grid = _grid(masks, kind, names, _HEADING + slope)
        shifted = element("g", None, grid, transform=f"translate({number(left)} 0)")
        parts.append(shifted)
    parts.append("</g>")
    described = (
        f"{kind.capitalize()} cell, edge by edge. {_words(masks, kind)}" for kind in CELL_KINDS
    )
    picture = Picture(
        body="\n".join(parts),
        width=2 * _MASKS_MARGIN + 2 * pitch - 14,
        height=height,
        title="Operations that survive on each edge",
        description=" ".join(described),
    )
    return picture.framed(f"wsd-masks-{fingerprint(masks.to_json())}")


def _grid(masks: OperationMasks, kind: str, names: list[str], top: float) -> str:
    heading = element(
        "text",
        "ink",
        text(f"{kind.capitalize()} cell"),
        x=0,
        y=32,
        font_size=15,
        font_weight="600",
        font_family="system-ui,sans-serif",
    )
    parts = [heading]
    for column, name in enumerate(names):
        x, y = _EDGE_WIDTH + column * _PITCH + _SQUARE / 2 + 3, top - 6
        turned = f"translate({number(x)} {number(y)}) rotate(-45)"
        parts.append(element("text", "soft", text(name), transform=turned))
    y = top
    for index, (source, _) in enumerate(masks.space.edges):
        if source == 0 and index:
            y += _NODE_GAP
        parts.append(_row(masks, kind, index, y))
        y += _PITCH
    return "\n".join(parts)


def _row(masks: OperationMasks, kind: str, index: int, top: float) -> str:
    source, target = masks.space.edges[index]
    parts = [
        element(
            "text",
            "soft",
            _edge_markup(source, target),
            x=_EDGE_WIDTH - 8,
            y=top + 11.5,
            text_anchor="end",
        )
    ]
    for column, kept in enumerate(masks.rows(kind)[index]):
        family = family_of(masks.space.candidates[column])
        square = element(
            "rect",
            f"{family.key}-full" if kept else "gone",
            x=_EDGE_WIDTH + column * _PITCH,
            y=top,
            width=_SQUARE,
            height=_SQUARE,
            rx=3,
        )
        parts.append(square)
    title = f"{edge_name(source, target)}: {_kept(masks, kind, index)}"
    return element("g", None, element("title", None, text(title, 400)), *parts)


def _edge_markup(source: int, target: int) -> str:
    """Write an edge's name with the index of an input as a subscript."""
    to = f" → {node_name(target)}"
    if source >= 2:
        return text(f"{node_name(source)}{to}")
    index = element("tspan", None, text(f"k−{2 - source}"), dy=2.5, font_size=8.5)
    return f"c{index}{element('tspan', None, escape(to, quote=False), dy=-2.5)}"


def _kept(masks: OperationMasks, kind: str, index: int) -> str:
    return ", ".join(sanitize(name, 40) for name in masks.operations(kind, index))


def _words(masks: OperationMasks, kind: str) -> str:
    sentences = []
    for index, (source, target) in enumerate(masks.space.edges):
        kept = _kept(masks, kind, index)
        sentences.append(f"{node_name(source)} to {node_name(target)}: {kept}.")
    return " ".join(sentences)


_STYLE = re.compile(r"<style>[^<]*</style>\n?")
_DESCRIPTION = re.compile(r"<desc[^>]*>([^<]*)</desc>")
_SIZE = re.compile(r'width="(\d+)" height="(\d+)"')


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG document that this package has drawn.

    Attributes:
        name: Name of its file.
        svg: The document.
    """

    name: str
    svg: str

    @cached_property
    def inline(self) -> Markup:
        """Markup for a page whose style sheet has the colours for a dark ground."""
        return Markup(_STYLE.sub("", self.svg))  # noqa: S704 - drawn and escaped by our own code

    @property
    def address(self) -> Markup:
        """Data URL for an image element, which keeps style and names apart from the page's."""
        content = base64.b64encode(self.svg.encode()).decode()
        return Markup(f"data:image/svg+xml;base64,{content}")  # noqa: S704 - base64

    @cached_property
    def description(self) -> str:
        """Description of what it shows, in words."""
        found = _DESCRIPTION.search(self.svg)
        return html.unescape(found[1]) if found else ""

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        found = _SIZE.search(self.svg)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def cell_drawings(genotype: Genotype) -> tuple[Drawing, ...]:
    """Draw the normal and the reduction cell."""
    return tuple(Drawing(name=f"{k}.svg", svg=cell_svg(genotype, k)) for k in CELL_KINDS)


def masks_drawing(masks: OperationMasks) -> Drawing:
    """Draw λ: the operations that survived the last stage."""
    return Drawing(name="masks.svg", svg=masks_svg(masks))
