"""Distances between Task2Vec embeddings: exact ones, and a fast scan over many.

An embedding is the diagonal of a probe network's Fisher information: one non-negative number per
filter. Two embeddings are comparable only if the same probe made them, so every function here
checks widths before it computes.

``scan`` makes one pass over float32 rows. With q the query, f a row, u = q / (q + f) and
v = f / (q + f) = 1 - u, entry by entry, D the number of entries that are not zero in both,
S1 = Σu and S2 = Σu²::

    u·v = S1 - S2        v·v = D - 2 S1 + S2        d = 1 - u·v / sqrt(u·u v·v)

so one buffer holds all that is needed of a chunk of rows. v·v would cancel where u is near 1;
therefore u and v change places where u is the larger one on average. What is summed then has a
mean of at most 0.6, so that the other's square sum is at least 0.16 D and keeps its digits.
Quotients are float32, their sums float32 over blocks of 1,024 filters, and float64 over blocks.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._memory import thread_pool
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
    _check_shapes(query, keys)
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
        raise EmbeddingError(f"embeddings have shape {values.shape}", expected="(tasks, filters)")
    matrix = np.zeros((len(values), len(values)))
    for row in range(len(values)):
        matrix[row, row:] = symmetric_distance(values[row], values[row:])
        matrix[row:, row] = matrix[row, row:]
    return matrix


def _check_shapes(query: NDArray[np.float64], keys: NDArray[np.floating[Any]]) -> None:
    if keys.ndim != 2 or query.shape != keys.shape[1:]:
        raise EmbeddingError(
            f"the query has shape {query.shape} and the others have {keys.shape}",
            expected="(filters,) and (tasks, filters)",
            hint="embed both with the same probe",
        )


def _unit_ratio(part: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``part / sums`` entry by entry with 0/0 = 0, each row scaled to length 1."""
    ratio = np.divide(part, sums, out=np.zeros_like(sums), where=sums > 0)
    ratio /= ratio.max(axis=1, keepdims=True)  # a square of a tiny ratio would underflow
    ratio /= np.sqrt(np.square(ratio).sum(axis=1, keepdims=True))
    return ratio


