"""Cold searches: λ and λ̂ on one task, λ_meta on several."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import joined_ranks
from wsdarts_sdk.pipelines.genotype_choice import check_limits, choice_may_change, choose_by_first
from wsdarts_sdk.pipelines.run_context import (
    Data,
    RunContext,
    check_context,
    check_data,
    checks_keywords,
    find_probe,
    load_tasks,
    open_context,
    train_parts,
)
from wsdarts_sdk.pipelines.search_results import FinishedSearch, SearchRun, write_results
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, session_began, shown
from wsdarts_sdk.runs.callbacks import Callback, Callbacks
from wsdarts_sdk.runs.directory import SEARCH_JOURNAL
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.embedding import embed, embedding_seconds, embedding_space
from wsdarts_sdk.task2vec.probe import Probe


@checks_keywords("search", settings=("search", "choice"))
def search(
    *data: Data,
    out: str | Path | None = None,
    preset: str | Preset = "small",
    seed: int | None = None,
    probes: Sequence[str | Path | Probe | None] = (None,),
    resume: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    **reading: Unpack[DataOptions],
) -> SearchRun:
    """Search from cold and write a run directory with its artifact and report.

    Args:
        data: One dataset (λ), or several (λ_meta): folder of class folders, parquet file,
            ``"hf:NAME"``, ``"torchvision:NAME"``, ``(images, labels)`` or an ``ImageTask``.
        out: The run directory; the first free ``runs/search-NAME-N`` by default.
        preset: ``"paper"``, ``"small"``, ``"tiny"`` or a ``Preset`` of your own.
        seed: Seed of everything random; the preset's by default.
        probes: Probes that embed the tasks for the artifact; None is the shipped one.
        resume: Go on with the run in ``out``, or begin if there is none.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one. Of several processes
            that ``torchrun`` started, each takes the GPU of its number.
        progress: Told what is done and how much is left; lines on stderr by default.
        callbacks: Told when it begins, what each epoch measured, and the result; see ``Callback``.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data, settings or run directory do not fit; each says what to do.
    """
    told = Callbacks.of(callbacks)
    began = session_began()
    with joined_ranks(device) as (ranks, where):
        chosen = find_preset(preset, seed=seed)
        check_kernels(where)
        check_data(data)
        config = {"search": settings_json(chosen.search), **chosen.choice_json()}

        def check() -> None:
            check_context(
                "search",
                data,
                chosen,
                out=out,
                resume=resume,
                may_change=choice_may_change,
                **config,
            )

        ranks.alone(check)
        networks = _find_probes(probes, where) if ranks.is_first else ()
        progress = ranks.shown_by_first(shown(progress))
        tasks = ranks.in_turn(lambda: load_tasks(data, reading, progress=progress))
        with open_context(
            "search",
            tasks,
            chosen,
            out=out,
            resume=resume,
            device=where,
            progress=progress,
            began=began,
            callbacks=told,
            may_change=choice_may_change,
            ranks=ranks,
            **config,
        ) as context:
            run = _run(context, networks)
        if ranks.is_first:
            told.end(run)
    return run


def _find_probes(
    probes: Sequence[str | Path | Probe | None], device: torch.device
) -> tuple[Probe, ...]:
    """Return the probes, each once.

    Raises:
        ProbeError: There is none of that name, or one is named twice.
    """
    networks = tuple(find_probe(probe, device) for probe in probes)
    spaces = [embedding_space(network) for network in networks]
    for place, space in enumerate(spaces):
        if space in spaces[:place]:
            raise ProbeError(f"the probe {space} is named twice", hint="name each probe once")
    return networks


def _run(context: RunContext, probes: Sequence[Probe]) -> SearchRun:
    """Search, and write the results."""
    ranks = context.ranks
    found = _search(context, probes)
    artifact, report = ranks.alone(lambda: write_results(found))
    seconds, cached = ranks.from_first((context.costs.seconds, context.costs.cached))
    return SearchRun(
        path=context.run.path,
        tasks=context.tasks,
        settings=context.preset.search,
        masks=found.result.stage_masks[-1],
        genotype=found.result.genotype,
        result=found.result,
        artifact=artifact,
        report=report,
        seconds=seconds,
        cached=cached,
        choice=found.choice,
        devices=ranks.size,
    )


def _search(context: RunContext, probes: Sequence[Probe]) -> FinishedSearch:
    settings, ranks = context.preset.search, context.ranks
    check_limits(context.tasks, context.preset, OperationMasks.full(settings.space))
    embeddings = ranks.alone(lambda: _embeddings(context, probes))
    with context.costs.phase("loading"):
        parts = ranks.in_turn(
            lambda: train_parts(context.tasks, settings, context.device, context.progress)
        )
    result = loop.search(
        parts,
        settings,
        journal=context.journal(SEARCH_JOURNAL),
        progress=context.progress,
        device=context.device,
        ranks=ranks,
    )
    context.costs.record("search", sum(result.seconds))
    result, choice = choose_by_first(context, result, settings)
    return FinishedSearch(
        context=context,
        settings=settings,
        result=result,
        embeddings=embeddings,
        choice=choice,
    )


def _embeddings(context: RunContext, probes: Sequence[Probe]) -> tuple[TaskEmbedding, ...]:
    """Return the embeddings of all tasks by all probes."""
    with context.costs.phase("embedding", known=lambda: _embedding_cost(context.tasks, probes)):
        return tuple(
            embed(task, probe, progress=context.progress)
            for probe in probes
            for task in context.tasks
        )


def _embedding_cost(tasks: Sequence[ImageTask], probes: Sequence[Probe]) -> float | None:
    """Return the cost of the embeddings that the cache has, in seconds; None where it has none."""
    seconds = [embedding_seconds(task, probe) for probe in probes for task in tasks]
    known = [each for each in seconds if each is not None]
    return sum(known) if known else None
