"""Put artifacts of ``paper_runs.py`` into the shipped zoo, in place of those of the same name.

    python benchmarks/gpu/place_in_zoo.py --runs runs/gpu

On a machine with the repository; no GPU is needed. Each name of the zoo that RUNS/registry has,
too, is replaced: masks, genotype with the ranked probabilities of α, and embeddings always (those
by probes that were not at hand are taken over from the artifact that goes, where its tasks are the
same). Weights and α are kept, weights in float16, while the zoo stays under 40 MB; the check is
made anew from the rounded weights. Names stay at version 1: what ships with the package has no
history. An artifact is replaced when the new one has verified.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo_cards import renew_cards

from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.contents import alpha_name
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.publishing.publication import push
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.artifacts.building import (
    artifact_alpha,
    artifact_weights,
    make_check,
    run_check,
)

LIMIT = 40_000_000  # bytes of the whole zoo


def main() -> None:
    """Replace what can be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--zoo", type=Path, default=shipped_zoo())
    parser.add_argument("--limit", type=int, default=LIMIT, help="bytes of the whole zoo")
    arguments = parser.parse_args()
    found = DirectoryStore(arguments.runs / "registry", read_only=True)
    zoo = DirectoryStore(arguments.zoo, read_only=True)
    for name in sorted(set(found.names()) & set(zoo.names())):
        kept = place(found.pull(name), zoo.pull(name), name, arguments.zoo, arguments.limit)
        print(f"{name}: {kept}; the zoo has {size(arguments.zoo) / 1e6:.1f} MB")
    renew_cards(arguments.zoo)  # each was pushed to an empty registry first


def place(new: Artifact, old: Artifact, name: str, zoo: Path, limit: int) -> str:
    """Replace one artifact; what became of its weights, in words."""
    target = zoo / "artifacts" / name
    with tempfile.TemporaryDirectory(dir=zoo, prefix=".new-") as temporary:
        for weighty in (True, False):
            store = Path(temporary) / str(weighty)
            directory = Path(temporary) / f"draft-{weighty}"
            write_artifact(directory, draft_of(new, old, weighty=weighty))
            pushed = push(directory, name, registry=DirectoryStore(store, create=True))
            run_check(DirectoryStore(store).pull(pushed.reference))
            made = store / "artifacts" / name
            fits = size(zoo, besides=(Path(temporary), target)) + size(made) < limit
            if fits or not weighty:
                gone = Path(temporary) / "gone"
                target.rename(gone)
                made.rename(target)
                return "weights in float16" if weighty else "no weights: they would not fit"
    raise AssertionError  # the second turn returns


def draft_of(new: Artifact, old: Artifact, *, weighty: bool) -> ArtifactDraft:
    """What an artifact becomes in the zoo."""
    manifest = new.manifest
    tensors = new.weights() if weighty else None
    draft = ArtifactDraft(
        kind=manifest.kind,
        tasks=manifest.tasks,
        network=manifest.network,
        genotype=new.genotype,
        ranked=new.ranked,
        stage_masks=new.stage_masks,
        embeddings=tuple(embeddings(new, old)),
        config=manifest.config,
        metrics=manifest.metrics,
        provenance=manifest.provenance,
        lineage=manifest.lineage,
        license=manifest.license,
        description=manifest.description,
    )
    if tensors is None:
        return draft
    alpha_names = {alpha_name(kind) for kind in CELL_KINDS}
    halved = {
        key: value if key in alpha_names else value.astype(np.float16)
        for key, value in tensors.items()
    }
    if not all(np.isfinite(value).all() for value in halved.values()):
        raise SystemExit(f"a weight of {new.directory} does not fit into float16")
    network = manifest.network
    weights: dict[str, torch.Tensor] = artifact_weights(halved)
    check = make_check(
        new.masks,
        cells=network.cells,
        channels=network.channels,
        image_size=network.image_size,
        weights=weights,
        alpha=artifact_alpha(halved),
    )
    return replace(draft, weights=halved, check=check)


def embeddings(new: Artifact, old: Artifact) -> Iterator[TaskEmbedding]:
    """Those of single tasks: the new artifact's, and the old one's in spaces that it lacks."""
    spaces = {embedding.space for embedding in new.embeddings}
    tasks = {task.digest for task in new.manifest.tasks}
    same = tasks == {task.digest for task in old.manifest.tasks}
    for space in dict.fromkeys(embedding.space for embedding in (*new.embeddings, *old.embeddings)):
        if space in spaces:
            yield from new.task_embeddings(space)
        elif same:
            yield from old.task_embeddings(space)


def size(folder: Path, besides: tuple[Path, ...] = ()) -> int:
    """Bytes of the files under a folder."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files if not any(b in file.parents for b in besides))


if __name__ == "__main__":
    main()
