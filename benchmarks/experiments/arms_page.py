"""The part of ``docs/results.md`` on arms and controls, and on the paper's experiments beside them.

Figures in cells of tables are per cent, differences are percentage points.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from arms import ARMS, ARMS_BY_NAME, SMALL_CONDITIONS, STEPS, TUNED
from arms_summary import AUTO, BEFORE, DEFAULT, PRIMARY, shares_of_cold
from cells import core_hours
from inheritance import ORDER
from measure import RESULTS
from scipy.stats import spearmanr

from wsdarts_registry._format import pluralize

Table = Mapping[str, Any]
RUN = "python benchmarks/experiments run arms"
NONE = "–"

# "Warm-starting DARTS using meta-learning": hours on 2 Tesla K80, accuracies in per cent.
PAPER = {
    "aircraft": {
        "hours": {"cold": 4.7, "topology": 1.6, "trained": 2.2, "meta": 1.5},
        "saved": {"topology": 66.3, "trained": 52.9, "meta": 67.5},
        "accuracy": {"baseline": 78.94, "topology": 79.45, "trained": 79.75, "meta": 79.72},
    },
    "flower": {
        "hours": {"cold": 4.0, "topology": 1.4, "trained": 1.6},
        "saved": {"topology": 65.8, "trained": 59.2},
        "accuracy": {"baseline": 90.48, "topology": 90.88, "trained": 91.50},
    },
    "birds": {
        "hours": {"cold": 5.8, "topology": 1.9, "trained": 2.3, "meta": 1.8},
        "saved": {"topology": 67.2, "trained": 61.0, "meta": 69.0},
        "accuracy": {"baseline": 61.25, "topology": 60.64, "trained": 61.86, "meta": 57.84},
    },
    "dtd": {
        "hours": {"cold": 2.7, "topology": 0.9, "trained": 1.1},
        "saved": {"topology": 66.4, "trained": 60.8},
        "accuracy": {"baseline": 49.26, "topology": 48.30, "trained": 49.57},
    },
    "imagenet": {
        "hours": {"cold": 42.6, "topology": 17.7, "trained": 17.7},
        "saved": {"topology": 58.5, "trained": 58.4},
        "accuracy": {"baseline": 63.34, "topology": 63.94, "trained": 63.76},
    },
}
PAPER_DISTANCES = {
    ("aircraft", "dtd"): 0.025,
    ("aircraft", "birds"): 0.020,
    ("aircraft", "flower"): 0.019,
    ("aircraft", "imagenet"): 0.020,
    ("dtd", "birds"): 0.023,
    ("dtd", "flower"): 0.018,
    ("dtd", "imagenet"): 0.014,
    ("birds", "flower"): 0.017,
    ("birds", "imagenet"): 0.019,
    ("flower", "imagenet"): 0.015,
}
OURS = {
    "aircraft": ("aircraft_edges", "edge maps in place of photographs"),
    "flower": ("flowers102", "the same images, at most 84 pixels a side"),
    "birds": ("bird_groups", "29 groups of birds, 790 images; the paper's has 200 species, 11,788"),
    "dtd": ("dtd_10", "10 of its 47 classes"),
    "imagenet": ("tiny_imagenet_100", "the same classes, a fifth of the images"),
}
"""Our set in place of each of the paper's, and what differs."""
PAPER_ARMS = {
    "baseline": "neighbour-cold",
    "topology": "warm-topology",
    "trained": "warm-trained",
    "meta": "warm-meta",
}


def section() -> str:
    """Return both parts, from the committed results."""
    rows = ARMS.finished()
    found = ARMS.summary(rows)
    parts = [_introduction(len(rows)), *_figures(found), _paper(found)]
    return "\n\n".join(part for part in parts if part)


