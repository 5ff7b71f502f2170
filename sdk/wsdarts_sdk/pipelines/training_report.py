"""The report of a training."""

from pathlib import Path

from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.pipelines.job import Job
from wsdarts_sdk.reports.facts import RunReport, TrainingFacts
from wsdarts_sdk.reports.rows import (
    TITLES,
    asked,
    held_out_words,
    now,
    pairs,
    phase_costs,
    task_row,
    title,
    training_epochs,
)
from wsdarts_sdk.reports.storage import save_report
from wsdarts_sdk.search.settings import settings_json


def write_training_report(job: Job, result: TrainingResult) -> Path:
    """Write ``report.json`` and ``report.html`` of a training; return the page's path."""
    (task,), settings = job.tasks, job.preset.training
    environment = job.run.read_json("environment.json")
    report = RunReport(
        title=title(TITLES["train"], job.tasks),
        summary=(
            f"The derived network was trained from scratch for {settings.epochs} epochs on "
            f"{len(task.train_indices)} images and evaluated once, at the end, on "
            f"{result.images} images that nothing had seen."
        ),
        created=now(),
        asked=asked("train", job.preset, settings_json(settings), environment),
        tasks=(task_row(task),),
        genotype=result.genotype,
        costs=phase_costs(job.costs.seconds, job.costs.cached),
        training=TrainingFacts(
            accuracy=result.accuracy,
            parameters=result.parameters,
            seconds=result.seconds,
            epochs=training_epochs(result.rows),
            note="One training with one seed; another seed gives another figure.",
            held_out=held_out_words(task),
        ),
        settings=(("preset", job.preset.name), *pairs(settings_json(settings))),
        environment=pairs(environment),
    )
    return save_report(job.run, report)
