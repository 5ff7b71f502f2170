"""Section of the results page on what says which cell within the masks is best."""

from collections.abc import Mapping
from typing import Any

from arms_page import markdown_table
from criteria import AMONG, BRIEF, CELLS, CRITERIA, FINAL, REPEATED

_WORDS = {
    "alpha": ("α: logarithm of the probability of the cell", "none"),
    "untrained": ("loss with inherited weights and head", "none"),
    "untrained_norms": ("the same, statistics of the norms estimated anew", "none"),
    "perturbation": ("loss when its operations leave the supernet", "none"),
    "parameters": ("parameters, more is better", "none"),
    "multiply_adds": ("multiply-adds, more is better", "none"),
}
_CEILING = "ceiling: the same training, second seed"
_BEGINNING = {
    "inherited": "From inherited weights",
    "random": "From random weights",
}


def section() -> str:
    """Return the section; empty before anything is measured."""
    found = {k: v for k, v in CRITERIA.summary(CRITERIA.finished()).items() if v["sets"]}
    if not found:
        return ""
    parts = "\n\n".join(_worth(name, row) for name, row in found.items())
    return f"""## Criteria for a choice among cells

{CELLS} cells drawn evenly within the masks of a warm start from the nearest other set. What a cell
is worth is its accuracy on the validation third after {FINAL} steps on the whole train part;
criteria see the train part alone: brief trainings use the weights half and are judged on the α
half. *Correlation* is Spearman's within a set, pooled its mean, with an interval (95 %) that
resamples the cells. *Gain* is the accuracy of the cell that a criterion ranks first less that of
the mean cell, in points, means over the sets: the first of all {CELLS}, and the first of {AMONG} of
them on average. The ceiling is a second training of {REPEATED} of the cells with another seed.
One seed and one start a set.

{parts}

`python benchmarks/experiments run criteria` measures what is left; `table` in place of `run` tells
the figures of each set."""


def _worth(name: str, found: Mapping[str, Any]) -> str:
    rows = [
        [*_named(key), *_figures(row)]
        for key, row in sorted(found["criteria"].items(), key=lambda it: -it[1]["correlation"])
    ]
    head = ["criterion", "steps a cell", "correlation", "gain, first of all", f"first of {AMONG}"]
    chance, own = found["random_choice"], found["own_cell_of_alpha"]
    gains = ", ".join(f"{each} {100 * gain:+.1f}" for each, gain in own.items())
    return f"""**{_BEGINNING[name]}**, on {", ".join(found["sets"])}. The best cell is
{100 * chance["regret"]:.1f} points above the mean one; the deviation between cells is
{100 * chance["deviation"]:.1f}. α's own cell, less the mean of those drawn: {gains}.

{markdown_table(head, rows, left=1)}"""


def _named(key: str) -> tuple[str, str]:
    if key == _CEILING:
        return "*the same training with another seed*", str(FINAL)
    if key in _WORDS:
        return _WORDS[key]
    arm, _, loss = key.partition("_")
    steps, head = BRIEF[arm]
    ending = ", head inherited" if head else ", head fresh"
    return f"{'loss' if loss else 'accuracy'} after a brief training{ending}", str(steps)


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    return (
        f"{row['correlation']:+.2f} [{low:+.2f}, {high:+.2f}]",
        f"{100 * row['gain']:+.1f}",
        f"{100 * row['gain_among']:+.1f}",
    )
