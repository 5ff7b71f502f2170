"""Estimates of a search, of the choice of a genotype after it, and of a warm start."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from wsdarts_registry._format import pluralize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.pipelines._sweep import RATES
from wsdarts_sdk.pipelines.dry_runs import (
    STEPS_RUN,
    EmbeddingEstimate,
    Estimate,
    Marks,
    PhaseEstimate,
    embedding_estimate,
    epochs_of,
    median_gap,
    network_estimate,
    octets,
)
from wsdarts_sdk.pipelines.genotype_choice import candidate_training, training_lengths
from wsdarts_sdk.pipelines.run_context import Data, load_task, load_tasks, probe_for, train_parts
from wsdarts_sdk.pipelines.starting_point_rules import Choice, Decision, Mode
from wsdarts_sdk.pipelines.starting_points import decide_by, plan_start, prepare_start
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.checkpoints import MemoryJournal
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.probe import Probe


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
    found = stage_estimates(parts, settings, told)
    phases = (*found.phases, *choice_estimate(tasks, found.genotype, chosen, where))
    return Estimate(phases=phases, memory=peak_memory(where), disk=found.disk)


def choice_estimate(
    tasks: Sequence[ImageTask], genotype: Genotype, preset: Preset, device: torch.device
) -> tuple[PhaseEstimate, ...]:
    """Time steps of a candidate; return the estimate of all trainings of a choice, if there is one.

    Args:
        tasks: What is searched on; of several no genotype is chosen so.
        genotype: The cells of the candidate.
        preset: Whose settings to use.
        device: Where it would run.
    """
    if not preset.choice.trains or len(tasks) > 1:
        return ()
    settings = candidate_training(tasks[0], preset, preset.search)
    each = settings.steps_per_epoch or 1
    short = min(STEPS_RUN, each)
    short_settings = replace(
        settings, weights="random", epochs=epochs_of(short), steps_per_epoch=short
    )
    marks = Marks()
    train_network(genotype, tasks[0], short_settings, selection=True, progress=marks, device=device)
    ended, steps = time.perf_counter(), marks.named("training")
    lengths = training_lengths(preset.choice, preset.choice.candidates)
    total = sum(lengths) * settings.epochs * each
    seconds = total * median_gap(steps) + len(lengths) * (ended - steps[-1])
    return (PhaseEstimate(phase="choice", steps=total, seconds=seconds),)


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """Phases of a search, one for each stage, bytes of its files, and a genotype of its space."""

    phases: tuple[PhaseEstimate, ...]
    disk: int
    genotype: Genotype


def stage_estimates(
    parts: list[TrainPart],
    settings: SearchSettings,
    progress: Progress,
    *,
    start: StartingPoint | None = None,
) -> StageEstimate:
    """Run a few steps of each stage of a search.

    Args:
        parts: The train part of each task.
        settings: The search.
        progress: Told which stage is timed.
        start: What its first stage starts from; all operations by default.
    """
    found = []
    for number, stage in enumerate(settings.stages, start=1):
        progress(f"timing steps of stage {number}", number - 1, len(settings.stages))
        first = start if number == 1 else None
        found.append(_stage(parts, settings, number, stage, first or _drawn(settings, stage)))
    return StageEstimate(
        phases=tuple(phase for stage in found for phase in stage.phases),
        disk=max(stage.disk for stage in found),
        genotype=found[-1].genotype,
    )


def _drawn(settings: SearchSettings, stage: StageSettings) -> StartingPoint:
    """Return masks as narrow as a stage's, drawn at random."""
    masks = OperationMasks.full(settings.space)
    if stage.operations < masks.widest:
        draws = np.random.default_rng(settings.seed)
        normal, reduction = (draws.random(settings.space.shape) for _ in range(2))
        masks = masks.keep_strongest(normal, reduction, stage.operations)
    return StartingPoint(masks=masks)


