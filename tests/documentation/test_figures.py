"""Figures that pages written by hand quote are those of the committed results."""

import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo

_ROOT = Path(__file__).resolve().parents[2]


def _page(name: str) -> str:
    return " ".join((_ROOT / "docs" / name).read_text(encoding="utf-8").split())


def _rows(name: str) -> list[dict[str, Any]]:
    found = json.loads((_ROOT / "benchmarks" / "results" / name).read_text())
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def _range(values: list[float], form: str) -> str:
    low, high = (
        format(round(value, 6), form).replace("-", "−") for value in (min(values), max(values))
    )
    return f"{low} to {high}"


@pytest.mark.parametrize("probe", ["imagenet", "shipped"])
def test_what_warm_starts_saved_and_cost(probe: str) -> None:
    saved, gained = defaultdict(list), defaultdict(list)
    for row in _rows(f"warm_starts_tiny_{probe}.json"):
        saved[row["set"]].append(100 * (1 - row["warm_seconds"] / row["cold_seconds"]))
        gained[row["set"]].append(100 * (row["warm_accuracy"] - row["cold_accuracy"]))
    means = [mean(values) for values in gained.values()]
    better = sum(value > 0 for value in means)
    line = (
        f"| {_range([mean(v) for v in saved.values()], '.1f')} % | {_range(means, '+.1f')} points; "
        f"better on {better} of {len(means)} |"
    )
    assert line in _page("limitations.md")


@pytest.mark.parametrize(
    ("first", "other", "readme"),
    [
        (
            "default",
            "cold",
            ("by {low} to {high}", "points, {mean} on average", "{least} to {most}"),
        ),
        ("default", "cold-inherited", ()),
        ("default", "cold-chosen", ("{mean} points ahead", "{least} to {most}")),
        ("default", "warm-chosen", ()),
        ("default", "linear", ()),
        ("default", "gain-random", ("was {mean} points behind", "{least} to {most}")),
        ("warm-chosen", "cold", ()),
        ("warm-chosen", "cold-inherited", ()),
        ("warm-chosen", "random-in-masks", ()),
        ("warm-chosen", "cold-chosen", ("were {mean} points ahead", "{least} to {most}")),
        ("warm-trained", "cold", ()),
        ("warm-trained", "cold-inherited", ()),
        ("warm-trained", "random-in-masks", ()),
    ],
)
def test_what_warm_starts_gained(first: str, other: str, readme: tuple[str, ...]) -> None:
    by_set, over_sets = _differences(first, other)
    low, high = min(by_set), max(by_set)
    mean, least, most = over_sets
    row = (
        f"| {low:+.1f} to {high:+.1f} points; mean {mean:+.1f}, "
        f"over sets {least:+.1f} to {most:+.1f} |"
    )
    assert row.replace("-", "−") in _page("limitations.md")
    if readme:
        figures = {"low": low, "high": high, "mean": mean, "least": least, "most": most}
        texts = {n: f"{v:.1f}".replace("-", "−") for n, v in figures.items()}
        said = ".{,20}".join(re.escape(part.format(**texts)) for part in readme)
        assert re.search(said, " ".join((_ROOT / "README.md").read_text("utf-8").split()))


def _differences(first: str, second: str) -> tuple[list[float], tuple[float, float, float]]:
    """Return the differences of two arms by set, and their mean with its interval over sets."""
    arms = f"`{first}` − `{second}`"
    lines = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    by_set, over_sets = (
        [cell.strip() for cell in line.strip("|").split("|")[1:]]
        for line in lines
        if line.replace("*", "").startswith(f"| {arms} |")
    )
    low, high = over_sets[2].strip("[]").split(", ")
    return [float(cell.split()[0]) for cell in by_set], (
        float(over_sets[0]),
        float(low),
        float(high),
    )


def test_what_inherited_weights_are_worth() -> None:
    page = _page("decisions/inherited-weights.md")
    lines = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("## Inherited and random weights at equal steps")
    head, means, sets = (
        [
            [cell.strip() for cell in line.strip("|").split("|")[1:]]
            for line in lines[start:]
            if line.startswith(f"| {name} |")
        ][:2]
        for name in ("set \\ steps", "*mean of the sets*", "*sets where it is no worse*")
    )
    compared = 0
    for columns in zip(head, means, sets, strict=True):
        for steps, mean_, no_worse in zip(*columns, strict=True):
            if mean_ != "–":
                inherited, _, random = steps.partition(" for ")
                mean, low, high = re.findall(r"[−+][\d.]+", mean_.replace("-", "−"))
                row = f"| {inherited} | {random or steps} | {mean} | {low} to {high} | {no_worse} |"
                assert row in page
                compared += 1
    assert compared > 4


