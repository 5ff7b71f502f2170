"""Estimates of an embedding, and of a ranking by it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.stores.nearest_artifacts import check_rankable, rank_registry
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data import DataOptions, ImageTask
from wsdarts_sdk.devices import find_device, peak_memory
from wsdarts_sdk.pipelines.dry_runs.estimate import (
    STEPS_RUN,
    Estimate,
    Marks,
    PhaseEstimate,
    median_gap,
)
from wsdarts_sdk.pipelines.run_context import Data, find_probe, load_task, probe_for
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.task2vec import (
    FisherSettings,
    Probe,
    VariationalSettings,
    check_limits,
    embed,
    embedding_space,
)
from wsdarts_sdk.task2vec.embedding import Sample, Settings, input_size

SECONDS = 3.0
"""Time for images of an embedding; one batch of them is computed in any case."""
_FLOAT = 4
_IN_CACHE = "The embedding is in the cache already."


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
