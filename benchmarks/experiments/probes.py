"""Agreement of small probes with an ImageNet probe on which tasks are near.

Tasks are subsets of the classes of the six sets, ``SUBSETS`` of each, and at most ``IMAGES`` images
of each. All are embedded by each probe, and the distances between tasks of different sets are
compared with those by the ImageNet probe: their rank correlation, and how often the nearest task of
another set belongs to the same set. Small probes:

* ``shipped``: the one that the package ships, trained on the labels of all six sets.
* ``distilled``: the same network, trained to give the ImageNet probe's features and logits on the
  train parts of the sets, augmented. Distances from the tasks of a set are taken by a probe that
  was distilled without that set; three such probes were trained, each without two of the sets.
  Distances by the one of all sets, which would be shipped, are stated apart.

The ImageNet network is slow here, so what it says is computed once, of ``VIEWS`` augmented images,
which all distillations draw from.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from cells import Cell, Experiment
from inheritance import ORDER, load
from measure import Lines
from numpy.typing import NDArray
from scipy.stats import spearmanr
from six_sets import IMAGENET_PROBE, SHARED
from torch import Tensor, nn
from torch.nn import functional as F
from train_probe import (
    ARCHITECTURE,
    BATCH,
    OPTIONS,
    SIZE,
    card,
    draw,
    halve,
    joint,
    normalised,
    train,
)

from wsdarts_registry._files import write_atomically
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_registry.embedding.distance import distance_matrix
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec.embedding import embed
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.loading import load_probe, read_probe_file
from wsdarts_sdk.task2vec.probe import Probe

STEPS, SEED, VIEWS = 2000, 0, 40_000
TEACHER, TEACHER_SIZE, TEACHER_FEATURES, TEACHER_CLASSES = "mobilenetv2_100", 128, 1280, 1000
TEMPERATURE = 2.0
IMAGES = 200
CLASSES = (4, 5, 6, 7, 8)
"""Classes of the subsets of a set: few enough for the sets of ten."""
SUBSETS = len(CLASSES)
IMAGENET, SHIPPED, DISTILLED = "imagenet", "shipped", "distilled"
LEFT_OUT_ROW = "distilled, each set left out"
PROBE_FILE = "probe.safetensors"
PIXELS, FEATURES, LOGITS = "pixels", "features", "logits"
LEFT_OUT = (
    ("flowers102", "aircraft_edges"),
    ("tiny_imagenet_100", "dtd_10"),
    ("bird_groups", "cifar10_1000"),
)
"""Sets that the probes of the evaluation did not see: two at once, as trainings take long."""


class Student(nn.Module):
    """The shipped probe's network with two heads: the teacher's logits, and its features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(ARCHITECTURE, num_classes=0, **OPTIONS)
        width = OPTIONS["channels"][-1]
        self.logits = nn.Linear(width, TEACHER_CLASSES)
        self.features = nn.Linear(width, TEACHER_FEATURES)


