"""Write ``docs/results.md`` from the committed JSON results, so that no figure is copied by hand.

python benchmarks/write_results.py
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parent / "experiments"))

from arms_page import section as arms_and_controls
from criteria_page import section as criteria
from inheritance_page import section as inherited_weights
from probes_page import section as distilled_probes
from six_sets import near_threshold
from sources_page import section as longer_sources
from transfer_page import section as transfer_matrix

from wsdarts_registry._format import pluralize

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
PROBES = {
    "wsdarts-resnet10t": "the shipped probe",
    "mobilenetv2_100": "an ImageNet probe (MobileNetV2 1.0, at 128×128)",
}


def page() -> str:
    """The whole page."""
    parts = [
        "# Results",
        (
            "Every figure on this page is written by `python benchmarks/write_results.py` from the "
            "files in `benchmarks/results/`, which record the machine. The image sets are reduced "
            "public collections; they are not part of this project."
        ),
        arms_and_controls(),
        transfer_matrix(),
        criteria(),
        inherited_weights(),
        longer_sources(),
        *(_distances(name, text) for name, text in PROBES.items()),
        *(_warm_starts(path) for path in sorted(RESULTS.glob("warm_starts_*.json"))),
        _schedules(),
        _probe(),
        distilled_probes(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _distances(probe: str, text: str) -> str:
    data = _read(f"task_distances_{probe}.json")
    if data is None:
        return ""
    whole = data["whole"]
    settings = whole["space"]["settings"]
    nearest = "; ".join(
        f"{name} – {row['nearest']} ({row['distance']:.3f})"
        for name, row in whole["nearest_other"].items()
    )
    return f"""## Distances between tasks by {text}

Whole tasks, at most {settings["images"]} images of each train part, head with
λ = {settings["head_l2"]:g}, input {settings["size"]} pixels:

{_matrix(whole["names"], whole["matrix"])}

Nearest other task: {nearest}.

**The threshold for "near" is {whole["threshold"]:.4f}**: the largest of these six distances to
the nearest other task. A new task counts as near when the distance to its nearest artifact is
not larger. Distances shrink with the number of images, so the threshold is for these settings
and this probe only.

{_halves(data.get("ten"))}

Command: `python benchmarks/task_distances.py --parts whole ten --threads 1`, by this probe,
on {_machine(whole)}."""


def _halves(ten: dict[str, Any] | None) -> str:
    if ten is None:
        return "Two disjoint halves of each set have not been measured with this probe."
    failed = ten["failed"]
    verdict = (
        "The nearest of the other eleven halves is always the other half of the same set."
        if not failed
        else "The nearest task of a half is not always the other half of its set: "
        + "; ".join(f"{half} is nearer to {other}" for half, other in failed.items())
        + "."
    )
    within = ", ".join(f"{name} {value:.3f}" for name, value in ten["within"].items())
    half_images = ten["space"]["settings"]["images"]
    return f"""Two disjoint halves of each set (ten classes, at most {half_images} images a half):
{verdict}
Distances between the two halves: {within}. Mean distance between sets over mean distance within:
{ten["mean_between_over_mean_within"]:.2f}; least between over greatest within:
{ten["least_between_over_greatest_within"]:.2f}."""


def _warm_starts(path: Path) -> str:
    data = json.loads(path.read_bytes())
    rows = [
        (
            "| task | started from | mode | seeds | accuracy, warm | accuracy, cold | gain "
            "| search time saved |"
        ),
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, row in data["summary"].items():
        rows.append(
            f"| {name} | {row['source']} | {row['mode']} | {row['seeds']} "
            f"| {_percent(row['warm_accuracy'])} | {_percent(row['cold_accuracy'])} "
            f"| {_percent(row['gain'])} | {_percent(row['search_time_saved'])} |"
        )
    gains = [row["gain"]["mean"] for row in data["summary"].values()]
    better = sum(gain > 0 for gain in gains)
    probe = data["probe"]["name"]
    note = f" ({data['note']})" if "note" in data else ""
    return f"""## Warm starts and cold searches at preset `{data["preset"]}`, by {probe}

For each set, the artifacts that had been searched on it were not in the registry. Warm start
(mode `auto`) and cold search ran one after the other in one process, and both genotypes got the
same brief training, evaluated once on the validation third. Mean ± standard deviation
over seeds, in per cent or percentage points:

