"""The whole method: searches fill a registry, and a new task starts from the nearest."""

import json
from pathlib import Path

from docs.pictures.canvas import (
    MARGIN,
    WIDTH,
    arrow,
    box,
    heading,
    line,
    lines,
    named_box,
    picture,
    words,
)
from wsdarts_registry.drawing.svg import element
from wsdarts_registry.stores.opening import ShippedZoo

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
_MEASURED = _RESULTS / "warm_starts_tiny_imagenet.json"
_TASK = "dtd_10"
_OTHERS = ("flowers102", "bird_groups", "cifar10_1000")
_MIDDLE = WIDTH / 2
_BARS = 168.0
_SCALE = 300.0  # pixels for a distance of 1


def method() -> str:
    """Draw TAS, the registry, a real ranking, and the warm start."""
    measured = json.loads(_MEASURED.read_text())
    (row,) = (r for r in measured["rows"] if r["set"] == _TASK and r["seed"] == 0)
    ranked = sorted(row["distances"].items(), key=lambda pair: pair[1])
    near = _threshold(measured["probe"]["digest"])
    body = [*_publishing(), heading(312, "Then, for a dataset of yours")]
    body += [
        named_box(MARGIN, 326, 150, 30, f"images: {_TASK}"),
        arrow((MARGIN + 154, 341), (MARGIN + 210, 341)),
        named_box(MARGIN + 214, 326, 150, 30, "task embedding"),
        arrow((_MIDDLE + 107, 360), (_MIDDLE + 107, 384)),
        words(MARGIN, 378, "Ranked by distance:"),
    ]
    body += _ranking(396, ranked, near, row["source"])
    body += _warm_start(396 + 26 * len(ranked) + 36, row["source"])
    listed = ", ".join(f"{name} {distance:.3f}" for name, distance in ranked)
    return picture(
        "method",
        body,
        396 + 26 * len(ranked) + 36 + 180,
        "Transfer architectures and warm starts: the whole method",
        "Once, for others: Transfer Architecture Search runs on each of several tasks. Each gives "
        "an artifact: lambda hat, that is masks, weights and alpha, with the task's embedding. "
        "Artifacts are published in a registry. Then, for a dataset of yours: a fixed probe "
        "network gives its task embedding, and the registry's artifacts are ranked by their "
        f"distance. Measured for {_TASK}: {listed}; near is up to {near:.3f}. The search starts "
        f"from {row['source']}, with the last of the three stages alone, and ends with a genotype. "
        "Its network is trained from scratch and evaluated once, on the validation third.",
    )


def _threshold(digest: str) -> float:
    """Up to which distance a task is near by this probe, as the shipped zoo says."""
    known = ShippedZoo().config.near
    (found,) = (near.distance for near in known if near.space.probe_digest == digest)
    return found


def _publishing() -> list[str]:
    """Three tasks, their searches, their artifacts, and the registry."""
    body = [heading(32, "Once, for others: a search on each task")]
    width = (WIDTH - 2 * MARGIN - 20) / 3
    for place, name in enumerate(_OTHERS):
        x = MARGIN + place * (width + 10)
        middle = x + width / 2
        body += [
            named_box(x, 48, width, 30, name),
            arrow((middle, 82), (middle, 120)),
            words(middle + 10, 105, "TAS", style="soft"),
            box(x, 124, width, 48, style="sep-tint"),
            words(middle, 144, "λ̂: masks, ŵ, α̂", style="sep-ink", anchor="middle", size=12),
            words(middle, 162, "+ embedding", style="sep-ink", anchor="middle", size=12),
            arrow((middle, 176), (middle, 212)),
            words(middle + 10, 198, "push", style="soft"),
        ]
    body += [
        element("rect", "node", x=MARGIN, y=216, width=WIDTH - 2 * MARGIN, height=36, rx=7),
        words(_MIDDLE, 239, "registry", style="on-node", anchor="middle", bold=True),
        words(MARGIN, 272, "Several tasks in one search give a λ_meta.", style="soft"),
    ]
    return body


def _ranking(top: float, ranked: list[tuple[str, float]], near: float, source: str) -> list[str]:
    """A bar for each artifact, and the threshold across them."""
    body = []
    for place, (name, distance) in enumerate(ranked):
        y = top + 26 * place
        chosen = name == source
        style = "sep-full" if chosen else "port"
        body += [
            words(MARGIN, y + 13, name, size=12, bold=chosen),
            element("rect", style, x=_BARS, y=y + 2, width=distance * _SCALE, height=14, rx=3),
            words(WIDTH - MARGIN, y + 13.5, f"{distance:.3f}", anchor="end", size=12),
        ]
    x, low = _BARS + near * _SCALE, top + 26 * len(ranked)
    body.append(line((x, top - 4), (x, low), style="wire-odd"))
    body.append(
        words(x, low + 14, f"near: up to {near:.3f}", style="soft", anchor="middle", size=12)
    )
    return body


def _warm_start(y: float, source: str) -> list[str]:
    """From the chosen artifact to a trained model."""
    width = WIDTH - 2 * MARGIN
    return [
        arrow((MARGIN + 40, y - 26), (MARGIN + 40, y - 2)),
        box(MARGIN, y + 2, width, 52, style="sep-tint"),
        words(
            MARGIN + 12, y + 23, f"warm start from {source}", style="sep-ink", bold=True, size=13
        ),
        words(MARGIN + 12, y + 42, "stage 3 alone, instead of all three", style="sep-ink"),
        arrow((MARGIN + 40, y + 58), (MARGIN + 40, y + 80)),
        named_box(MARGIN, y + 84, 100, 30, "genotype"),
        arrow((MARGIN + 104, y + 99), (MARGIN + 160, y + 99)),
        words(MARGIN + 112, y + 91, "train", style="soft", size=12),
        named_box(MARGIN + 164, y + 84, 120, 30, "trained model"),
        lines(
            MARGIN,
            y + 140,
            ("evaluated once, on the third of the images that", "nothing before has seen"),
        ),
    ]
