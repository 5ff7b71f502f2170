"""In which column, and in which order within it, the parts of a drawn cell stand.

A column holds nodes, lanes (a source's wire that passes on to later columns) and the bus (the
wires of all nodes that wait for the concatenation at the output). Their order is chosen so
that few wires cross: sweeps by the mean of the neighbours, then swaps of neighbours while
that helps. The inputs keep their order, and everything is deterministic.
"""

from dataclasses import dataclass

from wsdarts_registry.architecture.genotype import Cell

OUTPUT = -1
BUS = -2
_SWEEPS = 12
_SWAP_ROUNDS = 8
# Swapping is quadratic in a column; cells beyond this size keep the order of the sweeps.
_MOST_SWAPPED = 12


@dataclass(frozen=True, order=True)
class Item:
    """What stands in a column: ``"node"``, ``"lane"`` or ``"bus"``, and whose it is."""

    column: int
    kind: str
    source: int


@dataclass(frozen=True)
class Spot:
    """Where a wire ends: an item, and which of its labels (None for a lane or the output)."""

    item: Item
    row: int | None


@dataclass(frozen=True)
class Link:
    """A piece of wire of node ``source``, from one column into the next, ``column``."""

    source: int
    start: Item
    spot: Spot
    column: int


def layers(cell: Cell) -> list[int]:
    """Layer of each node by index: 0 for the inputs, else one more than the latest input's."""
    found = [0, 0]
    for node in cell:
        found.append(1 + max(found[connection.source] for connection in node))
    return found


def ordered_columns(cell: Cell) -> tuple[list[list[Item]], list[Link]]:
    """Return the items of each column from top to bottom, and the links between columns.

    The rows of the links are those of the labels from top to bottom, in the order of their
    sources in the column before.
    """
    columns, wiring = _wiring(cell)
    best, fewest = columns, _crossings(columns, wiring)
    for sweep in range(_SWEEPS):
        columns = _swept(columns, wiring, forward=sweep % 2 == 0)
        found = _crossings(columns, wiring)
        if found < fewest:
            best, fewest = columns, found
    if len(cell) <= _MOST_SWAPPED:
        best = _swapped(best, wiring)
    return best, _with_rows(best, wiring)


# A wire before its label's row is known: source, start, end, and whether it ends at a label.
_Piece = tuple[int, Item, Item, bool]


def _wiring(cell: Cell) -> tuple[list[list[Item]], list[_Piece]]:
    layer = layers(cell)
    last = max(layer) + 1
    pieces: list[_Piece] = []

    def lead(source: int, first: int, until: int, kind: str, owner: int) -> Item:
        """The item of a source's wire in column ``until − 1``, with the pieces up to it."""
        item = Item(first, "node", source)
        for column in range(first + 1, until):
            lane = Item(column, kind, owner)
            pieces.append((source, item, lane, False))
            item = lane
        return item

    for target, node in enumerate(cell, start=2):
        block = Item(layer[target], "node", target)
        for connection in node:
            source = connection.source
            start = lead(source, layer[source], layer[target], "lane", source)
            pieces.append((source, start, block, True))
    output = Item(last, "node", OUTPUT)
    for node_index in range(2, len(layer)):
        start = lead(node_index, layer[node_index], last, "bus", BUS)
        pieces.append((OUTPUT, start, output, False))
    # The bus is one wire whoever feeds it, and a lane is shared by all targets of its source.
    shared = dict.fromkeys(
        (BUS if end.kind == "bus" and start.kind == "bus" else source, start, end, label)
        for source, start, end, label in pieces
    )
    inputs = [Item(0, "node", 0), Item(0, "node", 1)]
    items = {item for _, start, end, _ in shared for item in (start, end)} | {*inputs}
    columns = [
        sorted((item for item in items if item.column == number), key=_first_order)
        for number in range(last + 1)
    ]
    return columns, list(shared)


def _first_order(item: Item) -> tuple[bool, int]:
    return item.source < 0, item.source


def _positions(columns: list[list[Item]]) -> dict[Item, int]:
    return {item: row for column in columns for row, item in enumerate(column)}


def _swept(columns: list[list[Item]], pieces: list[_Piece], *, forward: bool) -> list[list[Item]]:
    """Order each column by the mean place of what its items are linked with on one side."""
    beside: dict[Item, list[Item]] = {}
    for _, start, end, _ in pieces:
        key, other = (end, start) if forward else (start, end)
        beside.setdefault(key, []).append(other)
    found = [list(column) for column in columns]
    place = {i: (row + 0.5) / len(column) for column in found for row, i in enumerate(column)}
    for number in range(1, len(found)) if forward else range(len(found) - 2, 0, -1):
        means: dict[Item, float] = {}
        for item in found[number]:
            near = [place[other] for other in beside.get(item, [item])]
            means[item] = sum(near) / len(near)
        found[number].sort(key=means.__getitem__)
        place.update({i: (r + 0.5) / len(found[number]) for r, i in enumerate(found[number])})
    return found


def _crossings(columns: list[list[Item]], pieces: list[_Piece]) -> int:
    return sum(_crossings_before(columns, pieces, number) for number in range(1, len(columns)))


def _crossings_before(columns: list[list[Item]], pieces: list[_Piece], number: int) -> int:
    """How many pairs of wires cross between column ``number − 1`` and ``number``."""
    place = _positions(columns[number - 1 : number + 1])
    ends = sorted((place[start], place[end]) for _, start, end, _ in pieces if end.column == number)
    return sum(
        ends[later][1] < ends[earlier][1] and ends[later][0] != ends[earlier][0]
        for later in range(len(ends))
        for earlier in range(later)
    )


def _swapped(columns: list[list[Item]], pieces: list[_Piece]) -> list[list[Item]]:
    """Swap neighbours within columns while that takes crossings away."""
    found = [list(column) for column in columns]
    for _ in range(_SWAP_ROUNDS):
        better = False
        for number in range(1, len(found) - 1):
            for row in range(len(found[number]) - 1):
                before = _crossings_around(found, pieces, number)
                _swap(found[number], row)
                if _crossings_around(found, pieces, number) < before:
                    better = True
                else:
                    _swap(found[number], row)
        if not better:
            break
    return found


def _crossings_around(columns: list[list[Item]], pieces: list[_Piece], number: int) -> int:
    return _crossings_before(columns, pieces, number) + _crossings_before(
        columns, pieces, number + 1
    )


def _swap(column: list[Item], row: int) -> None:
    column[row], column[row + 1] = column[row + 1], column[row]


def _with_rows(columns: list[list[Item]], pieces: list[_Piece]) -> list[Link]:
    place = _positions(columns)
    rows: dict[tuple[Item, int], int] = {}
    into: dict[Item, list[tuple[int, int]]] = {}
    for source, start, end, label in pieces:
        if label:
            into.setdefault(end, []).append((place[start], source))
    for end, listed in into.items():
        for row, (_, source) in enumerate(sorted(listed)):
            rows[end, source] = row
    return [
        Link(source, start, Spot(end, rows[end, source] if label else None), end.column)
        for source, start, end, label in pieces
    ]
