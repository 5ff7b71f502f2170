"""Accuracy after equally short trainings, from random weights and from those of an artifact."""

import json
from pathlib import Path

from docs.pictures.canvas import MARGIN, WIDTH, heading, lines, picture, words
from wsdarts_registry._format import metric_difference, percent
from wsdarts_registry.drawing.svg import element

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results/experiments/inheritance"
_SETS = ("flowers102", "cifar10_1000", "aircraft_edges", "bird_groups", "dtd_10")
_SOURCE, _STEPS = "tiny_imagenet_100", 300
_WAYS = {"random": "port", "inherited": "sep-full"}
_LEFT, _ROW, _BAR = 136.0, 46.0, 15.0


def inheritance() -> str:
    """Draw two bars for each set: both networks had the same cells, images and steps."""
    found = {name: [_accuracy(name, way) for way in _WAYS] for name in _SETS}
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
        "One seed each, images that were not trained on. Short",
        "trainings with many images gain most; with few images,",
        "the differences of the last two are within the error.",
    )
    body.append(lines(MARGIN, end + 16, note))
    described = "; ".join(
        f"{name}: {percent(random)} and {percent(inherited)}"
        for name, (random, inherited) in found.items()
    )
    return picture(
        "inherited-weights",
        body,
        end + 64,
        "Accuracy of networks trained from random weights and from those of an artifact",
        f"Both networks of a set have the same cells and were trained for the same {_STEPS} steps, "
        f"one from random weights, the other from those of the artifact {_SOURCE}, with one seed. "
        f"Accuracies from random and from inherited weights are, for {described}.",
    )


def _accuracy(name: str, way: str) -> float:
    file = _RESULTS / f"alpha-{name}-from-{_SOURCE}-{way}-{_STEPS}-0.json"
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
