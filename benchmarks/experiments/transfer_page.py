"""Section of the results page on the transfer matrix and on what predicts the best source."""

from collections.abc import Mapping
from typing import Any

from arms_page import markdown_table
from inheritance import JOINT, OPEN, ORDER, OWN, artifact_of
from transfer import RANDOM, TRANSFER

from wsdarts_registry.artifact.reader import read_artifact

NONE = "–"
_LABELS = {JOINT: "λ_meta", OWN: "its own"}


def section() -> str:
    """Return the section; empty before anything is measured."""
    found = TRANSFER.summary(TRANSFER.finished())
    if not found["matrix"]:
        return ""
    pairs = {(row["set"], row["source"]): row for row in found["matrix"]}
    transfers = sum(source != OWN for _, source in pairs)
    measured = f"{transfers} of {len(ORDER) * len(ORDER) - 3} pairs are measured"
    return f"""## Transfer matrix

Each artifact of the shipped zoo as the source of each set that it had not seen: a warm start from
its weights (λ̂; λ_meta as such), and 300 steps of training of the network that it found, from the
inherited weights. Trained on the weights half, judged on the alpha half: the validation third took
no part, so that defaults may be chosen by these figures. One seed; {measured}.

{_steps()}

Each figure is the accuracy in per cent, with the gain in parentheses, in points, over the cell of
an earlier search of the set itself for the zoo (1,200 steps), trained as long from random weights.
The last column is that cell with the weights of its own supernet. These searches are longer than
those of preset `small`, and have used the images that these cells are judged on for α, so this
comparison favours them.

![Points gained by a warm start, by set and source](images/transfer-matrix.svg)

{_matrix(pairs)}

### What predicts the best source

Of each predictor: its **regret**, the accuracy of the best source less that of its first choice;
how much smaller that is than the regret of a random choice; and its rank correlation with the
accuracy over the five single sources of a set. Means over {len(found["sets"])} sets; intervals
(95 %) resample the sets and are rough. The shipped probe was trained on the train parts of all six
sets; [the distilled one](#distilled-probes) that did not see the set was trained without it and
another one. LogME and the linear classifier see the features of the source's network on the weights
half;
*Transfer gain on the other sets* is the mean of the source's gains without the set itself;
artifacts state that of all sets as their transfer gain, and mode `auto` chooses by it among the
nearest.

{_predictors(found)}

{_parameters(found["parameters"])}

{_near_and_far(found["near_and_far"])}

`python benchmarks/experiments run inheritance alpha-SET-from-SOURCE-inherited-300-0` measures a
figure of the matrix, `python benchmarks/experiments run transfer` LogME and the linear classifier;
`table transfer` gives all."""


def _steps() -> str:
    """Say how long the sources were searched, the longest first."""
    found: dict[int, list[str]] = {}
    for source in (*ORDER, JOINT):
        steps = read_artifact(artifact_of(source)).manifest.metrics["steps"]
        found.setdefault(int(steps), []).append(f"`{source}`")
    parts = [f"{steps:,} for {', '.join(found[steps])}" for steps in sorted(found, reverse=True)]
    return f"Steps of the sources' searches: {'; '.join(parts)}."


def _matrix(pairs: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    measured = {source for _, source in pairs}
    sources = [source for source in (*ORDER, JOINT, OPEN, OWN) if source in measured]
    rows = []
    for name in ORDER:
        cells = []
        for source in sources:
            row = pairs.get((name, source))
            cells.append(NONE if row is None else f"{100 * row['accuracy']:.1f} ({_gain(row)})")
        rows.append([name, *cells])
    return markdown_table(["set \\ source", *(_LABELS.get(s, s) for s in sources)], rows)


def _gain(row: Mapping[str, Any]) -> str:
    return f"{100 * row['gain']:+.1f}"


def _predictors(found: Mapping[str, Any]) -> str:
    rows, whole = [], len(found["sets"])
    for name, regret in sorted(found["regret"].items(), key=lambda item: item[1]["mean"] or 0.0):
        if len(regret["sets"]) < whole:
            continue  # not measured on all of them
        less = found["regret_less_than_random"].get(name)
        agreement = found["rank_correlation"].get(name)
        rows.append(
            [
                name if name != RANDOM else f"*{name}*",
                _points(regret, signed=False),
                NONE if less is None else _points(less, signed=True),
                NONE if agreement is None else _plain(agreement),
            ]
        )
    return markdown_table(
        ["chosen by", "regret", "less than a random choice's", "rank correlation"], rows
    )


def _near_and_far(found: Mapping[str, Any]) -> str:
    """Say whether sources within the threshold of nearness are better than the others."""
    rows = [
        [
            f"`{name}`",
            str(each["near"]),
            str(each["far"]),
            _points(each["difference"], signed=True),
            str(len(each["difference"]["sets"])),
        ]
        for name, each in found.items()
    ]
    return f"""Sources within the threshold of nearness (that of the other five sets) against those
beyond it: the mean accuracy of a set's near sources less that of its far ones, in points.

{markdown_table(["probe", "near", "far", "near − far", "sets with both"], rows)}"""


def _parameters(found: Mapping[str, Any]) -> str:
    """Say how far the size of cells explains how good a source is."""
    if not found:
        return ""
    correlation = f"{found['correlation']:+.2f}"
    plain, equal = found["gains"], found["gains_at_equal_size"]
    ends = [choose(equal, key=equal.__getitem__) for choose in (max, min)]
    best, worst = (f"{100 * equal[e]:+.1f} points, {100 * plain[e]:+.1f} as measured" for e in ends)
    return f"""After 300 steps smaller cells are ahead: within a set, accuracy and the logarithm of
the number of parameters have a correlation of {correlation}. At equal size (above a line
fitted to all pairs) the best source is `{ends[0]}` ({best}),
the worst `{ends[1]}` ({worst})."""


def _points(interval: Mapping[str, Any], *, signed: bool) -> str:
    if interval["mean"] is None:
        return NONE
    sign = "+" if signed else ""
    mean, low, high = (100 * interval[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _plain(interval: Mapping[str, Any]) -> str:
    if interval["mean"] is None:
        return NONE
    return f"{interval['mean']:+.2f} [{interval['low']:+.2f}, {interval['high']:+.2f}]"
