"""Text from outside, made harmless before it is shown.

Names of datasets, classes, operations and people come from files that anyone may have
written. Everything that is put on a page, into a card or on a terminal passes through here
first, so that it can be read but cannot act.
"""

import re
import unicodedata

from wsdarts_registry.text_rules import harms

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#$]|:(?=//))")
_MARKDOWN_START = re.compile(r"([-+=]|\d{1,9}(?=[.)](\s|$)))")


def plain_text(text: str, limit: int = 200) -> str:
    """Return one line of visible characters, at most ``limit`` of them.

    Runs of white space become one space; control characters, terminal escapes, invisible
    characters (right-to-left overrides among them), lone surrogates and more marks on a letter
    than any script has become U+FFFD, so that they are seen. What is cut off is marked with an
    ellipsis.

    Law: ``plain_text(plain_text(x)) == plain_text(x)``.
    """
    # Far more than can be shown, and little enough that huge texts cost nothing.
    line = " ".join(text[: 16 * limit].split())
    shown = _visible(line)
    if len(shown) <= limit and len(text) <= 16 * limit:
        return shown
    return shown[: limit - 1].rstrip() + _ELLIPSIS


def spaced_text(text: str, limit: int = 200) -> str:
    """Return ``plain_text`` with all of its spaces, as in names of files.

    Law: ``spaced_text(spaced_text(x)) == spaced_text(x)``.
    """
    parts = text[: 16 * limit].split(" ")
    shown = " ".join(_visible(" ".join(part.split())) for part in parts)
    if len(shown) <= limit and len(text) <= 16 * limit:
        return shown
    return shown[: limit - 1] + _ELLIPSIS


def markdown_text(text: str, limit: int = 200) -> str:
    """Return ``plain_text`` with every character escaped that Markdown or HTML could act on.

    The result is literal text in a paragraph, a list item or a table cell of CommonMark and
    of GitHub's dialect; bare addresses do not become links.
    """
    escaped = _MARKDOWN.sub(r"\\\1", plain_text(text, limit).replace("&", "&amp;"))
    escaped = escaped.replace(r"\<", "&lt;").replace(r"\>", "&gt;").replace("www.", r"www\.")
    start = _MARKDOWN_START.match(escaped)
    if start is None:
        return escaped
    if start[0].isdigit():
        return f"{start[0]}\\{escaped[start.end() :]}"
    return f"\\{escaped}"


def code_span(text: str, limit: int = 200) -> str:
    """Return ``plain_text`` as a Markdown code span; it may stand in a table cell, too."""
    shown = plain_text(text, limit).replace("|", "\N{BROKEN BAR}") or " "
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def fenced_code(text: str, language: str = "") -> str:
    """Return lines as a fenced Markdown code block, each made harmless but for its length."""
    lines = [_visible(line) for line in text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def display_width(text: str) -> int:
    """Columns that a text takes in a fixed-width font: wide characters two, accents none."""
    return sum(_columns(character) for character in text)


def clipped(text: str, columns: int) -> str:
    """Cut ``plain_text`` to that many columns of a fixed-width font, with an ellipsis."""
    shown = plain_text(text)
    if display_width(shown) <= columns:
        return shown
    while display_width(shown) > columns - 1:
        shown = shown[:-1]
    return shown + _ELLIPSIS


def padded(text: str, columns: int, fill: str = " ") -> str:
    """Fill a text up to that many columns of a fixed-width font."""
    return text + fill * (columns - display_width(text))


def _visible(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        _REPLACEMENT if harmful else character
        for character, harmful in zip(line, harms(line), strict=True)
    )


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