def teacher() -> Any:
    """Return the ImageNet network with its classifier."""
    path = SHARED / "probe" / IMAGENET_PROBE.partition("?")[0]
    network = timm.create_model(TEACHER, pretrained=False, pad_type="same")
    weights, _ = read_probe_file(path)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or not all(name.endswith("num_batches_tracked") for name in missing):
        raise SystemExit(f"{path} does not hold the weights of {TEACHER}")
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def run_views(name: str, state: Path) -> dict[str, Any]:
    """Augment train images of a set, and keep what the ImageNet network makes of them.

    Args:
        name: The set; its share of ``VIEWS`` goes with the square root of its size.
        state: Where the views lie, one file for each batch.
    """
    sizes = {each: len(load(each).train_indices) for each in ORDER}
    share = math.sqrt(sizes[name]) / sum(map(math.sqrt, sizes.values()))
    batches = math.ceil(VIEWS * share / BATCH)
    (collection,), known = joint({name: load(name)}).values(), teacher()
    for number in range(batches):
        file = state / f"{number}.safetensors"
        if file.exists():
            continue
        (small, large), _ = draw([collection], number, SEED, (SIZE, TEACHER_SIZE))
        with torch.no_grad():
            maps = known.forward_features(normalised(large.clamp(0, 1)))
            features = known.forward_head(maps, pre_logits=True)
            logits = known.classifier(features)
        arrays = {
            PIXELS: (small.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
            FEATURES: features.half().numpy(),
            LOGITS: logits.half().numpy(),
        }
        write_atomically(file, write_tensors(arrays, {"set": name}))
        print(f"views of {name}: {number + 1}/{batches}", flush=True)
    return {"views": batches * BATCH, "train_images": sizes[name]}


def read_views(state: Path) -> dict[str, Tensor]:
    """Return the views of a set: pixels of 0 … 255, the teacher's features and logits."""
    files = sorted(state.glob("*.safetensors"), key=lambda file: int(file.stem))
    read = [read_tensors(file.read_bytes(), what=str(file))[0] for file in files]
    return {
        key: torch.from_numpy(np.concatenate([arrays[key] for arrays in read]))
        for key in (PIXELS, FEATURES, LOGITS)
    }


def run_distillation(left_out: Sequence[str], state: Path, *, steps: int = STEPS) -> dict[str, Any]:
    """Train a probe to give the features and logits of the ImageNet one.

    Args:
        left_out: Sets whose images it does not see.
        state: Where the checkpoint and the probe lie, beside the views.
        steps: Steps of the training.
    """
    torch.manual_seed(SEED)
    there = [name for name in ORDER if name not in left_out]
    views = [read_views(state.parent / f"views-{name}") for name in there]
    # Each set has as many views as its share of the batches.
    shares = np.array([len(each[PIXELS]) for each in views])
    student = Student().to(memory_format=torch.channels_last)
    losses: list[float] = []

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([SEED, step])
        counts = rng.multinomial(BATCH, shares / shares.sum())
        chosen = [rng.choice(n, count) for n, count in zip(shares, counts, strict=True)]
        batch = {
            key: torch.cat([v[key][i] for v, i in zip(views, chosen, strict=True)]).float()
            for key in (PIXELS, FEATURES, LOGITS)
        }
        flipped = torch.from_numpy(rng.random(BATCH) < 0.5)[:, None, None, None]
        pixels = torch.where(flipped, batch[PIXELS].flip(3), batch[PIXELS])
        target = F.softmax(batch[LOGITS] / TEMPERATURE, dim=1)
        found = student.backbone(normalised(pixels / 255))
        logs = F.log_softmax(student.logits(found) / TEMPERATURE, dim=1)
        apart = F.kl_div(logs, target, reduction="batchmean") * TEMPERATURE**2
        alike = F.cosine_similarity(student.features(found), batch[FEATURES]).mean()
        loss = apart + 10 * (1 - alike)
        losses.append(float(loss.detach()))
        return loss

    seconds = train(student, loss_of, steps=steps, checkpoint=state / "training.ckpt")
    weights = halve(student.backbone)
    write_atomically(state / PROBE_FILE, write_tensors(weights, card(named(left_out))))
    return {
        "steps": steps,
        "views": int(shares.sum()),
        "last_loss": round(statistics.fmean(losses[-100:]), 4) if losses else None,
        "seconds": round(seconds),
    }


@cache
def tasks() -> tuple[tuple[str, ImageTask], ...]:
    """Return the subsets of classes, each with the set that it is of."""
    found = []
    for name in ORDER:
        task = load(name)
        rng = np.random.default_rng(seed_of(SEED, f"subsets of {name}"))
        for count in CLASSES:
            chosen = rng.choice(task.classes, size=count, replace=False)
            images = np.flatnonzero(np.isin(task.labels, chosen))
            found.append((name, task.subset(images)))
    return tuple(found)


def run_distances(probe: str, state: Path) -> dict[str, Any]:
    """Embed all tasks by a probe, and return their distances."""
    loaded, settings = probe_of(probe, state), FisherSettings(images=IMAGES)
    rows = []
    for _, task in tasks():
        found = embed(task, loaded, settings, cache_dir=state, progress=Lines(state.name))
        rows.append(found.values)
    matrix = distance_matrix(np.stack(rows))
    return {"matrix": matrix.round(6).tolist()}


def run_whole(probe: str, state: Path) -> dict[str, Any]:
    """Embed the six sets by a probe at the default settings, and return their distances."""
    loaded, rows = probe_of(probe, state), []
    for name in ORDER:
        found = embed(load(name), loaded, cache_dir=state, progress=Lines(state.name))
        rows.append(found.values)
    return {"names": list(ORDER), "whole": distance_matrix(np.stack(rows)).round(6).tolist()}


def distances_left_out(name: str) -> dict[str, float] | None:
    """Return the distances of a set to the others by a probe that saw no image of it, if measured.

    They are the distances from this set alone: the probe has seen some of the others.
    """
    file = PROBES.result(f"whole-{without(name)}")
    if not file.exists():
        return None
    found = json.loads(file.read_bytes())
    row = found["whole"][found["names"].index(name)]
    return {n: d for n, d in zip(found["names"], row, strict=True) if n != name}


def probe_of(probe: str, state: Path) -> Probe:
    """Load a probe by its name in this experiment."""
    if probe == IMAGENET:
        return load_probe(str(SHARED / "probe" / IMAGENET_PROBE))
    if probe == SHIPPED:
        return load_probe()
    return load_probe(str(state.parent / f"distillation-{probe}" / PROBE_FILE))


def named(left_out: Sequence[str]) -> str:
    """Return the name of the probe that was distilled without sets."""
    return "-without-".join([DISTILLED, *left_out])


def without(name: str) -> str:
    """Return the name of the probe that is asked about tasks of a set."""
    return named(next(sets for sets in LEFT_OUT if name in sets))


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return of each small probe how far it agrees with the ImageNet probe; see ``agreement``."""
    found = {row["probe"]: np.array(row["matrix"]) for row in rows if "matrix" in row}
    if IMAGENET not in found:
        return {}
    owners = np.repeat(np.arange(len(ORDER)), SUBSETS)
    small = {key: found[key] for key in (SHIPPED, DISTILLED) if key in found}
    if all(without(name) in found for name in ORDER):
        each = [found[without(ORDER[owner])][task] for task, owner in enumerate(owners)]
        small[LEFT_OUT_ROW] = np.stack(each)
    return {key: agreement(matrix, found[IMAGENET], owners) for key, matrix in small.items()}


def agreement(
    small: NDArray[np.float64], known: NDArray[np.float64], owners: NDArray[np.int64]
) -> dict[str, Any]:
    """Compare distances by two probes between tasks of different sets.

    Args:
        small: Distances by the one, shape ``(tasks, tasks)``; rows are the tasks that ask.
        known: Distances by the other.
        owners: The set of each task.

    Returns:
        ``rank_correlation`` of all distances from tasks of one set to those of others, ``by_task``,
        the mean of that of each task, and ``nearest``, the share of tasks whose nearest one of
        another set is of the same set by both.
    """
    apart = owners[:, None] != owners[None]
    each = [
        float(spearmanr(a[m], b[m]).statistic) for a, b, m in zip(small, known, apart, strict=True)
    ]
    nearest = [np.where(apart, matrix, np.inf).argmin(axis=1) for matrix in (small, known)]
    same = owners[nearest[0]] == owners[nearest[1]]
    return {
        "rank_correlation": round(float(spearmanr(small[apart], known[apart]).statistic), 4),
        "by_task": round(statistics.fmean(each), 4),
        "nearest": round(float(same.mean()), 4),
        "tasks": len(owners),
    }


def _views(name: str) -> Cell:
    return Cell(
        name=f"views-{name}",
        asked={"views_of": name},
        work=partial(run_views, name),
        kind="views",
        expected=200,
    )


def _distillation(left_out: Sequence[str] = ()) -> Cell:
    return Cell(
        name=f"distillation-{named(left_out)}",
        asked={"left_out": list(left_out)},
        work=partial(run_distillation, left_out),
        needs=[f"views-{name}" for name in ORDER if name not in left_out],
        kind="distillation",
        expected=2000,
    )


def _distances(probe: str) -> Cell:
    made_here = probe not in (IMAGENET, SHIPPED)
    return Cell(
        name=f"distances-{probe}",
        asked={"probe": probe},
        work=partial(run_distances, probe),
        needs=[f"distillation-{probe}"] if made_here else [],
        kind=f"distances-{probe if not made_here else DISTILLED}",
        expected=900 if probe == IMAGENET else 120,
    )


def _whole(probe: str) -> Cell:
    return Cell(
        name=f"whole-{probe}",
        asked={"probe": probe},
        work=partial(run_whole, probe),
        needs=[f"distillation-{probe}"],
        kind="whole",
        expected=100,
    )


PROBES = Experiment(
    name="probes",
    cells=[
        _distances(IMAGENET),
        _distances(SHIPPED),
        *map(_views, ORDER),
        *(cell for sets in LEFT_OUT for cell in (_distillation(sets), _distances(named(sets)))),
        _distillation(),
        _distances(DISTILLED),
        *(_whole(named(sets)) for sets in LEFT_OUT),
    ],
    summary=summarise,
)
