"""Text from outside that is safe to show: no control characters, no direction overrides.

Names and descriptions travel in artifacts from strangers to terminals and web pages.
A terminal escape or a right-to-left override in them could make one thing look like
another, so such text is refused where it enters. Names of datasets and classes come with the
data, whose owner may not be able to change them; ``settled_line`` makes lines of them.
"""

import unicodedata

_REFUSED_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_DIRECTION_OVERRIDES = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def is_plain_line(text: str, limit: int) -> bool:
    """Whether ``text`` is one non-empty line of at most ``limit`` harmless characters."""
    return 0 < len(text) <= limit and not text.isspace() and all(map(_harmless, text))


def is_plain_text(text: str, limit: int) -> bool:
    """Whether ``text`` has at most ``limit`` characters, each harmless or a line feed."""
    return len(text) <= limit and all(c == "\n" or _harmless(c) for c in text)


def settled_line(text: str, limit: int = 200) -> str:
    """Return a name from outside as it is kept: one plain line in Unicode's form NFC.

    Line breaks and tabs become spaces, other characters that ``is_plain_line`` refuses U+FFFD
    (among them the bytes of a file name that are not UTF-8); spaces at the ends are dropped, and
    what is too long is cut with an ellipsis. A name of nothing is U+FFFD.

    Laws: ``is_plain_line(settled_line(x), 200)``; ``settled_line(settled_line(x)) ==
    settled_line(x)``.
    """
    line = "".join(map(_settled, unicodedata.normalize("NFC", text))).strip()
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + _ELLIPSIS
    return line or _REPLACEMENT


def _settled(character: str) -> str:
    if _harmless(character):
        return character
    return " " if character.isspace() else _REPLACEMENT


def _harmless(character: str) -> bool:
    return (
        unicodedata.category(character) not in _REFUSED_CATEGORIES
        and character not in _DIRECTION_OVERRIDES
    )
