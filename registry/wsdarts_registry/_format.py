"""Formats of numbers, sizes, times and settings for display."""

import math
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_HUGE = 1e15  # nothing that was measured; its digits, which may be 300, help nobody


def duration(seconds: float) -> str:
    """Write a duration: ``35 ms``, ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``, ``1 d 4 h``."""
    if not math.isfinite(seconds):
        return "unknown"
    if abs(seconds) >= _HUGE:
        return f"{seconds:.3g} s"
    sign, length = ("−", -seconds) if seconds < 0 else ("", seconds)
    whole = round(length)
    if 0 < length < 0.0995:
        text = f"{1000 * length:.2g} ms"
    elif length < 9.95:
        text = f"{length:.2g} s"
    elif whole < _MINUTE:
        text = f"{whole} s"
    elif whole < _HOUR:
        text = f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    elif whole < _DAY:
        text = f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    else:
        text = f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
    return sign + text


def count(value: int) -> str:
    """Write a whole number with a comma between thousands."""
    return f"{value:,}"


def pluralize(value: int, what: str) -> str:
    """Write a number of things: ``1 image``, ``1,797 images``, ``2 classes``."""
    ending = "" if value == 1 else "es" if what.endswith("s") else "s"
    return f"{count(value)} {what}{ending}"


def percent(value: float) -> str:
    """Write a ratio as a percentage with one decimal; 1 is 100 %."""
    if not math.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} %" if abs(value) < _HUGE else f"{value:.3g}"


def percent_if_known(value: float | None, otherwise: str = "") -> str:
    """Write a ratio as a percentage, or what stands where there is none."""
    return otherwise if value is None else percent(value)


def points(value: float) -> str:
    """Write a difference of two ratios in percentage points: ``+2.5 points``, ``−0.3 points``."""
    return f"{100 * value:+.1f} points".replace("-", "−")


def millions(value: int) -> str:
    """Write a large count in millions, with two digits or more: ``0.84 M``, ``12 M``, ``840``."""
    if value < 10_000:
        return count(value)
    return f"{value / 1e6:.2f} M" if value < 9_950_000 else f"{value / 1e6:,.0f} M"


def size(octets: float) -> str:
    """Write a number of bytes with a decimal prefix: ``812 B``, ``3.4 MB``, ``1.2 GB``."""
    if not math.isfinite(octets):
        return "unknown"
    value = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def figure(value: float, unit: str = "") -> str:
    """Write a measured value in its unit: ``"ratio"``, ``"s"``, ``"count"``, ``"B"`` or other."""
    if unit == "ratio":
        return percent(value)
    if unit == "s":
        return duration(value)
    if unit == "B":
        return size(value)
    if not math.isfinite(value):
        return "unknown"
    if abs(value) < _HUGE and (unit == "count" or float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:.4g} {'' if unit == 'count' else unit}".rstrip()


def metric_text(name: str, value: float) -> str:
    """Write a value of a metric, whose name tells the unit: ``62.1 %``, ``1.43``."""
    if _is_difference(name):
        return points(value) if abs(value) < _HUGE else f"{value:.3g}"
    return figure(value, "ratio" if _is_ratio(name) else "")


def metric_difference(name: str, difference: float) -> str:
    """Write a difference with its sign: in percentage points for a ratio, ``+2.5 points``."""
    if _is_ratio(name) or _is_difference(name):
        return points(difference)
    text = f"{difference:+,.0f}" if float(difference).is_integer() else f"{difference:+.4g}"
    return text.replace("-", "−") if text.startswith("-") else text


def _is_ratio(name: str) -> bool:
    return name.endswith("accuracy")


def _is_difference(name: str) -> bool:
    ends = ("difference_low", "difference_high")
    return name.endswith(ends) or name.startswith("transfer_gain")


def setting(value: Any) -> str:
    """Write a setting, plain JSON data, on one line; single values as ``--set`` takes them."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {setting(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        nested = any(isinstance(part, dict | list | tuple) for part in value)
        return ("; " if nested else ", ").join(setting(part) for part in value)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
