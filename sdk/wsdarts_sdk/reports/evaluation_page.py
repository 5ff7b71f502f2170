"""The evaluation of a trained network in a page: figures, classes, confusions, worst mistakes.

A confusion matrix is drawn at the width of a telephone and only ever scaled up. With few classes
it has names and numbers of images; with many it is a map of shades with class numbers at the edges,
and the table of classes says which is which.
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from wsdarts_registry._format import count, percent, percent_if_known, pluralize
from wsdarts_registry._templates import html_page
from wsdarts_registry._text import clipped
from wsdarts_registry.drawing.svg import element, number, text
from wsdarts_sdk.reports._charts import chart_text
from wsdarts_sdk.runs.result_records import Evaluation, Interval

_SIDE = 360.0
_TOP = 20.0
_NAMED = 16  # classes whose names stand beside the rows
_NAME_LENGTH = 12
_CHARACTER = 5.9
_PITCH = 15.0  # between labels of an axis
_ROOM = 16.0  # of a cell with a number in it
_STRONGEST = 0.6  # so that a number on it can be read on both grounds
_FAINTEST = {True: 0.1, False: 0.35}  # of a cell with and without room for a number
_LONG_TABLE = 20
_PAIRS = 10


def render_evaluation(evaluation: Evaluation, model: str) -> str:
    """Write the page of an evaluation as HTML; equal evaluations give equal text.

    Args:
        evaluation: What was found.
        model: Name of the model, for the page.
    """
    return html_page(
        "evaluation.html.j2",
        title=f"Evaluation on {evaluation.dataset}",
        model=model,
        where=images_text(evaluation),
        note=evaluation.note,
        tiles=[(name, percent(figure.value)) for name, figure in evaluation.figures.items()],
        evaluation=evaluation_values(evaluation),
    )


def evaluation_values(evaluation: Evaluation | None) -> Mapping[str, Any] | None:
    """Return the values of an evaluation for the template's macro; None for none."""
    if evaluation is None:
        return None
    names = [scores.name for scores in evaluation.classes]
    return {
        "figures": [(name, *interval_texts(f)) for name, f in evaluation.figures.items()],
        "images": evaluation.images,
        "matrix": confusion_svg(evaluation),
        "numbered": len(names) > _NAMED,
        "long": len(names) > _LONG_TABLE,
        "classes": [
            (
                place,
                scores.name,
                *(
                    percent_if_known(value, "–")
                    for value in (scores.precision, scores.recall, scores.f1)
                ),
                count(scores.images),
            )
            for place, scores in enumerate(evaluation.classes, start=1)
        ],
        "pairs": [(t, p, count(n)) for t, p, n in evaluation.confused_pairs(_PAIRS)],
        "mistakes": [
            (
                Markup(mistake.picture),  # noqa: S704 - base64, as its record has checked
                mistake.image,
                names[mistake.truth],
                names[mistake.predicted],
                percent(mistake.probability),
            )
            for mistake in evaluation.mistakes
        ],
    }


def interval_texts(figure: Interval) -> tuple[str, str]:
    """Return a figure and its interval as a table shows them."""
    return percent(figure.value), f"{percent(figure.low)} to {percent(figure.high)}"


def images_text(evaluation: Evaluation) -> str:
    """Return the images of an evaluation in words: ``400 images of the validation part``."""
    where = "the whole dataset" if evaluation.part == "all" else f"the {evaluation.part} part"
    return f"{pluralize(evaluation.images, 'image')} of {where}"


def confusion_svg(evaluation: Evaluation) -> Markup:
    """Draw the confusion matrix: a row for each true class, a column for each predicted one.

    The shade of a cell is its share of its row; the diagonal has the colour of what is right.
    """
    classes = len(evaluation.classes)
    names = [clipped(scores.name, _NAME_LENGTH) for scores in evaluation.classes]
    labels = [str(place + 1) for place in range(classes)]
    if classes <= _NAMED:
        labels = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    left = max(map(len, labels)) * _CHARACTER + 10
    side = (_SIDE - left - 2) / classes
    pitch = max(_PITCH, len(str(classes)) * _CHARACTER + 5)
    every = next((n for n in (1, 2, 5, 10, 20, 50, 100) if n * side >= pitch), classes)
    shown = [place for place in range(classes) if (place + 1) % every == 0 or every == 1]
    size = side * classes
    parts = [
        element("title", None, "Confusion matrix"),
        element("desc", None, text(_described(evaluation), 2000)),
        element("rect", None, x=left, y=_TOP, width=size, height=size, class_="ground"),
        *(_rule(place, side, left, size) for place in shown),
        *_cells(evaluation, side, left),
    ]
    for place in shown:
        middle = (place + 0.5) * side
        parts.append(chart_text(str(place + 1), left + middle, _TOP - 6, "middle"))
        parts.append(chart_text(labels[place], left - 5, _TOP + middle + 3.6, "end"))
    box = f"0 0 {number(_SIDE)} {number(_TOP + size + 2)}"
    return Markup(  # noqa: S704
        element("svg", None, *parts, viewBox=box, class_="chart matrix", role="img")
    )


def _cells(evaluation: Evaluation, side: float, left: float) -> list[str]:
    found, rows = [], evaluation.confusion_matrix.sum(axis=1)
    for true, predicted, images in evaluation.confusion:
        x, y = left + predicted * side, _TOP + true * side
        strongest = _STRONGEST if side >= _ROOM else 1.0
        faintest = _FAINTEST[side >= _ROOM]
        share = images / int(rows[true])
        names = [evaluation.classes[place].name for place in (true, predicted)]
        found.append(
            element(
                "rect",
                None,
                element("title", None, text(f"{names[0]} as {names[1]}: {images}")),
                x=x,
                y=y,
                width=side,
                height=side,
                fill_opacity=round(faintest + (strongest - faintest) * share, 3),
                class_="right" if true == predicted else "wrong",
            )
        )
        if side >= _ROOM and len(str(images)) * _CHARACTER <= side:
            found.append(
                chart_text(str(images), x + side / 2, y + side / 2 + 3.6, "middle", "count")
            )
    return found


def _rule(place: int, side: float, left: float, size: float) -> str:
    along = number((place + 0.5) * side + left)
    down = number((place + 0.5) * side + _TOP)
    path = f"M{along} {number(_TOP)}v{number(size)}M{number(left)} {down}h{number(size)}"
    return element("path", None, d=path, class_="grid")


def _described(evaluation: Evaluation) -> str:
    pairs = [f"{t} as {p} {n} times" for t, p, n in evaluation.confused_pairs(_PAIRS)]
    right = f"{percent(evaluation.accuracy.value)} on the diagonal"
    return f"{right}; most confused: {', '.join(pairs) or 'none'}."
