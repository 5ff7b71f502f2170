"""The report of a run that begins: what was asked for, before anything is found."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsdarts_registry.files import exists
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.space import SearchSpace
from wsdarts_sdk.jobs.report_rows import asked, now, pairs, task_row
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.runs.report_facts import AlphaHistory, Command, RunReport
from wsdarts_sdk.runs.report_file import REPORT_FILE, keep_report
from wsdarts_sdk.tasks import ImageTask

TITLES: dict[Command, str] = {
    "search": "Transfer Architecture Search",
    "warm-start": "Warm start",
    "train": "Training",
}


def begin_report(
    run: RunDirectory,
    command: Command,
    tasks: Sequence[ImageTask],
    preset: Preset,
    config: dict[str, Any],
    environment: dict[str, Any],
) -> None:
    """Write ``report.json`` of a run that has none yet, so that it can be read before its end.

    Args:
        run: The run directory.
        command: What the job is called on the command line.
        tasks: The datasets.
        preset: Whose settings they are.
        config: The configuration of the run, with its settings and perhaps a genotype.
        environment: Where it runs.
    """
    if exists(run.path / REPORT_FILE):
        return
    settings = config["training"] if command == "train" else config["search"]
    keep_report(
        run,
        RunReport(
            title=title(TITLES[command], tasks),
            summary="This run has not finished.",
            created=now(),
            asked=asked(command, preset, settings, environment),
            unfinished="It has only begun.",
            tasks=tuple(map(task_row, tasks)),
            alpha=None if command == "train" else _no_epochs(settings["space"]),
            genotype=Genotype.from_json(config["genotype"]) if command == "train" else None,
            settings=(("preset", preset.name), *pairs(settings)),
            environment=pairs(environment),
        ),
    )


def title(what: str, tasks: Sequence[ImageTask]) -> str:
    """The heading of a report."""
    return f"{what} on {' and '.join(task.name for task in tasks)}"


def _no_epochs(space: Any) -> AlphaHistory:
    """No α yet, in the space that it will have."""
    known = SearchSpace.from_json(space)
    empty = np.zeros((0, *known.shape))
    return AlphaHistory(space=known, normal=empty, reduction=empty)
