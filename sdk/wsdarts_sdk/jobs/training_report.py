"""The report of a training."""

from pathlib import Path

from wsdarts_sdk.jobs.job import Job
from wsdarts_sdk.jobs.report_rows import epoch_seconds, now, pairs, phase_costs, task_row
from wsdarts_sdk.network.training import TrainingResult
from wsdarts_sdk.runs.report import render_report
from wsdarts_sdk.runs.report_facts import RunReport, TrainingEpoch, TrainingFacts
from wsdarts_sdk.search.settings import settings_json


def write_training_report(job: Job, result: TrainingResult) -> Path:
    """Write ``report.html`` of a training and return its path."""
    (task,), settings = job.tasks, job.preset.training
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
        costs=phase_costs(job.costs.seconds),
        training=TrainingFacts(
            accuracy=result.accuracy,
            parameters=result.parameters,
            seconds=result.seconds,
            epochs=training_epochs(result),
            note="One training with one seed; another seed gives another figure.",
        ),
        settings=(("preset", job.preset.name), *pairs(settings_json(settings))),
        environment=pairs(job.run.read_json("environment.json")),
    )
    return job.run.write_text("report.html", render_report(report))


def training_epochs(result: TrainingResult) -> tuple[TrainingEpoch, ...]:
    """What is known of each epoch of a training."""
    return tuple(
        TrainingEpoch(
            epoch=row["epoch"] + 1,
            loss=row["loss"],
            accuracy=row["accuracy"],
            learning_rate=row["learning_rate"],
            seconds=seconds,
        )
        for row, seconds in zip(result.rows, epoch_seconds(result.rows), strict=True)
    )