def test_how_well_sources_are_chosen() -> None:
    page = _page("decisions/choice-of-a-source.md")
    results = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    readme = " ".join((_ROOT / "README.md").read_text(encoding="utf-8").split())
    found = {}
    for name in (
        "transfer gain on the other sets",
        "distance by an ImageNet probe",
        "*random choice*",
        "distance by the shipped probe",
    ):
        (line,) = (line for line in results if line.startswith(f"| {name} |"))
        regret, less = (cell.strip() for cell in line.split("|")[2:4])
        found[name] = regret.split()[0]
        said = [_in_words(cell) for cell in (regret, less) if cell != "–"]
        shown = "a random choice" if name.startswith("*") else name
        assert f"| {shown} | {' | '.join(said)} |" in page
    (correlation,) = re.findall(r"have a correlation of (\S+)\. At equal size", "\n".join(results))
    assert f"(correlation {correlation.replace('-', '−')} within a set)" in page
    for end in ("best", "worst"):
        (source,) = re.findall(rf"the {end}(?: source is)? `(\w+)`", " ".join(results))
        assert f"the {end} {'source ' * (end == 'best')}(`{source}`)" in page
    assert f"the best of five was {found['*random choice*']} points above the average one" in readme
    assert f"came within {found['transfer gain on the other sets']} points of the best" in readme


def test_how_far_distilled_probes_agree() -> None:
    page = _page("decisions/distilled-probes.md")
    results = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    start = results.index("## Distilled probes")
    rows = [line for line in results[start:] if line.startswith("| ") and " of 30 |" in line]
    assert len(rows) == 3
    for row in rows:
        assert row[row.index("|", 1) :] in page
    regrets = []
    chosen = results[results.index("### What predicts the best source") : start]
    for name in ("distilled probe", "the shipped probe", "random choice", "an ImageNet probe"):
        (line,) = (line for line in chosen if line.startswith("| ") and name in line.split("|")[1])
        regrets.append(line.split("|")[2].split()[0])
    said = page.partition("**It chooses")[2].partition("**So")[0]
    assert re.findall(r"\d\.\d", said) == regrets


def _in_words(interval: str) -> str:
    """Return ``+1.1 [-0.4, +2.4]`` as pages write it: ``1.1 (−0.4 to 2.4)``."""
    mean, low, high = (
        part.strip("[],").removeprefix("+").replace("-", "−") for part in interval.split()
    )
    return f"{mean} ({low} to {high})"


def test_how_far_apart_two_seeds_were() -> None:
    by_set = defaultdict(list)
    for row in _rows("warm_starts_tiny_imagenet.json"):
        by_set[row["set"]].append(100 * row["cold_accuracy"])
    most = f"{max(max(values) - min(values) for values in by_set.values()):.0f} points apart"
    for page in ("limitations.md", "guides/several-gpus.md"):
        assert most in _page(page)


def test_what_shorter_starts_cost() -> None:
    results = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for schedule in ("| 8, 3 of them weights only |", "| 2, 0 |"):
        (row,) = (line for line in results.splitlines() if line.startswith(schedule))
        over_cold = row.split("|")[-3].strip().replace("-", "−")
        assert f"| {over_cold} points |" in _page("limitations.md")


def test_how_long_a_search_at_small_takes() -> None:
    seconds = defaultdict(list)
    for row in _rows("warm_schedules.json"):
        seconds[row["schedule"]].append(row["seconds"])
    cold, warm = sorted(seconds["cold"]), seconds["2, 0"]
    assert cold[len(cold) // 2 - 1] < 300 < cold[-1]
    said = f"cold searches took {cold[0] / 60:.0f} to {cold[-1] / 60:.0f} minutes, half of them"
    page = _page("guides/your-own-dataset.md")
    assert f"{said} under five" in page
    assert f"{min(warm):.0f} to {max(warm):.0f} seconds" in page


def test_what_class_balance_does() -> None:
    file = _ROOT / "benchmarks" / "results" / "class_balance.json"
    found = json.loads(file.read_text())["summary"]
    page = _page("guides/training-options.md")
    for balance, figures in found.items():
        cells = [
            f"{100 * value['mean']:.1f} ± {100 * value['deviation']:.1f} %"
            for value in (figures["balanced_accuracy"], figures["accuracy"])
        ]
        assert f"| `{balance}` | {cells[0]} | {cells[1]} |" in page
    gains = [
        100 * (found[balance][name]["mean"] - found["none"][name]["mean"])
        for name in ("balanced_accuracy", "accuracy")
        for balance in ("weights", "sampling")
    ]
    assert f"by {gains[0]:.1f} and {gains[1]:.1f} points" in page
    assert f"by {-gains[2]:.0f} and {-gains[3]:.0f}." in page


def test_thresholds() -> None:
    for near in DirectoryStore(shipped_zoo(), read_only=True).config.near:
        assert f"| {near.distance:.4f} |" in _page("concepts/task2vec.md")
