"""TAS from cold: on one task λ and λ̂, on several λ_meta."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.masks import OperationMasks
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.jobs.costs import Costs
from wsdarts_sdk.jobs.finishing import Found, finish_search
from wsdarts_sdk.jobs.inputs import Data, load_tasks, run_path, train_parts
from wsdarts_sdk.presets import Preset, find_preset, seeded
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.directory import RunDirectory, open_run
from wsdarts_sdk.runs.environment import environment
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings, settings_json
from wsdarts_sdk.task2vec import Probe, embed, embedding_seconds, load_probe
from wsdarts_sdk.tasks import ImageTask


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """A finished TAS run.

    Attributes:
        path: The run directory.
        tasks: What was searched on.
        settings: With which settings.
        masks: The transfer architecture λ (λ_meta for several tasks).
        genotype: What λ̂'s α discretises to.
        result: Everything that the search found.
        artifact: Directory of the artifact that ``push`` publishes.
        report: The report, one HTML file.
        seconds: Wall time by phase.
    """

    path: Path
    tasks: tuple[ImageTask, ...]
    settings: SearchSettings
    masks: OperationMasks
    genotype: Genotype
    result: SearchResult
    artifact: Path
    report: Path
    seconds: dict[str, float]


def search(
    *data: Data,
    out: str | Path | None = None,
    preset: str | Preset = "small",
    seed: int | None = None,
    probes: Sequence[str | Path | Probe | None] = (None,),
    resume: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SearchRun:
    """Search from cold and write a run directory with its artifact and report.

    Args:
        data: One dataset (λ), or several (λ_meta): folder of class folders, parquet file,
            ``"hf:NAME"``, ``"torchvision:NAME"``, ``(images, labels)`` or an ``ImageTask``.
        out: The run directory; the first free ``runs/search-NAME-N`` by default.
        preset: ``"paper"``, ``"small"``, ``"tiny"`` or a :class:`Preset` of your own.
        seed: Seed of everything random; the preset's by default.
        probes: Probes that embed the tasks for the artifact; None is the shipped one.
        resume: Go on with the run in ``out``, or begin if there is none.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        options: For :meth:`ImageTask.load`: ``image_column``, ``skip_corrupt``, …

    Raises:
        WsdartsError: Data, settings or run directory do not fit; each says what to do.
    """
    chosen = find_preset(preset)
    chosen = chosen if seed is None else seeded(chosen, seed)
    where = find_device(device)
    progress = shown(progress)
    tasks = load_tasks(data, progress=progress, **options)
    loaded = [p if isinstance(p, Probe) else load_probe(p, device=str(where)) for p in probes]
    config = {
        "command": "search",
        "tasks": [task.digest for task in tasks],
        "preset": chosen.name,
        "search": settings_json(chosen.search),
    }
    with open_run(run_path(out, "search", tasks[0].name), config, resume=resume) as run:
        run.write_json("environment.json", environment(where))
        found = _search(run, tasks, chosen, loaded, where, progress)
        artifact, report = finish_search(run, found)
    return SearchRun(
        path=run.path,
        tasks=tuple(tasks),
        settings=chosen.search,
        masks=found.result.stage_masks[-1],
        genotype=found.result.genotype,
        result=found.result,
        artifact=artifact,
        report=report,
        seconds=found.costs.seconds,
    )


def _search(
    run: RunDirectory,
    tasks: list[ImageTask],
    preset: Preset,
    probes: list[Probe],
    device: torch.device,
    progress: Progress,
) -> Found:
    costs = Costs(run)
    embeddings: list[TaskEmbedding] = []
    with costs.phase("embedding", known=lambda: _embedding_cost(tasks, probes)):
        for probe in probes:
            embeddings += [embed(task, probe, progress=progress) for task in tasks]
    with costs.phase("loading"):
        parts = train_parts(tasks, preset.search, device, progress)
    result = loop.search(
        parts, preset.search, journal=run.journal("search"), progress=progress, device=device
    )
    costs.record("search", sum(result.seconds))
    return Found(
        tasks=tuple(tasks),
        preset=preset.name,
        settings=preset.search,
        result=result,
        embeddings=tuple(embeddings),
        costs=costs,
        device=device,
    )


def _embedding_cost(tasks: list[ImageTask], probes: list[Probe]) -> float | None:
    """What all embeddings cost when they were computed; None where one of them is unknown."""
    seconds = [embedding_seconds(task, probe) for probe in probes for task in tasks]
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None