def _checked(what: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written so that NaN fails: every comparison with NaN is false.
    if not ((rows >= 0) & (rows <= _LARGEST)).all():
        raise EmbeddingError(
            f"{what} holds a value that is negative, not finite or above {_LARGEST:g}",
            expected="Fisher information, which is >= 0",
            hint="embed the task again",
        )
    present = np.where(rows >= _SMALLEST, rows, 0.0).astype(np.float64, copy=False)
    if not present.any(axis=1).all():
        raise EmbeddingError(
            f"{what} holds an embedding of zeros only",
            expected="at least one positive value",
            hint="embed the task again",
        )
    return present


# How far a scanned distance may be from the exact one. Measured are 1e-6 at most.
TOLERANCE = 1e-5
_SCAN_VALUES = 2**19  # so that a chunk stays in the cache, and calls are few
_BLOCK = 1024  # filters that are summed in float32
_ONES = np.ones(_BLOCK, dtype=np.float32)
_LARGEST_MEAN = 0.6
_LEAST_SQUARE = 1e-20  # of the mean square: smaller squares leave float32's range
_LARGEST_QUERY = 1e30  # so that no sum with a float32 overflows
_VALUES_FOR_THREADS = 2**23
_MOST_THREADS = 4  # by then the memory is what is waited for
Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Query:
    """A query as the scan needs it.

    Attributes:
        exact: Its values as they were given.
        values: The same as float32.
        addends: The same with infinity for 0, so that f / (0 + f) adds nothing to a sum; what
            it should add, 1 for each such f that is not 0, is counted.
        absent: Which filters are 0.
    """

    exact: Floats
    values: Rows
    addends: Rows
    absent: NDArray[np.intp]


def scan(query: Floats, rows: Rows, *, threads: int | None = None) -> Floats:
    """Return nearly the symmetric Task2Vec distance from one task to many.

    Args:
        query: Fisher diagonal of one task, shape ``(filters,)``, finite, >= 0.
        rows: Fisher diagonals that were checked before, shape ``(tasks, filters)``, finite,
            >= 0, none of them all 0; may be mapped from a file. Fastest if rows of a similar
            scale lie side by side.
        threads: How many threads share the rows; by default the cores, up to four.

    Returns:
        Distances, shape ``(tasks,)``, in [0, 1], within ``TOLERANCE`` of
        ``symmetric_distance``. Where float32 could not hold that, they are exact.

    Raises:
        EmbeddingError: The widths differ, or the query or a row is all 0 or not valid.
    """
    _check_shapes(query, rows)
    with np.errstate(over="ignore", invalid="ignore"):
        values = query.astype(np.float32)
        held = np.abs(values - query) <= 1e-6 * query
    if not (held.all() and 0 < query.max() <= _LARGEST_QUERY):
        return symmetric_distance(query, rows)
    addends = np.where(values > 0, values, np.float32(np.inf))
    prepared = _Query(
        exact=query, values=values, addends=addends, absent=np.flatnonzero(values == 0)
    )
    rows = np.asarray(rows)  # of a memory map each slice would cost more
    distances = np.empty(len(rows))
    if threads is None:
        threads = min(_MOST_THREADS, os.cpu_count() or 1) if rows.size > _VALUES_FOR_THREADS else 1
    share = max(1, -(-len(rows) // threads))
    parts = [slice(start, start + share) for start in range(0, len(rows), share)]
    if len(parts) <= 1:
        _scan_part(prepared, rows, distances)
    else:
        with thread_pool(len(parts)) as pool:
            list(pool.map(lambda p: _scan_part(prepared, rows[p], distances[p]), parts))
    return distances


def _scan_part(query: _Query, rows: Rows, distances: Floats) -> None:
    """Fill in the distances of some rows, chunk by chunk, in one buffer."""
    blocks = -(-rows.shape[1] // _BLOCK)
    chunk = max(1, min(len(rows), _SCAN_VALUES // (blocks * _BLOCK)))
    # What is beyond the filters stays 0 and adds nothing.
    buffer = np.zeros((chunk, blocks, _BLOCK), dtype=np.float32)
    of_u, of_squares = (np.empty((len(rows), blocks), dtype=np.float32) for _ in range(2))
    swaps = np.empty(len(rows), dtype=np.bool_)
    only_rows = np.zeros(len(rows))
    in_query = rows.shape[1] - len(query.absent)
    swap = False
    for start in range(0, len(rows), chunk):
        these = slice(start, start + chunk)
        part, extra, swaps[these] = rows[these], only_rows[these], swap
        if len(query.absent):
            extra[:] = np.count_nonzero(part[:, query.absent], axis=1)
        of_u[these], of_squares[these] = _block_sums(query, part, buffer, swap=swap)
        large = of_u[these].sum(axis=1) + swap * extra > _LARGEST_MEAN * (in_query + extra)
        if large.any():
            where = start + np.flatnonzero(large)
            of_u[where], of_squares[where] = _block_sums(query, rows[where], buffer, swap=not swap)
            swaps[where] = not swap
            swap ^= bool(2 * len(where) > len(part))
    sums, squares = (
        of.sum(axis=1, dtype=np.float64) + swaps * only_rows for of in (of_u, of_squares)
    )
    present = in_query + only_rows
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (sums - squares) / np.sqrt(squares * (present - 2 * sums + squares))
    np.clip(1 - cosines, 0.0, 1.0, out=distances)
    lost = np.flatnonzero(~(squares > _LEAST_SQUARE * present))
    distances[lost] = symmetric_distance(query.exact, rows[lost])


def _block_sums(query: _Query, rows: Rows, buffer: Rows, *, swap: bool) -> tuple[Rows, Rows]:
    """Return the sums of u and of u² (or v and v²) over each block, shape (rows, blocks)."""
    blocks = buffer[: len(rows)]
    ratios = blocks.reshape(len(rows), -1)[:, : rows.shape[1]]
    np.add(query.addends, rows, out=ratios)
    np.divide(rows if swap else query.values, ratios, out=ratios)
    return np.vecdot(blocks, _ONES), np.vecdot(blocks, blocks)
