"""Figures of the arms' experiment: accuracies, paired comparisons, costs, and goals."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from paired_differences import compare, differences, unpack_hits

AUTO = "auto-before"
BEFORE = "default-before"
"""Mode ``auto`` without and with the choice among candidates, by its rule before, with the zoo
before: the highest transfer gain of the five nearest, where one of them was near."""
DEFAULT = "default"
"""What preset ``small`` does: mode ``auto`` with the choice among candidates."""
_DEFAULT_ARM = "gain-chosen"
"""On all six sets an artifact of the zoo has a transfer gain above 0, and its weights fit."""
Rows = Sequence[Mapping[str, Any]]

PRIMARY = (("warm-trained", "cold-inherited"), ("warm-trained", "random-in-masks"))
"""Comparisons that were declared in advance as those that decide; the others explain them."""
CHOSEN = "warm-chosen"
COMPARISONS = (
    *PRIMARY,
    (DEFAULT, "cold"),
    (DEFAULT, "cold-inherited"),
    (DEFAULT, "cold-chosen"),
    (DEFAULT, "warm-chosen"),
    (DEFAULT, BEFORE),
    (DEFAULT, "linear"),
    (DEFAULT, "gain-random"),
    ("gain-random", "cold-chosen"),
    (BEFORE, "cold-chosen"),
    ("warm-chosen", "warm-trained"),
    ("warm-chosen", "random-in-masks"),
    ("warm-chosen", "cold-inherited"),
    ("warm-chosen", "cold"),
    ("warm-chosen", "cold-chosen"),
    ("cold-chosen", "cold-inherited"),
    ("random-in-masks", "cold-inherited"),
    ("cold-inherited", "cold"),
    ("warm-trained", "cold"),
    ("cold", "random-cell"),
    ("warm-trained-random", "cold"),
    ("warm-trained-random", "neighbour-cold"),
    ("neighbour-cold", "cold"),
    ("warm-topology", "cold-inherited"),
    ("warm-topology", "random-masks"),
    ("warm-meta", "cold-inherited"),
    ("warm-union", "cold-inherited"),
    (AUTO, "cold-inherited"),
    ("cold", "darts-v2"),
    ("cold", "pdarts"),
    ("warm-trained", "linear"),
)
SEARCH_SHARE, WHOLE_SHARE = 0.10, 0.35
"""Goals: greatest shares of a cold search's time."""


def summarise(rows: Rows, *, tuned: Sequence[str]) -> dict[str, Any]:
    """Return what is published of the finished cells.

    Args:
        rows: Results of cells, in the order of the table.
        tuned: Sets on which defaults were tuned.

    Returns:
        ``accuracy`` by arm and set (mean, deviation and number of seeds); ``comparisons``, each as
        ``compare`` has it, with the means of the tuned sets and of the others; ``costs``, as
        ``shares_of_cold`` takes them; ``decisions`` of mode ``auto``; ``goals``. Accuracies and
        their differences are shares, times are seconds.
    """
    decisions = {row["set"]: row for row in rows if "decision" in row}
    trained = _with_auto([row for row in rows if "hits" in row], decisions)
    comparisons = [
        found
        for first, second in COMPARISONS
        if (found := _comparison(trained, first, second, tuned)) is not None
    ]
    costs = _costs(rows)
    return {
        "accuracy": _accuracies(trained),
        "comparisons": comparisons,
        "costs": costs,
        "decisions": {
            name: {key: row[key] for key in ("mode", "sources", "distance", "threshold", "arm")}
            for name, row in decisions.items()
        },
        "goals": goals(comparisons, costs),
    }


