"""The pages on criteria, inherited weights and sources, by figures that are computed by hand."""

import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """Import a module of the benchmarks, whose results are in an empty directory."""
    folders = [str(_BENCHMARKS), str(_BENCHMARKS / "experiments")]
    monkeypatch.setattr(sys, "path", [*folders, *sys.path])
    monkeypatch.setattr(importlib.import_module("cells"), "RESULTS", tmp_path)
    return importlib.import_module


def write(tmp_path: Path, experiment: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    folder = tmp_path / "experiments" / experiment
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in rows.items():
        (folder / f"{name}.json").write_text(json.dumps({"cell": name, **row}))


def test_the_first_of_some_cells_by_a_criterion(module: Callable[[str], Any]) -> None:
    criteria = module("criteria")
    worth = np.zeros(10)
    worth[3] = 1.0
    # The best by the criterion is among 5 of 10 cells with probability 5 / 10.
    best = np.where(np.arange(10) == 3, 9.0, np.arange(10) - 10.0)
    assert criteria._gain_among(np.array([best, worth])) == pytest.approx(0.5 - 0.1)
    # The worst is never the first of 5.
    assert criteria._gain_among(np.array([-best, worth])) == pytest.approx(-0.1)
    assert criteria._gain_among(np.array([[1.0, 2.0], [0.0, 1.0]])) == pytest.approx(0.5)


def test_the_page_of_criteria(module: Callable[[str], Any], tmp_path: Path) -> None:
    page = module("criteria_page")
    assert page.section() == ""
    places = range(5)
    untrained = [
        {
            "place": place,
            "alpha": -float(place),  # the other way round
            "untrained": {"loss": 5.0 - place},
            "untrained_norms": {"loss": 4.0},
            "perturbation": 0.0,
            "parameters": 100,
            "multiply_adds": place**2,
        }
        for place in places
    ]
    final = [{"place": p, "accuracy": 0.1 * p, "loss": 1.0} for p in places]
    rows = {
        "untrained-dtd_10": {"rows": untrained},
        "final-inherited-0-dtd_10": {"rows": final},
        "brief30-dtd_10": {"rows": [{**row, "loss": row["accuracy"]} for row in final]},
    }
    write(tmp_path, "criteria", rows)
    text = page.section()
    lines = {line.split(" | ")[0].strip("| *"): line for line in text.splitlines()}
    # Of places 1 to 4, of mean 25 %, the last is the best; α's own, place 0, is 25 points below.
    assert "15.0 points above" in " ".join(text.split())
    assert "dtd_10 -25.0" in text
    expected = {
        "untrained": "+1.00 [",
        "brief30": "| +15.0 | +15.0 |",
        "brief30_loss": "-1.00 [",
        "alpha": "| -15.0 | -15.0 |",
        "parameters": "+0.00 [+0.00, +0.00]",
    }
    for criterion, figures in expected.items():
        assert figures in lines[page._named(criterion)[0]]


def rows_of(
    name: str, source: str, accuracies: Sequence[tuple[str, int, int, float]]
) -> dict[str, dict[str, Any]]:
    return {
        f"{name}-from-{source}-{weights}-{steps}-{seed}": {
            "set": name,
            "source": source,
            "judged_on": "validation",
            "way": {"weights": weights, "steps": steps, "seed": seed},
            "accuracy": accuracy,
        }
        for weights, steps, seed, accuracy in accuracies
    }


def test_the_page_of_inherited_weights(module: Callable[[str], Any], tmp_path: Path) -> None:
    page = module("inheritance_page")
    assert page.section() == ""
    source = module("inheritance").source_of("dtd_10")
    accuracies = [
        ("random", 150, 0, 0.30),
        ("inherited", 150, 0, 0.32),
        ("random", 150, 1, 0.30),
        ("inherited", 150, 1, 0.36),
        ("random", 300, 0, 0.35),
        ("inherited", 300, 1, 0.90),  # its pair is not there
        ("random", 2400, 0, 0.50),
    ]
    write(tmp_path, "inheritance", rows_of("dtd_10", source, accuracies))
    other = next(name for name in module("inheritance").ORDER if name not in ("dtd_10", source))
    write(tmp_path, "inheritance", rows_of("dtd_10", other, [("random", 150, 0, 0.99)]))
    text = page.section()
    plain, half, longer = (line for line in text.splitlines() if line.startswith("| dtd_10"))
    # Gains of 2 and 6 points: mean 4, deviation 2.8.
    assert plain == "| dtd_10 | 30.0 → 34.0 (+4.0 ± 2.8, 2) | – | – | – |"
    assert half == "| dtd_10 | 35.0 → 32.0 (-3.0, 1) | – | – |"
    assert longer == "| dtd_10 | 30.0 | 35.0 | – | – | 50.0 | – |"
    more = [("random", 150, 0, 0.20), ("inherited", 150, 0, 0.22)]
    write(tmp_path, "inheritance", rows_of("bird_groups", source, more))
    mean = next(line for line in page.section().splitlines() if line.startswith("| *mean of"))
    # Of 4 and 2 points: deviation √2, its error 1, times the 12.71 of one degree of freedom.
    assert mean == "| *mean of the sets* | +3.0 [-9.7, +15.7] | – | – | – |"


def test_the_page_of_longer_sources(module: Callable[[str], Any], tmp_path: Path) -> None:
    page = module("sources_page")
    assert page.section() == ""
    measured: list[tuple[str, str | int, Sequence[float]]] = [
        ("dtd_10", "none", (0.2, 0.3)),
        ("dtd_10", "masks", (0.3, 0.3)),
        ("dtd_10", 500, (0.4, 0.3)),
        ("bird_groups", "none", (0.1, 0.1)),
        ("bird_groups", 500, (0.1, 0.2)),  # λ alone is not there: it has no mean
        ("aircraft_edges", 500, (0.9, 0.9)),  # no control: not shown
    ]
    rows = {
        f"{name}-from-flowers102-{length}": {
            "set": name,
            "source": "flowers102",
            "length": length,
            "rows": [{"accuracy": value} for value in accuracies],
        }
        for name, length, accuracies in measured
    }
    write(tmp_path, "sources", rows)
    lines = [line for line in page.section().splitlines() if line.startswith("| ")][2:]
    assert sorted(lines) == [
        "| *mean of dtd_10, bird_groups* | 17.5 | – | 25.0 (+7.5) | – | – |",
        "| bird_groups | 10.0 | – | 15.0 (+5.0) | – | – |",
        "| dtd_10 | 25.0 | 30.0 (+5.0) | 35.0 (+10.0) | – | – |",
    ]
