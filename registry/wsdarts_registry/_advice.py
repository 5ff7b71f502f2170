"""The nearest right names where a wrong one was given.

What to type to install or update this package, said in one place.

It is on no package index, so everything is installed from a checkout of its repository; once it is
published, these are the lines to change, and the documentation (a test names its places).
"""

import difflib
from collections.abc import Iterable, Sequence

_LEAST_SIMILARITY = 0.6  # difflib's own: below it, names have little in common


def nearest_names(
    name: str, known: Iterable[str], *, most: int = 3, least: float = _LEAST_SIMILARITY
) -> tuple[str, ...]:
    """Return the known names that are most like a name, the nearest first; none if none is.

    Upper and lower case count as equal.

    Args:
        name: What was given.
        known: The right names.
        most: At most so many.
        least: How similar they have to be, in [0, 1].
    """
    by_case: dict[str, list[str]] = {}
    for right in known:
        by_case.setdefault(right.lower(), []).append(right)
    close = difflib.get_close_matches(name.lower()[:200], by_case, n=most, cutoff=least)
    return tuple(right for match in close for right in by_case[match])[:most]


def did_you_mean(names: Sequence[str]) -> str:
    """Return a question that names them, ``"did you mean a, b or c? "``; empty without names."""
    if not names:
        return ""
    *others, last = names
    return f"did you mean {', '.join(others)} or {last}? " if others else f"did you mean {last}? "


INSTALL = "`pip install .` in the checkout of wsdarts-hub"
UPDATE = "`git pull && pip install .` in the checkout of wsdarts-hub"
REINSTALL = "`pip install --force-reinstall --no-deps .` in the checkout of wsdarts-hub"


def install_extra(extra: str) -> str:
    """Return the command that installs an extra, such as ``onnx``, and where to type it."""
    return f"`pip install '.[{extra}]'` in the checkout of wsdarts-hub"