def _introduction(measured: int) -> str:
    spent, left = core_hours(ARMS)
    hours = f"{spent:.1f} core-hours" + ("" if left is None else f", about {left:.1f} are left")
    preset, training = SMALL_CONDITIONS.preset, SMALL_CONDITIONS.preset.training
    said = (
        f"**{measured} of {len(ARMS.cells)} cells are measured** ({hours}); what is not measured "
        f"is left out or shown as {NONE}."
    )
    if not measured:
        said = (
            f"**0 of {len(ARMS.cells)} cells are measured**, so there is no result yet. The "
            f"declared budget is about {left or 0:.0f} core-hours."
        )
    return f"""## Arms and controls at preset `{preset.name}`

{said}

An arm is a genotype and the weights that its network begins with. All networks have
{training.cells} cells and {training.channels} channels, and are trained for {STEPS} steps of
64 images of {training.image_size} pixels on the train part; each is evaluated once, on the
validation third. All choices are made on the train part. When a set is the target, its artifacts, a
λ_meta that has it among its parts, and its distances in the thresholds for "near" are left out.
Tasks are embedded by an ImageNet probe, since the shipped one was trained on all six sets. λ_meta
was searched on {", ".join(SMALL_CONDITIONS.meta_parts)}, and is not measured there. Defaults
were tuned on {", ".join(TUNED)}; the other two sets are also reported
apart.

`{RUN}` measures what is left; `status` and `table` in place of `run` tell how
much that is, and all figures. The result of a cell is the file `SET-ARM-SEED.json` in
`benchmarks/results/experiments/arms`, with its command, commit and machine. Without that file,
`{RUN} SET-ARM-SEED --runs STATE` measures it again."""


def _figures(found: Table) -> list[str]:
    return [
        _accuracies(found["accuracy"]),
        _comparisons(found["comparisons"]),
        _goals(found["goals"]),
        _costs(found["costs"]),
        _decisions(found["decisions"]),
    ]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a table in Markdown; the first columns are flush left."""
    rule = [*["---"] * left, *["--:"] * (len(head) - left)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _accuracies(accuracy: Table) -> str:
    if not accuracy:
        return ""
    rows = []
    compound = {
        DEFAULT: "mode `auto`, of 5 cells the best after 30 steps",
        BEFORE: "the same by the rule and with the zoo before",
        AUTO: "mode `auto` by the rule and with the zoo before",
    }
    for name in [*compound, *ARMS_BY_NAME]:
        if name in accuracy:
            of_arm = accuracy[name]
            words = compound[name] if name in compound else ARMS_BY_NAME[name].words
            values = [_accuracy(of_arm.get(each)) for each in ORDER]
            rows.append([f"`{name}`", words, *values])
    example = f"{RUN} {ORDER[0]}-{next(iter(ARMS_BY_NAME))}-0"
    return f"""### Accuracy

Mean ± standard deviation over seeds (their number in parentheses), in per cent. A figure of arm
`ARM` on `SET` is that of the cells `SET-ARM-SEED`, seeds from 0: `{example}`.
`{DEFAULT}`, which preset `small` does if nothing is asked, has the cells of `gain-chosen`, measured
with the zoo of today. All other warm starts are from the zoo before, whose searches had 960 steps
in the last stage. `{AUTO}` has the cells of the arm that mode `auto` decided for then, and
`{BEFORE}` those of `warm-chosen` where that was the nearest artifact's weights, and those of
`auto-chosen` elsewhere.

{markdown_table(["arm", "cell and weights", *ORDER], rows, left=2)}"""


def _accuracy(value: Table | None) -> str:
    if value is None:
        return NONE
    deviation = "" if value["sd"] is None else f" ± {100 * value['sd']:.1f}"
    return f"{100 * value['mean']:.1f}{deviation} ({value['seeds']})"


def _comparisons(comparisons: Sequence[Table]) -> str:
    if not comparisons:
        return ""
    by_set, pooled = [], []
    for each in comparisons:
        name = f"`{each['first']}` − `{each['second']}`"
        name = f"**{name}**" if (each["first"], each["second"]) in PRIMARY else name
        by_set.append([name, *(_difference(each["by_task"].get(one)) for one in ORDER)])
        sets = pluralize(len(each["by_task"]), "set")
        pooled.append(
            [
                name,
                _points(each["mean"]),
                _interval(each["interval"]),
                _interval(each["interval_of_tasks"]),
                f"{each['p']:.3f} ({sets}: ≥ {each['least_p']:.3f})",
                _points(each["tuned"]),
                _points(each["apart"]),
            ]
        )
    head = ["difference", "mean", "95 % on these sets", "95 % over sets", "p", "tuned", "apart"]
    return f"""### Paired differences

First arm minus second, on the same images, with the same seeds, in points. The two in bold were
declared as the ones that decide. Intervals (95 %) resample seeds and images together, and are
rather too wide than too narrow; with one or two seeds they say little of seeds.

{markdown_table(["difference", *ORDER], by_set)}

