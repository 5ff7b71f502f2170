"""Accuracy after equally short trainings, from random weights and those of the nearest artifact."""

import json
from pathlib import Path

from docs.pictures.canvas import MARGIN, WIDTH, heading, lines, picture, words
from wsdarts_registry._format import metric_difference, percent
from wsdarts_registry.drawing.svg import element

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"
_DISTANCES = "task_distances_mobilenetv2_100.json"
_STEPS = 300
_WAYS = {"random": "port", "inherited": "sep-full"}
_LEFT, _ROW, _BAR = 136.0, 46.0, 15.0


def inheritance() -> str:
    """Draw two bars for each set: both networks had the same cells, images and steps."""
    found = {
        name: [_accuracy(name, source, way) for way in _WAYS] for name, source in _nearest().items()
    }
    scale = (WIDTH - _LEFT - 70) / max(map(max, found.values()))
    body = [
        heading(32, f"Accuracy after {_STEPS} steps of training"),
        *_legend(56),
    ]
    for place, (name, values) in enumerate(found.items()):
        top = 78 + place * _ROW
        body.append(words(MARGIN, top + 13, name, size=12.5))
        gain = metric_difference("accuracy", values[1] - values[0])
        body.append(words(MARGIN, top + 29, gain, size=11.5, style="soft"))
        for row, (style, value) in enumerate(zip(_WAYS.values(), values, strict=True)):
            y = top + row * (_BAR + 2)
            width = max(value * scale, 2)
            body.append(
                element("rect", style, x=_LEFT, y=y, width=width, height=_BAR, rx=3, stroke_width=1)
            )
            body.append(words(_LEFT + width + 6, y + 12, percent(value), size=11.5))
    end = 78 + len(found) * _ROW
    note = (
        "Each from the artifact of the nearest other set. One seed,",
        "images that were not trained on (at least 263 a set).",
    )
    body.append(lines(MARGIN, end + 16, note))
    described = "; ".join(
        f"{name}: {percent(random)} and {percent(inherited)}"
        for name, (random, inherited) in found.items()
    )
    return picture(
        "inherited-weights",
        body,
        end + 47,
        "Accuracy of networks trained from random weights and from those of an artifact",
        f"Both networks of a set have the same cells and were trained for the same {_STEPS} steps, "
        "one from random weights, the other from those of the nearest other set's artifact, with "
        "one seed. "
        f"Accuracies from random and from inherited weights are, for {described}.",
    )


def _nearest() -> dict[str, str]:
    """Return of each set the nearest other one, by an ImageNet probe."""
    measured = json.loads((_RESULTS / _DISTANCES).read_text(encoding="utf-8"))["whole"]
    return {name: row["nearest"] for name, row in measured["nearest_other"].items()}


def _accuracy(name: str, source: str, way: str) -> float:
    cell = f"alpha-{name}-from-{source}-{way}-{_STEPS}-0.json"
    file = _RESULTS / "experiments" / "inheritance" / cell
    return float(json.loads(file.read_text(encoding="utf-8"))["accuracy"])


def _legend(y: float) -> list[str]:
    parts: list[str] = []
    x = MARGIN
    for way, style in _WAYS.items():
        label = "random weights" if way == "random" else "an artifact's weights"
        parts.append(
            element("rect", style, x=x, y=y - 11, width=12, height=12, rx=3, stroke_width=1)
        )
        parts.append(words(x + 18, y, label, size=12))
        x += 140
    return parts
