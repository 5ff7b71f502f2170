"""Geometry of a drawn cell: nodes in columns by their depth, operations stacked beside their node.

A node stands one column right of its latest input, with the labels of its operations at its left;
the blocks of a column stand above each other around one middle line. A wire that has to pass a
column runs on a lane above or below the blocks of it, and wires bend between columns only: no wire
runs behind a node or a label, and no two labels touch. Wires of one source share their lane.
All lengths are pixels, x to the right and y down.
"""

from dataclasses import dataclass
from statistics import fmean

from wsdarts_registry._text import clipped, display_width
from wsdarts_registry.architecture.genotype import Cell

OUTPUT = -1
FONT_SIZE = 12.0
# The widest of the usual fixed-width fonts takes 0.602 of its size for a character.
_CHARACTER = 0.62 * FONT_SIZE
_LABEL_COLUMNS = 22
_LABEL_HEIGHT, _LABEL_GAP = 24.0, 7.0
_NODE = 30.0
_PORT_WIDTH = 54.0
_STEM = 26.0
_ROW = _LABEL_HEIGHT + _LABEL_GAP
_BLOCK_GAP, _LANE_GAP, _COLUMN_GAP = 20.0, 16.0, 46.0


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
    """A curve between two columns and, where it passes the second, the lane through it.

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


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """A horizontal wire at height ``y`` through the columns ``first`` to ``last``."""

    first: int
    last: int
    y: float


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A wire into a column, from height ``start`` to ``end``; ``through`` if a lane goes on."""

    source: int
    column: int
    start: float
    end: float
    through: bool = False


def depths(cell: Cell) -> list[int]:
    """Return the column of each node by index: 0 for the inputs, else right of the latest input."""
    found = [0, 0]
    for node in cell:
        found.append(1 + max(found[connection.source] for connection in node))
    return found


def lay_out(cell: Cell) -> CellLayout:
    """Place the nodes, labels and wires of one cell; the same cell gives the same layout."""
    depth = depths(cell)
    columns = _columns(cell, depth)
    middles = _middles(cell, columns)
    lanes = _lanes(cell, depth, columns, middles)
    rows = _label_middles(cell, depth, middles, lanes)
    pieces = _pieces(depth, middles, rows, lanes)
    spans = _spans(cell, columns, pieces)
    reach = [abs(middles[i]) + _height(cell, i) / 2 for i in middles]
    top = max([*reach, *(-lane.y for lane in lanes.values())])
    bottom = max([*reach, *(lane.y for lane in lanes.values())])
    return CellLayout(
        width=spans[-1][1],
        height=round(top + bottom, 1),
        nodes=_nodes(depth, middles, spans, top),
        labels=_labels(cell, depth, rows, spans, top),
        wires=tuple(
            Wire(
                source=piece.source,
                start=(spans[piece.column - 1][1], round(top + piece.start, 1)),
                bend=(spans[piece.column][0], round(top + piece.end, 1)),
                end=(spans[piece.column][1 if piece.through else 0], round(top + piece.end, 1)),
            )
            for piece in pieces
        ),
    )


def _nodes(
    depth: list[int], middles: dict[int, float], spans: list[tuple[float, float]], top: float
) -> tuple[Node, ...]:
    """Return the output, the inputs and the intermediate nodes, each at the end of its column."""

    def node(index: int, left: float, width: float) -> Node:
        height = round(top + middles[index] - _NODE / 2, 1)
        return Node(index=index, box=Box(left=left, top=height, width=width, height=_NODE))

    inner = range(2, len(depth))
    return (
        node(OUTPUT, spans[-1][0], _PORT_WIDTH),
        *(node(index, 0, _PORT_WIDTH) for index in (0, 1)),
        *(node(index, spans[depth[index]][1] - _NODE, _NODE) for index in inner),
    )


def _labels(
    cell: Cell,
    depth: list[int],
    rows: dict[tuple[int, int], float],
    spans: list[tuple[float, float]],
    top: float,
) -> tuple[Label, ...]:
    """Return the labels of the connections, each before the node that it leads to."""
    found = []
    for target, node in enumerate(cell, 2):
        left, right = spans[depth[target]]
        for connection in node:
            box = Box(
                left=left,
                top=round(top + rows[connection.source, target] - _LABEL_HEIGHT / 2, 1),
                width=right - left - _STEM - _NODE,
                height=_LABEL_HEIGHT,
            )
            label = Label(
                source=connection.source,
                target=target,
                operation=connection.operation,
                text=clipped(connection.operation, _LABEL_COLUMNS),
                box=box,
            )
            found.append(label)
    return tuple(found)


def _columns(cell: Cell, depth: list[int]) -> list[list[int]]:
    """Return the nodes of each column from top to bottom, by the mean height of their inputs."""
    columns = [[0, 1]]
    place = {0: -0.5, 1: 0.5}
    for number in range(1, max(depth) + 1):
        members = [index for index, column in enumerate(depth) if column == number]
        members.sort(key=lambda index: fmean(place[c.source] for c in cell[index - 2]))
        place |= {index: row - (len(members) - 1) / 2 for row, index in enumerate(members)}
        columns.append(members)
    return [*columns, [OUTPUT]]


