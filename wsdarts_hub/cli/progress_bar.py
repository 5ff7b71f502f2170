"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing if quiet."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsdarts_hub.cli.display import note
from wsdarts_registry.amounts import duration
from wsdarts_registry.inert import plain_text
from wsdarts_sdk.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_INTERVAL_SECONDS = 10.0
_FIRST_ESTIMATE_SECONDS = 1.0
_INTERRUPTED = 130
Clock = Callable[[], float]


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
        yield Lines()


class TimeLeft:
    """An estimate of the time left, from the speed since the current piece of work began.

    A piece ends when ``done`` falls or ``total`` changes: work calls with one piece after
    another.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began, self._first, self._last, self._total = clock(), 0, 0, -1

    def seconds(self, done: int, total: int) -> float | None:
        """Seconds left; None while it is too early to say."""
        now = self._clock()
        if total != self._total or done < self._last:
            self._began, self._first, self._total = now, done, total
        self._last = done
        elapsed, gained = now - self._began, done - self._first
        if elapsed < _FIRST_ESTIMATE_SECONDS or gained <= 0:
            return None
        return elapsed / gained * (total - done)


class Lines:
    """Progress as lines, for logs: where a stage begins and ends, and every ten seconds."""

    def __init__(self, clock: Clock = time.monotonic, show: Callable[[str], None] = note) -> None:
        self._clock, self._show = clock, show
        self._left = TimeLeft(clock)
        self._stage: str | None = None
        self._shown, self._ended = 0.0, False

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Print a line if it is time for one."""
        left = self._left.seconds(done, total)
        stage, now = what.partition(",")[0], self._clock()
        ended = done >= total
        changed = stage != self._stage or ended != self._ended
        if changed or (not ended and now - self._shown >= _INTERVAL_SECONDS):
            self._stage, self._shown, self._ended = stage, now, ended
            self._show(f"{what}: {percent(done, total)}{in_words(None if ended else left)}")


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


def percent(done: int, total: int) -> str:
    """The share that is done, never 100 % before the end."""
    return f"{100 * done // total if total > 0 else 100} %"


def in_words(left: float | None) -> str:
    """The time left, to be put behind a percentage."""
    return "" if left is None else f", about {duration(round(left))} left"


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
