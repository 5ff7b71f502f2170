"""How high the parts of a drawn cell stand: in order, apart, and near what they are wired to.

All lengths are pixels of the drawing; y grows downwards and its zero is arbitrary.
"""

from itertools import pairwise

from wsdarts_registry.cell_order import Item, Link, Spot
from wsdarts_registry.genotype import Cell

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
