"""Estimates of what a command will take, from a few real steps or images of the real data.

An estimate in phases and the moments that it is made of, and the estimates of an embedding, of a
ranking by it, and of a training with its baseline; those of searches are in ``search_dry_runs``.

No run directory is made, and nothing is kept but what is in the cache anyway: decoded images, and
features or an embedding of so few images that they were all computed. Times are those of the
machine as it is now.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor

from wsdarts_registry._format import duration, pluralize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.stores.nearest_artifacts import check_rankable, rank_registry
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training
from wsdarts_sdk.models.training_loop import TrainingLoop
from wsdarts_sdk.pipelines.baselines import LINEAR, Chosen, FineTuning, find_baseline
from wsdarts_sdk.pipelines.run_context import Data, find_probe, load_task, probe_for
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.checkpoints import Journal, MemoryJournal
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.embedding import (
    Sample,
    Settings,
    check_limits,
    embed,
    embedding_space,
    input_size,
)
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.linear_classifier import feature_seconds
from wsdarts_sdk.task2vec.probe import Probe
from wsdarts_sdk.task2vec.variational import VariationalSettings

TIMED_STEPS = 3
"""Steps of each kind that are timed, after one that is not."""
STEPS_RUN = 1 + TIMED_STEPS
SECONDS = 3.0
"""Time for images of an embedding; one batch of them is computed in any case."""
_FLOAT = 4
_IN_CACHE = "The embedding is in the cache already."
Clock = Callable[[], float]
_Loop = TypeVar("_Loop", bound=TrainingLoop[Any])


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """An estimate of one phase.

    Attributes:
        phase: Its name.
        steps: Steps of gradient descent that it has.
        images: Images that it goes through once, where it has no steps.
        seconds: What all of them and what comes with them will take.
    """

    phase: str
    steps: int = 0
    images: int = 0
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Phases:
    phases: tuple[PhaseEstimate, ...]

    @property
    def steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Return the seconds of all phases."""
        return sum(phase.seconds for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class Estimate(_Phases):
    """An estimate of what a command will take on this machine.

    Attributes:
        phases: In the order of the run.
        memory: Most bytes that the process (on a GPU: its tensors) held while it was estimated.
        disk: Bytes of checkpoints, weights, features and embeddings that are saved.
        note: What cannot be known before, in sentences; empty for nothing.
    """

    memory: int
    disk: int
    note: str = ""

    def __repr__(self) -> str:
        steps = f" for {pluralize(self.steps, 'step')}" if self.steps else ""
        return f"<Estimate: about {duration(self.seconds)}{steps}>"


class Marks:
    """Moments at which a progress was called, with what was done, by what begins its text."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self.moments: list[tuple[str, int, float]] = []

    def __call__(self, what: str, done: int, _total: int, /) -> None:
        """Keep this moment."""
        self.moments.append((what, done, self._clock()))

    def named(self, start: str) -> list[float]:
        """Return the moments of texts that begin so."""
        return [moment for _, moment in self.counted(start)]

    def counted(self, start: str) -> list[tuple[int, float]]:
        """Return how much was done, and when, of texts that begin so."""
        return [(done, moment) for what, done, moment in self.moments if what.startswith(start)]


def median_gap(moments: list[float]) -> float:
    """Return the median time between moments, of which the first ends what is not timed."""
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return statistics.median(gaps) if gaps else 0.0


def epochs_of(steps: int) -> int:
    """Return how many epochs of so many steps have as many as are to run."""
    return max(1, -(-STEPS_RUN // steps))


def octets(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
class TrainingEstimate(_Phases):
    """Phases of a training, its steps and its evaluation, and bytes of its files."""

    checkpoint: int
    weights: int


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


def estimate_embedding(
    data: Data,
    *,
    probe: str | Path | Probe | None = None,
    settings: Settings | None = None,
    budget: float | str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Estimate:
    """Estimate what ``embed`` will take with the same arguments.

    When a target error would end it is not known before: the estimate is that of all images.

    Args:
        data: As for ``embed``, like all that follow.
        probe: The probe.
        settings: How to estimate the Fisher information.
        budget: Time after which no more images are added.
        device: Where it would run.
        progress: Told what is done and how much is left.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data or probe cannot be read, or a limit is out of range.
    """
    chosen = settings or FisherSettings()
    check_limits(chosen, budget, None)
    where = find_device(device)
    network = find_probe(probe, where)
    task = load_task(data, reading, progress=shown(progress))
    found = embedding_estimate(task, network, chosen, budget=budget)
    return Estimate(
        phases=found.phases, memory=peak_memory(where), disk=found.disk, note=found.note
    )


def estimate_nearest(
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    probe: str | Path | Probe | None = None,
    settings: Settings | None = None,
    budget: float | str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Estimate:
    """Estimate what ``nearest`` will take for a dataset, with the same arguments.

    Args:
        data: As for ``nearest``, like all that follow.
        registry: Where the artifacts are.
        probe: The probe.
        settings: How to estimate the Fisher information.
        budget: Time after which no more images are added.
        device: Where it would run.
        progress: Told what is done and how much is left.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data, probe or registry cannot be read, or do not fit.
    """
    chosen = settings or FisherSettings()
    check_limits(chosen, budget, None)
    catalogue = open_registry(registry).catalogue()
    where = find_device(device)
    network = probe_for(probe, catalogue, where)
    check_rankable(catalogue, embedding_space(network, chosen))
    task = load_task(data, reading, progress=shown(progress))
    found = embedding_estimate(task, network, chosen, budget=budget)
    started = time.perf_counter()
    rank_registry(catalogue, found.embedding, 1)
    ranking = PhaseEstimate(phase="ranking", seconds=time.perf_counter() - started)
    return Estimate(
        phases=(*found.phases, ranking),
        memory=peak_memory(where),
        disk=found.disk,
        note=found.note,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingEstimate:
    """Phases of an embedding, bytes of its files, and the embedding by the images so far."""

    embedding: TaskEmbedding
    phases: tuple[PhaseEstimate, ...]
    disk: int
    note: str = ""


def embedding_estimate(
    task: ImageTask, probe: Probe, settings: Settings, *, budget: float | str | None = None
) -> EmbeddingEstimate:
    """Embed a task by as many images as a few seconds allow, and say what all of them take.

    Args:
        task: The dataset.
        probe: The probe.
        settings: How to estimate the Fisher information.
        budget: Time after which no more images are added.
    """
    marks, started = Marks(), time.perf_counter()
    if isinstance(settings, VariationalSettings):
        short = replace(settings, steps=min(STEPS_RUN, settings.steps))
        embedding = embed(task, probe, short, progress=marks)
    else:
        embedding = embed(task, probe, settings, budget=SECONDS, progress=marks)
    images = len(Sample.of(task, settings.images))
    size = input_size(probe, settings)
    if not marks.counted("Fisher information"):
        phase = PhaseEstimate(phase="embedding", seconds=time.perf_counter() - started)
        return EmbeddingEstimate(embedding=embedding, phases=(phase,), disk=0, note=_IN_CACHE)
    phases = _phases(marks, started, images, settings)
    limit = check_limits(settings, budget, None).seconds
    if limit is not None and limit < sum(phase.seconds for phase in phases):
        phases = (PhaseEstimate(phase="embedding", images=images, seconds=limit),)
    saved = 2 * len(embedding.values) + images * probe.check(size)
    return EmbeddingEstimate(embedding=embedding, phases=phases, disk=_FLOAT * saved)


def _phases(
    marks: Marks, started: float, images: int, settings: Settings
) -> tuple[PhaseEstimate, ...]:
    features, fisher = marks.counted("probe's features"), marks.counted("Fisher information")
    others = [m for what, _, m in marks.moments if what.startswith(("reading", "decoding"))]
    read = others[-1] if others else started
    found = [PhaseEstimate(phase="reading", images=images, seconds=read - started)]
    so_far = images
    if features:
        each = _each(features, read)
        found.append(PhaseEstimate(phase="features", images=images, seconds=each * images))
        so_far, read = features[-1]
    if isinstance(settings, VariationalSettings):
        seconds = median_gap([moment for _, moment in fisher]) * settings.steps
        last = PhaseEstimate(phase="Fisher information", steps=settings.steps, seconds=seconds)
        return (*found, last)
    each = _each(fisher, read)
    head = max(0.0, fisher[0][1] - read - each * fisher[0][0]) * images / so_far
    return (
        *found,
        PhaseEstimate(phase="head", images=images, seconds=head),
        PhaseEstimate(phase="Fisher information", images=images, seconds=each * images),
    )


def _each(counted: list[tuple[int, float]], began: float) -> float:
    """Return the seconds of one image: without what comes before the first, if that can be."""
    (first, since), (last, until) = counted[0], counted[-1]
    if last > first:
        return (until - since) / (last - first)
    return max(0.0, until - began) / last
