"""A job under way: the open run directory with what every step of the job needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry.amounts import several
from wsdarts_sdk.jobs.costs import Costs
from wsdarts_sdk.jobs.inputs import run_path
from wsdarts_sdk.jobs.report_start import begin_report
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.directory import RunDirectory, open_run
from wsdarts_sdk.runs.environment import environment
from wsdarts_sdk.runs.report_facts import Command
from wsdarts_sdk.tasks import ImageTask


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
        config: What else decides the result, as JSON data: on a resume it has to be the same.

    Raises:
        RunError: As for ``open_run``.
    """
    config = {
        "command": command,
        "tasks": [task.digest for task in tasks],
        "preset": preset.name,
        **config,
    }
    with open_run(run_path(out, command, tasks[0].name), config, resume=resume) as run:
        where, before = environment(device), run.read_json("environment.json")
        _tell_of_threads(before, where, progress)
        run.write_json("environment.json", where)
        begin_report(run, command, tasks, preset, config, where)
        yield Job(
            run=run,
            tasks=tuple(tasks),
            preset=preset,
            device=device,
            progress=progress,
            costs=Costs(run),
        )


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