Over all sets, each of which counts alike. *On these sets* resamples seeds and images, *over sets*
the sets, too. p is that of the exact sign-flip test over sets: with six sets it is never
below 2/64 = 0.031, with four never below 2/16 = 0.125, however large the differences are. It is
not corrected for the number of comparisons. *Tuned* and *apart* are the means of the sets on which
defaults were tuned, and of the others.

{markdown_table(head, pooled)}"""


def _difference(value: Table | None) -> str:
    return NONE if value is None else f"{_points(value['mean'])} {_interval(value['interval'])}"


def _points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:+.1f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return NONE if bounds is None else f"[{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]"


def _goals(goals: Sequence[Table]) -> str:
    rows = [
        [
            goal["goal"],
            f"{len(goal['reached'])} of {len(goal['sets'])}",
            ", ".join(name for name in goal["sets"] if name not in goal["reached"]) or NONE,
        ]
        for goal in goals
        if goal["sets"]
    ]
    if not rows:
        return ""
    return f"""### Goals

{markdown_table(["goal", "sets", "missed on"], rows)}"""


def _costs(costs: Table) -> str:
    kinds = ("trained", "topology", "union", "meta")
    alone = {kind: shares_of_cold(costs, kind) for kind in kinds}
    rows = []
    for name in ORDER:
        cold = costs["searches"].get(name, {}).get("cold")
        if cold is None:
            continue
        _, whole = alone["trained"].get(name, (None, None))
        shares = [of_kind.get(name, (None, None))[0] for of_kind in alone.values()]
        seconds = [cold["search"], costs["embedding"].get(name)]
        rows.append(
            [
                name,
                *(NONE if value is None else f"{value:.0f}" for value in seconds),
                *(NONE if share is None else f"{100 * share:.0f} %" for share in (*shares, whole)),
            ]
        )
    if not rows:
        return ""
    head = ["set", "cold, s", "embedding, s", "λ̂", "λ", "union", "λ_meta", "λ̂ with embedding"]
    return f"""### Cost

