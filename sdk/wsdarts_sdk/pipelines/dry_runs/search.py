"""Estimates of what a search or a training will take, from a few real steps on the real data.

Nothing is kept of these steps, and no run directory is made. Images are decoded into the cache, as
the command itself would do first. Times are those of the machine as it is now.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from wsdarts_registry._format import duration
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.data import DataOptions, ImageTask
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.models.training import Training, train_network
from wsdarts_sdk.pipelines.choice import candidate_training, training_lengths
from wsdarts_sdk.pipelines.run_context import Data, load_task, load_tasks, train_parts
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.journal import MemoryJournal
from wsdarts_sdk.search.derivation import derive_genotype
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.supernet.kernel_choice import check_kernels

TIMED_STEPS = 3
"""Steps of each kind that are timed, after one that is not."""
_RUN = 1 + TIMED_STEPS
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """An estimate of one phase.

    Attributes:
        phase: Its name.
        steps: Steps of gradient descent that it has.
        seconds: What all of them and what comes with them will take.
    """

    phase: str
    steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of what a search or a training will take on this machine.

    Attributes:
        phases: In the order of the run.
        memory: Most bytes that the process (on a GPU: its tensors) held while it was estimated.
        disk: Bytes of the checkpoint and of the weights that are saved.
    """

    phases: tuple[PhaseEstimate, ...]
    memory: int
    disk: int

    @property
    def steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Return the seconds of all phases."""
        return sum(phase.seconds for phase in self.phases)

    def __repr__(self) -> str:
        return f"<Estimate: about {duration(self.seconds)} for {self.steps:,} steps>"


class _Marks:
    """Moments at which a progress was called, by what begins its text."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self.moments: list[tuple[str, float]] = []

    def __call__(self, what: str, _done: int, _total: int, /) -> None:
        self.moments.append((what, self._clock()))

    def named(self, start: str) -> list[float]:
        """Return the moments of texts that begin so."""
        return [moment for what, moment in self.moments if what.startswith(start)]


def estimate_training(
    genotype: Genotype | str | Path,
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    preset: str | Preset = "small",
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
    cells = find_genotype(genotype, registry=registry, require_signature=require_signature)
    task = load_task(data, reading, progress=shown(progress))
    whole = Training(cells, task, settings, selection=False, device=where).steps
    short = replace(settings, epochs=1, steps_per_epoch=min(_RUN, whole))
    marks, journal = _Marks(), MemoryJournal()
    result = train_network(cells, task, short, journal=journal, progress=marks, device=where)
    ended = time.perf_counter()
    steps, evaluated = marks.named("training"), marks.named("evaluation")
    judging = evaluated[0] - steps[-1] if settings.patience is not None else 0.0
    per_step = _median_gap(steps)
    checkpoint = journal.restore()
    return Estimate(
        phases=(
            PhaseEstimate(
                phase="training",
                steps=whole * settings.epochs,
                seconds=settings.epochs * (whole * per_step + judging),
            ),
            PhaseEstimate(phase="evaluation", steps=0, seconds=ended - steps[-1]),
        ),
        memory=peak_memory(where),
        disk=_octets(checkpoint.tensors.values() if checkpoint else ())
        + _octets(result.model.state_dict().values()),
    )


def estimate_search(
    *data: Data,
    preset: str | Preset = "small",
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Estimate:
    """Estimate what the stages of ``search`` will take with the same arguments.

    Which operations are left in later stages is not known yet; here they are drawn at random. The
    embedding, which comes before the search, is not in it.

    Args:
        data: As for ``search``, like all that follow.
        preset: Whose settings to use.
        device: Where it would run.
        progress: Told what is done and how much is left.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data or settings do not fit.
    """
    chosen = find_preset(preset)
    settings = chosen.search
    where = find_device(device)
    check_kernels(where)
    told = shown(progress)
    tasks = load_tasks(data, reading, progress=told)
    parts = train_parts(tasks, settings, where, told)
    phases, disk = [], 0
    for number, stage in enumerate(settings.stages, start=1):
        told(f"timing steps of stage {number}", number - 1, len(settings.stages))
        found, octets = _stage(parts, settings, number, stage)
        phases.append(found)
        disk = max(disk, octets)
    if chosen.choice.trains and len(tasks) == 1:
        phases.append(_choice(tasks[0], chosen, where))
    return Estimate(phases=tuple(phases), memory=peak_memory(where), disk=disk)


def _choice(task: ImageTask, preset: Preset, device: torch.device) -> PhaseEstimate:
    """Time steps of a candidate drawn at random; return the estimate of all trainings."""
    space = preset.search.space
    draws = np.random.default_rng(preset.search.seed)
    alpha = {kind: draws.normal(size=space.shape) for kind in CELL_KINDS}
    genotype = derive_genotype(OperationMasks.full(space), alpha, skip_connects=0)
    settings = candidate_training(task, preset, preset.search)
    each = settings.steps_per_epoch or 1
    short = replace(settings, weights="random", epochs=1, steps_per_epoch=min(_RUN, each))
    marks = _Marks()
    train_network(genotype, task, short, selection=True, progress=marks, device=device)
    ended, steps = time.perf_counter(), marks.named("training")
    lengths = training_lengths(preset.choice, preset.choice.candidates)
    total = sum(lengths) * settings.epochs * each
    seconds = total * _median_gap(steps) + len(lengths) * (ended - steps[-1])
    return PhaseEstimate(phase="choice", steps=total, seconds=seconds)


def _stage(
    parts: list[TrainPart], settings: SearchSettings, number: int, stage: StageSettings
) -> tuple[PhaseEstimate, int]:
    """Time steps of both kinds in one stage; return its estimate and the bytes that it saves."""
    masks = OperationMasks.full(settings.space)
    if stage.operations < masks.widest:
        draws = np.random.default_rng(settings.seed)
        normal, reduction = (draws.random(settings.space.shape) for _ in range(2))
        masks = masks.keep_strongest(normal, reduction, stage.operations)
    epoch = sum(part.steps(settings.steps_per_epoch) for part in parts)
    seconds = 0.0
    octets = 0
    for alone, epochs in (
        (1, stage.weights_only_epochs),
        (0, stage.epochs - stage.weights_only_epochs),
    ):
        if not epochs:
            continue
        one = replace(stage, epochs=1, weights_only_epochs=alone, trained_epochs=None)
        short = replace(settings, stages=(one,), steps_per_epoch=_RUN, stable_epochs=None)
        marks, journal = _Marks(), MemoryJournal()
        result = search(
            parts,
            short,
            start=StartingPoint(masks=masks),
            journal=journal,
            progress=marks,
            device=parts[0].weights.labels.device,
        )
        seconds += epochs * epoch * _median_gap(marks.named("stage 1/1, epoch"))
        checkpoint = journal.restore()
        octets = _octets(checkpoint.tensors.values() if checkpoint else ())
        octets += _octets(result.weights.values())
    phase = PhaseEstimate(phase=f"stage {number}", steps=stage.epochs * epoch, seconds=seconds)
    return phase, octets


def _median_gap(moments: list[float]) -> float:
    """Return the median time between moments, of which the first ends what is not timed."""
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return statistics.median(gaps) if gaps else 0.0


def _octets(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
