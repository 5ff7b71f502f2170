"""Distances from one task to many, in one pass over float32 rows.

With q the query, f a row, u = q / (q + f) and v = f / (q + f) = 1 - u, entry by entry, D the
number of entries that are not zero in both, S1 = Σu and S2 = Σu²::

    u·v = S1 - S2        v·v = D - 2 S1 + S2        d = 1 - u·v / sqrt(u·u v·v)

so one buffer holds all that is needed of a chunk of rows. v·v would cancel where u is near 1;
therefore u and v change places where u is the larger one on average. What is summed then has a
mean of at most 0.6, so that the other's square sum is at least 0.16 D and keeps its digits.

Quotients are float32, their sums float32 over blocks of 1,024 filters, and float64 over blocks.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.distance import symmetric_distance
from wsdarts_registry.errors import EmbeddingError

# How far a scanned distance may be from the exact one. Measured are 1e-6 at most.
TOLERANCE = 1e-5

_BUFFER_VALUES = 2**19  # so that a chunk stays in the cache, and calls are few
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
    if rows.ndim != 2 or query.shape != rows.shape[1:]:
        raise EmbeddingError(
            f"query has shape {query.shape} but rows have shape {rows.shape}; expected "
            "(filters,) and (tasks, filters). Embed both with the same probe."
        )
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
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda p: _scan_part(prepared, rows[p], distances[p]), parts))
    return distances


def _scan_part(query: _Query, rows: Rows, distances: Floats) -> None:
    """Fill in the distances of some rows, chunk by chunk, in one buffer."""
    blocks = -(-rows.shape[1] // _BLOCK)
    chunk = max(1, min(len(rows), _BUFFER_VALUES // (blocks * _BLOCK)))
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
    """Sums of u and of u² over each block of filters, or of v and v², shape (rows, blocks)."""
    blocks = buffer[: len(rows)]
    ratios = blocks.reshape(len(rows), -1)[:, : rows.shape[1]]
    np.add(query.addends, rows, out=ratios)
    np.divide(rows if swap else query.values, ratios, out=ratios)
    return np.vecdot(blocks, _ONES), np.vecdot(blocks, blocks)
