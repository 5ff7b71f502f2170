"""How an estimate's error falls with the number of its draws."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.embedding.distance import symmetric_distance

Array = NDArray[np.float64]
ENOUGH = 2  # estimates whose mean error the law may start from


def errors(estimates: Sequence[Array], truth: Array) -> dict[str, float]:
    """Errors of some estimates of one kind.

    Returns:
        Mean, least and greatest symmetric distance to the truth, and the mean relative error: the
        standard deviation over filters of estimate over truth, where the mean of that is 1.
    """
    distances = symmetric_distance(truth, np.stack(estimates))
    seen = truth > 0
    relative = []
    for estimate in estimates:
        ratios = estimate[seen] / truth[seen]
        relative.append(float(ratios.std() / ratios.mean()))
    return {
        "estimates": len(estimates),
        "distance": float(distances.mean()),
        "least": float(distances.min()),
        "greatest": float(distances.max()),
        "relative": float(np.mean(relative)),
    }


def grouped(runs: Mapping[int, Sequence[Array]], truth: Array) -> list[dict[str, float]]:
    """Errors at many numbers of draws, from runs of some.

    Args:
        runs: Estimates by their number of draws; as many for one number as for another.
        truth: What they estimate.

    Returns:
        For each number of draws its errors: those of the runs, and of disjoint groups of all runs
        together, which have the mean that one run of as many draws would have.
    """
    rows = [{"draws": draws, **errors(found, truth)} for draws, found in sorted(runs.items())]
    together = sum(runs)
    rounds = [
        np.average(parts, axis=0, weights=list(runs)) for parts in zip(*runs.values(), strict=True)
    ]
    size = 1
    while size <= len(rounds):
        count = len(rounds) // size
        means = np.reshape(rounds[: count * size], (count, size, -1)).mean(1)
        rows.append({"draws": size * together, **errors(list(means), truth)})
        size *= 2
    return rows


def slope(rows: Sequence[Mapping[str, float]]) -> float:
    """Of the logarithm of the distance by that of the draws; -1 where the law holds."""
    draws, distances = (np.log([row[name] for row in rows]) for name in ("draws", "distance"))
    return float(np.polyfit(draws, distances, 1)[0])


def draws_for(distance: float, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """How many draws reach a distance, where it falls as 1/draws.

    Args:
        distance: To be reached.
        rows: Errors by draws, ascending, as ``grouped`` gives them.

    Returns:
        The draws; the number of draws that was measured and from which the law leads there, the
        nearest to it that has enough estimates; and how many times as many are needed.
    """
    trusted = _trusted(rows)
    needed = {row["draws"]: row["draws"] * row["distance"] / distance for row in trusted}
    start = min(needed, key=lambda draws: abs(log(needed[draws] / draws)))
    return {
        "draws": round(needed[start]),
        "by_the_law_from": start,
        "times_as_many": round(needed[start] / start, 3),
    }


def distance_at(draws: float, rows: Sequence[Mapping[str, float]]) -> float:
    """The distance at a number of draws, by the same law from the nearest that was measured."""
    start = min(_trusted(rows), key=lambda row: abs(log(row["draws"] / draws)))
    return start["distance"] * start["draws"] / draws


def _trusted(rows: Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    return [row for row in rows if row["estimates"] >= ENOUGH] or rows
