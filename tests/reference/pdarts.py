"""Which operations and edges P-DARTS' public code keeps, as plainly as it can be written.

Follows ``train_search.py`` of github.com/chenxin061/pdarts at b880e87: ``get_min_k`` after a stage;
``get_min_k_no_zero``, ``keep_2_branches`` and ``delete_min_sk_prob`` after the last one. It takes
the first of equal minima away, and of edges that were sorted upwards the last two.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_INPUTS = 2


def drop_weakest(shares: list[float], keep: int) -> list[int]:
    """Places of the operations that stay on an edge after a stage."""
    left = list(shares)
    for _ in range(len(shares) - keep):
        left[int(np.argmin(left))] = np.inf
    return [place for place, share in enumerate(left) if share != np.inf]


def derive(shares: Array, skips: int | None, *, none: int, skip: int) -> list[list[int]]:
    """Node, operation and source of each connection of a cell of four nodes.

    Args:
        shares: Probabilities of all candidates, shape ``(14, candidates)``.
        skips: Most skip-connects in the cell; None: as derived first.
        none: Column of ``none``, which is never kept.
        skip: Column of ``skip_connect``.
    """
    left = shares.copy()
    left[:, none] = 0.0
    while True:
        chosen = _cell(left, none)
        found = [edge for edge, operation in chosen if operation == skip]
        if skips is None or len(found) <= skips:
            break
        weakest = min(found, key=lambda edge: (left[edge, skip], edge))  # numpy's argmin: the first
        left[weakest, skip] = 0.0
    nodes = [node for node in range(4) for _ in range(_INPUTS + node)]
    return [[nodes[edge], operation, edge - nodes.index(nodes[edge])] for edge, operation in chosen]


def _cell(shares: Array, none: int) -> list[tuple[int, int]]:
    """The kept edges, each with its only operation, in the order of the edges."""
    kept, start = [], 0
    for node in range(4):
        inputs = _INPUTS + node
        strengths = shares[start : start + inputs].max(axis=1).tolist()
        upwards = sorted(range(inputs), key=lambda place: strengths[place])
        kept += sorted(start + place for place in upwards[-_INPUTS:])
        start += inputs
    found = []
    for edge in kept:
        others = [c for c in range(shares.shape[1]) if c != none]
        (place,) = drop_weakest([float(shares[edge, c]) for c in others], 1)
        found.append((edge, others[place]))
    return found
