"""Transfer matrix: what warm starts from each artifact gave each image set that it had not seen."""

import json
from collections.abc import Mapping
from pathlib import Path

from docs.pictures.canvas import MARGIN, WIDTH, heading, lines, picture, words
from wsdarts_registry._format import points
from wsdarts_registry.drawing.svg import element

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results/experiments/inheritance"
_SETS = (
    "flowers102",
    "tiny_imagenet_100",
    "dtd_10",
    "aircraft_edges",
    "bird_groups",
    "cifar10_1000",
)
_SOURCES = {name: str(number) for number, name in enumerate(_SETS, start=1)} | {
    "meta_flowers_birds_textures": "meta"
}
_STEPS = 300
_LEFT, _TOP, _ROW = 158.0, 84.0, 34.0
_CELL = (WIDTH - MARGIN - _LEFT) / len(_SOURCES)


def transfer_matrix() -> str:
    """Draw a row for each set that was trained, and a column for each source of its weights."""
    found = {(name, source): _gain(name, source) for name in _SETS for source in _SOURCES}
    gains = {pair: gain for pair, gain in found.items() if gain is not None}
    largest = max(map(abs, gains.values()))
    body = [
        heading(32, "Points gained by a warm start"),
        lines(MARGIN, 54, (f"over the zoo's own search, {_STEPS} steps of training",)),
    ]
    for column, label in enumerate(_SOURCES.values()):
        body.append(
            words(_LEFT + (column + 0.5) * _CELL, _TOP - 8, label, anchor="middle", size=11.5)
        )
    for row, name in enumerate(_SETS):
        y = _TOP + row * _ROW
        body.append(words(MARGIN, y + _ROW / 2 + 4, f"{row + 1}  {name}", size=12))
        for column, source in enumerate(_SOURCES):
            body += _field(_LEFT + column * _CELL, y, gains.get((name, source)), largest)
    end = _TOP + len(_SETS) * _ROW
    note = (
        "Rows: the set that was searched. Columns: the set of",
        "the artifact that the warm start began from; meta is",
        "the λ_meta of 1, 3 and 5. The searches of 1 and 2 were",
        "long. One seed each.",
    )
    body.append(lines(MARGIN, end + 20, note))
    described = "; ".join(
        f"{name} from {source} {points(g)}" for (name, source), g in gains.items()
    )
    return picture(
        "transfer-matrix",
        body,
        end + 86,
        "Gain of a warm start over a cold search, for each image set and each artifact",
        "Accuracy after a warm start from an artifact, trained from its weights, less that after "
        f"the set's own cold search, trained from random weights, {_STEPS} steps, one seed: "
        f"{described}.",
    )


def _field(x: float, y: float, gain: float | None, largest: float) -> list[str]:
    """Return one field: the deeper its colour, the larger the gain, or the loss."""
    inner: Mapping[str, float] = {
        "x": x + 1,
        "y": y + 1,
        "width": _CELL - 2,
        "height": _ROW - 2,
        "rx": 4,
    }
    if gain is None:
        return [words(x + _CELL / 2, y + _ROW / 2 + 4, "–", anchor="middle", style="soft")]
    style = "sep-full" if gain >= 0 else "pool-full"
    shade = round(0.08 + 0.5 * abs(gain) / largest, 2)
    text = _short(gain)
    size = 11 if len(text) <= len("+9.9") else 10  # it has to fit into the field
    return [
        element("rect", style, **inner, fill_opacity=shade),
        words(x + _CELL / 2, y + _ROW / 2 + 4, text, anchor="middle", size=size),
    ]


def _short(gain: float) -> str:
    return f"{100 * gain:+.1f}".replace("-", "−")


def _gain(name: str, source: str) -> float | None:
    warm, cold = _accuracy(name, source, "inherited"), _accuracy(name, "own", "random")
    return None if warm is None or cold is None else warm - cold


def _accuracy(name: str, source: str, weights: str) -> float | None:
    file = _RESULTS / f"alpha-{name}-from-{source}-{weights}-{_STEPS}-0.json"
    return float(json.loads(file.read_bytes())["accuracy"]) if file.exists() else None
