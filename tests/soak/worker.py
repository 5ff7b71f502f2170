"""One process of a soak: it publishes, pulls, asks, yanks, restores, names, rebuilds and cleans.

    python -m tests.soak.worker SOURCES SEED SECONDS LEDGERS REGISTRY ...

It writes one line of JSON whenever it has done some actions: how many of each kind, the memory
that it holds, and its open files. What it publishes is of a limited number, so that the registry
stops growing, and nothing else may grow then.
"""

import gc
import json
import os
import random
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.registry.factories import make_embedding
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import RegistryError, RegistryWarning
from wsdarts_registry.stores.cache import clean_cache
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Entry, Store

NAMES = ("flowers", "birds", "digits")
ALIASES = ("best", "stable")
_RIGHT = {
    "is behind": "warnings that the index is late",
    "has no index": "warnings that the index is late",
    "may have moved it back": "warnings of an alias that was moved",
}
_EVERY = 5  # actions between two lines


class Worker:
    """One process's use of a registry.

    Args:
        store: The registry.
        sources: Directory with artifacts to publish.
        seed: Chooses the actions.
        ledger: A file that all processes add to: which digest each version has.
    """

    def __init__(self, store: Store, sources: Path, seed: int, ledger: Path) -> None:
        self._store, self._ledger = store, ledger
        self._sources = sorted(sources.iterdir())
        self._random = random.Random(seed)  # noqa: S311
        self._known: dict[str, str] = {}
        self._changes = 0
        self.actions: dict[str, tuple[int, Callable[[], None]]] = {
            "publish": (4, self._publish),
            "pull": (6, self._pull),
            "query": (4, self._query),
            "list": (3, self._list),
            "yank": (1, self._yank),
            "unyank": (2, self._unyank),
            "alias": (2, self._alias),
            "rebuild": (1, self._rebuild),
            "gc": (1, self._clean),
        }

    def act(self) -> list[str]:
        """Do one action; return its name, and those of the warnings that are right.

        An index is late while another process is between its change and its update; and what
        another process did to an alias is told. Any other warning would tell of a damaged or older
        registry.
        """
        names = list(self.actions)
        weights = [weight for weight, _ in self.actions.values()]
        (chosen,) = self._random.choices(names, weights)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RegistryWarning)
            self.actions[chosen][1]()
        texts = [str(each.message) for each in caught]
        told = [{name for part, name in _RIGHT.items() if part in text} for text in texts]
        assert all(told), texts
        return [chosen, *sorted(set[str]().union(*told))]

    def _publish(self) -> None:
        source, name = self._random.choice(self._sources), self._random.choice(NAMES)
        try:
            self._check(self._store.publish(source, name), Edition.of(source).digest)
        except RegistryError as error:
            # The only refusal that is right: this content was yanked. Another process may have
            # restored it since then, so the registry does not tell.
            if f"unyank {name}@" not in error.hint:
                raise AssertionError(f"published was refused without a yank: {error}") from error

    def _pull(self) -> None:
        entries = self._store.entries(include_yanked=True)
        if entries:
            entry = self._random.choice(entries)
            self._check(entry, self._store.pull(entry.reference).digest)

    def _query(self) -> None:
        if self._store.entries():
            found = self._store.nearest(make_embedding(self._random.choice(NAMES)))
            distances = [neighbour.distance for neighbour in found.neighbours]
            assert distances == sorted(distances), distances

    def _list(self) -> None:
        seen: dict[str, list[int]] = {}
        for entry in self._store.entries(include_yanked=True):
            self._check(entry, entry.digest)
            seen.setdefault(entry.reference.name, []).append(entry.version)
        for name, versions in seen.items():
            assert sorted(versions) == list(range(1, len(versions) + 1)), (name, versions)

    def _yank(self) -> None:
        entries = self._store.entries()
        if len(entries) > len(NAMES):
            self._changed(self._store.yank, self._random.choice(entries))

    def _unyank(self) -> None:
        entries = [e for e in self._store.entries(include_yanked=True) if e.yanked]
        if entries:
            self._changed(self._store.unyank, self._random.choice(entries))

    def _changed(self, change: Callable[[str, str], None], entry: Entry) -> None:
        self._changes += 1
        try:
            change(str(entry.reference), f"change {self._changes} of process {os.getpid()}")
        except RegistryError as error:
            self._check_faster(entry, error)

    def _check_faster(self, entry: Entry, error: RegistryError) -> None:
        """Check that a refusal is right: another process has changed the version since it was read.

        That may have been undone since, but each change has a reason of its own.
        """
        now = self._store.entry(entry.reference.name, entry.version)
        assert now.status.yank != entry.status.yank, (str(entry.reference), str(error))

    def _alias(self) -> None:
        entries = self._store.entries()
        if entries:
            entry, alias = self._random.choice(entries), self._random.choice(ALIASES)
            try:
                self._store.set_alias(entry.reference.name, alias, entry.version)
            except RegistryError as error:
                self._check_faster(entry, error)
            for version in self._store.aliases(entry.reference.name).values():
                self._store.entry(entry.reference.name, version)

    def _rebuild(self) -> None:
        if isinstance(self._store, DirectoryStore):  # whose index is a cache of each user
            shutil.rmtree(cache_directory() / "nearest", ignore_errors=True)
            self._query()
        else:
            names = {entry.reference.name for entry in self._store.entries()}
            assert names <= set(self._store.rebuild_index())

    def _clean(self) -> None:
        clean_cache(older_than=60.0, delete=True, registry=self._store)

    def _check(self, entry: Entry, digest: str) -> None:
        """Compare a version's digest with what any process has seen of it before."""
        assert entry.digest == digest, (entry.reference, entry.digest, digest)
        reference = str(entry.reference)
        if reference not in self._known:
            for line in self._ledger.read_text().splitlines():
                name, seen = line.split(" ")
                assert self._known.setdefault(name, seen) == seen, (name, seen)
        if reference not in self._known:
            self._known[reference] = digest
            with self._ledger.open("a") as ledger:
                ledger.write(f"{reference} {digest}\n")
        assert self._known[reference] == digest, reference


def resources() -> tuple[int, int]:
    """Return the resident memory of this process in bytes, and how many files it has open."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024, len(list(Path("/proc/self/fd").iterdir()))


def main(sources: str, seed: str, seconds: str, ledgers: str, *registries: str) -> None:
    """Act for so many seconds, on one registry or another."""
    workers = [
        Worker(
            open_registry(registry, writable=True, create="://" not in registry),
            Path(sources),
            int(seed) + 1000 * number,
            Path(ledgers) / str(number),
        )
        for number, registry in enumerate(registries)
    ]
    counts = [Counter[str]() for _ in workers]
    begun = time.monotonic()
    turn = 0
    while (spent := time.monotonic() - begun) < float(seconds):
        for _ in range(_EVERY):
            turn = (turn + 1) % len(workers)
            counts[turn].update(workers[turn].act())
        gc.collect()
        memory, files = resources()
        told = {"actions": counts, "memory": memory, "files": files, "at": round(spent, 1)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
