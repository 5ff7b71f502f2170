"""Task2Vec: from images to one number a filter, and the distance of two tasks."""

import numpy as np
from numpy.typing import NDArray

from docs.pictures.canvas import (
    MARGIN,
    WIDTH,
    arrow,
    heading,
    line,
    lines,
    named_box,
    picture,
    words,
)
from wsdarts_registry.drawing.svg import element
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.stores.opening import ShippedZoo

_PROBE = "wsdarts-resnet10t"
_ONE = "flowers102"
_OTHERS = ("bird_groups", "cifar10_1000")
_SHOWN = 24
_HALF = 46.0
_UNIT = 15.0  # pixels for a factor of e
Vector = NDArray[np.float64]


def task2vec() -> str:
    """Draw the making of an embedding, and two real pairs of tasks filter by filter."""
    known = _embeddings()
    one = known[_ONE]
    body = [heading(32, "An embedding: one number for each filter"), *_making(50)]
    body.append(heading(236, "A distance: how the ratio a/b varies"))
    top, described = 264.0, []
    for other in _OTHERS:
        (distance,) = symmetric_distance(one, known[other][np.newaxis])
        body.append(words(MARGIN, top, f"{_ONE} and {other}: {distance:.3f}"))
        body += _bars(top + 12, one, known[other])
        described.append(f"{_ONE} and {other} are at {distance:.3f}")
        top += 2 * _HALF + 40
    body += _legend(top - 4, len(one))
    return picture(
        "task2vec",
        body,
        top + 76,
        "Task2Vec: a task's embedding, and the distance of two tasks",
        "The images of the train part go through a fixed probe network, on which a classifier of "
        "the task's own is fitted. How much the log-likelihood would change with each filter, "
        "squared and averaged, is the embedding: one number for each filter. For two tasks a and "
        "b, the distance is 1 minus the cosine of a/(a+b) and b/(a+b), which grows with how much "
        "the ratio a/b varies from filter to filter; a factor common to all alone makes none. "
        f"By the shipped probe {' and '.join(described)}. Drawn is how far the logarithm of the "
        f"ratio is from its mean, for {_SHOWN} of {len(one):,} filters at even steps: the bars of "
        "the first pair are short, those of the second long.",
    )


def _embeddings() -> dict[str, Vector]:
    """The embeddings of the shipped zoo's single tasks by the shipped probe."""
    found = {}
    for entry in ShippedZoo().entries():
        for record in entry.manifest.embeddings:
            if record.space.probe == _PROBE and len(entry.manifest.tasks) == 1:
                store = ShippedZoo()
                artifact = store.pull(str(entry.reference))
                vector = artifact.embedding(record.space.embedding_space).values
                found[entry.manifest.tasks[0].name] = np.asarray(vector, dtype=np.float64)
    return found


def _making(top: float) -> list[str]:
    """Images, probe, head, embedding."""
    right = WIDTH - MARGIN - 130
    return [
        named_box(MARGIN, top, 110, 40, "train part"),
        arrow((MARGIN + 114, top + 20), (right - 4, top + 20)),
        words(MARGIN + 122, top + 13, "images", style="soft", size=12),
        named_box(right, top, 130, 40, "probe, fixed"),
        arrow((right + 65, top + 44), (right + 65, top + 66)),
        named_box(right, top + 70, 130, 40, "classifier, fitted"),
        arrow((right - 4, top + 90), (MARGIN + 174, top + 90)),
        named_box(MARGIN, top + 70, 170, 40, "gradient of log p(y | x)"),
        lines(
            MARGIN,
            top + 132,
            (
                "squared, averaged over images, over labels as",
                "the classifier expects them, and over each filter",
            ),
        ),
    ]


def _bars(top: float, one: Vector, other: Vector) -> list[str]:
    """Return the distance of log(a/b) from its mean, for each of the shown filters."""
    step = (WIDTH - 2 * MARGIN) / _SHOWN
    ratio = np.log(one / other)
    from_mean = ratio - ratio.mean()
    zero = top + _HALF
    body = [line((MARGIN, zero), (WIDTH - MARGIN, zero), style="wire")]
    for place, filter_ in enumerate(np.linspace(0, len(one) - 1, _SHOWN).astype(int)):
        tall = abs(float(from_mean[filter_])) * _UNIT
        above = from_mean[filter_] > 0
        style, y = ("sep-full", zero - tall) if above else ("dil-full", zero)
        x = MARGIN + place * step
        body.append(element("rect", style, x=x, y=y, width=step - 3, height=tall))
    return body


def _legend(y: float, filters: int) -> list[str]:
    return [
        element("rect", "sep-full", x=MARGIN, y=y - 11, width=12, height=12),
        words(MARGIN + 18, y, f"matters more for {_ONE}", size=12),
        element("rect", "dil-full", x=MARGIN + 206, y=y - 11, width=12, height=12),
        words(MARGIN + 224, y, "for the other", size=12),
        lines(
            MARGIN,
            y + 26,
            (
                f"log(a/b) of {_SHOWN} filters, from its mean over all {filters:,}.",
                "What varies makes the distance; a factor that is",
                "common to all filters makes none by itself.",
            ),
        ),
    ]
