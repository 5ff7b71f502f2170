"""Approximate shortlists of the nearest artifacts, beside the exact scan, up to a million.

    python benchmarks/approximate_nearest.py --rows 1000 10000 100000
    python benchmarks/approximate_nearest.py --rows 1000000 --without-lancedb

Half the variance of log a - log b approximates the symmetric distance, so that the Euclidean
distance of mean-centred log-embeddings can choose a shortlist, which is ranked again by the true
distance. Zeros count as 1e-6 of their embedding's median. Shortlists by:

- *projected*: these vectors on their first principal axes (of 5,000 rows), and their lengths: one
  float32 matrix and a product with it, by numpy alone;
- *lancedb*, if it is installed: the vectors as they are, searched as a whole, and by an IVF-PQ
  index (``--s3`` puts the tables on an S3-compatible store on loopback, moto's server).

Two kinds of registries are simulated, by the width and the scales of the shipped probe:

- *independent*: as ``nearest.py`` has them, filters differ from task to task independently;
- *axes*: tasks differ along the principal axes of the shipped zoo, with their spread, and by
  independent noise.

Queries are near to one row each. Recall is counted against the exact scan's order. The depth that
is needed is that of the farthest of the ten nearest in the shortlist's order: its greatest value
over all queries is what recall 1 takes. "All filters" is the order by the whole vectors, which no
index over them can improve on. All are asked in turn with the same queries; CPU seconds are those
of the process with all its threads, and depend less on what else runs on the machine.

Writes ``results/approximate_nearest.json``, adding to what is there of other numbers of rows.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from numpy.typing import NDArray

from wsdarts_registry._files import write_atomically
from wsdarts_registry.embedding.distance import scan
from wsdarts_registry.stores.opening import ShippedZoo

FILTERS, SEED, QUERIES, NEIGHBOURS = 1_416, 0, 20, 10
AXES, MOST_FOR_AXES = (64, 256), 100_000
NOISE, QUERY_NOISE, SCALE = 0.3, 0.2, 1.5
FLOOR = 1e-6  # of the median
SAMPLE, CHUNK = 5_000, 5_000
DEPTHS = {"1 %": 0.01, "10 %": 0.1}
LEAST_DEPTH, LEAST_INDEXED = 1_000, 10_000
_NAME = "approximate_nearest"
Rows = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--kinds", nargs="+", default=["independent", "axes"])
    parser.add_argument("--without-lancedb", action="store_true")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    sizes = [500] if arguments.quick else arguments.rows
    for rows in sizes:
        for kind in arguments.kinds:
            with tempfile.TemporaryDirectory() as directory:
                found = measured(
                    kind,
                    rows,
                    3 if arguments.quick else arguments.queries,
                    Path(directory),
                    lancedb=not arguments.without_lancedb,
                    s3=arguments.s3,
                )
            print(json.dumps({kind: {rows: found}}, indent=1), flush=True)
            if not arguments.quick:
                add(kind, rows, found, s3=arguments.s3)


def add(kind: str, rows: int, found: dict[str, Any], *, s3: bool) -> None:
    """Add results of one number of rows to the file."""
    path = RESULTS / f"{_NAME}.json"
    known: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        known = json.loads(path.read_text())
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    place = known.setdefault("on s3" if s3 else "on disk", {}).setdefault(kind, {})
    place[str(rows)] = {"command": command, "machine": machine(threads=1), **found}
    write_atomically(path, (json.dumps(known, indent=1) + "\n").encode())


class Simulated:
    """Embeddings of a registry, in a file.

    Args:
        kind: ``"independent"`` or ``"axes"``.
        rows: How many there are.
        path: The file.
    """

    def __init__(self, kind: str, rows: int, path: Path) -> None:
        random = np.random.default_rng(SEED)
        if kind == "independent":
            filters = random.normal(scale=2.0, size=FILTERS)
            axes, noise = np.zeros((1, FILTERS)), 0.5
        else:
            filters, axes = zoo_axes()
            noise = NOISE
        with path.open("wb") as file:
            for start in range(0, rows, CHUNK):
                count = min(CHUNK, rows - start)
                logs = noise * random.standard_normal((count, FILTERS), dtype=np.float32)
                logs += (filters + random.normal(size=(count, len(axes))) @ axes).astype("<f4")
                logs += random.normal(scale=SCALE, size=(count, 1)).astype("<f4")
                file.write(np.exp(logs, out=logs).astype("<f4", copy=False).tobytes())
        self.rows: Rows = np.memmap(path, "<f4", "r", shape=(rows, FILTERS))

    def queries(self) -> Iterator[NDArray[np.float64]]:
        """Tasks that are near to one row each, for ever."""
        random = np.random.default_rng(SEED + 1)
        while True:
            row = self.rows[random.integers(len(self.rows))].astype(np.float64)
            yield row * np.exp(random.normal(scale=QUERY_NOISE, size=FILTERS))


def zoo_axes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the log-embeddings of the shipped zoo by filter, and its axes with their spread."""
    store = ShippedZoo()
    found: dict[str, NDArray[np.float64]] = {}
    for name in store.names():
        entry = store.resolve(name)
        for record in entry.manifest.embeddings:
            embedding = store.embedding(entry, record.space.embedding_space)
            if embedding is not None and len(embedding.values) == FILTERS:
                found[name] = embedding.values
    logs = centred(np.stack(list(found.values())))
    _, lengths, axes = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    spread = lengths / np.sqrt(len(logs) - 1)
    kept = spread > 1e-6 * spread[0]
    return logs.mean(axis=0), axes[kept] * spread[kept, None]


