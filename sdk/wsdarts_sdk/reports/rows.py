"""Rows of reports that searches and trainings share.

The report of a run that begins: what was asked for, before anything is found.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsdarts_registry import _json
from wsdarts_registry._files import exists
from wsdarts_registry._format import setting
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.space import SearchSpace
from wsdarts_sdk.data import ImageTask, Part
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.reports.facts import AlphaHistory, Asked, Command, Pairs, RunReport, TaskRow
from wsdarts_sdk.reports.file import keep_report
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.runs.files import REPORT_FILE
from wsdarts_sdk.runs.records import PhaseCost


def created() -> str:
    """Return date and time, UTC, as a report shows them."""
    return f"{_json.now()[:16].replace('T', ' ')} UTC"


def task_row(task: ImageTask) -> TaskRow:
    """A task with the number of images in each part."""
    weights, alpha, validation, test = (len(task.indices(part)) for part in Part)
    return TaskRow(
        name=task.name,
        digest=task.digest,
        classes=task.classes,
        weights_images=weights,
        alpha_images=alpha,
        validation_images=validation,
        test_images=test,
        given_split=task.given_split,
    )


def held_out_words(task: ImageTask) -> str:
    """What a training on a task is evaluated on, in words."""
    return f"{task.held_out} {'part' if task.given_split else 'third'}"


def phase_costs(seconds: Mapping[str, float], cached: Mapping[str, float]) -> tuple[PhaseCost, ...]:
    """Wall time by phase, and what came from a cache."""
    return tuple(
        PhaseCost(phase=phase, seconds=value, cached=cached.get(phase))
        for phase, value in seconds.items()
    )


def pairs(data: dict[str, Any]) -> Pairs:
    """Settings as names and values, named and written as ``--set`` takes them."""
    found: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            found += [(f"{name}.{inner}", text) for inner, text in pairs(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            numbered = {f"{name}.{place}": each for place, each in enumerate(value, start=1)}
            found += pairs(numbered)
        else:
            found.append((name, setting(value)))
    return tuple(found)


def asked(
    command: Command, preset: Preset, settings: dict[str, Any], environment: dict[str, Any]
) -> Asked:
    """What runs are compared by; ``settings`` are the preset's for this command."""
    unseeded = {name: value for name, value in settings.items() if name != "seed"}
    return Asked(
        command=command,
        preset=preset.name,
        settings=f"sha256:{hashlib.sha256(_json.dump(unseeded)).hexdigest()}",
        seed=settings["seed"],
        hardware=environment["hardware"],
    )


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
            created=created(),
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