def _with_auto(trained: Rows, decisions: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Add the default, and what it was before: on each set the rows of the arm that it is."""
    found = list(trained)
    for row in trained:
        decided = decisions.get(row["set"], {}).get("arm")
        if row["arm"] == decided:
            found.append({**row, "arm": AUTO})
        if row["arm"] == (CHOSEN if decided == "warm-trained" else "auto-chosen"):
            found.append({**row, "arm": BEFORE})
        if row["arm"] == _DEFAULT_ARM:
            found.append({**row, "arm": DEFAULT})
    return found


def _accuracies(trained: Rows) -> dict[str, Any]:
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in trained:
        groups.setdefault(row["arm"], {}).setdefault(row["set"], []).append(row)
    return {
        arm: {name: _spread(of_set) for name, of_set in by_set.items()}
        for arm, by_set in groups.items()
    }


def _spread(rows: Rows) -> dict[str, Any]:
    values = [row["accuracy"] for row in rows]
    return {
        "mean": round(statistics.fmean(values), 4),
        "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "seeds": len(values),
        "parameters": round(statistics.fmean(row["parameters"] for row in rows)),
    }


def _comparison(
    trained: Rows, first: str, second: str, tuned: Sequence[str]
) -> dict[str, Any] | None:
    """Compare two arms on all sets that have both; None where none has."""
    hits: dict[str, dict[str, dict[int | None, Any]]] = {}
    for row in trained:
        if row["arm"] in (first, second):
            arms = hits.setdefault(row["set"], {first: {}, second: {}})
            arms[row["arm"]][row["seed"]] = unpack_hits(row["hits"], row["images"])
    found = {name: differences(arms[first], arms[second]) for name, arms in hits.items()}
    found = {name: each for name, each in found.items() if len(each)}
    if not found:
        return None
    compared = compare(found)
    by_task = compared["by_task"]
    groups = {
        "tuned": [each["mean"] for name, each in by_task.items() if name in tuned],
        "apart": [each["mean"] for name, each in by_task.items() if name not in tuned],
    }
    means = {key: statistics.fmean(of) if of else None for key, of in groups.items()}
    rounded: dict[str, Any] = _rounded({**compared, **means})
    return {"first": first, "second": second, **rounded}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list():
            return [_rounded(each) for each in value]
    return value


def _costs(rows: Rows) -> dict[str, Any]:
    """Return by set the seconds of an embedding, and medians over the seeds by kind of search."""
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if "search" in row:
            groups.setdefault(row["set"], {}).setdefault(row["search"], []).append(row)
    searches = {
        name: {kind: _cost(of_kind) for kind, of_kind in by_kind.items()}
        for name, by_kind in groups.items()
    }
    embeddings = {r["set"]: r["embedding_seconds"] for r in rows if "decision" in r}
    return {"searches": searches, "embedding": _rounded(embeddings)}


def _cost(rows: Rows) -> dict[str, float]:
    def median(phase: str) -> float:
        return round(statistics.median(row["took"].get(phase, 0.0) for row in rows), 1)

    return {"search": median("search"), "choice": median("choice"), "work": rows[0]["work"]}


def shares_of_cold(
    costs: Mapping[str, Any], kind: str, cold_kind: str = "cold"
) -> dict[str, tuple[float, float | None]]:
    """Return by set a warm start's share of a cold search's time.

    Args:
        costs: As ``summarise`` returns them.
        kind: Kind of the warm start's search.
        cold_kind: Kind of the cold search: with or without a choice among candidates.

    Returns:
        The share of the search alone, and that of embedding (by the default probe), search and
        choice together; None where the embedding is not measured.
    """
    found = {}
    for name, by_kind in costs["searches"].items():
        if kind in by_kind and cold_kind in by_kind:
            warm, cold = by_kind[kind], by_kind[cold_kind]
            embedding = costs["embedding"].get(name)
            total = cold["search"] + cold["choice"]
            whole = None
            if embedding is not None:
                whole = (embedding + warm["search"] + warm["choice"]) / total
            found[name] = (warm["search"] / cold["search"], whole)
    return found


def goals(comparisons: Rows, costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each goal on how many of the measured sets it is reached."""
    shares = shares_of_cold(costs, "trained")
    # The default does the same work, from another artifact, but was measured on another machine.
    chosen = shares_of_cold(costs, "chosen", "cold-chosen")
    whole = {name: share for name, (_, share) in chosen.items() if share is not None}
    found = [
        {
            "goal": f"search from λ̂: at most {100 * SEARCH_SHARE:.0f} % of a cold search's time",
            "reached": [name for name, (alone, _) in shares.items() if alone <= SEARCH_SHARE],
            "sets": list(shares),
        },
        {
            "goal": f"embedding, search and choice (`{CHOSEN}`, on the machine of the cold "
            f"searches): at most {100 * WHOLE_SHARE:.0f} % of a cold search with such a choice",
            "reached": [name for name, share in whole.items() if share <= WHOLE_SHARE],
            "sets": list(whole),
        },
    ]
    by_arms = {(each["first"], each["second"]): each["by_task"] for each in comparisons}
    of_default = ((DEFAULT, "cold-inherited"), (DEFAULT, "gain-random"))
    for first, second in (*PRIMARY, *of_default):
        by_task = by_arms.get((first, second), {})
        found.append(
            {
                "goal": f"{first} is better than {second}",
                "reached": [name for name, each in by_task.items() if each["mean"] > 0],
                "sets": list(by_task),
            }
        )
    for first in ("warm-trained", DEFAULT):
        by_task = by_arms.get((first, "cold-inherited"), {})
        found.append(
            {
                "goal": f"{first} is not worse than cold-inherited by more than the interval",
                "reached": [name for name, each in by_task.items() if each["interval"][1] >= 0],
                "sets": list(by_task),
            }
        )
    return found
