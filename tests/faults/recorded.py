"""``python -m tests.faults.recorded JOB DIRECTORY``: work of which a disk's changes are recorded.

The jobs are small and can be done again in what they have left; ``check`` tells what has to hold of
that at any instant.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.registry.factories import make_artifact, make_embedding
from wsdarts_registry.stores.directory import DirectoryStore


@dataclass(frozen=True, kw_only=True)
class Work:
    """A piece of work below a directory, in which ``cache`` is the cache.

    Attributes:
        begin: Makes what it begins with.
        do: Does it, also where it was begun before.
        check: Raises if what is there cannot be read; returns what is there.
    """

    begin: Callable[[Path], None]
    do: Callable[[Path], None]
    check: Callable[[Path], object]


def _sources(directory: Path) -> None:
    for name in ("first", "second"):
        make_artifact(directory / name, description=name)


def _push(directory: Path) -> None:
    store = DirectoryStore(directory / "registry", create=True)
    known = store.versions("digits")
    for name in ("first", "second")[len(known) :]:
        store.publish(directory / name, "digits")
    if not any(info.yanked for info in known):
        store.yank("digits@1", "another one is better")
    store.set_alias("digits", "best", 2)


def _registry(directory: Path) -> object:
    root = directory / "registry"
    if not (root / "registry.json").exists():
        return ()
    store = DirectoryStore(root)
    entries = store.entries(include_yanked=True)
    for entry in entries:
        assert store.pull(entry.reference).digest == entry.digest
    versions = tuple((str(e.reference), e.digest, bool(e.yanked)) for e in entries)
    return versions, tuple(store.aliases("digits").items()) if entries else ()


def _begin_ranking(directory: Path) -> None:
    _sources(directory)
    _push(directory)


def _rank(directory: Path) -> None:
    DirectoryStore(directory / "registry").nearest(make_embedding("roses"))


def _ranked(directory: Path) -> object:
    found = DirectoryStore(directory / "registry").nearest(make_embedding("roses"))
    return tuple((str(n.reference), n.distance) for n in found.neighbours)


def _train(directory: Path) -> None:
    import torch  # noqa: PLC0415 - the other jobs have none

    from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal  # noqa: PLC0415

    journal = FileJournal(directory, "training", interval=0.0)
    kept = journal.restore()
    epoch = 0 if kept is None else kept.facts["rows"]
    journal.truncate(epoch)
    while epoch < 4:
        journal.append({"epoch": epoch, "loss": 1 / (1 + epoch)})
        epoch += 1
        if epoch % 2 == 0:
            weights = torch.full((3,), float(epoch))
            journal.checkpoint(Checkpoint(tensors={"net": weights}, facts={"rows": epoch}))


def _trained(directory: Path) -> object:
    from wsdarts_sdk.runs.checkpoints import FileJournal  # noqa: PLC0415

    journal = FileJournal(directory, "training")
    kept = journal.restore()
    if kept is None:
        return None
    rows = journal.rows()[: kept.facts["rows"]]
    assert [row["epoch"] for row in rows] == list(range(kept.facts["rows"]))
    return kept.tensors["net"].tolist(), rows


def _nothing(directory: Path) -> None:
    pass


WORK = {
    "push": Work(begin=_sources, do=_push, check=_registry),
    "index": Work(begin=_begin_ranking, do=_rank, check=_ranked),
    "checkpoints": Work(begin=_nothing, do=_train, check=_trained),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    WORK[sys.argv[1]].do(Path(sys.argv[2]))
