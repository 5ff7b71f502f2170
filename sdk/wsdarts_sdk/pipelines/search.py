"""Cold searches, λ and λ̂ on one task, λ_meta on several; and the results of any search.

A warm start writes the same files: genotype, drawing, artifact, report.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch

from wsdarts_registry._files import exists
from wsdarts_registry._format import duration, percent
from wsdarts_registry._text import sanitize, sanitize_spaced
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.drawing.cells import genotype_svg
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.artifacts.building import Origin, build_artifact
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import joined_ranks
from wsdarts_sdk.pipelines._sweep import Trial
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
from wsdarts_sdk.pipelines.starting_point_rules import Decision
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, session_began, shown
from wsdarts_sdk.reports.facts import (
    ColdCost,
    DecisionFacts,
    StageRow,
    Table,
)
from wsdarts_sdk.reports.rows import (
    TITLES,
    alpha_history,
    held_out_words,
    roll_back_warnings,
    search_epochs,
)
from wsdarts_sdk.runs.callbacks import Callback, Callbacks
from wsdarts_sdk.runs.directory import (
    ARTIFACT_FOLDER,
    CELLS_FILE,
    GENOTYPE_FILE,
    RESULT_FILE,
    SEARCH_JOURNAL,
)
from wsdarts_sdk.runs.records import neighbour_rows
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings, settings_json
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.embedding import embed, embedding_seconds, embedding_space
from wsdarts_sdk.task2vec.probe import Probe


@dataclass(frozen=True, kw_only=True)
class FinishedSearch:
    """A finished search with all facts for its artifact and its report.

    Attributes:
        context: The pipeline that searched; its run may be closed since.
        settings: Settings of the search; those of a warm start are a part of the preset's.
        result: What it found.
        embeddings: One for each task and probe.
        decision: What a warm start started from, and why; None for a plain search.
        trials: The sweep's trials, best first.
        origin: For the artifact's lineage.
        choice: How the genotype was chosen; None where α alone decided.
    """

    context: RunContext
    settings: SearchSettings
    result: SearchResult
    embeddings: tuple[TaskEmbedding, ...]
    decision: Decision | None = None
    trials: tuple[Trial, ...] = ()
    origin: Origin | None = None
    choice: GenotypeChoice | None = None

    @property
    def ranking(self) -> Ranking | None:
        """The nearest artifacts, where they were ranked."""
        return self.decision.ranking if self.decision else None


@dataclass(frozen=True, kw_only=True)
class SearchRun(Viewable):
    """A finished TAS run.

    Attributes:
        path: The run directory.
        tasks: What was searched on.
        settings: With which settings.
        masks: The transfer architecture λ (λ_meta for several tasks).
        genotype: What λ̂'s α discretises to, or what was chosen instead.
        result: Everything that the search found.
        artifact: Directory of the artifact that ``push`` publishes.
        report: The report, one HTML file.
        seconds: Wall time by phase, with the rest as ``other``: together the clock's total.
        cached: What computing had cost what came from a cache, by phase; no part of ``seconds``.
        choice: How the genotype was chosen; None where α alone decided.
        devices: How many processes searched together, each on a device of its own.
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
    cached: dict[str, float] = field(default_factory=dict)
    choice: GenotypeChoice | None = None
    devices: int = 1

    def __repr__(self) -> str:
        names = ", ".join(sanitize(task.name, 80) for task in self.tasks)
        took = duration(sum(self.seconds.values()))
        return f"<SearchRun on {names}, {took}, in {sanitize_spaced(str(self.path))}>"


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


def write_search_report(found: FinishedSearch, cold: ColdCost | None = None) -> Path:
    """Write ``report.html``, and ``report.json``, of which it is made; return the page's path.

    Args:
        found: What the search found.
        cold: What a cold search cost, measured or recorded, to show beside this one's.
    """
    result, settings = found.result, found.settings
    return found.context.report(
        _heading(found.decision),
        settings,
        summary=_search_summary(found, measured=cold is not None),
        decision=_decision(found),
        stages=tuple(
            StageRow(cells=stage.cells, operations=stage.operations, epochs=stage.epochs)
            for stage in settings.stages
        ),
        warnings=roll_back_warnings(result.rows, "search"),
        epochs=search_epochs(result.rows),
        alpha=alpha_history(result.rows, settings.space),
        genotype=result.genotype,
        masks=result.stage_masks[-1],
        skip_limit=settings.skip_connects,
        final_parameters=_final_parameters(found.context.run.path / ARTIFACT_FOLDER),
        cold=cold,
        choice=found.choice,
        tables=(*_trials(found), *_steps_run(result)),
    )


def _final_parameters(artifact: Path) -> int | None:
    """Return the parameters of the final network, as the artifact records them."""
    size = read_manifest(artifact)[0].metrics.get("final_parameters")
    return None if size is None else int(size)


def _heading(decision: Decision | None) -> str:
    if decision is None:
        return TITLES["search"]
    return "Cold search" if decision.mode == "cold" else TITLES["warm-start"]


