"""Section of the results page on how long a source is trained."""

from collections.abc import Mapping
from typing import Any

from arms_page import NONE as NO_FIGURE
from arms_page import markdown_table
from sources import ALPHA_EPOCHS, CELLS, LENGTHS, MASKS, NONE, SOURCE_TRAINING, STEPS

_HEADS = {NONE: "random weights", MASKS: "λ alone", **{str(n): f"{n:,}" for n in LENGTHS}}


def section() -> str:
    """Return the section; empty before anything is measured."""
    found = SOURCE_TRAINING.summary(SOURCE_TRAINING.finished())
    tables = [_table(source, row) for source, row in found.items() if row["gains"]]
    if not tables:
        return ""
    parts = "\n\n".join(tables)
    return f"""## Longer training of a source

Accuracy of networks whose weights come from a warm start, by the number of steps in the last stage
of the source's search; in parentheses the gain over the same genotypes with random weights, in
points. Each figure is the mean of {CELLS} genotypes drawn evenly within λ, each trained for
{STEPS} steps on the weights half and judged on the alpha half. A warm start from *λ alone* has a
supernet that began with random weights. The stages before the last are as in the shipped zoo, and
α is trained in the last {ALPHA_EPOCHS} epochs. One seed.

{parts}

`python benchmarks/experiments run sources` measures what is left."""


def _table(source: str, found: Mapping[str, Any]) -> str:
    accuracy, gains, means = found["accuracy"], found["gains"], found["means"]
    rows = [
        [name, *(_cell(row.get(each), gains[name].get(each)) for each in _HEADS)]
        for name, row in accuracy.items()
        if name in gains
    ]
    if means:
        mean_gains = {each: value - means[NONE] for each, value in means.items() if each != NONE}
        rows.append(
            [
                f"*mean of {', '.join(found['sets_of_the_means'])}*",
                *(_cell(means.get(each), mean_gains.get(each)) for each in _HEADS),
            ]
        )
    table = markdown_table(["set \\ steps of the source", *_HEADS.values()], rows)
    return f"**From {source}**:\n\n{table}"


def _cell(accuracy: float | None, gain: float | None) -> str:
    if accuracy is None:
        return NO_FIGURE
    return f"{100 * accuracy:.1f}" + ("" if gain is None else f" ({100 * gain:+.1f})")
