"""Large registries: what a push to the Hub writes, and what a ranking takes, by their size."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs.pictures.canvas import MARGIN, WIDTH, heading, line, lines, picture, words
from wsdarts_registry.drawing.svg import element, number

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"
_LEFT, _RIGHT, _HEIGHT = 66.0, WIDTH - MARGIN, 150.0
_WIDTHS = {
    "1416 filters": ("sep", "1,416 filters"),
    "8512 filters": ("dil", "8,512 filters"),
    "17056 and 1416 filters": ("pool", "17,056 and 1,416"),
}
_SEARCHES = {
    "exact scan": ("sep", "exact scan"),
    "all filters, 1 % ranked again": ("dil", "vectors first"),
    "lancedb, 1 % ranked again": ("pool", "LanceDB"),
}
_Curve = Sequence[tuple[int, float]]


def large_registries() -> str:
    """Draw two panels with logarithmic axes, one above the other."""
    written, taken = _written(), _taken()
    body = [heading(32, "What a push to the Hub writes")]
    body += _panel(56, written, (3, 5), (4, 7), _bytes)
    body += [heading(306, "What a ranking's comparison takes")]
    body += _panel(330, taken, (3, 6), (-3, 1), _seconds)
    note = (
        "Mean of the last tenth of the pushes, by sizes, from",
        "an empty index. Processor time on one thread, 1,416",
        "filters, independent from task to task.",
    )
    body.append(lines(MARGIN, 580, note))
    return picture(
        "large-registries",
        body,
        636,
        "Bytes that a push writes and time that a comparison takes, by artifacts of a registry",
        f"Mean of the last tenth of the pushes. {_told(written, _bytes)}. "
        f"Processor time of a comparison. {_told(taken, _seconds)}.",
    )


def _written() -> dict[tuple[str, str], _Curve]:
    growth = json.loads((_RESULTS / "index_scale.json").read_bytes())["growth"]
    return {
        label: [
            (point["artifacts"], point["mean_bytes_of_the_last_10_percent"])
            for point in growth[name]["on_the_way"]
        ]
        for name, label in _WIDTHS.items()
    }


def _taken() -> dict[tuple[str, str], _Curve]:
    found = json.loads((_RESULTS / "approximate_nearest.json").read_bytes())
    by_rows = found["on disk"]["independent"].values()
    return {
        label: [
            (row["rows"], row["searches"][name]["cpu_seconds"])
            for row in by_rows
            if name in row["searches"]
        ]
        for name, label in _SEARCHES.items()
    }


def _panel(
    top: float,
    curves: Mapping[tuple[str, str], _Curve],
    decades: tuple[int, int],
    bounds: tuple[int, int],
    form: Callable[[float], str],
) -> list[str]:
    """Draw curves, with the decades of artifacts from left to right, of ``bounds`` upwards."""

    def x(artifacts: float) -> float:
        share = (math.log10(artifacts) - decades[0]) / (decades[1] - decades[0])
        return _LEFT + share * (_RIGHT - 24 - _LEFT)

    def y(value: float) -> float:
        share = (math.log10(value) - bounds[0]) / (bounds[1] - bounds[0])
        return top + _HEIGHT - share * _HEIGHT

    parts: list[str] = []
    for power in range(bounds[0], bounds[1] + 1):
        level = y(10.0**power)
        parts.append(line((_LEFT, level), (_RIGHT, level)))
        label = form(10.0**power)
        parts.append(words(_LEFT - 8, level + 4, label, anchor="end", size=11, style="soft"))
    for power in range(decades[0], decades[1] + 1):
        label = f"{10**power:,}"
        place = x(10.0**power)
        parts.append(
            words(place, top + _HEIGHT + 18, label, anchor="middle", size=11, style="soft")
        )
    for row, ((family, label), curve) in enumerate(curves.items()):
        points = " L".join(f"{number(x(n))} {number(y(value))}" for n, value in curve)
        parts.append(element("path", f"{family}-line", d=f"M{points}", fill="none", stroke_width=2))
        parts += [
            element("circle", f"{family}-full", cx=x(n), cy=y(value), r=3.2) for n, value in curve
        ]
        left = MARGIN + row * 124
        parts.append(element("circle", f"{family}-full", cx=left + 5, cy=top + 190, r=5))
        parts.append(words(left + 15, top + 194, label, size=11))
    return parts


def _bytes(value: float) -> str:
    return f"{value / 1e6:g} MB" if value >= 1e5 else f"{value / 1e3:g} kB"


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 else f"{1000 * value:g} ms"


def _told(curves: Mapping[tuple[str, str], _Curve], form: Callable[[float], str]) -> str:
    return "; ".join(
        f"{label}: " + ", ".join(f"{form(_short(value))} at {n:,}" for n, value in curve)
        for (_, label), curve in curves.items()
    )


def _short(value: float) -> float:
    return float(f"{value:.2g}")
