"""Accuracy after equally short trainings, after cold searches and after warm starts."""

import json
from pathlib import Path
from statistics import fmean

from docs.pictures.canvas import MARGIN, WIDTH, heading, lines, picture, words
from wsdarts_registry._format import metric_difference, percent
from wsdarts_registry.drawing.svg import element

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results/experiments/arms"
_SETS = (
    "flowers102",
    "cifar10_1000",
    "dtd_10",
    "bird_groups",
    "aircraft_edges",
    "tiny_imagenet_100",
)
_STEPS = 300
_WAYS = {"cold": "port", "warm-chosen": "sep-full"}
_LABELS = {"cold": "cold search", "warm-chosen": "warm start"}
_LEFT, _ROW, _BAR = 152.0, 46.0, 15.0


def warm_starts() -> str:
    """Draw two bars for each set: networks of the same shape, trained on the same images."""
    found = {name: _accuracies(name) for name in _SETS}
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
        "After the cold search from random weights, after the",
        "warm start from those of the nearest artifact, with",
        "the best of five cells. One or two seeds, images",
        "that nothing had seen before.",
    )
    body.append(lines(MARGIN, end + 16, note))
    described = "; ".join(
        f"{name}: {percent(cold)} and {percent(warm)}" for name, (cold, warm) in found.items()
    )
    return picture(
        "warm-starts",
        body,
        end + 81,
        "Accuracy of networks that were found by cold searches and by warm starts",
        f"All networks were trained for {_STEPS} steps on the same images of a set: after a cold "
        "search from random weights, after a warm start from those of the nearest artifact, with "
        "the best of five cells. "
        f"Accuracies after cold searches and after warm starts are, for {described}.",
    )


def _accuracies(name: str) -> list[float]:
    """Return the mean accuracy of each way, over the seeds that all have."""
    by_seed = [
        {
            file.stem.rsplit("-", 1)[1]: json.loads(file.read_bytes())["accuracy"]
            for file in _RESULTS.glob(f"{name}-{way}-[0-9].json")
        }
        for way in _WAYS
    ]
    seeds = set.intersection(*map(set, by_seed))
    return [fmean(found[seed] for seed in sorted(seeds)) for found in by_seed]


def _legend(y: float) -> list[str]:
    parts: list[str] = []
    x = MARGIN
    for way, style in _WAYS.items():
        parts.append(
            element("rect", style, x=x, y=y - 11, width=12, height=12, rx=3, stroke_width=1)
        )
        parts.append(words(x + 18, y, _LABELS[way], size=12))
        x += 140
    return parts
