"""The report of a training."""

from pathlib import Path

from wsdarts_sdk.jobs.search_report import now, pairs, phase_costs, task_row
from wsdarts_sdk.network.training import TrainingResult
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.runs.report import render_report
from wsdarts_sdk.runs.report_facts import RunReport, TrainingEpoch, TrainingFacts
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.tasks import ImageTask


def write_training_report(
    run: RunDirectory, task: ImageTask, preset: Preset, result: TrainingResult
) -> Path:
    """Write ``report.html`` of a training and return its path."""
    settings = preset.training
    report = RunReport(
        title=f"Training on {task.name}",
        summary=(
            f"The derived network was trained from scratch for {settings.epochs} epochs on "
            f"{len(task.train_indices)} images and evaluated once, at the end, on "
            f"{result.images} images that nothing had seen."
        ),
        created=now(),
        tasks=(task_row(task),),
        genotype=result.genotype,
        costs=phase_costs({"training": result.seconds}),
        training=TrainingFacts(
            accuracy=result.accuracy,
            parameters=result.parameters,
            seconds=result.seconds,
            epochs=_epochs(result),
            note="One training with one seed; another seed gives another figure.",
        ),
        settings=(("preset", preset.name), *pairs(settings_json(settings))),
        environment=pairs(run.read_json("environment.json")),
    )
    return run.write_text("report.html", render_report(report))


def _epochs(result: TrainingResult) -> tuple[TrainingEpoch, ...]:
    rows = []
    before = 0.0
    for row in result.rows:
        rows.append(
            TrainingEpoch(
                epoch=row["epoch"] + 1,
                loss=row["loss"],
                accuracy=row["accuracy"],
                learning_rate=row["learning_rate"],
                seconds=row["seconds"] - before,
            )
        )
        before = row["seconds"]
    return tuple(rows)