{chr(10).join(rows)}

On {better} of {len(gains)} sets the warm start's network was better on average. These searches
are small (preset {data["preset"]}: seconds to a minute, small images) and the trainings are brief,
so differences of this size say little about the method's accuracy. The time that is saved does not
include the embedding, which is computed once for a task. {_leave_one_out(data)}

Command: `{data["command"]}`{note}, on {_machine(data)}."""


def _leave_one_out(data: dict[str, Any]) -> str:
    """Say whether thresholds without the target would have led to the same decisions."""
    distances = _read(f"task_distances_{data['probe']['name']}.json")
    assert distances is not None
    names, matrix = distances["whole"]["names"], distances["whole"]["matrix"]
    others = set()
    for row in data["rows"]:
        singles = [d for name, d in row["distances"].items() if not name.startswith("meta-")]
        near = min(singles) <= near_threshold(names, matrix, left_out=row["set"])
        if near != (row["mode"] == "trained"):
            others.add(row["set"])
    verdict = "every decision is the same" if not others else f"{', '.join(others)} start otherwise"
    return f'Thresholds for "near" were those of all six sets; without the target, {verdict}.'


def _schedules() -> str:
    data = _read("warm_schedules.json")
    if data is None:
        return ""
    sets = list(data["summary"]["cold"]["by_set"])
    rows = [
        f"| epochs, weights only | steps | {' | '.join(sets)} | all | over cold | over 8, 3 |",
        f"|---|--:|{'--:|' * len(sets)}--:|--:|--:|",
    ]
    for title, row in data["summary"].items():
        accuracies = [*row["by_set"].values(), row["mean_accuracy"]]
        rows.append(
            f"| {title} | {row['mean_steps']:.0f} "
            f"| {' | '.join(f'{100 * value:.1f}' for value in accuracies)} "
            f"| {_gain(row['over_cold'])} | {_gain(row['over_the_whole_stage'])} |"
        )
    stops = [
        f"{epochs} would have ended {stop['stopped']} of {stop['searches']} searches early, with "
        f"{stop['epochs_saved']} epochs saved in all and the same result in {stop['same_result']}"
        for epochs, stop in data["stable_genotype"].items()
    ]
    return f"""## Length of a start from trained weights, at preset `{data["preset"]}`

Four sets were searched from cold, and each was warm-started from the λ̂ of the nearest of the other
three, with the last stage's own schedule of 8 epochs (the first 3 with weights only) and with
shorter ones. Steps count those of the weights and of α. Every genotype got the same brief
training. Accuracies are in per cent, differences in points with their standard error, over
{data["summary"]["cold"]["runs"]} runs (two seeds):

{chr(10).join(rows)}

An early end by `stable_epochs`, when the derived genotype stays the same, in the last stage of the
cold searches: {"; ".join(stops)}.

Command: `python benchmarks/warm_schedules.py --seeds 0 1`, on {_machine(data)}."""


def _gain(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:+.1f} ± {100 * value['standard_error']:.1f}"


def _probe() -> str:
    data = _read("probe_training.json")
    if data is None:
        return ""
    rows = ["| set | validation images | accuracy among its own classes |", "|---|--:|--:|"]
    rows += [
        f"| {name} | {row['images']:,} | {100 * row['among_own_classes']:.1f} % |"
        for name, row in data["validation"].items()
    ]
    return f"""## The shipped probe

A narrow ResNet, trained for {data["steps"]:,} steps on the train parts of the six sets
({data["train_images"]:,} images, {data["classes"]} classes in one softmax) in
{data["seconds"] / 60:.0f} minutes. It is a weak classifier, but the
distances above show that it distinguishes tasks.

{chr(10).join(rows)}

Command: `python benchmarks/train_probe.py`, on {_machine(data)}."""


def _matrix(names: list[str], matrix: list[list[float]]) -> str:
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for name, row in zip(names, matrix, strict=True):
        cells = ("–" if other == name else f"{d:.3f}" for other, d in zip(names, row, strict=True))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ± {100 * value['sd']:.1f}"


def _machine(data: dict[str, Any]) -> str:
    machine = data["machine"]
    return (
        f"{machine['cpu']}, {pluralize(machine['cores'], 'core')}, "
        f"{pluralize(machine['threads'], 'thread')}, "
        f"torch {machine['torch']}, {machine['date']}"
    )


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