def _height(cell: Cell, index: int) -> float:
    """Return the height of a node with the labels of its operations."""
    labels = len(cell[index - 2]) if index >= 2 else 1
    return max(_NODE, labels * _ROW - _LABEL_GAP)


def _middles(cell: Cell, columns: list[list[int]]) -> dict[int, float]:
    """Return the heights of the nodes; every column stands around 0."""
    found = {}
    for column in columns:
        y = -sum(_height(cell, index) + _BLOCK_GAP for index in column) / 2
        for index in column:
            step = _height(cell, index) + _BLOCK_GAP
            found[index] = y + step / 2
            y += step
    return found


def _lanes(
    cell: Cell, depth: list[int], columns: list[list[int]], middles: dict[int, float]
) -> dict[int, _Lane]:
    """Return the lanes by source, ``OUTPUT`` for the one that nodes share to the output.

    Each lies above or below all that it passes, where the way is shorter; the short ones are
    placed first and so lie inside.
    """
    targets: dict[int, list[int]] = {source: [] for source in range(len(depth))}
    for target, node in enumerate(cell, start=2):
        for connection in node:
            targets[connection.source].append(target)
    reach = [max((depth[t] for t in found), default=0) for found in targets.values()]
    order = sorted(targets, key=lambda source: (reach[source] - depth[source], source))
    edges = {  # of what stands in each column so far, upwards and downwards
        side: [max(side * middles[i] + _height(cell, i) / 2 for i in column) for column in columns]
        for side in (-1, 1)
    }
    lanes: dict[int, _Lane] = {}
    for source in [*order, OUTPUT]:
        if source == OUTPUT:
            first, last = 2, len(columns) - 2
            linked = [index for index, column in enumerate(depth) if 0 < column < last]
        else:
            first, last = depth[source] + 1, reach[source] - 1
            linked = [source, *(t for t in targets[source] if depth[t] > first)]
        if last < first:
            continue
        passed = range(first, last + 1)
        ways = {side: max(edges[side][column] for column in passed) + _LANE_GAP for side in edges}
        side = min(ways, key=lambda s: sum(abs(s * ways[s] - middles[index]) for index in linked))
        for column in passed:
            edges[side][column] = ways[side]
        lanes[source] = _Lane(first=first, last=last, y=side * ways[side])
    return lanes


def _label_middles(
    cell: Cell, depth: list[int], middles: dict[int, float], lanes: dict[int, _Lane]
) -> dict[tuple[int, int], float]:
    """Return the heights of the labels by source and target, in the order of their wires."""
    found = {}
    for target, node in enumerate(cell, start=2):
        arriving = sorted(
            (
                lanes[c.source].y if depth[target] > depth[c.source] + 1 else middles[c.source],
                c.source,
            )
            for c in node
        )
        for row, (_, source) in enumerate(arriving):
            found[source, target] = middles[target] + (row - (len(node) - 1) / 2) * _ROW
    return found


def _pieces(
    depth: list[int],
    middles: dict[int, float],
    rows: dict[tuple[int, int], float],
    lanes: dict[int, _Lane],
) -> list[_Piece]:
    """Return the wires to the labels, along the lanes, and to the output."""
    found = []
    for (source, target), end in rows.items():
        direct = depth[target] == depth[source] + 1
        start = middles[source] if direct else lanes[source].y
        found.append(_Piece(source=source, column=depth[target], start=start, end=end))
    output = max(depth) + 1
    for source, lane in lanes.items():
        entering = [source] if source != OUTPUT else range(2, len(depth))
        for column in range(lane.first, lane.last + 1):
            starts = [middles[index] for index in entering if depth[index] + 1 == column]
            starts += [lane.y] if column > lane.first else []
            for place, start in enumerate(starts):
                piece = _Piece(
                    source=source, column=column, start=start, end=lane.y, through=place == 0
                )
                found.append(piece)
    starts = [middles[index] for index, column in enumerate(depth) if column == output - 1]
    starts += [lanes[OUTPUT].y] if OUTPUT in lanes else []
    end = middles[OUTPUT]
    found += [_Piece(source=OUTPUT, column=output, start=start, end=end) for start in starts]
    return found


def _spans(cell: Cell, columns: list[list[int]], pieces: list[_Piece]) -> list[tuple[float, float]]:
    """Return the sides of each column; steep wires get a wider gap before their column."""
    spans = [(0.0, _PORT_WIDTH)]
    for number, column in enumerate(columns[1:], start=1):
        steepest = max(abs(each.end - each.start) for each in pieces if each.column == number)
        left = round(spans[-1][1] + _COLUMN_GAP + min(70.0, 0.2 * steepest), 1)
        width = _PORT_WIDTH
        if OUTPUT not in column:
            operations = [c.operation for index in column for c in cell[index - 2]]
            longest = max(display_width(clipped(name, _LABEL_COLUMNS)) for name in operations)
            width = max(longest * _CHARACTER + 18, 64.0) + _STEM + _NODE
        spans.append((left, round(left + width, 1)))
    return spans
