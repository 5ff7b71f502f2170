"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing if quiet."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsdarts_hub.cli.display import note
from wsdarts_registry.inert import plain_text
from wsdarts_sdk.progress import Lines, Progress, TimeLeft, in_words, silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_INTERRUPTED = 130


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
        """Say, after an interruption, that the run can be resumed."""
        self.hint = f"the same command with --out {run} --resume goes on from here"


@contextmanager
def working(*, quiet: bool, run: Path | None = None, hint: str = "") -> Iterator[Work]:
    """Show progress while a command works, and say how to go on when Ctrl-C stops it."""
    work = Work(progress=silent, hint=hint)
    if run is not None:
        work.continues_in(run)
    try:
        with shown_progress(quiet=quiet) as work.progress:
            yield work
    except KeyboardInterrupt:
        note("; ".join(filter(None, ("interrupted", work.hint))))
        raise typer.Exit(_INTERRUPTED) from None


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """What long work is given to call: a bar, lines, or nothing."""
    if quiet:
        yield silent
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _rich_bar() as bar:
            yield Bar(bar)
    else:
        yield Lines(note)


class Bar:
    """Progress as one bar that is gone when the work is done."""

    def __init__(self, bar: "RichProgress") -> None:
        self._bar, self._left = bar, TimeLeft()
        self._task = bar.add_task("", total=None, left="")

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Move the bar."""
        left = self._left.seconds(done, total)
        self._bar.update(
            self._task,
            description=plain_text(what, 60),
            completed=done,
            total=total,
            left=in_words(left).removeprefix(", "),
        )


def _rich_bar() -> "RichProgress":
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        redirect_stdout=False,  # results go to stdout even if stderr is the terminal
    )
