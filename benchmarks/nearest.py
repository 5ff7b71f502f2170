"""Nearest among 10,000 simulated embeddings of 8,512 filters, beside plain numpy.

    python benchmarks/nearest.py

The baseline goes through the rows chunk by chunk with three buffers (q + f, q / (q + f) and
f / (q + f)) and three sums of products by ``einsum``, in the chunk size that is fastest here.
Both work on one float32 matrix, mapped from the file that a registry's cache would hold; it is in
the page cache. Each round takes another query. Writes ``results/nearest.json``.

Memory above the matrix is the anonymous memory of a process of its own: the greatest RssAnon of
``/proc/self/status`` while it ranks, less what it was before. Pages of the mapped file are not
anonymous, so they do not count.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measure import interleaved, save, spread
from numpy.typing import NDArray

from wsdarts_registry.embedding.distance import scan, symmetric_distance
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.embedding.ranking import EmbeddingMatrix, read_matrix, shortlist

ROWS, QUICK_ROWS, FILTERS, SEED = 10_000, 1_000, 8_512, 0
NEIGHBOURS = 5
MOST_THREADS = min(4, os.cpu_count() or 1)  # as the scan chooses
DIGESTS = [f"sha256:{number:064x}" for number in range(ROWS)]
SPACE = EmbeddingSpace(
    probe="simulated", probe_digest=DIGESTS[0], estimator="fisher", version=1, settings=()
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = QUICK_ROWS if arguments.quick else ROWS
    rounds = 3 if arguments.quick else arguments.rounds
    if arguments.memory_of:
        print(json.dumps(anonymous_memory(opened(arguments.memory_of, rows))))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "matrix.npy"
        read_matrix(path, DIGESTS[:rows], FILTERS, simulated())
        matrix = opened(path, rows)
        results = {
            "rows": rows,
            "filters": FILTERS,
            "seed": SEED,
            **times(matrix, rounds),
            "agreement": agreement(matrix),
            "memory_above_the_matrix": memory(path, quick=arguments.quick),
        }
    if not arguments.quick:
        save("nearest", results, threads=MOST_THREADS)
    print(json.dumps(results, indent=1))


def simulated() -> Callable[[str], tuple[str, TaskEmbedding]]:
    """Reads embeddings whose filters and tasks differ in scale as those of the zoo do."""
    random = np.random.default_rng(SEED)
    filters = random.normal(scale=2.0, size=FILTERS)

    def read(_: str) -> tuple[str, TaskEmbedding]:
        logs = filters + random.normal(scale=0.5, size=FILTERS) + random.normal(scale=1.5)
        return "transfer", embedding(np.exp(logs))

    return read


def embedding(values: NDArray[Any]) -> TaskEmbedding:
    return TaskEmbedding(
        space=SPACE,
        values=values.astype(np.float64),
        task_digest=DIGESTS[0],
        task_name="simulated",
        images=1000,
        classes=10,
    )


def opened(path: Path, rows: int) -> EmbeddingMatrix:
    """The matrix in a file that has every one of so many rows."""

    def missing(digest: str) -> tuple[str, None]:
        raise LookupError(f"{path} lacks {digest}")

    return read_matrix(path, DIGESTS[:rows], FILTERS, missing)


def queries(matrix: EmbeddingMatrix) -> Iterator[NDArray[np.float64]]:
    """Tasks of every scale, near to one row each, for ever."""
    random, rows = np.random.default_rng(SEED + 1), len(matrix.rows)
    for number in itertools.cycle(range(0, rows, rows // 20)):
        noise = random.normal(scale=0.2, size=FILTERS)
        yield matrix.rows[number * 7 % rows].astype(np.float64) * np.exp(noise)


def times(matrix: EmbeddingMatrix, rounds: int) -> dict[str, Any]:
    """Interleaved times of both, at one thread and at all."""
    asked = {name: queries(matrix) for name in ("ours", "plain", "all", "one", "plain_all")}
    chunk = fastest_chunk(matrix)
    several = f"{MOST_THREADS} threads"
    known = dict.fromkeys(DIGESTS)
    works = {
        "nearest": lambda: shortlist(embedding(next(asked["ours"])), matrix, known, NEIGHBOURS),
        "three buffers": lambda: three_buffers(next(asked["plain"]), matrix.rows, chunk, 1),
        f"scan alone, {several}": lambda: scan(
            next(asked["all"]), matrix.rows, threads=MOST_THREADS
        ),
        "scan alone, 1 thread": lambda: scan(next(asked["one"]), matrix.rows, threads=1),
        f"three buffers, {several}": lambda: three_buffers(
            next(asked["plain_all"]), matrix.rows, chunk, MOST_THREADS
        ),
    }
    found = {name: spread(seconds) for name, seconds in interleaved(works, repeats=rounds).items()}
    median = {name: values["median"] for name, values in found.items()}
    plain, plain_all = median["three buffers"], median[f"three buffers, {several}"]
    return {
        "rounds": rounds,
        "rows_a_chunk_of_the_baseline": chunk,
        "seconds": found,
        "times_faster": {
            "nearest over three buffers": round(plain / median["nearest"], 2),
            "scan over three buffers, 1 thread each": round(
                plain / median["scan alone, 1 thread"], 2
            ),
            f"scan over three buffers, {several} each": round(
                plain_all / median[f"scan alone, {several}"], 2
            ),
        },
    }


def fastest_chunk(matrix: EmbeddingMatrix) -> int:
    """How many rows a chunk make the baseline fastest on this machine."""
    query = next(queries(matrix))
    works = {
        str(rows): lambda rows=rows: three_buffers(query, matrix.rows, rows, 1)
        for rows in (8, 16, 32, 64, 256)
    }
    found = interleaved(works, repeats=3)
    return int(min(found, key=lambda name: spread(found[name])["median"]))


def three_buffers(
    query: NDArray[np.float64], rows: NDArray[np.float32], chunk: int, threads: int
) -> NDArray[np.intp]:
    """The nearest rows by plain numpy, in order."""
    distances = np.empty(len(rows))
    rows = np.asarray(rows)
    share = -(-len(rows) // threads)
    parts = [slice(start, start + share) for start in range(0, len(rows), share)]
    values = query.astype(np.float32)
    if threads == 1:
        fill(values, rows, distances, chunk)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: fill(values, rows[part], distances[part], chunk), parts))
    nearest = np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]
    return nearest[np.argsort(distances[nearest])]


def fill(
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    distances: NDArray[np.float64],
    chunk: int,
) -> None:
    """The baseline: three buffers, five passes and a sum of products for each of three."""
    buffers = np.empty((3, chunk, rows.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        sums, u, v = buffers[:, : len(part)]
        np.add(query, part, out=sums)
        np.divide(query, sums, out=u)
        np.divide(part, sums, out=v)
        uv, uu, vv = (np.einsum("ij,ij->i", a, b) for a, b in ((u, v), (u, u), (v, v)))
        distances[start : start + chunk] = 1 - uv / np.sqrt(uu * vv)


def agreement(matrix: EmbeddingMatrix) -> dict[str, Any]:
    """How far the scan is from the exact distances, and whether it leads to the nearest."""
    asked = queries(matrix)
    farthest, same, count = 0.0, 0, 4
    for _ in range(count):
        query = next(asked)
        exact = symmetric_distance(query, matrix.rows)
        farthest = max(farthest, float(np.abs(scan(query, matrix.rows) - exact).max()))
        nearest = {matrix.digests[i] for i in np.argsort(exact)[:NEIGHBOURS]}
        same += (
            nearest
            <= shortlist(embedding(query), matrix, dict.fromkeys(DIGESTS), NEIGHBOURS).keys()
        )
    return {
        "queries": count,
        "greatest_difference_from_float64": float(f"{farthest:.2g}"),
        f"queries_whose_{NEIGHBOURS}_nearest_are_listed": same,
    }


def memory(path: Path, *, quick: bool) -> dict[str, Any]:
    """Anonymous memory of a process that ranks, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(path), *(["--quick"] if quick else [])],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def anonymous_memory(matrix: EmbeddingMatrix) -> dict[str, float]:
    """Rank a few times and watch RssAnon."""
    asked = queries(matrix)
    next(asked)
    before, seen, done = anonymous(), [anonymous()], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(anonymous())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        shortlist(embedding(next(asked)), matrix, dict.fromkeys(DIGESTS), NEIGHBOURS)
    done.set()
    watcher.join()
    return {
        "matrix_mb": round(matrix.rows.nbytes / 1e6, 1),
        "anonymous_mb_before": round(before / 1e6, 1),
        "anonymous_mb_above": round((max(seen) - before) / 1e6, 1),
        "samples": len(seen),
    }


def anonymous() -> int:
    """Bytes of anonymous memory that this process has in RAM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
