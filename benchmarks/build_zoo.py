"""Search the zoo that the package ships, and put what is found into it.

    python benchmarks/build_zoo.py search NAME --seed 0    search, then train the network it found
    python benchmarks/build_zoo.py publish NAME            the better of its searches, as a version

Names are those of the six image sets, ``meta-flowers-birds-textures`` for λ_meta over three of
them, and ``noto-emoji`` for the set of ``emoji_set.py``, which is free of terms for research only.
Each artifact has embeddings by the shipped probe and by the ImageNet probe of ``--probe-file``. A
search is a run under ``--runs``, so one that was stopped goes on, and several may run at once;
its figures are written to ``benchmarks/results/zoo``. The better of several seeds is that whose
supernet has the higher accuracy on the alpha half.

A version takes the place of those before it. Then, for its transfer gain, run
``python benchmarks/experiments run inheritance`` with the cells that start from it, and
``python benchmarks/zoo_cards.py``. The near thresholds come from the measured distances in
``benchmarks/results``.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Lines, machine
from six_sets import IMAGENET_PROBE, META, SETS, SHARED
from zoo_cards import renew_cards

from wsdarts_hub import SMALL, ImageTask, Preset, SearchRun, push, search, train
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.manifest import Manifest
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.runs.directory import ARTIFACT_FOLDER
from wsdarts_sdk.search.derivation import draw_candidates
from wsdarts_sdk.task2vec.embedding import embedding_space
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

RESULTS = Path(__file__).parent / "results"
OPEN = "noto_emoji"
PLANS: dict[str, tuple[str, ...]] = {
    **{name.replace("_", "-"): (name,) for name in (*SETS, OPEN)},
    "meta-flowers-birds-textures": META,
}
RESEARCH = "research-only"
LICENCES = {
    "flowers102": "Oxford Flowers-102: for non-commercial research",
    "tiny_imagenet_100": "Tiny ImageNet (from ImageNet): for non-commercial research",
    "dtd_10": "Describable Textures: for research",
    "aircraft_edges": "edge maps of FGVC-Aircraft: for non-commercial research",
    "bird_groups": "photographs of birds: licence not stated, for research and testing",
    "cifar10_1000": "CIFAR-10: licence not stated, used for research",
    OPEN: "emoji of Noto Color Emoji in Unicode's groups: Apache-2.0",
}


def zoo_preset() -> Preset:
    """Return preset ``small`` with a last stage of 8,000 steps, whose weights are worth taking.

    The stages before, and α in all of them, get about half of the preset's steps.
    """
    first, second, last = SMALL.search.stages
    stages = (
        dataclasses.replace(first, epochs=6, weights_only_epochs=4),
        dataclasses.replace(second, epochs=6, weights_only_epochs=4),
        dataclasses.replace(last, epochs=400, weights_only_epochs=392),
    )
    return dataclasses.replace(
        SMALL.with_choice(candidates=1),  # α decides
        name="small-zoo",
        search=dataclasses.replace(SMALL.search, stages=stages),
    )


def main() -> None:
    """Search, or publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["search", "publish"])
    parser.add_argument("name", choices=list(PLANS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--open", type=Path, default=Path("runs/noto_emoji.parquet"))
    parser.add_argument("--probe-file", default=str(SHARED / "probe" / IMAGENET_PROBE))
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--out", type=Path, default=shipped_zoo())
    arguments = parser.parse_args()
    probes = [load_probe(None), load_probe(arguments.probe_file)]
    run = arguments.runs / f"{arguments.name}-{arguments.seed}"
    if arguments.action == "search":
        files = {name: arguments.data / file for name, file in SETS.items()}
        files[OPEN] = arguments.open
        tasks = [ImageTask.load(files[each], name=each) for each in PLANS[arguments.name]]
        search_one(run, tasks, probes, seed=arguments.seed)
    else:
        publish_best(arguments.name, arguments.runs, arguments.out, probes)


def search_one(run: Path, tasks: list[ImageTask], probes: list[Probe], *, seed: int) -> None:
    """Search one artifact, from where its search was; train its network; write their figures."""
    found = search(
        *tasks,
        out=run,
        preset=zoo_preset(),
        seed=seed,
        probes=probes,
        resume=True,
        progress=Lines(run.name),
    )
    figures = figures_of(found, seed)
    if len(tasks) == 1:
        figures |= trained_figures(run, tasks[0], seed)
    file = RESULTS / "zoo" / f"{run.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n")


def trained_figures(run: Path, task: ImageTask, seed: int) -> dict[str, Any]:
    """Train the network that was found, and one of random cells; return their accuracies."""
    space = SMALL.search.space
    even = {kind: np.zeros(space.shape) for kind in CELL_KINDS}
    limit = SMALL.search.warm_skip_connects
    # The first is the one of equal shares, which is no draw.
    _, drawn = draw_candidates(
        OperationMasks.full(space), even, 2, skip_connects=limit, seed=seed_of(seed, "random cell")
    )
    ways: dict[str, tuple[Path | Genotype, Preset, str | None]] = {
        "trained": (run, SMALL, "linear"),
        "random_cell": (drawn, SMALL.with_training(weights="random"), None),
    }
    found: dict[str, Any] = {"random_cells": drawn.to_darts()}
    for name, (genotype, preset, baseline) in ways.items():
        trained = train(
            genotype,
            task,
            out=run.with_name(f"{run.name}-{name}"),
            preset=preset,
            baseline=baseline,
            resume=True,
            progress=Lines(f"{run.name}, {name}"),
        )
        found[name] = trained.accuracy
        if trained.baseline is not None:
            found["linear"] = trained.baseline.accuracy.value
    return found


def figures_of(run: SearchRun, seed: int) -> dict[str, Any]:
    """Return the figures of a search, as JSON data."""
    manifest = manifest_of(run.path)
    return {
        "seed": seed,
        "genotype": run.genotype.to_darts(),
        "metrics": manifest.metrics,
        "seconds": manifest.provenance.seconds,
        "created": manifest.provenance.created,
        "machine": machine(threads=torch.get_num_threads()),
    }


def manifest_of(run: Path) -> Manifest:
    """Return the manifest of a run's artifact."""
    return read_artifact(run / ARTIFACT_FOLDER).manifest


def publish_best(name: str, runs: Path, zoo: Path, probes: list[Probe]) -> None:
    """Publish the search of a name that did best on the alpha half, in place of what is there."""
    finished = [run for run in runs.glob(f"{name}-*") if (run / ARTIFACT_FOLDER).exists()]
    if not finished:
        raise SystemExit(f"no search of {name} is finished in {runs}")
    best = max(finished, key=lambda run: manifest_of(run).metrics["alpha_accuracy"])
    data = "; ".join(dict.fromkeys(LICENCES[each] for each in PLANS[name]))
    licence = "apache-2.0" if name == OPEN.replace("_", "-") else RESEARCH
    store = DirectoryStore(zoo)
    entry = push(best, name, registry=store, license=licence, description=data)
    for version in range(1, entry.version):
        shutil.rmtree(store.path(name, version), ignore_errors=True)
        store.path(name, version).with_name(f"v{version}.yanked.json").unlink(missing_ok=True)
    write_config(zoo, probes)
    renew_cards(zoo)  # the neighbours of the others have changed
    for kept in zoo.rglob(".*"):
        if kept.is_file():
            kept.unlink()
    size = sum(file.stat().st_size for file in zoo.rglob("*") if file.is_file())
    print(f"{entry.reference}, of {len(finished)} searches; the zoo has {size / 1e6:.1f} MB")


def write_config(registry: Path, probes: list[Probe]) -> None:
    """Put the measured thresholds into ``registry.json``."""
    path = registry / "registry.json"
    config = json.loads(path.read_bytes())
    config["name"] = "shipped zoo"
    config["near"] = [threshold(probe) for probe in probes]
    path.write_text(json.dumps(config, sort_keys=True, separators=(",", ":")) + "\n")


def threshold(probe: Probe) -> dict[str, Any]:
    """The threshold that ``task_distances.py`` measured for a probe."""
    space = embedding_space(probe).to_json()
    found = [
        json.loads(file.read_bytes())["whole"]
        for file in sorted(RESULTS.glob("task_distances_*.json"))
    ]
    fitting = [each for each in found if each["space"] == space]
    if not fitting:
        raise SystemExit(f"no distances measured for {probe.name}; run task_distances.py first")
    return {
        "space": space,
        "distance": fitting[0]["threshold"],
        "measured": (
            "largest distance of six image sets to their nearest other set, up to 500 images each"
        ),
    }


if __name__ == "__main__":
    main()
