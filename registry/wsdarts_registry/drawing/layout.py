"""Where the parts of a drawn cell lie: nodes in layers, operations beside their node.

The layout is a layered one (Sugiyama et al., 1981), made for cells. A node's layer is one more
than that of its latest input. The operations of a node are labels stacked at its left, so each
column holds blocks of labels and node. A wire that has to pass a column gets a lane of its own
in it, and wires bend between columns only; so no wire ever runs behind a node or a label, and
no two labels touch. Wires from one source share their lanes until they part.

This module computes geometry only, in pixels of the drawing, x to the right and y down.

How high the parts of a drawn cell stand: in order, apart, and near what they are wired to.

All lengths are pixels of the drawing; y grows downwards and its zero is arbitrary.
"""

from dataclasses import dataclass
from itertools import pairwise

from wsdarts_registry._text import clipped, display_width
from wsdarts_registry.architecture.genotype import Cell
from wsdarts_registry.drawing import order
from wsdarts_registry.drawing.order import OUTPUT, Item, Link, Spot

LABEL_HEIGHT = 24.0
NODE = 30.0
_LABEL_GAP = 7.0
_LANE = 2.0
_ROW_GAP = 20.0
# Which side of an item, whether from lane to lane, towards which item, how far off its middle.
_Pull = tuple[str, bool, Item, float]


def item_height(item: Item, cell: Cell) -> float:
    """Height that an item takes in its column: its node and stacked labels, or a lane."""
    if item.kind != "node":
        return _LANE
    labels = len(cell[item.source - 2]) if item.source >= 2 else 1
    return max(NODE, labels * LABEL_HEIGHT + (labels - 1) * _LABEL_GAP)


def _label_offsets(count: int) -> list[float]:
    """Middles of a node's stacked labels, relative to the middle of the node."""
    return [(row - (count - 1) / 2) * (LABEL_HEIGHT + _LABEL_GAP) for row in range(count)]


def item_middles(
    columns: list[list[Item]], links: list[Link], heights: dict[Item, float], cell: Cell
) -> dict[Item, float]:
    """Return the height of each item's middle; equal cells give equal heights."""
    pulls: dict[Item, list[_Pull]] = {item: [] for column in columns for item in column}
    for link in links:
        end, offset = link.spot.item, label_offset(link.spot, cell)
        level = "node" not in (end.kind, link.start.kind)
        pulls[end].append(("left", level, link.start, -offset))
        pulls[link.start].append(("right", level, end, offset))
    middles: dict[Item, float] = {}
    for column in columns:
        middles.update(_spread([(0.0, 1.0)] * len(column), column, heights))
    for sweep in range(60):
        # Forward and backward in turn brings the linked together; then both sides weigh, and
        # lanes pull lanes harder, in the end so hard that what goes on goes on straight.
        side = "both" if sweep >= 16 else ("left", "right")[sweep % 2]
        lane_weight = 3.0 if sweep < 48 else 1000.0
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted = [_wanted(item, pulls[item], middles, side, lane_weight) for item in column]
            middles.update(_spread(wanted, column, heights))
    return middles


def _wanted(
    item: Item, pulls: list[_Pull], middles: dict[Item, float], side: str, lane_weight: float
) -> tuple[float, float]:
    """Where an item is pulled to, and how strongly."""
    used = [
        (lane_weight if level else 1.0, middles[other] + offset)
        for pull_side, level, other, offset in pulls
        if side in ("both", pull_side)
    ]
    if not used:
        return middles[item], 1.0
    total = sum(weight for weight, _ in used)
    return sum(weight * y for weight, y in used) / total, total


def label_offset(spot: Spot, cell: Cell) -> float:
    """Where a wire ends at its item, relative to the middle of the item."""
    if spot.row is None:
        return 0.0
    return _label_offsets(len(cell[spot.item.source - 2]))[spot.row]


def _spread(
    wanted: list[tuple[float, float]], column: list[Item], heights: dict[Item, float]
) -> dict[Item, float]:
    """Least moved positions that keep the order and a gap (pool adjacent violators).

    Weighing each item by its pulls makes the sweeps descend on one energy, so they settle.
    """
    shifts = [0.0]
    for above, below in pairwise(column):
        gap = _ROW_GAP if "node" in (above.kind, below.kind) else 0.7 * _ROW_GAP
        shifts.append(shifts[-1] + (heights[above] + heights[below]) / 2 + gap)
    pools: list[tuple[float, float, int]] = []
    for (target, weight), shift in zip(wanted, shifts, strict=True):
        mean, mass, size = target - shift, weight, 1
        while pools and pools[-1][0] > mean:
            other, other_mass, count = pools.pop()
            mean = (mean * mass + other * other_mass) / (mass + other_mass)
            mass, size = mass + other_mass, size + count
        pools.append((mean, mass, size))
    level = [mean for mean, _, size in pools for _ in range(size)]
    return {item: y + shift for item, y, shift in zip(column, level, shifts, strict=True)}


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
    columns, links = order.ordered_columns(cell)
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
