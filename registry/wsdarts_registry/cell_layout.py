"""Where the parts of a drawn cell lie: nodes in layers, operations beside their node.

The layout is a layered one (Sugiyama et al., 1981), made for cells. A node's layer is one more
than that of its latest input. The operations of a node are labels stacked at its left, so each
column holds blocks of labels and node. A wire that has to pass a column gets a lane of its own
in it, and wires bend between columns only; so no wire ever runs behind a node or a label, and
no two labels touch. Wires from one source share their lanes until they part.

This module computes geometry only, in pixels of the drawing, x to the right and y down.
"""

from dataclasses import dataclass

from wsdarts_registry import cell_order
from wsdarts_registry.cell_heights import (
    LABEL_HEIGHT,
    NODE,
    item_height,
    item_middles,
    label_offset,
)
from wsdarts_registry.cell_order import OUTPUT, Item, Link
from wsdarts_registry.genotype import Cell
from wsdarts_registry.inert import clipped, display_width

FONT_SIZE = 12.0
# The widest of the usual fixed-width fonts takes 0.602 of its size for a character.
_CHARACTER = 0.62 * FONT_SIZE
_LABEL_COLUMNS = 22
_PORT_WIDTH, _PORT_HEIGHT = 54.0, 30.0
_STEM = 26.0
_COLUMN_GAP = 46.0


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle: left, top, width and height in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right side."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """Height of the horizontal line through the middle."""
        return self.top + self.height / 2


@dataclass(frozen=True, kw_only=True)
class Node:
    """A drawn node: 0 and 1 the inputs, from 2 on the intermediate nodes, −1 the output."""

    index: int
    box: Box


@dataclass(frozen=True, kw_only=True)
class Label:
    """The label of a chosen operation on the edge from ``source`` into ``target``."""

    source: int
    target: int
    operation: str
    text: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A curve between two columns and, where it is the first to pass the second, on through it.

    Attributes:
        source: Whose output it carries, a node's index; −1 for the way to the output.
        start: Where it leaves the left column.
        bend: Where it enters the right column; the curve is level at both ends.
        end: Right end of the lane in the right column; equal to ``bend`` at a label or node.
    """

    source: int
    start: tuple[float, float]
    bend: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """A laid out cell; the upper left corner of its bounding box is (0, 0)."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    labels: tuple[Label, ...]
    wires: tuple[Wire, ...]


def lay_out(cell: Cell) -> CellLayout:
    """Place the nodes, labels and wires of one cell; the same cell gives the same layout."""
    columns, links = cell_order.ordered_columns(cell)
    label_text = {
        (connection.source, target): clipped(connection.operation, _LABEL_COLUMNS)
        for target, node in enumerate(cell, start=2)
        for connection in node
    }
    heights = {item: item_height(item, cell) for column in columns for item in column}
    middles = item_middles(columns, links, heights, cell)
    highest = min(middles[item] - heights[item] / 2 for item in middles)
    middles = {item: round(y - highest, 1) for item, y in middles.items()}
    spans = _column_spans(columns, links, middles, label_text)
    nodes, labels = _boxes(columns, links, middles, spans, cell, label_text)
    return CellLayout(
        width=spans[-1][1],
        height=max(middles[item] + heights[item] / 2 for item in middles),
        nodes=nodes,
        labels=labels,
        wires=_wires(links, middles, spans, nodes, labels),
    )


def _column_spans(
    columns: list[list[Item]],
    links: list[Link],
    middles: dict[Item, float],
    label_text: dict[tuple[int, int], str],
) -> list[tuple[float, float]]:
    """Left and right side of each column; steep wires get a wider gap before their column."""
    spans = [(0.0, _PORT_WIDTH)]
    for number, column in enumerate(columns[1:], start=1):
        steepest = max(
            abs(middles[link.start] - middles[link.spot.item])
            for link in links
            if link.column == number
        )
        left = round(spans[-1][1] + _COLUMN_GAP + min(70.0, 0.2 * steepest), 1)
        targets = {item.source for item in column if item.kind == "node"}
        texts = [text for (_, target), text in label_text.items() if target in targets]
        width = _PORT_WIDTH
        if texts:
            width = _label_width(texts) + _STEM + NODE
        spans.append((left, round(left + width, 1)))
    return spans


def _label_width(texts: list[str]) -> float:
    return max(max(display_width(text) for text in texts) * _CHARACTER + 18, 64.0)


def _boxes(
    columns: list[list[Item]],
    links: list[Link],
    middles: dict[Item, float],
    spans: list[tuple[float, float]],
    cell: Cell,
    label_text: dict[tuple[int, int], str],
) -> tuple[tuple[Node, ...], tuple[Label, ...]]:
    operations = {(c.source, t): c.operation for t, node in enumerate(cell, start=2) for c in node}
    nodes: list[Node] = []
    for column, (left, right) in zip(columns, spans, strict=True):
        for item in column:
            if item.kind != "node":
                continue
            port = item.source < 2
            width, height = (_PORT_WIDTH, _PORT_HEIGHT) if port else (NODE, NODE)
            start = left if port else right - width
            top = middles[item] - height / 2
            box = Box(left=start, top=top, width=width, height=height)
            nodes.append(Node(index=item.source, box=box))
    labels: list[Label] = []
    for link in links:
        if link.spot.row is None:
            continue
        left, right = spans[link.column]
        edge = (link.source, link.spot.item.source)
        middle = middles[link.spot.item] + label_offset(link.spot, cell)
        box = Box(
            left=left,
            top=middle - LABEL_HEIGHT / 2,
            width=right - left - _STEM - NODE,
            height=LABEL_HEIGHT,
        )
        text, operation = label_text[edge], operations[edge]
        labels.append(
            Label(source=edge[0], target=edge[1], operation=operation, text=text, box=box)
        )
    by_edge = sorted(labels, key=lambda label: (label.target, label.source))
    return tuple(sorted(nodes, key=lambda node: node.index)), tuple(by_edge)


def _wires(
    links: list[Link],
    middles: dict[Item, float],
    spans: list[tuple[float, float]],
    nodes: tuple[Node, ...],
    labels: tuple[Label, ...],
) -> tuple[Wire, ...]:
    node_at = {node.index: node.box for node in nodes}
    label_at = {(label.source, label.target): label.box for label in labels}
    wires: list[Wire] = []
    passed: set[Item] = set()
    for link in links:
        item = link.spot.item
        start = (spans[link.column - 1][1], middles[link.start])
        if link.spot.row is not None:
            box = label_at[link.source, item.source]
            bend = end = (box.left, box.middle)
        elif item.kind == "node":
            bend = end = (node_at[OUTPUT].left, node_at[OUTPUT].middle)
        else:
            bend = (spans[link.column][0], middles[item])
            end = bend if item in passed else (spans[link.column][1], middles[item])
            passed.add(item)
        source = OUTPUT if item.source < 0 else link.source
        wires.append(Wire(source=source, start=start, bend=bend, end=end))
    return tuple(wires)