def _search_summary(found: FinishedSearch, *, measured: bool) -> str:
    decision, settings = found.decision, found.settings
    if decision is None:
        what = "λ_meta over several tasks" if len(found.context.tasks) > 1 else "λ and λ̂"
        return f"A search from cold, in {len(settings.stages)} stages, for {what}."
    if decision.mode == "cold":
        return "A cold search, of all operations."
    text = f"Started from {decision}, mode {decision.mode}."
    if measured or found.trials:
        return text
    part = percent(settings.work() / found.context.preset.search.work())
    return (
        f"{text} It does {part} of the work of a cold search of this preset (cells × "
        "operations × passes, counted; no cold search was measured here)."
    )


def _decision(found: FinishedSearch) -> DecisionFacts | None:
    decision, ranking = found.decision, found.ranking
    if decision is None:
        return None
    return DecisionFacts(
        mode=decision.mode,
        sources=decision.sources,
        why=decision.why,
        neighbours=neighbour_rows(ranking, decision.sources),
        threshold=ranking.threshold if ranking else None,
        near=ranking.near if ranking else None,
        probe=str(found.embeddings[0].space) if found.embeddings else None,
    )


def _trials(found: FinishedSearch) -> tuple[Table, ...]:
    if not found.trials:
        return ()
    rows = tuple(
        (
            f"{trial.rate:g}",
            f"{trial.accuracy:.4f}",
            str(trial.genotype.count("skip_connect")),
            f"{trial.seconds:.0f} s",
        )
        for trial in found.trials
    )
    held_out = found.context.tasks[0].held_out
    trained, ranked = ("weights half", "α half")
    if held_out is Part.TEST:
        trained, ranked = ("train part", "validation part")
    return (
        Table(
            title="Sweep over skip-connect dropout",
            header=("dropout", f"accuracy on the {ranked}", "skip-connects", "cost"),
            rows=rows,
            note=(
                f"Best first. Each genotype was trained briefly on the {trained} and ranked on "
                f"the {ranked}; the {held_out_words(found.context.tasks[0])} took no part."
                + _shared_by(found.trials)
            ),
        ),
    )


def _shared_by(trials: tuple[Trial, ...]) -> str:
    """Return how many workers ran the trials, where they were several."""
    workers = len({trial.worker for trial in trials})
    if workers == 1:
        return ""
    return f" {workers} workers shared the trials; the costs of this run are those of one of them."


def _steps_run(result: SearchResult) -> tuple[Table, ...]:
    """Return a table of how the steps of each stage ran, where there was a choice."""
    rows = tuple(
        (str(stage + 1), half, row["compute_dtype"], how)
        for stage, row in {row["stage"]: row for row in result.rows}.items()
        for half, how in row["steps_run"].items()
    )
    if not rows:
        return ()
    return (
        Table(
            title="How steps ran",
            header=("stage", "half of a step", "computed in", "how, and what was measured"),
            rows=rows,
            note="A few steps of each kind were timed when a stage began, and the faster chosen.",
        ),
    )


def write_results(found: FinishedSearch) -> tuple[Path, Path]:
    """Write the results of a search into its run directory; idempotent.

    Returns:
        The artifact's directory and the report's path.
    """
    context, result = found.context, found.result
    result.genotype.save(context.run.path / GENOTYPE_FILE)
    context.run.write_text(CELLS_FILE, genotype_svg(result.genotype))
    artifact = context.run.path / ARTIFACT_FOLDER
    if not _is_current(artifact, found):
        shutil.rmtree(artifact, ignore_errors=True)
        build_artifact(
            artifact,
            tasks=context.tasks,
            settings=found.settings,
            preset=context.preset.name,
            result=result,
            embeddings=found.embeddings,
            seconds=_search_seconds(found),
            device=context.device,
            origin=found.origin,
            choice=found.choice,
            choice_config=context.preset.choice_json(),
        )
    context.costs.finish()
    digest = read_manifest(artifact)[1]
    context.run.write_json(RESULT_FILE, {**_summary(found), "artifact": digest})
    return artifact, write_search_report(found)


def _search_seconds(found: FinishedSearch) -> float:
    """Return the seconds of the search, by all workers of a sweep, and of the choice."""
    costs = found.context.costs
    if not found.trials:
        return costs.search_seconds
    return sum(trial.seconds for trial in found.trials) + costs.seconds.get("choice", 0.0)


def _summary(found: FinishedSearch) -> dict[str, Any]:
    return {
        "genotype": found.result.genotype.to_darts(),
        "source": found.result.source,
        "decision": found.decision.to_json() if found.decision else None,
        "neighbours": [
            {"reference": n.reference, "distance": n.distance, "kind": n.kind}
            for n in (found.ranking.neighbours if found.ranking else ())
        ],
        "nearness": found.ranking.why if found.ranking else None,
        "trials": [
            {"skip_dropout": t.rate, "accuracy": t.accuracy, "seconds": t.seconds}
            for t in found.trials
        ],
        "choice": found.choice.to_json() if found.choice else None,
        "seconds": found.context.costs.seconds,
        "cached": found.context.costs.cached,
    }


def _is_current(artifact: Path, found: FinishedSearch) -> bool:
    """Return whether the artifact is there already, of this choice, with these embeddings."""
    if not exists(artifact):
        return False
    manifest, _ = read_manifest(artifact)
    if manifest.config.get("choice") != found.context.preset.choice_json().get("choice"):
        return False
    there = {record.space.embedding_space for record in manifest.embeddings}
    return there == {embedding.space for embedding in found.embeddings}
