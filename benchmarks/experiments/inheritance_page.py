"""Section of the results page on inherited and random weights at equal steps."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from arms_page import NONE, markdown_table
from inheritance import INHERITANCE, LONGER, ORDER, STEPS, source_of
from scipy.stats import t

_Accuracies = dict[tuple[str, str, int], dict[int, float]]


def section() -> str:
    """Return the section; empty before anything is measured."""
    found = _accuracies(INHERITANCE.finished())
    pairs = [(steps, steps) for steps in STEPS], list(pairwise(STEPS))
    sets = [name for name in ORDER if any(_gains(found, name, *each) for each in chain(*pairs))]
    if not sets:
        return ""
    return f"""## Inherited and random weights at equal steps

The network of a warm start from the artifact of the highest transfer gain that had not seen the
set, trained on the whole train part and evaluated once, on the validation third: from random
weights → from those of the warm start's supernet, and the gain, in points. Pairs share genotype,
seed, order of images and all settings. Means over seeds, with their deviation and number;
the mean of the sets has an interval (95 %) over sets.

{_table(found, sets, pairs[0])}

Inherited weights at half of the steps against random ones at all of them:

{_table(found, sets, pairs[1])}
{_longer(found, sets)}
`python benchmarks/experiments run inheritance` measures what is left."""


def _accuracies(rows: Sequence[Mapping[str, Any]]) -> _Accuracies:
    """Return accuracies by seed of each set, beginning and number of steps."""
    found = _Accuracies()
    for row in rows:
        if row.get("judged_on") != "validation" or row["source"] != source_of(row["set"]):
            continue
        way = row["way"]
        if way.keys() == {"weights", "steps", "seed"}:
            of_seeds = found.setdefault((row["set"], way["weights"], way["steps"]), {})
            of_seeds[way["seed"]] = row["accuracy"]
    return found


def _gains(
    found: _Accuracies, name: str, inherited: int, random: int
) -> dict[int, tuple[float, float]]:
    """Return by seed the accuracies from random and from inherited weights."""
    first = found.get((name, "random", random), {})
    second = found.get((name, "inherited", inherited), {})
    return {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}


def _table(found: _Accuracies, sets: Sequence[str], steps: Sequence[tuple[int, int]]) -> str:
    names = [str(a) if a == b else f"{a} for {b}" for a, b in steps]
    rows = [
        [name, *(_cell(list(_gains(found, name, *pair).values())) for pair in steps)]
        for name in sets
    ]
    means, no_worse = [], []
    for pair in steps:
        of_sets = [list(_gains(found, name, *pair).values()) for name in sets]
        known = [fmean(second - first for first, second in pairs) for pairs in of_sets if pairs]
        means.append(_mean(known) if len(known) == len(sets) else NONE)
        no_worse.append(f"{sum(gain >= 0 for gain in known)} of {len(known)}" if known else NONE)
    last = [["*mean of the sets*", *means], ["*sets where it is no worse*", *no_worse]]
    return markdown_table(["set \\ steps", *names], [*rows, *last])


def _mean(gains: Sequence[float]) -> str:
    """Return the mean of the sets' gains in points, and the 95 % interval of Student's t."""
    mean = 100 * fmean(gains)
    if len(gains) == 1:
        return f"{mean:+.1f}"
    half = float(t.ppf(0.975, len(gains) - 1)) * 100 * stdev(gains) / sqrt(len(gains))
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def _cell(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return NONE
    random, inherited = (100 * fmean(side) for side in zip(*pairs, strict=True))
    gains = [100 * (second - first) for first, second in pairs]
    spread = f" ± {stdev(gains):.1f}" if len(gains) > 1 else ""
    return f"{random:.1f} → {inherited:.1f} ({fmean(gains):+.1f}{spread}, {len(gains)})"


def _longer(found: _Accuracies, sets: Sequence[str]) -> str:
    """Return how far random weights get with more steps, seed 0."""
    steps = [*STEPS, *LONGER]
    rows = [[name, *(_random(found, name, count) for count in steps)] for name in sets]
    if all(_random(found, name, LONGER[0]) == NONE for name in sets):
        return ""
    head = ["set \\ steps", *map(str, steps)]
    return f"\nRandom weights trained longer, one seed:\n\n{markdown_table(head, rows)}\n"


def _random(found: _Accuracies, name: str, steps: int) -> str:
    accuracy = found.get((name, "random", steps), {}).get(0)
    return NONE if accuracy is None else f"{100 * accuracy:.1f}"
