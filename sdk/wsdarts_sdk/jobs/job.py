"""A job under way: the open run directory with what every step of the job needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry.amounts import several
from wsdarts_sdk.jobs.costs import Costs
from wsdarts_sdk.jobs.inputs import Data, check_apart, run_path
from wsdarts_sdk.jobs.report_start import begin_report
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.directory import RunDirectory, check_run, open_run
from wsdarts_sdk.runs.environment import environment
from wsdarts_sdk.runs.report_facts import Command
from wsdarts_sdk.tasks import ImageTask
from wsdarts_sdk.tasks.split import SPLIT_RULE


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job in its open run directory; made by ``open_job``.

    Attributes:
        run: The run directory.
        tasks: The datasets, at least one.
        preset: Settings of all parts.
        device: Where it runs.
        progress: Told what is done and how much is left.
        costs: Wall time by phase so far.
    """

    run: RunDirectory
    tasks: tuple[ImageTask, ...]
    preset: Preset
    device: torch.device
    progress: Progress
    costs: Costs


def check_job(
    command: Command,
    data: Sequence[Data],
    preset: Preset,
    *,
    out: str | Path | None,
    resume: bool,
    **config: Any,
) -> None:
    """Refuse a run directory that ``open_job`` will refuse, whatever the tasks are.

    Args:
        command: As for ``open_job``, like all that follow.
        data: The datasets, read or not.
        preset: Settings of all parts.
        out: The run directory.
        resume: Whether to go on with the run that is there.
        config: What else decides the result.

    Raises:
        RunError: As for ``check_run``, or it lies in the folder of a dataset.
    """
    where = run_path(out, command, "data")
    check_apart(where, data)
    check_run(where, _config(command, preset, config), resume=resume)


@contextmanager
def open_job(
    command: Command,
    tasks: Sequence[ImageTask],
    preset: Preset,
    *,
    out: str | Path | None,
    resume: bool,
    device: torch.device,
    progress: Progress,
    began: float | None = None,
    **config: Any,
) -> Iterator[Job]:
    """Open the run directory of a job, and keep others out until it is closed.

    Args:
        command: What the job is called on the command line.
        tasks: The datasets, at least one.
        preset: Settings of all parts.
        out: The run directory; the first free ``runs/COMMAND-NAME-N`` by default.
        resume: Go on with the run that is there, or begin if there is none.
        device: Where it runs.
        progress: Told what is done and how much is left.
        began: When the job began, by ``time.monotonic``, for what it costs; now by default.
        config: What else decides the result, as JSON data: on a resume it has to be the same.

    Raises:
        RunError: As for ``open_run``.
    """
    config = {"tasks": [task.digest for task in tasks], **_config(command, preset, config)}
    with open_run(run_path(out, command, tasks[0].name), config, resume=resume) as run:
        where, before = environment(device), run.read_json("environment.json")
        _tell_of_threads(before, where, progress)
        run.write_json("environment.json", where)
        begin_report(run, command, tasks, preset, config, where)
        costs = Costs(run, began)
        with costs.session():
            yield Job(
                run=run,
                tasks=tuple(tasks),
                preset=preset,
                device=device,
                progress=costs.keeping(progress),
                costs=costs,
            )


def _config(command: Command, preset: Preset, config: dict[str, Any]) -> dict[str, Any]:
    """What a run records of what decides its result, but for its tasks."""
    return {"command": command, "split_rule": SPLIT_RULE, "preset": preset.name, **config}


def _tell_of_threads(before: Any, now: dict[str, Any], progress: Progress) -> None:
    """Say where a run goes on with another number of threads than it began with."""
    there = before.get("threads") if isinstance(before, dict) else None
    if there not in (None, now["threads"]):
        progress(
            f"going on with {several(now['threads'], 'thread')}, begun with {there}: only a search "
            "on compiled kernels stays the same to the bit",
            0,
            1,
        )
