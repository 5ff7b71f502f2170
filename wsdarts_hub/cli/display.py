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
_GAP = 2


def show_transfers(*, quiet: bool) -> None:
    """Let the Hub's client draw bars of what it sends and fetches, where somebody can see them.

    It reads this when it is imported, which happens after.
    """
    if not quiet and sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"


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
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print a table; on a terminal cells wrap so that it fits, elsewhere nothing is cut.

    Args:
        headers: One for each column.
        rows: Cells, made harmless here.
        right: Headers of the columns that are aligned to the right.
        whole: Headers of the columns whose cells are not broken while there is another way.
        optional: Headers of the columns that a narrow terminal leaves out, the first one first,
            until no word of the others has to be broken; it is said which.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    console = _console()
    columns = [[header, *cells] for header, *cells in zip(headers, *rows, strict=True)]
    room = {column[0]: _room(column, unbroken={*whole, *right}) for column in columns}
    left_out = []
    for header in optional:
        if sum(room.values()) + _GAP * (len(room) - 1) > console.width and header in room:
            del room[header]
            left_out.append(header)
    fits = sum(room.values()) + _GAP * (len(room) - 1) <= console.width
    for header, width in room.items():
        shown.add_column(
            header,
            justify="right" if header in right else "left",
            overflow="fold",
            width=width if fits and header in (*whole, *right) else None,
        )
    for cells in zip(*(column[1:] for column in columns if column[0] in room), strict=True):
        shown.add_row(*(Text(plain_text(cell)) for cell in cells))
    with console.capture() as captured:
        console.print(shown)
    for text in captured.get().splitlines():
        typer.echo(text.rstrip())
    if left_out:
        note(f"(no room for {', '.join(left_out)})")


def note(text: str) -> None:
    """Print a line to stderr, where progress and warnings go."""
    typer.echo(spaced_text(text, _LONGEST), err=True)


def _room(cells: Sequence[str], *, unbroken: Collection[str]) -> int:
    """Columns of a terminal that a header with its cells needs so that no word is broken."""
    texts = [plain_text(cell) for cell in cells]
    if cells[0] not in unbroken:
        texts = [word for text in texts for word in text.split()]
    return max(map(display_width, texts), default=0)


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
