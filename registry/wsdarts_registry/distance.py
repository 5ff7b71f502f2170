"""Distances between Task2Vec embeddings.

An embedding is the diagonal of a probe network's Fisher information: one
non-negative number per filter. Two embeddings are comparable only if the same
probe made them, so every function here checks widths before it computes.

This module must not import torch: a laptop that only browses the zoo has to be
able to rank it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import EmbeddingError

_BUFFER_VALUES = 2**18  # numbers a chunk: small enough for the cache, large enough for numpy
_LARGEST = 1e150  # so that no ratio of two values and no sum can leave float64's range;
_SMALLEST = 1e-150  # float32 files hold nothing beyond 1e-45 to 3e38 anyway


def symmetric_distance(
    query: NDArray[np.float64], keys: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    r"""Return the symmetric Task2Vec distance from one task to many.

    $d(a, b) = 1 - \cos(a / (a + b),\; b / (a + b))$, divided entry by entry. An
    entry that is zero in both tasks counts as zero.

    A scale that is common to both tasks does not matter, d(a, b) = d(b, a), and
    d(a, a) = 0 exactly. Computed as half the squared difference of the two unit vectors,
    which is the same number but keeps its digits near 0, where 1 - cos would cancel.
    Values below 1e-150 count as zero.

    Args:
        query: Fisher diagonal of one task, shape ``(filters,)``, finite, >= 0.
        keys: Fisher diagonals of the zoo, shape ``(tasks, filters)``, same probe; computed
            with as float64, whatever they are.

    Returns:
        Distances, shape ``(tasks,)``, unitless, in [0, 1]; 0 means ``query`` is
        proportional to that row (so equal tasks give 0).

    Raises:
        EmbeddingError: The widths differ, a value is negative, not finite or above 1e150, or
            an embedding is all zeros.

    Source:
        Achille et al., "Task2Vec", 2019, arXiv:1902.03545 (symmetric distance).
        The authors' code adds 1e-8 to each denominator; here 0/0 counts as 0.
    """
    if keys.ndim != 2 or query.shape != keys.shape[1:]:
        raise EmbeddingError(
            f"query has shape {query.shape} but keys have shape {keys.shape}; "
            "expected (filters,) and (tasks, filters). Embed both with the same probe."
        )
    query_1F = _checked("query", query[None])
    distances = np.empty(len(keys))
    rows = max(1, _BUFFER_VALUES // max(1, keys.shape[1]))
    for start in range(0, len(keys), rows):
        keys_TF = _checked("keys", keys[start : start + rows].astype(np.float64, copy=False))
        sums_TF = query_1F + keys_TF
        difference_TF = _unit_ratio(query_1F, sums_TF)
        difference_TF -= _unit_ratio(keys_TF, sums_TF)
        distances[start : start + rows] = np.square(difference_TF).sum(axis=1) / 2
    return np.clip(distances, 0.0, 1.0)


def distance_matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric distances of several tasks from each other.

    Args:
        values: Fisher diagonals, shape ``(tasks, filters)``, all by the same probe.

    Returns:
        Distances, shape ``(tasks, tasks)``, symmetric, with a diagonal of zeros.

    Raises:
        EmbeddingError: As in ``symmetric_distance``.
    """
    if values.ndim != 2:
        raise EmbeddingError(f"embeddings have shape {values.shape}; expected (tasks, filters)")
    matrix = np.zeros((len(values), len(values)))
    for row in range(len(values)):
        matrix[row, row:] = symmetric_distance(values[row], values[row:])
        matrix[row:, row] = matrix[row, row:]
    return matrix


def _unit_ratio(part: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``part / sums`` entry by entry with 0/0 = 0, each row scaled to length 1."""
    ratio = np.divide(part, sums, out=np.zeros_like(sums), where=sums > 0)
    ratio /= ratio.max(axis=1, keepdims=True)  # a square of a tiny ratio would underflow
    ratio /= np.sqrt(np.square(ratio).sum(axis=1, keepdims=True))
    return ratio


def _checked(what: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written so that NaN fails: every comparison with NaN is false.
    if not ((rows >= 0) & (rows <= _LARGEST)).all():
        raise EmbeddingError(
            f"{what} holds a value that is negative, not finite or above {_LARGEST:g}; expected "
            "Fisher information, which is >= 0: embed the task again"
        )
    present = np.where(rows >= _SMALLEST, rows, 0.0).astype(np.float64, copy=False)
    if not present.any(axis=1).all():
        raise EmbeddingError(
            f"{what} holds an embedding of zeros only; expected at least one positive value: "
            "embed the task again"
        )
    return present
