"""Estimate of a warm start: its embedding, and the search from what it would start from."""

from dataclasses import replace
from pathlib import Path
from typing import Unpack

from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data import DataOptions
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.pipelines.dry_runs.embedding import EmbeddingEstimate, embedding_estimate
from wsdarts_sdk.pipelines.dry_runs.estimate import Estimate, PhaseEstimate
from wsdarts_sdk.pipelines.dry_runs.search import choice_estimate, stage_estimates
from wsdarts_sdk.pipelines.dry_runs.training import network_estimate
from wsdarts_sdk.pipelines.run_context import Data, load_task, probe_for, train_parts
from wsdarts_sdk.pipelines.starting_point_rules import Choice, Decision, Mode
from wsdarts_sdk.pipelines.starting_points import decide_by, plan_start, prepare_start
from wsdarts_sdk.pipelines.sweep import RATES
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec import FisherSettings, Probe


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
    images = embedded.embedding.images
    by = "" if embedded.note else f", by an embedding of {images} images: all may decide otherwise"
    return f"{embedded.note} {how}{by}.".strip()
