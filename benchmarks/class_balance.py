"""Whether class weights and balanced sampling lift balanced accuracy on an imbalanced task.

The task is a long-tailed subset of CIFAR-10: 400 images of the largest class down to 20 of the
smallest. Balanced accuracy (the mean of the recalls of the classes) is measured on 200 images of
each class that are not in the task. Run it with

    python -m benchmarks.class_balance
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import RESULTS
from benchmarks.six_sets import SETS, SHARED
from wsdarts_registry._files import write_atomically
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.settings import ClassBalance
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.presets import SMALL, TrainingChanges

# Small enough for nine trainings in a minute on one core.
NETWORK: TrainingChanges = {
    "cells": 3,
    "channels": 8,
    "image_size": 16,
    "batch_size": 32,
    "cutout": 4,
    "weights": "random",
}
LARGEST, SMALLEST, JUDGED = 400, 20, 200
BALANCES: tuple[ClassBalance, ...] = ("none", "weights", "sampling")


def long_tailed(task: ImageTask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the long-tailed subset, and those of the images that judge it."""
    draws = np.random.default_rng(0)
    chosen, judging = [], []
    for label in range(task.classes):
        share = label / (task.classes - 1)
        count = round(LARGEST * (SMALLEST / LARGEST) ** share)
        own = draws.permutation(np.flatnonzero(task.labels == label))
        chosen.append(own[:count])
        judging.append(own[count : count + JUDGED])
    return np.concatenate(chosen), np.concatenate(judging)


@torch.no_grad()
def recalls(model: Classifier, task: ImageTask, indices: NDArray[np.int64]) -> list[float]:
    """Return the recall of each class on some images."""
    pixels = torch.from_numpy(task.pixels(model.image_size)[indices]).permute(0, 3, 1, 2) / 255
    found = torch.cat([model(part).argmax(1) for part in pixels.split(200)])
    right = found.numpy() == task.labels[indices]
    return [float(right[task.labels[indices] == label].mean()) for label in range(task.classes)]


def measured(seeds: Sequence[int], epochs: int) -> Iterator[dict[str, Any]]:
    """Train with each balance and seed, and yield what each training measured."""
    with tempfile.TemporaryDirectory() as cache:
        whole = ImageTask.load(SHARED / "data" / SETS["cifar10_1000"], cache_dir=cache)
        chosen, judging = long_tailed(whole)
        task = whole.subset(chosen)
        for seed in seeds:
            for balance in BALANCES:
                settings = SMALL.with_training(
                    **NETWORK, epochs=epochs, class_balance=balance, seed=seed
                ).training
                trained = train_network(find_genotype("cifar10-1000"), task, settings)
                by_class = recalls(trained.model, whole, judging)
                yield {
                    "class_balance": balance,
                    "seed": seed,
                    "accuracy": trained.accuracy,
                    "balanced_accuracy": float(np.mean(by_class)),
                    "recalls": by_class,
                }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds, by balance."""
    found: dict[str, Any] = {}
    for balance in BALANCES:
        own = [row for row in rows if row["class_balance"] == balance]
        found[balance] = {
            name: {
                "mean": float(np.mean([row[name] for row in own])),
                "deviation": float(np.std([row[name] for row in own], ddof=1)) if own[1:] else 0.0,
            }
            for name in ("accuracy", "balanced_accuracy")
        }
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="one seed and epoch, nothing written")
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    seeds, epochs = ([0], 1) if chosen.quick else (chosen.seeds, chosen.epochs)
    rows = []
    for row in measured(seeds, epochs):
        print(row["class_balance"], row["seed"], f"{row['balanced_accuracy']:.3f}", flush=True)
        rows.append(row)
    result = {"training": {**NETWORK, "epochs": epochs}, "summary": summary(rows), "rows": rows}
    print(json.dumps(result["summary"], indent=2))
    if not chosen.quick:
        content = json.dumps(result, indent=2) + "\n"
        write_atomically(Path(RESULTS) / "class_balance.json", content.encode())


if __name__ == "__main__":
    main()
