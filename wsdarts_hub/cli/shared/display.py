"""Output of results to stdout, in colour only on a terminal.

Text from artifacts and datasets goes through ``sanitize`` before it gets here or in here. For an
output that knows few characters, such as ASCII, drawings and symbols are replaced.
"""

import codecs
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from wsdarts_registry._text import clipped, display_width, padded, sanitize, sanitize_spaced

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000
_LONGEST = 4000
_GAP = 2
_LONGEST_NAME = 32
_LEAST = 8  # columns that a cell needs to be read in pieces


def show_transfers(*, quiet: bool) -> None:
    """Show the progress bars of the Hub's client, if stderr is a terminal.

    It reads this when it is imported, which happens after.
    """
    if not quiet and sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"


def line(text: str = "") -> None:
    """Print one line as it is; a terminal breaks it where it ends."""
    _say(sanitize_spaced(text, _LONGEST))


def drawing(text: str) -> None:
    """Print lines whose white space matters and that are known to be harmless."""
    _say(text)


def json_data(data: object) -> None:
    """Print the result of a command as JSON: one object or array, paths as text."""
    drawing(json.dumps(data, indent=2, allow_nan=False, default=os.fspath))


def heading(text: str) -> None:
    """Print a line that stands out on a terminal, with an empty line before it."""
    _say()
    title(text)


def title(text: str) -> None:
    """Print a line that stands out on a terminal."""
    shown = sanitize_spaced(text, _LONGEST)
    _say(typer.style(shown, bold=True) if _coloured() else shown)


def sentence(text: str) -> None:
    """Print prose, broken between words where a terminal ends, and nowhere else."""
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    with console.capture() as captured:
        console.print(Text(sanitize(text, _LONGEST)))
    _say(captured.get(), nl=False)


def facts(pairs: Sequence[tuple[str, str]], *, whole: Collection[str] = ()) -> None:
    """Print names and values in two columns.

    On a terminal a long value goes on below itself, broken between words; elsewhere, and where it
    is in ``whole`` (paths, which are copied), it stays on one line.
    """
    shown = [
        (clipped(name, _LONGEST_NAME), sanitize_spaced(value, _LONGEST)) for name, value in pairs
    ]
    width = max((display_width(name) for name, _ in shown), default=0) + _GAP
    for name, value in shown:
        kept = name in whole or not sys.stdout.isatty()
        lines = [value] if kept else _broken(value, _console().width - width)
        _say(f"{padded(name, width)}{lines[0]}".rstrip())
        for text in lines[1:]:
            _say(f"{' ' * width}{text}")


def branch(text: str, *, first: str, further: str) -> None:
    """Print a line of a tree behind ``first``; on a terminal it goes on behind ``further``."""
    shown = sanitize_spaced(text, _LONGEST)
    lines = [shown]
    if sys.stdout.isatty():
        ahead = max(display_width(first), display_width(further))
        lines = _broken(shown, _console().width - ahead)
    _say(f"{first}{lines[0]}")
    for part in lines[1:]:
        _say(f"{further}{part}")


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    cut: Collection[str] = (),
    optional: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print a table; on a terminal cells wrap so that it fits, elsewhere nothing is cut.

    Args:
        headers: One for each column.
        rows: Cells, made harmless here.
        right: Headers of the columns that are aligned to the right.
        whole: Headers of the columns whose cells are not broken while there is another way.
        cut: Headers of the columns whose cells end in "…" where they do not fit, rather than wrap.
        optional: Headers of the columns that a narrow terminal leaves out, the first one first,
            until no word of the others has to be broken; it is said which.
        spare: The same, but only so that the cells of ``whole`` are not broken.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    console = _console()
    columns = [[header, *cells] for header, *cells in zip(headers, *rows, strict=True)]
    fixed = {*whole, *right}
    room = {column[0]: _room(column, unbroken=fixed) for column in columns}
    left_out = [h for h in optional if _needed(room) > console.width and room.pop(h, 0)]
    left_out += [h for h in spare if _needed(room, fixed) > console.width and room.pop(h, 0)]
    holds = _needed(room, fixed) <= console.width
    for header, width in room.items():
        shown.add_column(
            header,
            justify="right" if header in right else "left",
            overflow="fold",
            width=width if holds and header in fixed else None,
        )
    left = {h: max(console.width - _needed(room) + room[h], _LEAST) for h in cut if h in room}
    kept = [
        [clipped(cell, left.get(header, _WIDE)) for cell in cells]
        for header, *cells in columns
        if header in room
    ]
    for cells in zip(*kept, strict=True):
        shown.add_row(*(Text(sanitize(cell)) for cell in cells))
    with console.capture() as captured:
        console.print(shown)
    for text in captured.get().splitlines():
        _say(text.rstrip())
    if left_out:
        note(f"(no room for {', '.join(left_out)})")


def _needed(room: Mapping[str, int], fixed: Collection[str] | None = None) -> int:
    """Return the width that a table needs, if words of columns not ``fixed`` may be broken."""
    least = (n if fixed is None or h in fixed else min(n, _LEAST) for h, n in room.items())
    return sum(least) + _GAP * (len(room) - 1)


def note(text: str) -> None:
    """Print a line to stderr, where progress and warnings go."""
    typer.echo(sanitize_spaced(text, _LONGEST), file=sys.stderr)


def _say(text: str = "", *, nl: bool = True) -> None:
    """Write to stdout as it is; left to itself Typer writes UTF-8 where ASCII was asked for."""
    typer.echo(text, file=sys.stdout, nl=nl)


def _room(cells: Sequence[str], *, unbroken: Collection[str]) -> int:
    """Return the width that a header with its cells needs so that no word is broken."""
    texts = [sanitize(cell) for cell in cells]
    if cells[0] not in unbroken:
        texts = [word for text in texts for word in text.split()]
    return max(map(display_width, texts), default=0)


def _broken(text: str, room: int) -> list[str]:
    """Break a text between words; a word that is longer than the room stays whole."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and display_width(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return [line.rstrip() for line in lines]


def _coloured() -> bool:
    # Asked in this order, since rich takes long to import.
    return sys.stdout.isatty() and _console().color_system is not None


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else _WIDE,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


# One column each where they stand in drawings and tables, so that these stay aligned.
_PLAIN = {
    **dict.fromkeys("─━╸╺", "-"),
    **dict.fromkeys("┬┴┼┐┘┤├└┌", "+"),
    **dict.fromkeys("▸→›", ">"),
    "│": "|",
    "…": "~",
    "–": "-",
    "−": "-",
    "×": "x",
    "±": "+-",
    "α": "alpha",
    "λ": "lambda",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
}
NAME = "wsdarts-plain"


def register() -> str:
    """Make the error handler known by which streams write such characters; return its name."""
    codecs.register_error(NAME, _replaced)
    return NAME


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Return the text for characters that cannot be encoded, and the position behind them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in bad), error.end
