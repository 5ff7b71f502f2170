"""The distances of a space as a table whose cells are the darker, the nearer."""

from dataclasses import dataclass

from wsdarts_registry.gallery.exhibit import Exhibit
from wsdarts_registry.gallery.ranked_space import RankedSpace
from wsdarts_registry.nearness import is_near

SHADES = 10
# Beyond that a table is no longer read; a script paints the map.
_MOST_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The rows of a heat map and the threshold that frames cells.

    Attributes:
        rows: Near ones side by side.
        threshold: With as many digits as set it apart from every cell; None without one.
    """

    rows: tuple["HeatRow", ...]
    threshold: str | None


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


def heat_map(space: RankedSpace) -> HeatMap | None:
    """The heat map of a space as a table; None where that would have too many rows."""
    if len(space.members) > _MOST_ROWS:
        return None
    largest = float(space.distances.max()) or 1.0
    limit = space.threshold.distance if space.threshold else None
    shown = space.figures(space.distances.ravel().tolist(), digits=2)

    def cell(row: int, column: int) -> tuple[str, int, bool]:
        distance = float(space.distances[row, column])
        shade = min(SHADES - 1, int(SHADES * distance / largest))
        near = row != column and limit is not None and is_near(distance, limit)
        return shown.distances[row * len(space.members) + column], shade, near

    rows = tuple(
        HeatRow(
            number=number,
            exhibit=space.members[row],
            cells=tuple(cell(row, column) for column in space.order),
        )
        for number, row in enumerate(space.order, start=1)
    )
    return HeatMap(rows=rows, threshold=shown.threshold)
