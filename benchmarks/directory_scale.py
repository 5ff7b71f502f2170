"""A directory registry of 100,000 artifacts: its first page, a name, and a ranking.

    python benchmarks/directory_scale.py
    python benchmarks/directory_scale.py --registry DIR     # writes it there once, and keeps it

The registry is simulated: each name has one version with the manifest of the shipped zoo's first
artifact and an embedding of its own by the shipped probe, log-normal by filter and by task as those
of the zoo are; files that neither a list nor a ranking reads are left out. What is timed is what a
command does after its imports: it opens the registry and asks. "First" is with an empty cache.

The exact scan is all that a ranking computes, so the scan alone, over the same matrix in the page
cache, is the reference, interleaved with the rankings. CPU seconds are those of the process
and its threads; they depend less on what else runs on the machine than seconds do.

Writes ``results/directory_scale.json``.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from measure import interleaved, save, spread
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from wsdarts_registry._json import dump
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.embedding.distance import scan, symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import EmbeddingMatrix, matrix_path, read_matrix
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import ShippedZoo
from wsdarts_registry.stores.query import find
from wsdarts_registry.stores.records import shipped_zoo

ARTIFACTS, QUICK_ARTIFACTS, FILTERS, SEED, PAGE, NEIGHBOURS = 100_000, 2_000, 1_416, 0, 20, 5
_QUERIES = 20  # of the check of the k nearest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=ARTIFACTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--registry", type=Path, help="keep the registry in this directory")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    artifacts = QUICK_ARTIFACTS if arguments.quick else arguments.artifacts
    rounds = 3 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory() as directory:
        os.environ["WSDARTS_HUB_CACHE"] = str(Path(directory) / "cache")
        registry = Simulated(arguments.registry or Path(directory) / "registry", artifacts)
        if not registry.root.exists():
            registry.write()
        time.sleep(2.1)  # directories that changed within two seconds are read again
        results = {
            "artifacts": artifacts,
            "filters": FILTERS,
            "seed": SEED,
            "load": [round(os.getloadavg()[0], 1)],
            **measured(registry, rounds),
        }
        results["load"].append(round(os.getloadavg()[0], 1))
    if not arguments.quick:
        save("directory_scale", results, threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(json.dumps(results, indent=1))


class Simulated:
    """A registry on the disk with one version of each name.

    Args:
        root: Its directory.
        artifacts: How many names it has.
    """

    def __init__(self, root: Path, artifacts: int) -> None:
        self.root = root
        self.artifacts = artifacts
        directory = sorted((shipped_zoo() / "artifacts").iterdir())[0] / "v1"
        data = json.loads((directory / MANIFEST).read_bytes())
        record = next(r for r in data["embeddings"] if "wsdarts" in r["space"]["probe"])
        data["embeddings"] = [record]
        self._path = record["file"]
        self._content = (directory / self._path).read_bytes()
        self._sha256 = data["files"][self._path]["sha256"].encode()
        self._manifest = dump(data)
        self._filters = np.random.default_rng(SEED).normal(scale=2.0, size=FILTERS)
        store = ShippedZoo()
        found = store.resolve(directory.parent.name)
        space = found.manifest.embeddings[0].space.embedding_space
        for record in found.manifest.embeddings:
            if record.file == self._path:
                space = record.space.embedding_space
        embedding = store.embedding(found, space)
        assert embedding is not None
        self.shipped = embedding

    def values(self, number: int) -> NDArray[np.float32]:
        """The embedding of an artifact."""
        random = np.random.default_rng((SEED, number))
        logs = self._filters + random.normal(scale=0.5, size=FILTERS) + random.normal(scale=1.5)
        return np.exp(logs).astype("<f4")

    def write(self) -> None:
        """Write all of it."""
        DirectoryStore(self.root, create=True)
        for number in range(self.artifacts):
            values = self.values(number).tobytes()
            content = self._content[: -len(values)] + values
            sha256 = hashlib.sha256(content).hexdigest().encode()
            manifest = self._manifest.replace(self._sha256, sha256)
            digest = hashlib.sha256(manifest).hexdigest()
            place = self.root / "artifacts" / f"some-laboratory-task-{number:06d}" / "v1"
            (place / self._path).parent.mkdir(parents=True)
            (place / self._path).write_bytes(content)
            (place / MANIFEST).write_bytes(manifest)
            (place / CHECKSUM).write_bytes(checksum_line(digest))

    @cached_property
    def digests(self) -> list[str]:
        """Digests of the artifacts, by their numbers."""
        found = DirectoryStore(self.root).listing()
        return [str(found[name][-1].digest) for name in found]

    def query(self, values: NDArray[Any]) -> TaskEmbedding:
        """An embedding in the space of the registry."""
        return TaskEmbedding(
            space=self.shipped.space,
            values=values.astype(np.float64),
            task_digest=self.shipped.task_digest,
            task_name="simulated",
            images=1000,
            classes=10,
        )

    def queries(self) -> Iterator[TaskEmbedding]:
        """Tasks that are near to one artifact each, for ever."""
        random = np.random.default_rng(SEED + 1)
        while True:
            number = int(random.integers(self.artifacts))
            yield self.query(self.values(number) * np.exp(random.normal(scale=0.2, size=FILTERS)))


def measured(registry: Simulated, rounds: int) -> dict[str, Any]:
    """Times of everything, first and later, and the check of the nearest."""
    middle = f"some-laboratory-task-{registry.artifacts // 2:06d}"
    queries = registry.queries()

    def opened() -> DirectoryStore:
        return DirectoryStore(registry.root)

    def page() -> None:
        assert len(find(registry=opened(), limit=PAGE)) == PAGE

    def name() -> None:
        assert opened().resolve(middle).version == 1

    def ranking() -> None:
        assert len(opened().nearest(next(queries), NEIGHBOURS).neighbours) == NEIGHBOURS

    first = {"page": timed(page), "name": timed(name), "listing": timed(lambda: opened().listing())}
    matrix = fill_matrix(registry)
    first["ranking, of a matrix that is there"] = timed(ranking)
    ranking()  # compares the registry with what was seen; later ones find that nothing changed
    rows = matrix.rows
    works: dict[str, Callable[[], object]] = {
        "page": page,
        "name": name,
        "listing": lambda: opened().catalogue(),
        "ranking": ranking,
        "scan alone": lambda: scan(next(queries).values, rows),
    }
    cpu: dict[str, list[float]] = {name: [] for name in works}

    def counted(name: str) -> Callable[[], object]:
        def work() -> None:
            begun = time.process_time()
            works[name]()
            cpu[name].append(time.process_time() - begun)

        return work

    seconds = interleaved({name: counted(name) for name in works}, repeats=rounds)
    medians = {name: spread(values)["median"] for name, values in seconds.items()}
    return {
        "first": first,
        "rounds": rounds,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "cpu_seconds": {name: spread(values[1:]) for name, values in cpu.items()},
        "ranking_over_scan": round(medians["ranking"] / medians["scan alone"], 2),
        "cache_bytes": {
            "matrix": matrix.path.stat().st_size,
            "listing": sum(p.stat().st_size for p in matrix.path.parents[1].glob("listings/*")),
            "seen": sum(p.stat().st_size for p in matrix.path.parents[1].glob("seen/*")),
        },
        "exact": agreement(registry, matrix),
    }


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds and CPU seconds of one call."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": round(time.perf_counter() - begun, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def fill_matrix(registry: Simulated) -> EmbeddingMatrix:
    """Write the matrix that a first ranking would, without reading each artifact."""
    numbers = {digest: number for number, digest in enumerate(registry.digests)}
    return read_matrix(
        matrix_path(str(registry.root), registry.shipped.space),
        registry.digests,
        FILTERS,
        lambda digest: ("transfer", registry.query(registry.values(numbers[digest]))),
    )


def agreement(registry: Simulated, matrix: EmbeddingMatrix) -> dict[str, Any]:
    """Whether rankings name the nearest by exact distances, in float64."""
    queries = registry.queries()
    store = DirectoryStore(registry.root)
    numbers = {digest: number for number, digest in enumerate(registry.digests)}
    best = firsts = 0
    for _ in range(_QUERIES):
        query = next(queries)
        exact = symmetric_distance(query.values, matrix.rows)
        nearest = [
            f"some-laboratory-task-{numbers[matrix.digests[row]]:06d}@1"
            for row in np.argsort(exact)[:10]
        ]
        found = [n.reference for n in store.nearest(query, 10).neighbours]
        best += found[0] == nearest[0]
        firsts += len(set(found) & set(nearest))
    return {
        "queries": _QUERIES,
        "recall_at_1": best / _QUERIES,
        "recall_at_10": firsts / (10 * _QUERIES),
    }


if __name__ == "__main__":
    main()
