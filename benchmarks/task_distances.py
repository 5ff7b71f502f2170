"""Distances between the six collections, and between disjoint halves of each.

    python benchmarks/task_distances.py [--probe PROBE] [--parts whole ten all] [--size 128]

Three experiments, each with its distance matrix:

* ``whole``: the six tasks at the default settings. The threshold for "near" comes from here:
  the largest distance of any of the six to its nearest other one. So a task counts as near
  something if these six would count as near each other.
* ``ten``: the ten largest classes of each set, their images dealt alternately into two halves.
* ``all``: the same with all classes.

Distances are stored as they were measured: a rounded threshold may be less than the distance
that it is. Halves should be each other's nearest among all twelve. Every finished embedding lies
in the cache, so a run that was stopped goes on where it was. Writes
``benchmarks/results/task_distances_PROBE.json`` after each experiment.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine
from numpy.typing import NDArray
from six_sets import SHARED, load_sets

from wsdarts_registry._files import write_atomically
from wsdarts_registry.embedding.distance import distance_matrix
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec.embedding import embed, embedding_space
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

RESULTS = Path(__file__).resolve().parent / "results"
HALF_IMAGES = 120
CLASSES = 10


def halves(task: ImageTask, classes: int | None) -> tuple[ImageTask, ImageTask]:
    """Two disjoint halves: every second image of each class, in the order of their digests."""
    sizes = np.bincount(task.labels)
    chosen = np.argsort(-sizes, kind="stable")[:classes]
    dealt: tuple[list[int], list[int]] = ([], [])
    for label in sorted(chosen.tolist()):
        members = np.flatnonzero(task.labels == label).tolist()
        dealt[0].extend(members[0::2])
        dealt[1].extend(members[1::2])
    one, two = (task.subset(np.array(indices)) for indices in dealt)
    return one, two


def embeddings(
    tasks: dict[str, ImageTask], probe: Probe, settings: FisherSettings
) -> tuple[NDArray[np.float64], dict[str, dict[str, Any]]]:
    rows, notes = [], {}
    for name, task in tasks.items():
        begun = time.perf_counter()
        found = embed(task, probe, settings, progress=show)
        seconds = time.perf_counter() - begun
        rows.append(found.values)
        notes[name] = {
            "images": found.images,
            "classes": found.classes,
            "seconds": round(seconds, 1),
        }
        print(f"\r{name}: {found.images} images, {seconds:.1f} s" + " " * 40, flush=True)
    return np.stack(rows), notes


def show(what: str, done: int, total: int) -> None:
    if sys.stdout.isatty():
        print(f"\r{what}: {done}/{total}", end=" " * 20, flush=True)


def whole(tasks: dict[str, ImageTask], probe: Probe, settings: FisherSettings) -> dict[str, Any]:
    values, notes = embeddings(tasks, probe, settings)
    matrix = distance_matrix(values)
    apart = matrix + np.diag(np.full(len(matrix), np.inf))
    names = list(tasks)
    nearest = {
        name: {"nearest": names[int(row.argmin())], "distance": float(row.min())}
        for name, row in zip(names, apart, strict=True)
    }
    return {
        **described(probe, settings, notes, names, matrix),
        "nearest_other": nearest,
        "threshold": float(apart.min(axis=1).max()),
    }


def paired(
    tasks: dict[str, ImageTask], probe: Probe, settings: FisherSettings, classes: int | None
) -> dict[str, Any]:
    parts = {}
    for name, task in tasks.items():
        parts[f"{name}/1"], parts[f"{name}/2"] = halves(task, classes)
    values, notes = embeddings(parts, probe, settings)
    matrix = distance_matrix(values)
    names = list(parts)
    pair = np.arange(len(names)) // 2
    same = pair[:, None] == pair[None]
    apart = matrix + np.diag(np.full(len(matrix), np.inf))
    failed = {
        names[i]: names[int(row.argmin())]
        for i, row in enumerate(apart)
        if pair[i] != pair[int(row.argmin())]
    }
    within, between = matrix[0::2, 1::2].diagonal(), matrix[~same]
    return {
        **described(probe, settings, notes, names, matrix),
        "within": dict(zip(tasks, within.tolist(), strict=True)),
        "mean_between_over_mean_within": round(float(between.mean() / within.mean()), 3),
        "least_between_over_greatest_within": round(float(between.min() / within.max()), 3),
        "halves_whose_nearest_is_their_other_half": len(names) - len(failed),
        "failed": failed,
    }


def described(
    probe: Probe,
    settings: FisherSettings,
    notes: dict[str, dict[str, Any]],
    names: list[str],
    matrix: NDArray[np.float64],
) -> dict[str, Any]:
    return {
        "space": embedding_space(probe, settings).to_json(),
        "machine": machine(threads=torch.get_num_threads()),
        "embeddings": notes,
        "names": names,
        "matrix": matrix.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--probe", default="shipped")
    parser.add_argument("--parts", nargs="+", choices=("whole", "ten", "all"), default=["whole"])
    parser.add_argument("--size", type=int, help="input size of the halves; else the probe's own")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    probe = load_probe(arguments.probe)
    tasks = load_sets(arguments.data)
    default = FisherSettings()
    path = RESULTS / f"task_distances_{probe.name}.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for part in arguments.parts:
        if part == "whole":
            report[part] = whole(tasks, probe, default)
        elif part == "ten":
            settings = dataclasses.replace(default, images=HALF_IMAGES, size=arguments.size)
            report[part] = paired(tasks, probe, settings, CLASSES)
        else:
            settings = dataclasses.replace(default, size=arguments.size)
            report[part] = paired(tasks, probe, settings, None)
        write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
        left_out = {"matrix", "space", "machine", "embeddings", "names"}
        shown = {key: value for key, value in report[part].items() if key not in left_out}
        print(json.dumps({part: shown}, indent=1), flush=True)


if __name__ == "__main__":
    main()
