"""An order of tasks in which near ones stand side by side."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def side_by_side(distances: Floats) -> tuple[int, ...]:
    """Order tasks for a heat map.

    Clusters are joined by average linkage; of the four ways to put two side by side, the one is
    taken whose meeting ends are nearest to each other (the first of those that are equal).

    Args:
        distances: Shape ``(tasks, tasks)``, symmetric, zeros on the diagonal.

    Returns:
        Indices of all tasks; none for none.

    Source:
        Gruvaeus and Wainer, "Two additions to hierarchical cluster analysis", 1972.
    """
    count = len(distances)
    orders: dict[int, list[int]] = {i: [i] for i in range(count)}
    between = distances.astype(np.float64, copy=True)
    np.fill_diagonal(between, np.inf)
    for _ in range(count - 1):
        a, b = divmod(int(between.argmin()), count)
        sizes = len(orders[a]), len(orders[b])
        orders[a] = _joined(orders[a], orders.pop(b), distances)
        merged = (sizes[0] * between[a] + sizes[1] * between[b]) / sum(sizes)
        merged[a] = np.inf
        between[a], between[:, a] = merged, merged
        between[b], between[:, b] = np.inf, np.inf
    return tuple(index for order in orders.values() for index in order)


def _joined(left: list[int], right: list[int], distances: Floats) -> list[int]:
    ways = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    best = min(ways, key=lambda way: float(distances[way[0][-1], way[1][0]]))
    return best[0] + best[1]
