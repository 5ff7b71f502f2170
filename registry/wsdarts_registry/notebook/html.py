"""A view: the HTML by which an object shows itself in a notebook.

No scripts, no requests, no names of elements that two views could share; its style rules reach
nothing outside of it. Drawings are images of their own, which keep theirs to themselves. It
follows the notebook's theme where that says which it is, on a ground of its own, and reads as
plain text and tables where styles are stripped. Nothing is read from the disk for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from wsdarts_registry._templates import html_page
from wsdarts_registry.drawing.cells import Drawing

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars in a column of a table.

    Attributes:
        column: Which column.
        lengths: One for each row, in percent of the room.
        mark: Where a line crosses them all, in percent; None for none.
    """

    column: int
    lengths: tuple[float, ...]
    mark: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; cells are made harmless when it is written.

    Attributes:
        header: Names of the columns.
        rows: Cells; the first of a row names it.
        right: Columns of numbers.
        bars: Drawn beside the numbers of one column.
        chosen: Rows that stand out.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    bars: Bars | None = None
    chosen: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Tree:
    """An item of a nested list."""

    text: str
    below: tuple["Tree", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A part of a view; what is empty is left out.

    Attributes:
        title: Its heading.
        text: Paragraphs.
        drawings: SVG documents of our own making.
        charts: Title and SVG of line charts, which take their colours from the view.
        table: A table.
        tree: Nested lists.
        lines: Text whose line breaks matter, made harmless before.
        folded: Whether it is shown on demand.
    """

    title: str
    text: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    charts: tuple[tuple[str, Markup], ...] = ()
    table: Table | None = None
    tree: tuple[Tree, ...] = ()
    lines: str = ""
    folded: bool = False


def view(what: str, sentence: str, *, figures: Pairs = (), panels: Sequence[Panel] = ()) -> str:
    """Write a view.

    Args:
        what: What kind of thing it is, such as ``Genotype``.
        sentence: What it is, in a sentence.
        figures: The few that matter most, with their names.
        panels: The rest.
    """
    return html_page(
        "notebook.html.j2",
        what=what,
        sentence=sentence,
        figures=figures,
        panels=panels,
        lines=escape,  # what else is written keeps no line breaks
    )
