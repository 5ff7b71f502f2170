"""Rules for text from outside: the accepted characters, and how text is shown.

Names and descriptions of unknown authors are shown in terminals and web pages. A terminal
escape, a direction mark or a character without a width could make one thing look like another.
Formats refuse such text (``is_plain_line``, ``is_plain_text``); names that come with data, whose
owner may not be able to change them, are mended where they are read (``sanitize_name``); whatever
is shown goes through ``sanitize`` or what builds on it.

What is invisible is Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties, version 16),
which Python's ``unicodedata`` does not have.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain

# Control, format, surrogate characters, and separators of lines and paragraphs.
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_INVISIBLE = frozenset(
    map(
        chr,
        chain(
            (0x00AD, 0x034F, 0x061C, 0x3164, 0xFEFF, 0xFFA0),
            *(
                range(first, last + 1)
                for first, last in (
                    (0x115F, 0x1160),
                    (0x17B4, 0x17B5),
                    (0x180B, 0x180F),
                    (0x200B, 0x200F),
                    (0x202A, 0x202E),
                    (0x2060, 0x206F),
                    (0xFE00, 0xFE0F),
                    (0xFFF0, 0xFFF8),
                    (0x1BCA0, 0x1BCA3),
                    (0x1D173, 0x1D17A),
                    (0xE0000, 0xE0FFF),
                )
            ),
        ),
    )
)
_NO_CHARACTERS = frozenset(
    chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)
) | frozenset(map(chr, range(0xFDD0, 0xFDF0)))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_BLANK = "\N{BRAILLE PATTERN BLANK}"
# Text or picture: whether a symbol is drawn in colour, as in most emoji.
_PRESENTATION = "\ufe0e\ufe0f"
_DRAWN = ("S", "P", "N")
# They join or part letters of Arabic and Indic scripts, and the parts of an emoji.
_JOINERS = "\u200c\u200d"
_JOINED = "LMS"
# Marks on one letter; Unicode's security mechanisms (UTS 39, 5.4) allow as many.
_MOST_MARKS = 4
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#$]|:(?=//))")
_MARKDOWN_START = re.compile(r"([-+=]|\d{1,9}(?=[.)](\s|$)))")


def is_plain_line(text: str, limit: int) -> bool:
    """Return whether ``text`` is one visible line of at most ``limit`` harmless characters."""
    return 0 < len(text) <= limit and _is_seen(text) and _is_harmless(text)


def is_plain_text(text: str, limit: int) -> bool:
    """Return whether ``text`` has at most ``limit`` characters, each harmless or a line feed."""
    return len(text) <= limit and all(map(_is_harmless, text.split("\n")))


def sanitize_name(text: str, limit: int = 200) -> str:
    """Return a name from outside as it is kept: a plain line in Unicode's form NFC.

    Line breaks and tabs become spaces, other characters that ``is_plain_line`` refuses U+FFFD
    (among them the bytes of a file name that are not UTF-8); spaces at the ends are dropped, and
    what is too long is cut with an ellipsis. A name of nothing is U+FFFD.

    Laws: ``is_plain_line(sanitize_name(x), 200)``; ``sanitize_name(sanitize_name(x)) ==
    sanitize_name(x)``.
    """
    line = _replaced(unicodedata.normalize("NFC", text)).strip()
    if len(line) > limit:
        # Again: what was cut off may have been what a joiner joined.
        line = _replaced(line[: limit - 1].rstrip() + _ELLIPSIS)
    return line if _is_seen(line) else _REPLACEMENT


def _harmful(line: str) -> Iterator[bool]:
    """Yield of each character whether it is invisible, acts, or is one mark too many on a letter.

    A variation selector is harmless after a symbol, where it says how that is drawn.
    """
    marks, drawn = 0, False
    for character in line:
        category = unicodedata.category(character)
        if character in _PRESENTATION:
            harmful = not drawn
        elif character in _JOINERS:
            harmful = True
        else:
            marks = marks + 1 if category in ("Mn", "Me") else 0
            harmful = (
                category in _CATEGORIES
                or character in _INVISIBLE
                or character in _NO_CHARACTERS
                or marks > _MOST_MARKS
            )
        drawn = not harmful and not character.isascii() and category.startswith(_DRAWN)
        yield harmful


def _is_seen(text: str) -> bool:
    return bool(text.replace(_BLANK, " ").strip())


def _is_harmless(line: str) -> bool:
    if line.isascii():
        return line.isprintable()
    return not any(_refused(line))


def _replaced(line: str) -> str:
    return "".join(
        (" " if character.isspace() else _REPLACEMENT) if refused else character
        for character, refused in zip(line, _refused(line), strict=True)
    )


def _refused(line: str) -> Iterator[bool]:
    """Yield of each character whether it may not enter: the harmful, except joiners that join."""
    for place, harmful in enumerate(_harmful(line)):
        yield harmful and not _joins(line, place)


def _joins(line: str, place: int) -> bool:
    """Return whether a joiner stands between what it can join, none of it in the Latin alphabet."""
    if line[place] not in _JOINERS or not 0 < place < len(line) - 1:
        return False
    sides = line[place - 1], line[place + 1]
    return all(
        not side.isascii()
        and (unicodedata.category(side)[0] in _JOINED or side in _PRESENTATION)
        and side not in _INVISIBLE - frozenset(_PRESENTATION)
        for side in sides
    )


def sanitize(text: str, limit: int = 200) -> str:
    """Return one line of visible characters, at most ``limit`` of them.

    Runs of white space become one space; control characters, terminal escapes, invisible
    characters (right-to-left overrides among them), lone surrogates and more marks on a letter
    than any script has become U+FFFD, so that they are seen. What is cut off is marked with an
    ellipsis.

    Law: ``sanitize(sanitize(x)) == sanitize(x)``.
    """
    # Far more than can be shown, and little enough that huge texts cost nothing.
    line = " ".join(text[: 16 * limit].split())
    shown = _visible(line)
    if len(shown) <= limit and len(text) <= 16 * limit:
        return shown
    return shown[: limit - 1].rstrip() + _ELLIPSIS


def sanitize_spaced(text: str, limit: int = 200) -> str:
    """Sanitize a text and keep all of its spaces, as in names of files.

    Law: ``sanitize_spaced(sanitize_spaced(x)) == sanitize_spaced(x)``.
    """
    parts = text[: 16 * limit].split(" ")
    shown = " ".join(_visible(" ".join(part.split())) for part in parts)
    if len(shown) <= limit and len(text) <= 16 * limit:
        return shown
    return shown[: limit - 1] + _ELLIPSIS


def escape_markdown(text: str, limit: int = 200) -> str:
    """Sanitize a text and escape every character that Markdown or HTML could act on.

    The result is literal text in a paragraph, a list item or a table cell of CommonMark and
    of GitHub's dialect; bare addresses do not become links.
    """
    escaped = _MARKDOWN.sub(r"\\\1", sanitize(text, limit).replace("&", "&amp;"))
    escaped = escaped.replace(r"\<", "&lt;").replace(r"\>", "&gt;").replace("www.", r"www\.")
    start = _MARKDOWN_START.match(escaped)
    if start is None:
        return escaped
    if start[0].isdigit():
        return f"{start[0]}\\{escaped[start.end() :]}"
    return f"\\{escaped}"


def code_span(text: str, limit: int = 200) -> str:
    """Sanitize a text as a Markdown code span; it may stand in a table cell, too."""
    shown = sanitize(text, limit).replace("|", "\N{BROKEN BAR}") or " "
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def fenced_code(text: str, language: str = "") -> str:
    """Sanitize lines of any length as a fenced Markdown code block."""
    lines = [_visible(line) for line in text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def display_width(text: str) -> int:
    """Return the columns that a text takes in a fixed-width font: two for a wide character."""
    return sum(_columns(character) for character in text)


def clipped(text: str, columns: int) -> str:
    """Sanitize a text and cut it to that many columns of a fixed-width font, with an ellipsis."""
    shown = sanitize(text)
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
        for character, harmful in zip(line, _harmful(line), strict=True)
    )


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
