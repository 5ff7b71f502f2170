"""``python -m tests.faults.recorded JOB DIRECTORY``: work of which a disk's changes are recorded.

The jobs are small and can be done again in what they have left; ``check`` tells what has to hold of
that at any instant.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.jobs import digests
from tests.registry.factories import make_artifact, make_embedding
from wsdarts_registry._files import entries, exists
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.publishing.publication import pull
from wsdarts_registry.stores.directory import DirectoryStore


@dataclass(frozen=True, kw_only=True)
class Work:
    """A piece of work below a directory, in which ``cache`` is the cache.

    Attributes:
        begin: Makes what it begins with.
        do: Does it, also where it was begun before.
        check: Raises if what is there cannot be read; returns what is there.
        most: Of how many power cuts a test tries, chosen at random; all of them by default.
    """

    begin: Callable[[Path], None]
    do: Callable[[Path], None]
    check: Callable[[Path], object]
    most: int | None = None


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


_RUN = ("**/genotype.json", "**/*.safetensors", "**/embeddings/*")


def _noise() -> tuple[Any, Any]:
    """Return images of two classes, dark and bright noise, and their labels."""
    labels = np.repeat(np.arange(2), 20)
    noise = np.random.default_rng(0).integers(0, 120, (len(labels), 10, 10, 3))
    return (noise + 120 * labels[:, None, None, None]).astype(np.uint8), labels


def _preset() -> Any:
    from wsdarts_sdk.presets import TINY  # noqa: PLC0415
    from wsdarts_sdk.search.settings import StageSettings  # noqa: PLC0415

    stages = tuple(
        StageSettings(cells=3, operations=operations, epochs=1, weights_only_epochs=0)
        for operations in (8, 3)
    )
    short = {"channels": 2, "image_size": 8, "steps_per_epoch": 2}
    return TINY.with_search(**short, batch_size=5, stages=stages).with_training(
        **short, batch_size=8, epochs=2, cells=3
    )


def _search(directory: Path) -> None:
    from wsdarts_sdk.pipelines.search import search  # noqa: PLC0415

    out = directory / "run"
    search(_noise(), out=out, preset=_preset(), resume=True, device="cpu", progress=_silent)


def _train_found(directory: Path) -> None:
    from wsdarts_sdk.pipelines.train import train  # noqa: PLC0415

    train(
        directory / "run",
        _noise(),
        out=directory / "trained",
        preset=_preset(),
        resume=True,
        baseline=None,
        device="cpu",
        progress=_silent,
    )


def _silent(what: str, done: int, total: int, /) -> None:
    pass


def _of_runs(directory: Path) -> object:
    """Return what a search or a training has found so far; whatever is there is whole."""
    found = {}
    for name in ("run", "trained"):
        out = directory / name
        for file in out.rglob("*.json"):
            if not any(part.startswith(".") for part in file.relative_to(out).parts):
                json.loads(file.read_bytes())
        if (out / "artifact").exists():
            read_artifact(out / "artifact")
        found |= {(name, path): digest for path, digest in digests(out, *_RUN).items()}
    return found


def _begin_pull(directory: Path) -> None:
    _sources(directory)
    DirectoryStore(directory / "registry", create=True).publish(directory / "first", "digits")


def _pull(directory: Path) -> None:
    if not _pulled(directory):
        pull("digits", registry=directory / "registry", out=directory / "out")


def _pulled(directory: Path) -> object:
    out = directory / "out"
    if not exists(out) or not entries(out):
        return {}
    read_artifact(out)
    return digests(out, "**/*.*")


WORK = {
    "push": Work(begin=_sources, do=_push, check=_registry),
    "index": Work(begin=_begin_ranking, do=_rank, check=_ranked),
    "checkpoints": Work(begin=_nothing, do=_train, check=_trained),
    "search": Work(begin=_nothing, do=_search, check=_of_runs, most=10),
    "training": Work(begin=_search, do=_train_found, check=_of_runs, most=10),
    "pull": Work(begin=_begin_pull, do=_pull, check=_pulled),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    WORK[sys.argv[1]].do(Path(sys.argv[2]))
