"""What every command with a run directory does before its one call.

The datasets that commands are given: read by the job, once it has checked everything else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsdarts_hub.cli.shared.display import note
from wsdarts_hub.cli.shared.progress import working
from wsdarts_registry._format import pluralize
from wsdarts_sdk.progress import TimeSpent, session_began

if TYPE_CHECKING:
    from wsdarts_sdk.data import DataOptions, ImageTask
    from wsdarts_sdk.pipelines.job import UnreadData
    from wsdarts_sdk.progress import Progress


def unread(
    data: str,
    *,
    options: "DataOptions",
    quiet: bool,
    on_load: "Callable[[ImageTask], None] | None" = None,
) -> "UnreadData":
    """A dataset that the job reads; the images that are left out of it are listed then.

    Args:
        data: As typed.
        options: Options of reading it.
        quiet: Whether to list nothing.
        on_load: Called with the task, too.
    """
    from wsdarts_sdk.pipelines.job import UnreadData  # noqa: PLC0415

    def loaded(task: "ImageTask") -> None:
        for text in () if quiet else task.notes:
            note(f"{task.name}: {text}")
        if task.skipped and not quiet:
            note(f"{task.name}: left out {pluralize(len(task.skipped), 'corrupt image')}:")
            for skipped in task.skipped:
                note(f"  {skipped}")
        if on_load is not None:
            on_load(task)

    return UnreadData(data=data, reading=options, on_load=loaded)


@dataclass(frozen=True, kw_only=True)
class RunWork:
    """Datasets for the job to read, and what it calls on the way."""

    data: "tuple[UnreadData, ...]"
    progress: "Progress"


@contextmanager
def run_work(
    command: str,
    datasets: Sequence[str],
    *,
    out: Path | None,
    resume: bool,
    options: "DataOptions",
    quiet: bool,
) -> Iterator[RunWork]:
    """Prepare the datasets and say, when Ctrl-C stops the job, how its run goes on.

    Args:
        command: The command, which names the run directory where none was named.
        datasets: As typed, at least one.
        out: The run directory that was named.
        resume: Whether to go on with the run there, which then has to be named.
        options: Options of reading the datasets.
        quiet: Whether to show neither progress nor what was left out.
    """
    if resume and out is None:
        raise typer.BadParameter("--resume goes on with the run in --out; name it")
    with working(quiet=quiet, run=out, spent=_spent(out, resume=resume)) as work:
        from wsdarts_sdk.pipelines.job import run_path  # noqa: PLC0415

        def name_run(task: "ImageTask") -> None:
            if not work.hint:  # as the job names it: after the first dataset
                work.continues_in(run_path(out, command, task.name))

        unread_data = tuple(
            unread(each, options=options, quiet=quiet, on_load=name_run) for each in datasets
        )
        yield RunWork(data=unread_data, progress=work.progress)


def _spent(run: Path | None, *, resume: bool) -> TimeSpent:
    """The time that counts from the start of the command, and what the run had cost before."""
    if run is None or not resume:
        return TimeSpent(began=session_began())
    from wsdarts_sdk.reports.storage import seconds_spent  # noqa: PLC0415

    return TimeSpent(seconds_spent(run), began=session_began())
