"""The law by which a benchmark finds how many draws reach an error, by hand."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "error_law.py"


@pytest.fixture(scope="module")
def law() -> Any:
    specification = importlib.util.spec_from_file_location("error_law", _PATH)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def row(draws: int, distance: float, estimates: int = 4) -> dict[str, float]:
    return {"draws": draws, "distance": distance, "estimates": estimates}


def test_draws_start_from_the_nearest_number_with_estimates_enough(law: Any) -> None:
    # 100 draws at 0.4 say 4,000 for 0.01; 400 draws at 0.05 say 2,000, which is nearer to 400 than
    # 4,000 to 100. The single estimate at 1,000 draws has no say: it would lead to 3,000.
    rows = [row(100, 0.4), row(400, 0.05), row(1000, 0.03, estimates=1)]
    assert law.draws_for(0.01, rows) == {
        "draws": 2000,
        "by_the_law_from": 400,
        "times_as_many": 5.0,
    }
    assert law.distance_at(800, rows) == pytest.approx(0.025)


def test_slope(law: Any) -> None:
    assert law.slope([row(1, 8.0), row(2, 4.0), row(8, 1.0)]) == pytest.approx(-1)


def test_relative_error_sees_no_scale(law: Any) -> None:
    # Ratios 3 and 1: mean 2, standard deviation 1. The third filter is 0 in the truth.
    truth = np.array([2.0, 5.0, 0.0])
    found = law.errors([np.array([6.0, 5.0, 0.0]), np.array([60.0, 50.0, 0.0])], truth)
    assert found["relative"] == pytest.approx(0.5)


def test_groups_weigh_runs_by_their_draws(law: Any) -> None:
    # A run of one draw and one of two: their mean over three draws is (1 · 4 + 2 · 1) / 3 = 2 in
    # the first filter, as in the truth; weighed alike it would be 2.5.
    one, two = np.array([4.0, 2.0]), np.array([1.0, 2.0])
    rows = law.grouped({1: [one] * 2, 2: [two] * 2}, np.array([2.0, 2.0]))
    assert [r["draws"] for r in rows] == [1, 2, 3, 6]
    assert [r["estimates"] for r in rows] == [2, 2, 2, 1]
    assert rows[2]["distance"] == pytest.approx(0, abs=1e-12)
