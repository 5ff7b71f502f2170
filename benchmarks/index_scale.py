"""Bytes that a push writes into the index of a namespace of 100,000 artifacts, and a client reads.

    python benchmarks/index_scale.py

Sizes are those of the shipped zoo's first artifact with its embedding by the shipped probe; digests
and embeddings are simulated. Two measurements:

- *growth*: from an empty index to 100,000 artifacts, one push each, by sizes alone: what the rules
  of ``_index_update`` join, without replaced entries;
- *pushes*: an index of 20,000 artifacts (``--artifacts``) is written at once, and after that
  artifact by artifact, by the code that pushes, into a repository in memory that counts bytes.

Bytes are exact; they do not depend on the machine. Writes ``results/index_scale.json``.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from huggingface_hub import CommitOperationAdd
from measure import save, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.registry.stores.huggingface.memory_client import MemoryClient, entry
from wsdarts_registry._json import dump
from wsdarts_registry.artifact.manifest import MANIFEST, Manifest
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import (
    LIST_FILE,
    Content,
    IndexedName,
)
from wsdarts_registry.stores.huggingface._index_repository import IndexRepository
from wsdarts_registry.stores.huggingface._index_update import (
    PACK_BYTES,
    TABLE_BYTES,
    _joined,
)
from wsdarts_registry.stores.huggingface._responses import Head, Repository
from wsdarts_registry.stores.records import shipped_zoo

ARTIFACTS, QUICK_ARTIFACTS, PUSHES, QUICK_PUSHES = 20_000, 2_000, 40, 20
GROWN = 100_000
# Bytes of manifest and embeddings: by the shipped probe, and on paper by wider ones.
WIDTHS = {"1416 filters": None, "8512 filters": 34_700, "17056 and 1416 filters": 75_040}
_SHARE = 64 + len(b'{"sha256":"","size":1000000},')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=ARTIFACTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quick = arguments.quick
    artifacts = QUICK_ARTIFACTS if quick else arguments.artifacts
    grown = QUICK_ARTIFACTS if quick else GROWN
    made = Artifacts()
    size = made.content(0)[1].size
    results = {
        "bytes_of_one": {"manifest_and_embedding": size, "entry": made.entry_bytes},
        "limits": {"table": TABLE_BYTES, "pack": PACK_BYTES},
        "growth": {
            name: growth(grown, size if embedding is None else embedding + 3_600, made)
            for name, embedding in WIDTHS.items()
        },
        "pushes": pushes(made, artifacts, QUICK_PUSHES if quick else PUSHES),
    }
    if not quick:
        save("index_scale", results, threads=1)
    print(json.dumps(results, indent=1))


class Artifacts:
    """Artifacts as the shipped zoo has them, each with another embedding by the shipped probe."""

    def __init__(self) -> None:
        directory = sorted((shipped_zoo() / "artifacts").iterdir())[0] / "v1"
        data = json.loads((directory / MANIFEST).read_bytes())
        data["embeddings"] = [
            record for record in data["embeddings"] if "wsdarts" in record["space"]["probe"]
        ][:1]
        self._path = data["embeddings"][0]["file"]
        data["files"] = {
            path: record
            for path, record in data["files"].items()
            if not path.startswith("embeddings/") or path == self._path
        }
        self._embedding = (directory / self._path).read_bytes()
        self._sha256 = data["files"][self._path]["sha256"].encode()
        self._manifest = dump(data)
        self._parsed = Manifest.from_bytes(self._manifest, what="the shipped artifact")
        self._numbers: dict[str, int] = {}
        self.entry_bytes = len(dump(self.entry(0).model_dump(mode="json")))

    def content(self, number: int) -> tuple[str, Content]:
        """Digest and content of an artifact."""
        values = np.random.default_rng(number).lognormal(size=1416).astype("<f4").tobytes()
        embedding = self._embedding[: -len(values)] + values
        sha256 = hashlib.sha256(embedding).hexdigest().encode()
        manifest = self._manifest.replace(self._sha256, sha256)
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self._numbers[digest] = number
        content = Content(
            manifest=manifest, parsed=self._parsed, embeddings={self._path: embedding}
        )
        return digest, content

    def entry(self, number: int) -> IndexedName:
        """The name of an artifact, with a name of usual length."""
        return entry(f"some-laboratory-task-{number:06d}", [self.content(number)[0]], number)

    def load(self, digests: Sequence[str]) -> Iterator[tuple[str, Content]]:
        """Contents of artifacts that were made before."""
        for digest in digests:
            yield self.content(self._numbers[digest])


def growth(artifacts: int, size: int, made: Artifacts) -> dict[str, Any]:
    """Bytes of each push from the first to the last, by sizes alone."""
    packs: list[int] = []
    held: list[int] = []
    tables: list[int] = []
    on_the_way: list[dict[str, int]] = []
    written = np.zeros(artifacts, dtype=np.int64)
    for number in range(artifacts):
        count, pack = 1, size
        for _ in range(_joined(packs[-32:], pack, PACK_BYTES)):
            count, pack = count + held.pop(), pack + packs.pop()
        packs.append(pack)
        held.append(count)
        table = made.entry_bytes + 67 * (count + 1)
        for _ in range(_joined(tables[-32:], table, TABLE_BYTES)):
            table += tables.pop()
        tables.append(table)
        written[number] = pack + table + _SHARE * (len(packs) + len(tables))
        done = number + 1
        if done in (1_000, 10_000, 100_000):
            last = round(float(written[done - done // 10 : done].mean()))
            on_the_way.append({"artifacts": done, "mean_bytes_of_the_last_10_percent": last})
    whole = sum(packs) + sum(tables)
    return {
        "artifacts": artifacts,
        "index_mb": round(whole / 1e6, 1),
        "packs": len(packs),
        "tables": len(tables),
        "list_bytes": _SHARE * (len(packs) + len(tables)),
        "mean_bytes_of_all_pushes": round(float(written.mean())),
        "mean_bytes_of_the_last_10_percent": round(float(written[-artifacts // 10 :].mean())),
        "greatest_bytes": int(written.max()),
        "on_the_way": on_the_way,
        "all_written_over_index": round(float(written.sum()) / whole, 1),
    }


class CountingClient(MemoryClient):
    """A repository that keeps no more than the packs that may be read again."""

    def __init__(self, cache: Path) -> None:
        super().__init__(cache)
        self.sizes: dict[str, int] = {}

    def head(self, repository: Repository, revision: str | None = None) -> Head | None:
        """Return the newest commit."""
        found = super().head(repository, revision)
        return found and Head(commit=found.commit, files=tuple(sorted(self.sizes)))

    def commit(
        self,
        repository: Repository,
        parent: str,
        title: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str] = (),
    ) -> str:
        """Make a commit on the newest one."""
        for path in deletions:
            self.files.setdefault(path, b"")
        made = super().commit(repository, parent, title, additions, deletions)
        for addition in additions:
            self.sizes[addition.path_in_repo] = len(self.files[addition.path_in_repo])
        for path in deletions:
            del self.sizes[path]
        for path in [path for path in self.files if "packs" in path][:-20]:
            del self.files[path]
        return made


def pushes(made: Artifacts, artifacts: int, count: int) -> dict[str, Any]:
    """Bytes of pushes into an index of many artifacts, and of a client that follows."""
    with tempfile.TemporaryDirectory() as directory:
        client = CountingClient(Path(directory))
        writer = IndexRepository(cast("HuggingFaceClient", client), "acme")
        names = {found.name: found for found in map(made.entry, range(artifacts))}
        begun = time.process_time()
        writer.write(writer.find(), writer.ensure_head(), names, made.load)
        at_once = {
            "commits": len(client.written),
            "bytes": sum(client.written),
            "cpu_seconds": round(time.process_time() - begun, 1),
        }
        reader = IndexRepository(cast("HuggingFaceClient", client), "acme")
        begun = time.process_time()
        reader.find()
        opened = round(time.process_time() - begun, 2)
        before = _parts(client)
        client.written.clear()
        client.fetched.clear()
        seconds = []
        for number in range(artifacts, artifacts + count):
            names = {**names, made.entry(number).name: made.entry(number)}
            begun = time.process_time()
            writer.write(writer.find(), writer.ensure_head(), names, made.load)
            seconds.append(time.process_time() - begun)
        after = _parts(client)
        found = reader.find()
        assert found.index is not None
        assert found.index.names == names
        new = {path: size for path, size in after.items() if path not in before}
        return {
            "artifacts": artifacts,
            "first_write": at_once,
            "cpu_seconds_to_open": opened,
            "pushes": count,
            "bytes_written": {
                "mean": round(float(np.mean(client.written))),
                "greatest": max(client.written),
            },
            "cpu_seconds_of_a_push": spread(seconds),
            "a_client_that_saw_the_index_before_them_fetches": {
                "bytes": sum(new.values()) + client.sizes[LIST_FILE],
                "of_which_list": client.sizes[LIST_FILE],
                "bytes_of_the_new_artifacts": sum(
                    made.content(number)[1].size + made.entry_bytes
                    for number in range(artifacts, artifacts + count)
                ),
                "whole_index": sum(after.values()),
            },
        }


def _parts(client: CountingClient) -> dict[str, int]:
    return {path: size for path, size in client.sizes.items() if path.startswith("index/")}


if __name__ == "__main__":
    main()