def _stage(
    parts: list[TrainPart],
    settings: SearchSettings,
    number: int,
    stage: StageSettings,
    start: StartingPoint,
) -> StageEstimate:
    """Time steps of both kinds in one stage."""
    epoch = sum(part.steps(settings.steps_per_epoch) for part in parts)
    seconds = 0.0
    for alone, epochs in (
        (1, stage.weights_only_epochs),
        (0, stage.epochs - stage.weights_only_epochs),
    ):
        if not epochs:
            continue
        some = epochs_of(min(STEPS_RUN, epoch))
        one = replace(stage, epochs=some, weights_only_epochs=alone * some, trained_epochs=None)
        short = replace(settings, stages=(one,), steps_per_epoch=STEPS_RUN, stable_epochs=None)
        marks, journal = Marks(), MemoryJournal()
        result = search(
            parts,
            short,
            start=start,
            journal=journal,
            progress=marks,
            device=parts[0].weights.labels.device,
        )
        seconds += epochs * epoch * median_gap(marks.named("stage 1/1, epoch"))
        checkpoint = journal.restore()
    phase = PhaseEstimate(phase=f"stage {number}", steps=stage.epochs * epoch, seconds=seconds)
    saved = octets(checkpoint.tensors.values() if checkpoint else ())
    disk = saved + octets(result.weights.values())
    return StageEstimate(phases=(phase,), disk=disk, genotype=result.genotype)


def estimate_warm_start(
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    source: str | None = None,
    mode: Mode = "auto",
    preset: str | Preset = "small",
    probe: str | Path | Probe | None = None,
    k: int = 5,
    sweep_skip_dropout: bool = False,
    require_signature: Required = None,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Estimate:
    """Estimate what ``warm_start`` will take with the same arguments.

    What it would start from is decided by an embedding of a few images, which all of them may
    change; the note says what that was.

    Args:
        data: As for ``warm_start``, like all that follow.
        registry: Where the artifacts are.
        source: Reference of the artifact to start from.
        mode: What to take over.
        preset: Whose settings to use.
        probe: The probe.
        k: How many of the nearest to join in mode ``union``.
        sweep_skip_dropout: Whether to search with several skip-connect dropouts.
        require_signature: Whose signature the source needs.
        device: Where it would run.
        progress: Told what is done and how much is left.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data, settings or registry do not fit.
    """
    store = open_registry(registry, require_signature=require_signature)
    if source is not None:
        store, source = open_for(source, registry, require_signature=require_signature)
    chosen = find_preset(preset)
    where = find_device(device)
    check_kernels(where)
    catalogue = store.catalogue()
    network = probe_for(probe, catalogue, where)
    choice = Choice(source=source, mode=mode, k=k)
    plan = plan_start(store, catalogue, choice, chosen.search, probe=network, recorded=None)
    told = shown(progress)
    task = load_task(data, reading, progress=told)
    embedded = embedding_estimate(task, network, FisherSettings())
    decision = decide_by(plan, embedded.embedding)
    start = prepare_start(plan, decision, told)
    parts = train_parts([task], start.settings, where, told)
    found = stage_estimates(parts, start.settings, told, start=start.point)
    phases, disk = found.phases, found.disk
    if sweep_skip_dropout:
        short = network_estimate(found.genotype, task, chosen.selection, where, selection=True)
        disk = len(RATES) * (disk + short.checkpoint)
        selection = PhaseEstimate(phase="selection", steps=short.steps, seconds=short.seconds)
        phases = tuple(_repeated(phase, len(RATES)) for phase in (*phases, selection))
    phases += choice_estimate([task], found.genotype, chosen, where)
    return Estimate(
        phases=(*embedded.phases, *phases),
        memory=peak_memory(where),
        disk=embedded.disk + disk,
        note=_note(embedded, decision),
    )


def _repeated(phase: PhaseEstimate, times: int) -> PhaseEstimate:
    return replace(phase, steps=times * phase.steps, seconds=times * phase.seconds)


def _note(embedded: EmbeddingEstimate, decision: Decision) -> str:
    how = f"It would start from {decision}, mode {decision.mode}"
    if decision.mode == "cold":
        how = "It would be a cold search"
    images = pluralize(embedded.embedding.images, "image")
    by = "" if embedded.note else f", by an embedding of {images}: all may decide otherwise"
    return f"{embedded.note} {how}{by}.".strip()
