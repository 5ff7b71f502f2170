"""When to stop adding images to an embedding: after some time, or once it is exact enough."""

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import TypeVar

from wsdarts_registry.arguments import check_kind
from wsdarts_registry.errors import SettingsError

_Item = TypeVar("_Item")
_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s|m|h|)")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends the work before all images are done; None for no such limit.

    Attributes:
        seconds: Wall time, above 0.
        error: Relative standard error that is small enough, between 0 and 1.
    """

    seconds: float | None = None
    error: float | None = None

    @classmethod
    def of(cls, budget: float | str | None, target_error: float | None) -> "Limits":
        """Check what a user asked for.

        Args:
            budget: Seconds, or a time such as ``"30s"``, ``"2m"``, ``"1h"``.
            target_error: Relative standard error, such as 0.05.

        Raises:
            SettingsError: A value is out of range or cannot be read.
        """
        if target_error is not None:
            check_kind(target_error, Real, "target_error", "a fraction, such as 0.05")
        if target_error is not None and not 0 < target_error < 1:
            raise SettingsError(
                f"target_error is {target_error:g}; expected a fraction between 0 and 1, such as "
                "0.05 for five per cent"
            )
        return cls(seconds=None if budget is None else _seconds(budget), error=target_error)

    def __bool__(self) -> bool:
        return self.seconds is not None or self.error is not None


def until(deadline: float | None, items: Iterator[_Item], *, least: int = 1) -> Iterator[_Item]:
    """Pass items on until one more would probably come after the deadline.

    Args:
        deadline: In the time of ``time.perf_counter``; None for never.
        items: Their computation is what takes the time.
        least: So many come in any case.
    """
    longest = 0.0
    for count in itertools.count():
        begun = time.perf_counter()
        if count >= least and deadline is not None and begun + longest > deadline:
            return
        try:
            item = next(items)
        except StopIteration:
            return
        longest = max(longest, time.perf_counter() - begun)
        yield item


def _seconds(budget: float | str) -> float:
    check_kind(budget, (Real, str), "budget", "seconds, or a time such as 30s")
    if isinstance(budget, str):
        found = _TIME.fullmatch(budget.strip())
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    else:
        seconds = float(budget)
    if not 0 < seconds < inf:
        raise SettingsError(
            f"budget is {str(budget)[:40]!r}; expected a time above 0, such as 30s, 2m, 1h or a "
            "number of seconds"
        )
    return seconds
