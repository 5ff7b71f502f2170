"""Checks of the arguments of public functions, and the right names nearest to a wrong one."""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from wsdarts_registry.errors import ArgumentError

_LONGEST_COMPARED = 200
_SHORTEST_PART = 3  # letters; fewer are in too many names
_LEAST_SIMILARITY = 0.6  # difflib's own: below it, names have little in common


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


def nearest_names(
    name: str, known: Iterable[str], *, most: int = 3, least: float = _LEAST_SIMILARITY
) -> tuple[str, ...]:
    """Return the known names that are most like a name, the nearest first; none if none is.

    Names that hold it come before others, those that begin with it first of all. Upper and lower
    case count as equal.

    >>> nearest_names("cifar", ["flowers102", "cifar10-1000"])
    ('cifar10-1000',)

    Args:
        name: What was given.
        known: The right names.
        most: At most so many.
        least: How similar they have to be, in [0, 1].
    """
    by_case: dict[str, list[str]] = {}
    for right in known:
        by_case.setdefault(right.lower(), []).append(right)
    given = name.lower()[:_LONGEST_COMPARED]
    holding = [right for right in by_case if len(given) >= _SHORTEST_PART and given in right]
    holding.sort(key=lambda right: (right.find(given) > 0, len(right)))
    close = difflib.get_close_matches(given, by_case, n=most, cutoff=least)
    found = dict.fromkeys((*holding, *close))
    return tuple(right for match in found for right in by_case[match])[:most]


def did_you_mean(names: Sequence[str]) -> str:
    """Return a question that names them, ``"did you mean a, b or c? "``; empty without names."""
    if not names:
        return ""
    *others, last = names
    return f"did you mean {', '.join(others)} or {last}? " if others else f"did you mean {last}? "
