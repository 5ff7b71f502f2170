"""Warm starts beside cold searches on real image sets, leaving each set's own artifacts out.

    python benchmarks/warm_starts.py --sets dtd_10 flowers102 --seeds 0 1 2

For each set and seed, in one process and one after the other: a warm start in mode ``auto``
from the shipped zoo without this set (``leave_one_out.py``), a cold search of the same preset,
and a brief training of both genotypes, each evaluated once on the validation third. Writes
``results/warm_starts_PRESET_PROBE.json``; each run is resumable. With ``--keep-reports`` the
report and the log of each set's first seed are kept beside it.
"""

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from leave_one_out import registry_without
from measure import Lines, machine
from six_sets import IMAGENET_PROBE, SETS, SHARED

from wsdarts_hub import ImageTask, search, train, warm_start
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--probe", choices=["shipped", "imagenet"], default="imagenet")
    parser.add_argument("--probe-file", default=str(SHARED / "probe" / IMAGENET_PROBE))
    parser.add_argument("--runs", type=Path, default=Path("runs/warm-starts"))
    parser.add_argument("--keep-reports", nargs="*", default=[], choices=list(SETS))
    arguments = parser.parse_args()
    probe = load_probe(arguments.probe_file if arguments.probe == "imagenet" else None)
    rows = []
    for name in arguments.sets:
        task = ImageTask.load(arguments.data / SETS[name], name=name)
        for seed in arguments.seeds:
            rows.append(compare(task, seed, probe, arguments))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python benchmarks/warm_starts.py " + " ".join(sys.argv[1:]),
        "preset": arguments.preset,
        "probe": {"name": probe.name, "digest": probe.digest},
        "machine": machine(threads=torch.get_num_threads()),
        "rows": rows,
        "summary": summary(rows),
    }
    path = RESULTS / f"warm_starts_{arguments.preset}_{arguments.probe}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=1))


def compare(
    task: ImageTask, seed: int, probe: Probe, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One warm start and one cold search of a set, both trained."""
    runs = arguments.runs / arguments.probe / arguments.preset / task.name / str(seed)
    runs.mkdir(parents=True, exist_ok=True)
    registry = registry_without(task, arguments.runs / "registries" / task.name)
    kept = task.name in arguments.keep_reports and seed == arguments.seeds[0]
    common: dict[str, Any] = {"preset": arguments.preset, "seed": seed, "resume": True}
    with (runs / "log.txt").open("a", encoding="utf-8") as log:
        progress = Lines(file=log)
        warm = warm_start(
            task, out=runs / "warm", registry=registry, probe=probe, progress=progress, **common
        )
        log.write(f"source: {warm.source} ({warm.mode}): {warm.why}\n")
        cold = search(task, out=runs / "cold", probes=[probe], progress=progress, **common)
        log.write(f"warm: {warm.genotype}\ncold: {cold.genotype}\n")
        report = warm.compare(cold, "Measured right after this run, in the same process.")
        trained = {
            "warm": warm.train(out=runs / "warm-training", progress=progress, **common),
            "cold": train_cold(cold.genotype, task, runs, progress, common),
        }
        log.write(f"accuracy: { ({k: v.accuracy for k, v in trained.items()}) }\n")
    if kept:
        target = RESULTS / f"warm_start_{task.name}_{arguments.probe}"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(report, target / "report.html")
        shutil.copy(runs / "log.txt", target / "log.txt")
    return {
        "set": task.name,
        "seed": seed,
        "source": warm.source,
        "mode": warm.mode,
        "distances": {n.reference: n.distance for n in warm.neighbours},
        "warm_seconds": warm.seconds["search"],
        "cold_seconds": cold.seconds["search"],
        "warm_accuracy": trained["warm"].accuracy,
        "cold_accuracy": trained["cold"].accuracy,
    }


def train_cold(
    genotype: Any, task: ImageTask, runs: Path, progress: Any, common: dict[str, Any]
) -> Any:
    """Train the cold search's genotype with the same settings."""
    return train(genotype, task, out=runs / "cold-training", progress=progress, **common)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of each set, and how many sets gained."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        gains = [row["warm_accuracy"] - row["cold_accuracy"] for row in own]
        saved = [1 - row["warm_seconds"] / row["cold_seconds"] for row in own]
        found[name] = {
            "source": own[0]["source"],
            "mode": own[0]["mode"],
            "seeds": len(own),
            "warm_accuracy": spread([row["warm_accuracy"] for row in own]),
            "cold_accuracy": spread([row["cold_accuracy"] for row in own]),
            "gain": spread(gains),
            "search_time_saved": spread(saved),
        }
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "sd": round(deviation, 4)}


if __name__ == "__main__":
    main()
