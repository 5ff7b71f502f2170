"""The evaluation of a trained network in a page: figures, classes, confusions, worst mistakes.

The confusion matrix is drawn by ``_charts``. Where it has numbers in place of classes' names, the
table of classes says which is which.
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from wsdarts_registry._format import count, percent, percent_if_known, pluralize
from wsdarts_registry._templates import html_page
from wsdarts_sdk.reports._charts import MOST_NAMED_CLASSES, confusion_svg
from wsdarts_sdk.runs.result_records import Evaluation, Interval

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
        "numbered": len(names) > MOST_NAMED_CLASSES,
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
