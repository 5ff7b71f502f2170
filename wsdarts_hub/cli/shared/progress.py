"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing if quiet."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from wsdarts_hub.cli.shared.display import note
from wsdarts_sdk.progress import Lines, Progress, TimeSpent, silent

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
def shown_progress(*, quiet: bool, spent: TimeSpent) -> Iterator[Progress]:
    """What long work is given to call: a bar, lines, or nothing."""
    if quiet:
        yield silent
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from wsdarts_hub.cli.shared.rich_line import Line  # noqa: PLC0415

        with Line(spent) as line:
            yield line
    else:
        yield Lines(note, spent=spent)