def centred(rows: NDArray[Any]) -> NDArray[Any]:
    """Mean-centred logarithms of embeddings, shape ``(rows, filters)``."""
    floors = FLOOR * np.median(rows, axis=1, keepdims=True)
    logs = np.log(np.maximum(rows, floors))
    return logs - logs.mean(axis=1, keepdims=True)


class Projected:
    """Rows on their first principal axes, and their squared lengths.

    Args:
        rows: Fisher diagonals, shape ``(rows, filters)``.
        axes: How many axes; None for all filters as they are.
    """

    def __init__(self, rows: Rows, axes: int | None) -> None:
        begun, cpu = time.perf_counter(), time.process_time()
        chosen = np.random.default_rng(SEED + 2).permutation(len(rows))[:SAMPLE]
        sample = centred(rows[np.sort(chosen)])
        self._mean = sample.mean(axis=0)
        self._axes: Rows | None = None
        if axes is not None:
            sample -= self._mean
            _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
            self._axes = vectors[:, : -axes - 1 : -1].astype(np.float32)
        self.matrix = np.empty((len(rows), axes or FILTERS), np.float32)
        self._lengths = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), CHUNK):
            these = slice(start, start + CHUNK)
            logs = centred(rows[these]) - self._mean
            self._lengths[these] = np.vecdot(logs, logs)
            self.matrix[these] = logs if self._axes is None else logs @ self._axes
        self.build = {
            "seconds": round(time.perf_counter() - begun, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
        }

    @property
    def bytes(self) -> int:
        """Size of all that a query reads."""
        return self.matrix.nbytes + self._lengths.nbytes

    def scores(self, query: NDArray[np.float64]) -> Rows:
        """Squared Euclidean distances less the query's own length, shape ``(rows,)``."""
        logs = (centred(query[None])[0] - self._mean).astype(np.float32)
        projected = logs if self._axes is None else logs @ self._axes
        scores: Rows = self._lengths - 2 * (self.matrix @ projected)
        return scores


def nearest(query: NDArray[np.float64], rows: Rows) -> NDArray[np.intp]:
    """The ten nearest rows by the exact scan, in order."""
    return ordered(scan(query, rows, threads=1))


def ordered(distances: NDArray[Any]) -> NDArray[np.intp]:
    """Indices of the ten least, in order."""
    first = np.argpartition(distances, min(NEIGHBOURS, len(distances) - 1))[:NEIGHBOURS]
    return first[np.argsort(distances[first])]


def ranked_again(
    query: NDArray[np.float64], rows: Rows, shortlist: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The ten nearest of a shortlist, by the true distance."""
    listed = np.sort(shortlist)
    return listed[ordered(scan(query, rows[listed], threads=1))]


def measured(
    kind: str, rows: int, queries: int, directory: Path, *, lancedb: bool, s3: bool
) -> dict[str, Any]:
    """All figures of one simulated registry."""
    registry = Simulated(kind, rows, directory / "rows")
    matrix = np.asarray(registry.rows)
    methods: dict[str, Callable[[NDArray[np.float64]], NDArray[np.intp]]] = {
        "exact scan": lambda query: nearest(query, matrix)
    }
    indices = {"all filters": Projected(matrix, None)}
    if rows <= MOST_FOR_AXES:
        indices |= {f"{axes} axes": Projected(matrix, axes) for axes in AXES}
    for name, index in indices.items():
        for share, part in DEPTHS.items():
            depth = min(rows, max(LEAST_DEPTH, int(part * rows)))
            methods[f"{name}, {share} ranked again"] = projected_search(index, matrix, depth)
    results: dict[str, Any] = {
        "rows": rows,
        "filters": FILTERS,
        "queries": queries,
        "matrix_bytes": matrix.nbytes,
        "indices": {
            name: {"bytes": index.bytes, "build": index.build} for name, index in indices.items()
        },
    }
    with lance_searches(matrix, directory, wanted=lancedb, s3=s3) as (searches, built):
        results["indices"] |= built
        methods |= searches
        results |= compared(methods, indices, registry, queries)
    return results


def projected_search(
    index: Projected, rows: Rows, depth: int
) -> Callable[[NDArray[np.float64]], NDArray[np.intp]]:
    """A search by projected rows that ranks so many again."""

    def search(query: NDArray[np.float64]) -> NDArray[np.intp]:
        scores = index.scores(query)
        if depth >= len(scores):
            return nearest(query, rows)
        return ranked_again(query, rows, np.argpartition(scores, depth)[:depth])

    return search


def compared(
    methods: dict[str, Callable[[NDArray[np.float64]], NDArray[np.intp]]],
    indices: dict[str, Projected],
    registry: Simulated,
    queries: int,
) -> dict[str, Any]:
    """Times and recall of all, asked in turn, and the depths that would be needed."""
    matrix = np.asarray(registry.rows)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    cpu: dict[str, list[float]] = {name: [] for name in methods}
    best: dict[str, list[bool]] = {name: [] for name in methods}
    ten: dict[str, list[float]] = {name: [] for name in methods}
    depths: dict[str, list[int]] = {name: [] for name in indices}
    names = list(methods)
    asked = registry.queries()
    for number in range(queries + 1):
        query = next(asked)
        true = nearest(query, matrix)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begun, used = time.perf_counter(), time.process_time()
            found = methods[name](query)
            if number:  # the first one warms
                seconds[name].append(time.perf_counter() - begun)
                cpu[name].append(time.process_time() - used)
                best[name].append(bool(found[0] == true[0]))
                ten[name].append(len(set(found.tolist()) & set(true.tolist())) / len(true))
        for name, index in indices.items():
            scores = index.scores(query)
            depths[name].append(int(np.count_nonzero(scores <= scores[true].max())))
    exact = statistics.median(cpu["exact scan"])
    return {
        "searches": {
            name: {
                "recall_at_1": round(statistics.mean(best[name]), 4),
                "recall_at_10": round(statistics.mean(ten[name]), 4),
                "cpu_seconds": round(statistics.median(cpu[name]), 5),
                "times_less_than_exact": round(exact / statistics.median(cpu[name]), 2),
                "seconds_p50": round(statistics.median(seconds[name]), 5),
                "seconds_p99": round(float(np.quantile(seconds[name], 0.99)), 5),
            }
            for name in methods
        },
        "depth_needed": {
            name: {"median": int(statistics.median(found)), "greatest": max(found)}
            for name, found in depths.items()
        },
    }


@contextmanager
def lance_searches(
    rows: Rows, directory: Path, *, wanted: bool, s3: bool
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Searches by LanceDB and what their tables take; none where it is not installed."""
    if not wanted or find_spec("lancedb") is None:
        yield {}, {}
        return
    with store(directory, s3=s3) as (place, options):
        built: dict[str, Any] = {}
        searches: dict[str, Any] = {}
        database = import_module("lancedb").connect(place, storage_options=options)
        table = written(database, "whole", rows, built)
        searches["lancedb, 1 % ranked again"] = lance_search(table, rows, None)
        if len(rows) >= LEAST_INDEXED:
            table = written(database, "indexed", rows, built)
            begun, cpu = time.perf_counter(), time.process_time()
            partitions = max(1, len(rows) // 2_000)
            config = import_module("lancedb.index").IvfPq(
                distance_type="l2", num_partitions=partitions, num_sub_vectors=FILTERS // 12
            )
            table.create_index("vector", config=config)
            built["lancedb indexed"] = {
                "partitions": partitions,
                "rows": built["lancedb indexed"]["build"],
                "build": since(begun, cpu),
            }
            for share in (0.1, 0.5):
                name = f"lancedb IVF-PQ, {share:.0%} of the partitions, 1 % ranked again"
                searches[name] = lance_search(table, rows, max(1, round(share * partitions)))
        if not s3:
            for folder in Path(place).iterdir():
                sizes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                built[f"lancedb {folder.stem}"]["bytes"] = sizes
        yield searches, built


def written(database: Any, name: str, rows: Rows, built: dict[str, Any]) -> Any:
    """A table of the rows' vectors, with their numbers."""
    pa = import_module("pyarrow")
    vector = pa.list_(pa.float32(), FILTERS)
    schema = pa.schema([("row", pa.int64()), ("vector", vector)])

    def batches() -> Iterator[Any]:
        for start in range(0, len(rows), CHUNK):
            logs = centred(rows[start : start + CHUNK]).astype(np.float32)
            numbers = pa.array(np.arange(start, start + len(logs)))
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(logs.ravel()), FILTERS)
            yield pa.record_batch([numbers, vectors], schema=schema)

    begun, cpu = time.perf_counter(), time.process_time()
    reader = pa.RecordBatchReader.from_batches(schema, batches())
    table = database.create_table(name, reader, schema=schema)
    built[f"lancedb {name}"] = {"build": since(begun, cpu)}
    return table


def lance_search(
    table: Any, rows: Rows, probed: int | None
) -> Callable[[NDArray[np.float64]], NDArray[np.intp]]:
    """A search of a table that ranks one row in a hundred again."""
    depth = min(len(rows), max(LEAST_DEPTH, len(rows) // 100))

    def search(query: NDArray[np.float64]) -> NDArray[np.intp]:
        asked = table.search(centred(query[None])[0].astype(np.float32)).select(["row"])
        if probed is not None:
            asked = asked.nprobes(probed)
        found = asked.limit(depth).to_arrow()["row"].to_numpy()
        return ranked_again(query, rows, found.astype(np.intp))

    return search


def since(begun: float, cpu: float) -> dict[str, float]:
    """Seconds and CPU seconds since both clocks were read."""
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


@contextmanager
def store(directory: Path, *, s3: bool) -> Iterator[tuple[str, dict[str, str] | None]]:
    """A directory, or a bucket of moto's server on loopback, which ends with the block."""
    if not s3:
        yield str(directory / "lance"), None
        return
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", S3.rpartition(":")[2]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        keys = {"aws_access_key_id": "simulated", "aws_secret_access_key": "simulated"}
        client = import_module("boto3").client(
            "s3", endpoint_url=S3, region_name="us-east-1", **keys
        )
        while server.poll() is None:
            with suppress(Exception):  # until it listens
                client.create_bucket(Bucket="registry")
                break
            time.sleep(0.5)
        options = {**keys, "endpoint": S3, "region": "us-east-1", "allow_http": "true"}
        yield "s3://registry/lance", options
    finally:
        server.terminate()
        server.wait()


S3 = "http://127.0.0.1:5555"

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
