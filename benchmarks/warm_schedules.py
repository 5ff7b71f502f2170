"""How short a warm start may be when its weights start trained.

    python benchmarks/warm_schedules.py --seeds 0 1

On four real image sets at preset ``small``: a cold search of each set, then for each set a warm
start from the λ̂ of the nearest of the other three, by the shipped probe, with the last stage's
own schedule and with shorter ones. Every genotype gets the same brief training and is evaluated
once on the validation third. Cost is counted in optimiser steps, which do not depend on what
else the machine does; the seconds are there, too. Each run is resumable.

``--collect`` writes ``results/warm_schedules.json`` from the runs of all seeds, and what an early
stop on an unchanged genotype would have saved in the cold searches.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import Lines, save
from six_sets import SETS, SHARED

from wsdarts_hub import ImageTask, push, search, train, warm_start
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.presets import SMALL, Preset
from wsdarts_sdk.search.settings import SearchSettings

CHOSEN = ("dtd_10", "flowers102", "bird_groups", "cifar10_1000")
# Epochs of the last stage, and how many of them train weights only.
SCHEDULES = {"8, 3 of them weights only": (8, 3), "4, 0": (4, 0), "2, 0": (2, 0)}
BRIEF = replace(
    SMALL.training, cells=6, channels=8, epochs=6, steps_per_epoch=40, drop_path=0.0, cutout=0
)


def main() -> None:
    """Run the seeds that are asked for, or collect what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/schedules"))
    parser.add_argument("--collect", action="store_true")
    arguments = parser.parse_args()
    if arguments.collect:
        collect(arguments.runs)
        return
    tasks = {name: ImageTask.load(arguments.data / SETS[name], name=name) for name in CHOSEN}
    for seed in arguments.seeds:
        runs = arguments.runs / str(seed)
        colds = {name: cold(task, seed, runs / name) for name, task in tasks.items()}
        for name, task in tasks.items():
            rows = compare(task, seed, runs, colds)
            (runs / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


def cold(task: ImageTask, seed: int, path: Path) -> Any:
    """TAS of one set from cold."""
    lines = Lines(f"{task.name} {seed} cold")
    preset = brief(SMALL.search)
    return search(task, out=path / "cold", preset=preset, seed=seed, resume=True, progress=lines)


def compare(task: ImageTask, seed: int, runs: Path, colds: dict[str, Any]) -> list[dict[str, Any]]:
    """Every schedule of one set's warm start, beside its cold search."""
    path = runs / "registries" / task.name
    registry = DirectoryStore(path, create=not (path / "registry.json").exists())
    if not registry.entries():
        for name, run in colds.items():
            if name != task.name:
                push(run.path, name.replace("_", "-"), registry=registry, license="research-only")
    nearest = {entry.name: str(entry.reference) for entry in registry.entries()}
    own = colds[task.name]
    rows = [row(task, seed, "cold", own, runs / task.name / "cold-training", SMALL.search)]
    source = None
    for title, (epochs, weights_only) in SCHEDULES.items():
        last = SMALL.search.stages[-1]
        stage = replace(last, epochs=epochs, weights_only_epochs=weights_only, trained_epochs=None)
        settings = replace(SMALL.search, stages=(*SMALL.search.stages[:-1], stage))
        place = runs / task.name / f"warm-{epochs}-{weights_only}"
        warm = warm_start(
            task,
            out=place,
            registry=registry,
            mode="trained",
            source=source,
            preset=brief(settings),
            seed=seed,
            resume=True,
            progress=Lines(f"{task.name} {seed} {title}"),
        )
        source = warm.source
        found = row(task, seed, title, warm, place / "training", settings.last_stage_only())
        rows.append({**found, "source": warm.source, "registry": sorted(nearest)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def row(
    task: ImageTask, seed: int, title: str, run: Any, place: Path, settings: SearchSettings
) -> dict[str, Any]:
    """Train what a search found, and say what it cost."""
    trained = train(
        run.genotype,
        task,
        out=place,
        preset=brief(settings),
        seed=seed,
        resume=True,
        progress=Lines(f"{task.name} {seed} {title} training"),
    )
    limit = settings.steps_per_epoch or 0
    return {
        "set": task.name,
        "seed": seed,
        "schedule": title,
        "steps": sum(
            limit * (2 * stage.epochs - stage.weights_only_epochs) for stage in settings.stages
        ),
        "seconds": run.seconds["search"],
        "accuracy": trained.accuracy,
        "genotype": run.genotype.to_darts(),
    }


def brief(settings: SearchSettings) -> Preset:
    """Preset small with other search settings and a brief final training."""
    return replace(SMALL.with_choice(candidates=1), search=settings, training=BRIEF)


def collect(runs: Path) -> None:
    """Write what all seeds found, and its summary."""
    rows = [
        row
        for path in sorted(runs.glob("*/*.json"))
        if path.stem in CHOSEN
        for row in json.loads(path.read_bytes())
    ]
    summary = {title: summarised(title, rows) for title in ("cold", *SCHEDULES)}
    found = {
        "preset": "small",
        "summary": summary,
        "stable_genotype": {str(epochs): stopped_early(runs, epochs) for epochs in (1, 2, 3)},
        "rows": rows,
    }
    print(save("warm_schedules", found, threads=1))
    print(json.dumps({**found, "rows": len(rows)}, indent=1))


def summarised(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Cost and accuracy of one schedule, and what it gains over others on the same set and seed."""
    own = [row for row in rows if row["schedule"] == title]
    return {
        "runs": len(own),
        "mean_steps": round(statistics.fmean(row["steps"] for row in own), 1),
        "mean_accuracy": round(statistics.fmean(row["accuracy"] for row in own), 4),
        "by_set": {
            name: round(statistics.fmean(r["accuracy"] for r in own if r["set"] == name), 4)
            for name in CHOSEN
        },
        "over_cold": gain(own, "cold", rows),
        "over_the_whole_stage": gain(own, next(iter(SCHEDULES)), rows),
    }


def gain(own: list[dict[str, Any]], title: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean difference in accuracy from another schedule, run by run, and its standard error."""
    base = {(row["set"], row["seed"]): row["accuracy"] for row in rows if row["schedule"] == title}
    gains = [row["accuracy"] - base[row["set"], row["seed"]] for row in own]
    return {
        "mean": round(statistics.fmean(gains), 4),
        "standard_error": round(statistics.stdev(gains) / len(gains) ** 0.5, 4),
    }


def stopped_early(runs: Path, epochs: int) -> dict[str, int]:
    """What ``stable_epochs`` would have done to the cold searches, from their rows.

    A search would have stopped at the first row whose genotype had stayed for so many epochs; it
    would have found what it found in the end if the genotype never changed after that.
    """
    stopped = same = saved = 0
    paths = sorted(runs.glob("*/*/cold/search.metrics.jsonl"))
    for path in paths:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        last = [line for line in lines if line["stage"] == lines[-1]["stage"]]
        stop = next((line for line in last if line["unchanged_epochs"] >= epochs), None)
        if stop is None or stop is last[-1]:
            continue
        left = last[-1]["epoch"] - stop["epoch"]
        stopped, saved = stopped + 1, saved + left
        same += last[-1]["unchanged_epochs"] == stop["unchanged_epochs"] + left
    return {"searches": len(paths), "stopped": stopped, "epochs_saved": saved, "same_result": same}


if __name__ == "__main__":
    main()
