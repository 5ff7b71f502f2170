"""Results of a finished search in its run directory: genotype, drawing, artifact, report."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdarts_registry._files import exists
from wsdarts_registry._format import percent
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.drawing.cells import genotype_svg
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.errors import RunError
from wsdarts_sdk.artifacts.building import Origin, build_artifact
from wsdarts_sdk.data import Part
from wsdarts_sdk.pipelines.decision import Decision
from wsdarts_sdk.pipelines.job import Job
from wsdarts_sdk.pipelines.sweep import Trial
from wsdarts_sdk.reports.facts import (
    ColdCost,
    Command,
    DecisionFacts,
    RunReport,
    StageRow,
    Table,
)
from wsdarts_sdk.reports.rows import (
    TITLES,
    alpha_history,
    asked,
    created,
    held_out_words,
    pairs,
    phase_costs,
    search_epochs,
    task_row,
    title,
)
from wsdarts_sdk.reports.storage import read_report, save_report
from wsdarts_sdk.runs.files import (
    ARTIFACT_FOLDER,
    CELLS_FILE,
    ENVIRONMENT_FILE,
    GENOTYPE_FILE,
    REPORT_FILE,
    RESULT_FILE,
)
from wsdarts_sdk.runs.records import neighbour_rows
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings, settings_json


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished search with everything that its artifact and its report say.

    Attributes:
        job: The job that searched; its run may be closed since.
        settings: Settings of the search; those of a warm start are a part of the preset's.
        result: What it found.
        embeddings: One for each task and probe.
        decision: What a warm start started from, and why; None for a plain search.
        ranking: The nearest artifacts, where they were ranked.
        trials: The sweep's trials, best first.
        origin: For the artifact's lineage.
    """

    job: Job
    settings: SearchSettings
    result: SearchResult
    embeddings: tuple[TaskEmbedding, ...]
    decision: Decision | None = None
    ranking: Ranking | None = None
    trials: tuple[Trial, ...] = ()
    origin: Origin | None = None


def write_search_report(found: Found, cold: ColdCost | None = None) -> Path:
    """Write ``report.html``, and ``report.json``, of which it is made; return the page's path.

    Args:
        found: What the search found.
        cold: What a cold search cost, measured or recorded, to show beside this one's.
    """
    job, result, settings = found.job, found.result, found.settings
    command: Command = "search" if found.decision is None else "warm-start"
    environment = job.run.read_json(ENVIRONMENT_FILE)
    preset = settings_json(job.preset.search)
    report = RunReport(
        title=title(_verb(found.decision), job.tasks),
        summary=_search_summary(found, measured=cold is not None),
        created=created(),
        asked=asked(command, job.preset, preset, environment),
        decision=_decision(found),
        tasks=tuple(map(task_row, job.tasks)),
        stages=tuple(
            StageRow(cells=stage.cells, operations=stage.operations, epochs=stage.epochs)
            for stage in settings.stages
        ),
        epochs=search_epochs(result.rows),
        alpha=alpha_history(result.rows, settings.space),
        genotype=result.genotype,
        masks=result.stage_masks[-1],
        skip_limit=settings.skip_connects,
        final_parameters=_final_parameters(job.run.path / ARTIFACT_FOLDER),
        costs=phase_costs(job.costs.seconds, job.costs.cached),
        cold=cold,
        tables=(*_trials(found), *_steps_run(result)),
        settings=(("preset", job.preset.name), *pairs(settings_json(settings))),
        environment=pairs(environment),
    )
    return save_report(job.run, report)


def _final_parameters(artifact: Path) -> int | None:
    """What the artifact says of the size of the network that is trained in the end."""
    size = read_manifest(artifact)[0].metrics.get("final_parameters")
    return None if size is None else int(size)


def _verb(decision: Decision | None) -> str:
    if decision is None:
        return TITLES["search"]
    return "Cold search" if decision.mode == "cold" else TITLES["warm-start"]


def _search_summary(found: Found, *, measured: bool) -> str:
    decision, settings = found.decision, found.settings
    if decision is None:
        what = "λ_meta over several tasks" if len(found.job.tasks) > 1 else "λ and λ̂"
        return f"A search from cold, in {len(settings.stages)} stages, for {what}."
    if decision.mode == "cold":
        return "A cold search, of all operations."
    text = f"Started from {decision}, mode {decision.mode}."
    if measured or found.trials:
        return text
    part = percent(settings.work() / found.job.preset.search.work())
    return (
        f"{text} It does {part} of the work of a cold search of this preset (cells × "
        "operations × passes, counted; no cold search was measured here)."
    )


def _decision(found: Found) -> DecisionFacts | None:
    decision, ranking = found.decision, found.ranking
    if decision is None:
        return None
    earlier = _shown_before(found) if ranking is None else None
    if earlier is not None:
        return earlier
    return DecisionFacts(
        mode=decision.mode,
        sources=decision.sources,
        why=decision.why,
        neighbours=neighbour_rows(ranking, decision.sources),
        threshold=ranking.threshold if ranking else None,
        near=ranking.near if ranking else None,
        probe=str(found.embeddings[0].space) if found.embeddings else None,
    )


def _shown_before(found: Found) -> DecisionFacts | None:
    """What a finished report says of the same decision: earlier versions kept no ranking."""
    file = found.job.run.path / REPORT_FILE
    if found.decision is None or not exists(file):
        return None
    with suppress(RunError):
        shown = read_report(file).decision
        if shown and (shown.why, shown.sources) == (found.decision.why, found.decision.sources):
            return shown
    return None


def _trials(found: Found) -> tuple[Table, ...]:
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
    held_out = found.job.tasks[0].held_out
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
                f"the {ranked}; the {held_out_words(found.job.tasks[0])} took no part."
            ),
        ),
    )


def _steps_run(result: SearchResult) -> tuple[Table, ...]:
    """How the steps of each stage ran, where there was a choice."""
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


def finish_search(found: Found) -> tuple[Path, Path]:
    """Write what a search found into its run directory; again does no harm.

    Returns:
        The artifact's directory and the report's path.
    """
    job, result = found.job, found.result
    result.genotype.save(job.run.path / GENOTYPE_FILE)
    job.run.write_text(CELLS_FILE, genotype_svg(result.genotype))
    artifact = job.run.path / ARTIFACT_FOLDER
    if not _is_current(artifact, found):
        shutil.rmtree(artifact, ignore_errors=True)
        build_artifact(
            artifact,
            tasks=job.tasks,
            settings=found.settings,
            preset=job.preset.name,
            result=result,
            embeddings=found.embeddings,
            seconds=job.costs.search_seconds,
            device=job.device,
            origin=found.origin,
        )
    job.costs.finish()
    digest = read_manifest(artifact)[1]
    job.run.write_json(RESULT_FILE, {**_summary(found), "artifact": digest})
    return artifact, write_search_report(found)


def _summary(found: Found) -> dict[str, Any]:
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
        "seconds": found.job.costs.seconds,
        "cached": found.job.costs.cached,
    }


def _is_current(artifact: Path, found: Found) -> bool:
    """Whether the artifact is there already, with embeddings by the same probes."""
    if not exists(artifact):
        return False
    manifest, _ = read_manifest(artifact)
    there = {record.space.embedding_space for record in manifest.embeddings}
    return there == {embedding.space for embedding in found.embeddings}
