"""Estimates of a training, of its baseline, and of the short trainings of a sweep."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.data import DataOptions, ImageTask
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, TrainingLoop
from wsdarts_sdk.pipelines.baselines import LINEAR, Chosen, FineTuning, find_baseline
from wsdarts_sdk.pipelines.dry_runs.estimate import (
    STEPS_RUN,
    Estimate,
    Marks,
    PhaseEstimate,
    epochs_of,
    median_gap,
    octets,
)
from wsdarts_sdk.pipelines.run_context import Data, load_task
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.checkpoints import Journal, MemoryJournal
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.linear_classifier import feature_seconds

_Loop = TypeVar("_Loop", bound=TrainingLoop[Any])
_FLOAT = 4


def estimate_training(
    genotype: Genotype | str | Path,
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    preset: str | Preset = "small",
    baseline: str | None = LINEAR,
    require_signature: Required = None,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Estimate:
    """Estimate what ``train`` will take with the same arguments.

    Args:
        genotype: As for ``train``, like all that follow.
        data: The dataset.
        registry: Where a reference is looked up.
        preset: Whose training settings to use.
        baseline: What is measured beside the network.
        require_signature: Whose signature the artifact of a reference needs.
        device: Where it would run.
        progress: Told what is done and how much is left.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Genotype, data or settings do not fit.
    """
    settings = replace(find_preset(preset).training, weights="random")
    where = find_device(device)
    check_kernels(where)
    beside = find_baseline(baseline, settings, where)
    cells = find_genotype(genotype, registry=registry, require_signature=require_signature)
    task = load_task(data, reading, progress=shown(progress))
    found = network_estimate(cells, task, settings, where)
    phases, disk = found.phases, found.checkpoint + found.weights
    if beside is not None:
        measured, saved = _baseline_estimate(beside, task, where)
        phases, disk = (measured, *phases), disk + saved
    return Estimate(phases=phases, memory=peak_memory(where), disk=disk)


@dataclass(frozen=True, kw_only=True)
class TrainingEstimate:
    """Phases of a training, its steps and its evaluation, and bytes of its files."""

    phases: tuple[PhaseEstimate, ...]
    checkpoint: int
    weights: int

    @property
    def steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Return the seconds of all phases."""
        return sum(phase.seconds for phase in self.phases)


def network_estimate(
    genotype: Genotype,
    task: ImageTask,
    settings: TrainingSettings,
    device: torch.device,
    *,
    selection: bool = False,
) -> TrainingEstimate:
    """Run a few steps of a derived network's training, and its evaluation.

    Args:
        genotype: The cells.
        task: The dataset.
        settings: Those of the whole.
        device: Where it would run.
        selection: As for ``train_network``.
    """
    return _estimate(
        lambda chosen: Training(genotype, task, chosen, selection=selection, device=device),
        lambda training, journal, marks: training.run(journal, marks),
        settings,
    )


def _estimate(
    make: Callable[[TrainingSettings], _Loop],
    run: Callable[[_Loop, Journal, Progress], object],
    settings: TrainingSettings,
) -> TrainingEstimate:
    whole = make(settings).steps
    short = min(STEPS_RUN, whole)
    training = make(replace(settings, epochs=epochs_of(short), steps_per_epoch=short))
    marks, journal = Marks(), MemoryJournal()
    run(training, journal, marks)
    ended = time.perf_counter()
    steps, evaluated = marks.named(training.what), marks.named("evaluation")
    judging = evaluated[0] - steps[-1] if settings.patience is not None else 0.0
    seconds = settings.epochs * (whole * median_gap(steps) + judging)
    checkpoint = journal.restore()
    return TrainingEstimate(
        phases=(
            PhaseEstimate(phase=training.what, steps=whole * settings.epochs, seconds=seconds),
            PhaseEstimate(phase="evaluation", seconds=ended - steps[-1]),
        ),
        checkpoint=octets(checkpoint.tensors.values() if checkpoint else ()),
        weights=octets(training.net.state_dict().values()),
    )


def _baseline_estimate(
    chosen: Chosen, task: ImageTask, device: torch.device
) -> tuple[PhaseEstimate, int]:
    """Return the estimate of a baseline, and the bytes that it saves."""
    if chosen.settings is not None:
        found = _estimate(
            # Of its own each: a last layer is put on a network without one.
            lambda settings: FineTuning(deepcopy(chosen.probe), task, settings, device=device),
            lambda tuning, journal, marks: tuning.run(journal, marks),
            chosen.settings,
        )
        phase = PhaseEstimate(phase="baseline", steps=found.steps, seconds=found.seconds)
        return phase, found.checkpoint
    seconds, features = feature_seconds(task, chosen.probe)
    phase = PhaseEstimate(phase="baseline", images=len(task), seconds=seconds)
    return phase, _FLOAT * len(task) * features
