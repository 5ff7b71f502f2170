"""The report of a search or warm start, from what the run found."""

from pathlib import Path

import numpy as np

from wsdarts_registry.amounts import share
from wsdarts_registry.space import CELL_KINDS
from wsdarts_sdk.jobs.decision import Decision
from wsdarts_sdk.jobs.found import Found
from wsdarts_sdk.jobs.report_rows import epoch_seconds, now, pairs, phase_costs, task_row
from wsdarts_sdk.runs.report import render_report
from wsdarts_sdk.runs.report_facts import (
    AlphaHistory,
    ColdCost,
    DecisionFacts,
    EpochRow,
    NeighbourRow,
    RunReport,
    StageRow,
    Table,
)
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.schedule import work
from wsdarts_sdk.search.settings import SearchSettings, settings_json


def write_search_report(found: Found, cold: ColdCost | None = None) -> Path:
    """Write ``report.html`` and return its path.

    Args:
        found: What the search found.
        cold: What a cold search cost, measured or recorded, to show beside this one's.
    """
    job, result, settings = found.job, found.result, found.settings
    report = RunReport(
        title=f"{_verb(found.decision)} on {' and '.join(task.name for task in job.tasks)}",
        summary=_summary(found, measured=cold is not None),
        created=now(),
        decision=_decision(found),
        tasks=tuple(map(task_row, job.tasks)),
        stages=tuple(
            StageRow(cells=stage.cells, operations=stage.operations, epochs=stage.epochs)
            for stage in settings.stages
        ),
        epochs=search_epochs(result),
        alpha=_alpha(result, settings),
        genotype=result.genotype,
        masks=result.stage_masks[-1],
        skip_limit=settings.skip_connects,
        costs=phase_costs(job.costs.seconds),
        cold=cold,
        tables=(*_trials(found), *_steps_run(result)),
        settings=(("preset", job.preset.name), *pairs(settings_json(settings))),
        environment=pairs(job.run.read_json("environment.json")),
    )
    return job.run.write_text("report.html", render_report(report))


def _verb(decision: Decision | None) -> str:
    if decision is None:
        return "Transfer Architecture Search"
    return "Cold search" if decision.mode == "cold" else "Warm start"


def _summary(found: Found, *, measured: bool) -> str:
    decision, settings = found.decision, found.settings
    if decision is None:
        what = "λ_meta over several tasks" if len(found.job.tasks) > 1 else "λ and λ̂"
        return f"A search from cold, in {len(settings.stages)} stages, for {what}."
    if decision.mode == "cold":
        return "A cold search, of all operations."
    text = f"Started from {decision}, mode {decision.mode}."
    if measured or found.trials:
        return text
    part = share(work(settings) / work(found.job.preset.search))
    return (
        f"{text} It does {part} of the work of a cold search of this preset (cells × "
        "operations × passes, counted; no cold search was measured here)."
    )


def _decision(found: Found) -> DecisionFacts | None:
    decision, ranking = found.decision, found.ranking
    if decision is None:
        return None
    neighbours = tuple(
        NeighbourRow(
            reference=neighbour.reference,
            distance=neighbour.distance,
            task=neighbour.task_name,
            chosen=neighbour.reference in decision.sources,
        )
        for neighbour in (ranking.neighbours if ranking else ())
    )
    return DecisionFacts(
        mode=decision.mode,
        sources=decision.sources,
        why=decision.why,
        neighbours=neighbours,
        threshold=ranking.threshold if ranking else None,
        near=ranking.near if ranking else None,
        probe=str(found.embeddings[0].space) if found.embeddings else None,
    )


def search_epochs(result: SearchResult) -> tuple[EpochRow, ...]:
    """What is known of each epoch of a search."""
    return tuple(
        EpochRow(
            stage=row["stage"] + 1,
            epoch=row["epoch"] + 1,
            weights_loss=row["weights_loss"],
            weights_accuracy=row["weights_accuracy"],
            alpha_loss=row["alpha_loss"],
            alpha_accuracy=row["alpha_accuracy"],
            learning_rate=row["learning_rate"],
            skip_dropout=row["skip_dropout"],
            seconds=seconds,
            peak_memory=row["peak_memory"],
            needed_memory=row["needed_memory"],
            skip_connects=row["skip_connects"],
        )
        for row, seconds in zip(result.rows, epoch_seconds(result.rows), strict=True)
    )


def _alpha(result: SearchResult, settings: SearchSettings) -> AlphaHistory:
    cells = {
        kind: np.array([row["probabilities"][kind] for row in result.rows], dtype=np.float64)
        for kind in CELL_KINDS
    }
    return AlphaHistory(space=settings.space, normal=cells["normal"], reduction=cells["reduction"])


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
    return (
        Table(
            title="Sweep over skip-connect dropout",
            header=("dropout", "accuracy on the α half", "skip-connects", "cost"),
            rows=rows,
            note=(
                "Best first. Each genotype was trained briefly on the weights half and ranked on "
                "the α half; the validation third took no part."
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
