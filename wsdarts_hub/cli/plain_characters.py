"""Drawings and symbols for an output that knows few characters, such as ASCII."""

import codecs

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
    """What to write for characters that cannot be encoded, and where to go on behind them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in bad), error.end
