"""Progress, interruption and estimates of long work, and the data and run directories it takes.

Progress goes to stderr: a bar on a terminal, a line at least every ten seconds elsewhere, nothing
if quiet. What takes long before there is a bar, such as an import, is told by lines, too.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsdarts_hub.cli.shared import display
from wsdarts_hub.cli.shared.display import note
from wsdarts_registry._format import count, duration, pluralize, size
from wsdarts_sdk.progress import Lines, Progress, TimeSpent, repeated, session_began, silent

if TYPE_CHECKING:
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.data.task import ImageTask
    from wsdarts_sdk.pipelines.dry_runs import Estimate
    from wsdarts_sdk.pipelines.run_context import UnreadData

_INTERRUPTED = 130
_LINES: ContextVar[Lines | None] = ContextVar("lines", default=None)


@dataclass
class Work:
    """Long work under way.

    Attributes:
        progress: What the work calls.
        hint: How to go on after an interruption; empty where there is nothing to go on with.
    """

    progress: Progress
    hint: str = ""

    def continues_in(self, run: Path) -> None:
        """Print, after an interruption, that the run can be resumed."""
        self.hint = f"the same command with --out {run} --resume goes on from here"


@contextmanager
def working(
    *, quiet: bool, run: Path | None = None, hint: str = "", spent: TimeSpent | None = None
) -> Iterator[Work]:
    """Show progress while a command works, and say how to go on when Ctrl-C stops it.

    Args:
        quiet: Whether to show nothing.
        run: The run directory, where it is known already.
        hint: How to go on; ``run`` says it, too.
        spent: What the command has cost so far; counts from now by default.
    """
    work = Work(progress=silent, hint=hint)
    if run is not None:
        work.continues_in(run)
    try:
        with shown_progress(quiet=quiet, spent=spent or TimeSpent()) as work.progress:
            yield work
    except KeyboardInterrupt:
        note("; ".join(filter(None, ("interrupted", work.hint))))
        raise typer.Exit(_INTERRUPTED) from None


@contextmanager
def signs_of_life(command: str, *, quiet: bool) -> Iterator[None]:
    """Print a line at least every ten seconds while a command works, whatever it does.

    Args:
        command: Its name, for the time before it reports anything.
        quiet: Whether to print nothing.
    """
    if quiet:
        yield
        return
    lines = Lines(note, spent=TimeSpent(began=session_began()), what=command)
    token = _LINES.set(lines)
    try:
        with repeated(lines):
            yield
    finally:
        _LINES.reset(token)


@contextmanager
def shown_progress(*, quiet: bool, spent: TimeSpent) -> Iterator[Progress]:
    """Show progress as a bar, as lines, or not at all."""
    lines = _LINES.get() or Lines(note)
    if quiet:
        yield silent
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from wsdarts_hub.cli.shared.rich_line import Line  # noqa: PLC0415

        lines.rest()
        with Line(spent) as line:
            yield line
    else:
        lines.begin(spent)
        yield lines
        lines.rest()


def unread(
    data: str,
    *,
    reading: "DataOptions",
    quiet: bool,
    on_load: "Callable[[ImageTask], None] | None" = None,
) -> "UnreadData":
    """Return a dataset that the job reads; images that are left out of it are listed then.

    Args:
        data: As typed.
        reading: Options of reading it.
        quiet: Whether to list nothing.
        on_load: Called with the task, too.
    """
    from wsdarts_sdk.pipelines.run_context import UnreadData  # noqa: PLC0415

    def loaded(task: "ImageTask") -> None:
        for text in () if quiet else task.notes:
            note(f"{task.name}: {text}")
        if task.skipped and not quiet:
            note(f"{task.name}: left out {pluralize(len(task.skipped), 'corrupt image')}:")
            for skipped in task.skipped:
                note(f"  {skipped}")
        if on_load is not None:
            on_load(task)

    return UnreadData(data=data, reading=reading, on_load=loaded)


@dataclass(frozen=True, kw_only=True)
class RunWork:
    """Datasets for the job to read, and its progress."""

    data: "tuple[UnreadData, ...]"
    progress: "Progress"


@contextmanager
def run_work(
    command: str,
    datasets: Sequence[str],
    *,
    out: Path | None,
    resume: bool,
    reading: "DataOptions",
    quiet: bool,
) -> Iterator[RunWork]:
    """Prepare the datasets and say, when Ctrl-C stops the job, how its run goes on.

    Args:
        command: The command, which names the run directory where none was named.
        datasets: As typed, at least one.
        out: The run directory that was named.
        resume: Whether to go on with the run there, which then has to be named.
        reading: Options of reading the datasets.
        quiet: Whether to show neither progress nor what was left out.
    """
    if resume and out is None:
        raise typer.BadParameter("--resume goes on with the run in --out; name it")
    with working(quiet=quiet, run=out, spent=_spent(out, resume=resume)) as work:
        from wsdarts_sdk.pipelines.run_context import run_path  # noqa: PLC0415

        def name_run(task: "ImageTask") -> None:
            if not work.hint:  # as the job names it: after the first dataset
                work.continues_in(run_path(out, command, task.name))

        unread_data = tuple(
            unread(each, reading=reading, quiet=quiet, on_load=name_run) for each in datasets
        )
        yield RunWork(data=unread_data, progress=work.progress)


def _spent(run: Path | None, *, resume: bool) -> TimeSpent:
    """Return the time since the start of the command, with what the run had cost before."""
    if run is None or not resume:
        return TimeSpent(began=session_began())
    from wsdarts_sdk.reports.report_files import seconds_spent  # noqa: PLC0415

    return TimeSpent(seconds_spent(run), began=session_began())


def show_estimate(found: "Estimate", *, as_json: bool = False) -> None:
    """Print what a command will take."""
    if as_json:
        display.json_data(
            {
                "seconds": found.seconds,
                "steps": found.steps,
                "memory": found.memory,
                "disk": found.disk,
                "note": found.note or None,
                "phases": [asdict(phase) for phase in found.phases],
            }
        )
        return
    display.heading("estimate, from a few steps or images on this machine")
    rows = [(p.phase, count(p.steps), count(p.images), p.seconds) for p in found.phases]
    shown = {"phase": [row[0] for row in rows]}
    for place, name in ((1, "steps"), (2, "images")):
        if any(row[place] != "0" for row in rows):
            shown[name] = ["" if row[place] == "0" else str(row[place]) for row in rows]
    shown["time"] = [f"about {duration(row[3])}" for row in rows]
    display.table(tuple(shown), list(zip(*shown.values(), strict=True)), right=("steps", "images"))
    display.facts(
        [
            ("total", f"about {duration(found.seconds)}"),
            ("memory", f"about {size(found.memory)}"),
            ("disk", f"about {size(found.disk)}"),
        ]
    )
    if found.note:
        display.sentence(found.note)
