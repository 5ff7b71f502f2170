"""Tasks as points in the plane whose distances are as near to the measured ones as can be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEPS = 500
_SETTLED = 1e-7  # relative change of the squared differences after which nothing moves any more

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PointMap:
    """Points for tasks.

    Attributes:
        points: Shape ``(tasks, 2)``, around the origin, the widest direction along the first axis.
        stress: Kruskal's stress 1, the root of the squared differences between distances in the
            plane and those asked for, relative to the latter: 0 is a map without distortion.
    """

    points: Floats
    stress: float


def point_map(distances: Floats) -> PointMap:
    r"""Place tasks in the plane by metric scaling (SMACOF), the same way each time.

    Minimises $\sum_{i<j} (\lVert x_i - x_j \rVert - d_{ij})^2$ from the classical solution.

    Args:
        distances: Shape ``(tasks, tasks)``, symmetric, >= 0, zeros on the diagonal.

    Source:
        de Leeuw, "Applications of convex analysis to multidimensional scaling", 1977: the
        Guttman transform with equal weights. Kruskal, 1964, for the stress.
    """
    count = len(distances)
    total = float(np.square(distances).sum())
    if total == 0:
        return PointMap(points=np.zeros((count, 2)), stress=0.0)
    points = _classical(distances)
    found = _plane(points)
    loss = float(np.square(found - distances).sum())
    for _ in range(_STEPS):
        ratio = np.divide(distances, found, out=np.zeros_like(found), where=found > 0)
        points = (ratio.sum(axis=1)[:, None] * points - ratio @ points) / count
        found = _plane(points)
        before, loss = loss, float(np.square(found - distances).sum())
        if before - loss <= _SETTLED * total:
            break
    return PointMap(points=_turned(points), stress=float(np.sqrt(loss / total)))


def _classical(distances: Floats) -> Floats:
    """Torgerson's solution: the two strongest axes of the doubly centred squared distances."""
    squares = np.square(distances)
    rows = squares.mean(axis=1)
    values, vectors = np.linalg.eigh(-0.5 * (squares - rows - rows[:, None] + squares.mean()))
    lengths = np.sqrt(np.maximum(values[-2:], 0))
    points: Floats = np.zeros((len(distances), 2))
    points[:, -len(lengths) :] = vectors[:, -2:] * lengths
    return points[:, ::-1].copy()


def _plane(points: Floats) -> Floats:
    """Distances of points from each other."""
    products = points @ points.T
    lengths = np.diagonal(products)
    squares = lengths + lengths[:, None] - 2 * products
    np.fill_diagonal(squares, 0)
    found: Floats = np.sqrt(np.maximum(squares, 0))
    return found


def _turned(points: Floats) -> Floats:
    """Turned to their main axes; each axis points to where its farthest point is."""
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned: Floats = centred @ axes[:, ::-1]
    far = turned[np.abs(turned).argmax(axis=0), [0, 1]]
    return turned * np.where(far < 0, -1.0, 1.0)
