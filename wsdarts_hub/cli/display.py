"""How results are printed: to stdout, in colour only on a terminal, never acting on it.

Text from artifacts and datasets goes through ``plain_text`` before it gets here or in here.
"""

import os
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import typer

from wsdarts_registry.inert import display_width, padded, plain_text, spaced_text

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000
_LONGEST = 4000


def line(text: str = "") -> None:
    """Print one line as it is; a terminal breaks it where it ends."""
    typer.echo(spaced_text(text, _LONGEST))


def drawing(text: str) -> None:
    """Print lines whose white space matters and that are known to be harmless."""
    typer.echo(text)


def heading(text: str) -> None:
    """Print a line that stands out on a terminal, with an empty line before it."""
    typer.echo()
    typer.echo(typer.style(text, bold=True) if _coloured() else text)


def sentence(text: str) -> None:
    """Print prose, broken between words where a terminal ends, and nowhere else."""
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    with console.capture() as captured:
        console.print(Text(plain_text(text, _LONGEST)))
    typer.echo(captured.get(), nl=False)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    shown = [(plain_text(name), spaced_text(value, _LONGEST)) for name, value in pairs]
    width = max((display_width(name) for name, _ in shown), default=0)
    for name, value in shown:
        typer.echo(f"{padded(name, width)}  {value}".rstrip())


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Print a table; on a terminal cells wrap so that it fits, elsewhere nothing is cut.

    Args:
        headers: One for each column.
        rows: Cells, made harmless here.
        right: Headers of the columns that are aligned to the right.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        shown.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(plain_text(cell)) for cell in row))
    console = _console()
    with console.capture() as captured:
        console.print(shown)
    for text in captured.get().splitlines():
        typer.echo(text.rstrip())


def note(text: str) -> None:
    """Print a line to stderr, where progress and warnings go."""
    typer.echo(spaced_text(text, _LONGEST), err=True)


def _coloured() -> bool:
    return _console().color_system is not None


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else _WIDE,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )
