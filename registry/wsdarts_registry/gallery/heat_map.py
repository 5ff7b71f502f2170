"""The distances of a space as a table whose cells are the darker, the nearer."""

from dataclasses import dataclass

from wsdarts_registry.gallery.exhibit import Exhibit
from wsdarts_registry.gallery.ranked_space import RankedSpace

SHADES = 10
# Beyond that a table is no longer read; a script paints the map.
_MOST_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """One task's distances.

    Attributes:
        number: Its column, counted from 1.
        exhibit: The artifact.
        cells: Of each column the distance in words, the shade, 0 the nearest, and whether it is
            another task within the threshold.
    """

    number: int
    exhibit: Exhibit
    cells: tuple[tuple[str, int, bool], ...]


def heat_rows(space: RankedSpace) -> tuple[HeatRow, ...] | None:
    """The rows of a heat map, near ones side by side; None where there are too many."""
    if len(space.members) > _MOST_ROWS:
        return None
    largest = float(space.distances.max()) or 1.0
    limit = space.threshold.distance if space.threshold else -1.0

    def cell(row: int, column: int) -> tuple[str, int, bool]:
        distance = float(space.distances[row, column])
        shade = min(SHADES - 1, int(SHADES * distance / largest))
        return f"{distance:.2f}", shade, row != column and distance <= limit

    return tuple(
        HeatRow(
            number=number,
            exhibit=space.members[row],
            cells=tuple(cell(row, column) for column in space.order),
        )
        for number, row in enumerate(space.order, start=1)
    )
