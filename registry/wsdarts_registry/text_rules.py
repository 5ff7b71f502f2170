"""Text from outside that is safe to show: no control characters, no direction overrides.

Names and descriptions travel in artifacts from strangers to terminals and web pages.
A terminal escape or a right-to-left override in them could make one thing look like
another, so such text is refused where it enters.
"""

import unicodedata

_REFUSED_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTION_OVERRIDES = {chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def is_plain_line(text: str, limit: int) -> bool:
    """Whether ``text`` is one non-empty line of at most ``limit`` harmless characters."""
    return 0 < len(text) <= limit and not text.isspace() and all(map(_harmless, text))


def is_plain_text(text: str, limit: int) -> bool:
    """Whether ``text`` has at most ``limit`` characters, each harmless or a line feed."""
    return len(text) <= limit and all(c == "\n" or _harmless(c) for c in text)


def _harmless(character: str) -> bool:
    return (
        unicodedata.category(character) not in _REFUSED_CATEGORIES
        and character not in _DIRECTION_OVERRIDES
    )
