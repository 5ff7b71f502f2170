"""Build the zoo that the package ships: TAS at the shape of preset ``small`` on real image sets.

    python benchmarks/build_zoo.py --data ../shared/data --probe-file ../shared/probe/…
    python benchmarks/build_zoo.py --only dtd-10     search this one, and publish nothing yet

Six single-task artifacts and one λ_meta over three of the tasks, each with embeddings by the
shipped probe and by the ImageNet probe of ``--probe-file``. Each search is a run directory
under ``--runs``, so a stopped build goes on where it was, and several processes may search one
artifact each before the build. The near thresholds come from the measured distances in
``benchmarks/results``.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from measure import Lines
from six_sets import IMAGENET_PROBE, META, SHARED, load_sets
from zoo_cards import renew_cards

from wsdarts_hub import SMALL, ImageTask, Preset, SearchRun, push, search
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.task2vec.embedding import embedding_space
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

RESULTS = Path(__file__).parent / "results"
LICENCES = {
    "flowers102": "Oxford Flowers-102: for non-commercial research",
    "tiny_imagenet_100": "Tiny ImageNet (from ImageNet): for non-commercial research",
    "dtd_10": "Describable Textures: for research",
    "aircraft_edges": "edge maps of FGVC-Aircraft: for non-commercial research",
    "bird_groups": "photographs of birds: licence not stated, for research and testing",
    "cifar10_1000": "CIFAR-10: licence not stated, used for research",
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
    """Search, push, and write the registry's configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--probe-file", default=str(SHARED / "probe" / IMAGENET_PROBE))
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--out", type=Path, default=shipped_zoo())
    parser.add_argument("--only", metavar="NAME", help="search one artifact; publish nothing")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tasks = load_sets(arguments.data)
    probes = [load_probe(None), load_probe(arguments.probe_file)]
    plans: dict[str, tuple[str, ...]] = {name.replace("_", "-"): (name,) for name in tasks}
    plans["meta-flowers-birds-textures"] = META
    if arguments.only:
        members = [tasks[member] for member in plans[arguments.only]]
        search_one(arguments.only, members, probes, arguments.runs, seed=arguments.seed)
        return
    staging = arguments.runs / "registry"
    shutil.rmtree(staging, ignore_errors=True)
    store = DirectoryStore(staging, create=True)
    for name, sets in plans.items():
        run = search_one(name, [tasks[each] for each in sets], probes, arguments.runs, seed=0)
        data = "; ".join(dict.fromkeys(LICENCES[each] for each in sets))
        entry = push(run.path, name, registry=store, license="research-only", description=data)
        print(f"{entry.reference}: {run.genotype.to_darts()}", flush=True)
    write_config(staging, probes)
    renew_cards(staging)  # now that the thresholds are there, and all the others
    shutil.rmtree(arguments.out, ignore_errors=True)
    shutil.copytree(staging, arguments.out, ignore=shutil.ignore_patterns(".*"))
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(f"{arguments.out}: {len(plans)} artifacts, {size / 1e6:.1f} MB")


def search_one(
    name: str, tasks: list[ImageTask], probes: list[Probe], runs: Path, *, seed: int
) -> SearchRun:
    """Search one artifact, from where its search was."""
    return search(
        *tasks,
        out=runs / f"{name}-{seed}",
        preset=zoo_preset(),
        seed=seed,
        probes=probes,
        resume=True,
        progress=Lines(name),
    )


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
