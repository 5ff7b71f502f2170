"""Checks of what kind the arguments of public functions are, where they come in."""

import reprlib
from numbers import Integral
from typing import Any

from wsdarts_registry.errors import ArgumentError


def check_kind(value: Any, kinds: type | tuple[type, ...], name: str, expected: str) -> None:
    """Refuse a value of another kind; a bool is no number.

    Args:
        value: What was given.
        kinds: What it may be an instance of.
        name: Name of the argument.
        expected: What it may be, in words.

    Raises:
        ArgumentError: It is of another kind; says what was found and expected.
    """
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise ArgumentError(name, found=reprlib.repr(value), expected=expected)


def check_whole(value: Any, name: str, example: int = 3) -> None:
    """Refuse what is no whole number, whatever its size.

    Raises:
        ArgumentError: It is none.
    """
    check_kind(value, Integral, name, f"a whole number, such as {example}")


def check_text(value: Any, name: str, *, optional: bool = False) -> None:
    """Refuse what is no text; where it is optional, None is fine.

    Raises:
        ArgumentError: It is none.
    """
    if not (optional and value is None):
        check_kind(value, str, name, "text")