Search time as a share of a cold search's, medians over seeds. **The machine was shared,
so shares of time are rough**; the cold search of flowers102 ran beside more than the others. By
work, which no other process disturbs (cells · operations · epochs, twice with α's step), a start
from λ̂ takes {_work_share(costs)} of a cold search. The embedding, by the shipped probe, is
computed once for a task; embeddings were timed later than the searches, beside less, and the
searches of `auto-chosen` beside more than all others.

{markdown_table(head, rows)}{_costs_with_choice(costs)}"""


def _costs_with_choice(costs: Table) -> str:
    """Return seconds of the default and of a cold search that chooses alike, set by set."""
    shares = shares_of_cold(costs, "chosen", "cold-chosen")
    rows = []
    for name in ORDER:
        by_kind = costs["searches"].get(name, {})
        if (warm := by_kind.get("chosen")) is None:
            continue
        cold = by_kind.get("cold-chosen", {})
        seconds = [
            costs["embedding"].get(name),
            *(of_kind.get(phase) for of_kind in (warm, cold) for phase in ("search", "choice")),
        ]
        whole = shares.get(name, (None, None))[1]
        rows.append(
            [
                name,
                *(NONE if value is None else f"{value:.0f}" for value in seconds),
                NONE if whole is None else f"{100 * whole:.0f} %",
            ]
        )
    if not rows:
        return ""
    head = ["set", "embedding", "λ̂", "choice", "cold", "choice after cold", "share of the whole"]
    return f"""

With the choice among candidates, as preset `small` has it, in seconds, and the share that
embedding, start from λ̂ and choice have of a cold search with a choice:

{markdown_table(head, rows)}"""


def _work_share(costs: Table) -> str:
    """Return the share of a cold search's work that a start from λ̂ takes, of any set with both."""
    for by_kind in costs["searches"].values():
        if "trained" in by_kind and "cold" in by_kind:
            return f"{100 * by_kind['trained']['work'] / by_kind['cold']['work']:.1f} %"
    return NONE


def _decisions(decisions: Table) -> str:
    if not decisions:
        return ""
    rows = [
        [
            name,
            " + ".join(found["sources"]) or "cold",
            found["mode"],
            NONE if found["distance"] is None else f"{found['distance']:.3f}",
            NONE if found["threshold"] is None else f"{found['threshold']:.3f}",
        ]
        for name, found in decisions.items()
    ]
    head = ["set", "starts from", "mode", "distance", "threshold without the set"]
    return f"""### Decisions of mode `auto` before

By the rule before, with the zoo before: the highest transfer gain of the five nearest, where one of
them was near, else λ_meta.

{markdown_table(head, rows, left=3)}"""


def _paper(found: Table) -> str:
    return f"""## The paper's experiments beside ours

Each cell has the paper's figure and, behind the slash, ours. **Neither sets nor settings are the
same**: the paper searches on images of 84 pixels with up to 17 cells and 16 channels, and trains 20
cells for 300 epochs from random weights; ours is preset `small`, {STEPS} steps, from inherited
weights where an arm inherits. So compare signs and ranks, not values.

{markdown_table(["paper", "ours", "what differs"], [[k, *v] for k, v in OURS.items()], left=3)}

### Task2Vec distances (Table 2)

{_paper_distances()}

### Search time (Experiments 1 and 2)

Hours of the paper / seconds of ours, and how much of the cold search's time is saved; ours on
a shared machine, see the cost above.

{_paper_times(found["costs"])}

### Accuracy (Experiments 1 and 2)

The baseline is the cell of the nearest other task's cold search. λ_meta is left out where it was
searched on the target itself.

{_paper_accuracies(found["accuracy"])}"""


def _paper_distances() -> str:
    data = json.loads((RESULTS / "task_distances_mobilenetv2_100.json").read_bytes())["whole"]
    place = {name: number for number, name in enumerate(data["names"])}

    def ours(one: str, other: str) -> float:
        return float(data["matrix"][place[OURS[one][0]]][place[OURS[other][0]]])

    both = {pair: (theirs, ours(*pair)) for pair, theirs in PAPER_DISTANCES.items()}
    both |= {pair[::-1]: values for pair, values in both.items()}
    names = list(OURS)
    rows = [
        [one, *("" if one == other else _beside(*both[one, other], 3) for other in names)]
        for one in names
    ]
    theirs, here = zip(*(both[pair] for pair in PAPER_DISTANCES), strict=True)
    agreement = float(spearmanr(theirs, here).statistic)
    return f"""By a ResNet-34 in the paper, by a MobileNetV2 here. The rank correlation of the ten
pairs is {agreement:+.2f}.

{markdown_table(["", *names], rows)}"""


def _beside(theirs: float | None, ours: float | None, digits: int) -> str:
    texts = [NONE if value is None else f"{value:.{digits}f}" for value in (theirs, ours)]
    return NONE if theirs is None and ours is None else " / ".join(texts)


def _paper_times(costs: Table) -> str:
    rows = []
    for name, figures in PAPER.items():
        hours, here = figures["hours"], costs["searches"].get(OURS[name][0], {})
        cold = here.get("cold", {}).get("search")
        cells = [_time(hours["cold"], cold)]
        for kind in ("topology", "trained", "meta"):
            ours = here.get(kind, {}).get("search")
            saved = _time(
                figures["saved"].get(kind),
                None if None in (ours, cold) else 100 * (1 - ours / cold),
                " %",
            )
            cells += [_time(hours.get(kind), ours), saved]
        rows.append([name, *cells])
    head = ["task", "cold", "λ", "saved", "λ̂", "saved", "λ_meta", "saved"]
    return markdown_table(head, rows)


def _time(theirs: float | None, ours: float | None, unit: str = "") -> str:
    if unit:
        texts = [NONE if value is None else f"{value:.1f}{unit}" for value in (theirs, ours)]
    else:
        texts = [NONE if theirs is None else f"{theirs:.1f} h"]
        texts.append(NONE if ours is None else f"{ours:.0f} s")
    return NONE if theirs is None and ours is None else " / ".join(texts)


def _paper_accuracies(accuracy: Table) -> str:
    rows = []
    for name, figures in PAPER.items():
        ours = {
            key: accuracy.get(arm, {}).get(OURS[name][0], {}).get("mean")
            for key, arm in PAPER_ARMS.items()
        }
        percents = {key: None if value is None else 100 * value for key, value in ours.items()}
        theirs = figures["accuracy"]
        rows.append([name, *(_beside(theirs.get(key), percents[key], 2) for key in PAPER_ARMS)])
    return markdown_table(["task", "baseline", "λ", "λ̂", "λ_meta"], rows)
