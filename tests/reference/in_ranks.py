"""Work of several processes that exchange by gloo, and of one, in float64."""

import multiprocessing
import os
import queue
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsdarts_registry import errors
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import Ranks, joined_ranks
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training
from wsdarts_sdk.progress import silent
from wsdarts_sdk.runs.checkpoints import MemoryJournal
from wsdarts_sdk.runs.directory import ROLL_BACKS
from wsdarts_sdk.search.derivation import derive_genotype
from wsdarts_sdk.search.loop import Search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import SearchState, set_learning_rate
from wsdarts_sdk.search.step import take_step

SPACE = SearchSpace(
    nodes=2, candidates=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
)
_SECONDS = 600
Work = Callable[..., Any]


def _one_rank(
    rank: int, size: int, port: int, work: Work, arguments: tuple[Any, ...], to: Any
) -> None:
    torch.set_num_threads(1)
    errors._TELLING = 2.0  # of torchrun alone, which ends the others
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "USE_LIBUV": "0",
    }
    try:
        with joined_ranks("cpu") as (ranks, _):
            found = work(ranks, *arguments)
        to.put((rank, found, None))
    except BaseException as error:  # noqa: BLE001 (a test looks at it)
        to.put((rank, None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def _context() -> Any:
    """Return how processes start: forked from one that has imported torch, and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    here = str(Path(__file__).parents[1])
    before = os.environ.get("PYTHONPATH", "")
    if here not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, before)))
    context.set_forkserver_preload(["reference.in_ranks"])
    return context


def start(size: int, work: Work, *arguments: Any) -> tuple[list[Any], list[str | None]]:
    """Run a function on several ranks; return what each returned, and what each failed with."""
    context = _context()
    found: Any = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        context.Process(target=_one_rank, args=(rank, size, port, work, arguments, found))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    results: list[Any] = [None] * size
    failures: list[str | None] = ["ended without a word"] * size
    try:
        until = time.monotonic() + _SECONDS
        missing, alive = size, True
        while missing and alive and time.monotonic() < until:
            alive = any(process.is_alive() for process in processes)
            try:
                rank, results[rank], failures[rank] = found.get(timeout=1)
            except queue.Empty:
                continue
            missing, alive = missing - 1, True
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return results, failures


def in_ranks(size: int, work: Work, *arguments: Any) -> list[Any]:
    """Run a function on several ranks, none of which may fail."""
    results, failures = start(size, work, *arguments)
    assert failures == [None] * size, "\n".join(map(str, failures))
    return results


def digits(classes: int, each: int, cache: Path, name: str = "digits") -> ImageTask:
    """Return a task of made images: noise that depends on the class."""
    draws = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), each)
    middle = draws.integers(40, 200, (classes, 8, 8))
    noise = draws.integers(-40, 40, (len(labels), 8, 8))
    images = (middle[labels] + noise).astype(np.uint8)
    return ImageTask.load((images, labels), name=name, cache_dir=cache)


def settings_of(**changes: Any) -> SearchSettings:
    """Return settings of a small search, all of whose epochs move α."""
    fields: dict[str, Any] = {
        "space": SPACE,
        "stages": (
            StageSettings(cells=3, operations=5, epochs=2, weights_only_epochs=0, skip_dropout=0.3),
        ),
        "channels": 2,
        "image_size": 8,
        "batch_size": 8,
    }
    return SearchSettings(**(fields | changes))


def parts_of(settings: SearchSettings, cache: Path, tasks: int, *, double: bool) -> list[TrainPart]:
    """Return the train parts of one or two tasks of different size, perhaps in float64."""
    found = []
    for head in range(tasks):
        part = TrainPart.of(
            digits(3 - head, 40 - 10 * head, cache, f"digits {head}"),
            image_size=settings.image_size,
            batch_size=settings.batch_size,
            padding=settings.padding,
            flip=settings.flip,
            head=head,
            seed=settings.seed,
        )
        if double:
            augmentation = replace(
                part.augmentation,
                mean=part.augmentation.mean.double(),
                std=part.augmentation.std.double(),
            )
            part = replace(part, augmentation=augmentation)
        found.append(part)
    return found


def search_steps(
    ranks: Ranks, settings: SearchSettings, cache: Path, tasks: int, steps: int
) -> dict[str, Any]:
    """Take some steps in float64, the tasks in turn; return the state as arrays."""
    parts = parts_of(settings, cache, tasks, double=True)
    looped = Search(parts, settings, ranks=ranks)
    state = SearchState.fresh(
        settings,
        0,
        OperationMasks.full(settings.space),
        looped.classes,
        torch.device("cpu"),
        ranks=ranks,
    )
    state.net.double().train()
    set_learning_rate(state.sgd, 0.02)
    for step in range(steps):
        task = looped.tasks[step % tasks]
        take_step(state, task, settings, step // tasks, 0.02)
    tensors = {name: value for name, value in state.net.state_dict().items() if value.numel()}
    tensors["sums"] = state.sums
    found = {name: value.detach().double().numpy().copy() for name, value in tensors.items()}
    found.pop("stem.1.num_batches_tracked", None)
    return found


def searched(ranks: Ranks, settings: SearchSettings, cache: Path) -> dict[str, Any]:
    """Search to the end in two stages; return what was found as arrays."""
    first = settings.stages[0]
    stages = (first, replace(first, operations=3, weights_only_epochs=1))
    settings = replace(settings, stages=stages)
    parts = parts_of(settings, cache, 1, double=False)
    result = Search(parts, settings, ranks=ranks).run()
    found = {name: value.numpy().copy() for name, value in result.weights.items()}
    found |= {f"alpha.{kind}": value for kind, value in result.alpha.items()}
    found |= {f"mask.{kind}": result.stage_masks[-1].array(kind) for kind in CELL_KINDS}
    found["genotype"] = np.frombuffer(str(result.genotype).encode(), dtype=np.uint8)
    found["losses"] = np.array([row["weights_loss"] for row in result.rows])
    found["roll backs"] = np.array([row.get(ROLL_BACKS, 0) for row in result.rows])
    return found


def genotype_of(seed: int = 0) -> Genotype:
    """Return some genotype of the small space."""
    draws = np.random.default_rng(seed)
    alpha = {kind: draws.normal(size=SPACE.shape) for kind in CELL_KINDS}
    return derive_genotype(OperationMasks.full(SPACE), alpha)


def training_settings(**changes: Any) -> TrainingSettings:
    """Return settings of a small training."""
    fields = {
        "cells": 3,
        "channels": 4,
        "image_size": 8,
        "epochs": 2,
        "batch_size": 8,
        "cutout": 2,
        "drop_path": 0.4,
    }
    return TrainingSettings(**(fields | changes))


def training_steps(
    ranks: Ranks, settings: TrainingSettings, cache: Path, steps: int
) -> dict[str, Any]:
    """Train for some steps in float64 and evaluate; return the state as arrays."""
    settings = replace(settings, steps_per_epoch=min(steps, 2), epochs=max(steps // 2, 1))
    training = Training(
        genotype_of(),
        digits(3, 40, cache),
        settings,
        selection=False,
        device=torch.device("cpu"),
        ranks=ranks,
    )
    training.net.double()
    training.loss.double()
    if training.average is not None:
        training.average.net.double()
    training.augmentation = replace(
        training.augmentation,
        mean=training.augmentation.mean.double(),
        std=training.augmentation.std.double(),
    )
    result = training.run(MemoryJournal(), silent)
    found = {
        name: value.detach().double().numpy().copy()
        for name, value in result.model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    found["logits"] = result.logits.double().numpy()
    found["rows"] = np.array([[row["loss"], row["accuracy"]] for row in result.rows])
    found["roll backs"] = np.array([row.get(ROLL_BACKS, 0) for row in result.rows])
    return found


def several(ranks: Ranks, works: Sequence[tuple[Work, tuple[Any, ...]]]) -> list[Any]:
    """Run several functions one after the other: starting processes takes seconds."""
    return [work(ranks, *arguments) for work, arguments in works]


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the largest difference of two states, relative where numbers are large."""
    assert one.keys() == other.keys()
    return max(
        float((np.abs(one[name] - other[name]) / np.maximum(1, np.abs(one[name]))).max())
        for name in one
    )
