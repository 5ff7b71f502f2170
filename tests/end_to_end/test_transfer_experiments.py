"""What predicts a warm start, and which probes agree: figures by hand and by other means."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let modules of the benchmarks be imported."""
    folders = [str(_BENCHMARKS), str(_BENCHMARKS / "experiments")]
    monkeypatch.setattr(sys, "path", [*folders, *sys.path])


def module(name: str) -> Any:
    return importlib.import_module(name)


def largest_evidence(features: Any, y: Any) -> float:
    """Return the evidence per image at its largest, by a general optimiser on the dense normal."""

    def negative(logs: Any) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(y)) / beta + features @ features.T / alpha
        return -float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance))

    bounds = [(-8.0, 8.0)] * 2
    starts = [(a, b) for a in (-2, 2) for b in (0, 4)]
    begins = [minimize(negative, start, method="Nelder-Mead", bounds=bounds) for start in starts]
    return -min(found.fun for found in begins) / len(y)


def test_logme_is_the_largest_evidence_of_a_linear_model() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 8)
    features = rng.normal(size=(24, 4)) + 3 * np.eye(3, 4)[labels]
    wanted = np.mean([largest_evidence(features, (labels == c).astype(float)) for c in range(3)])
    assert module("transfer").logme(features, labels) == pytest.approx(wanted, abs=1e-4)


def test_logme_prefers_features_that_tell_the_classes_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    noise = rng.normal(size=(40, 6))
    telling = noise + 3 * np.eye(2, 6)[labels]
    logme = module("transfer").logme
    assert logme(telling, labels) > logme(noise, labels)


def test_transfer_gains_leave_out_the_set_and_other_sources() -> None:
    gains = {
        "flowers102": {"dtd_10": 0.09, "own": 0.95},
        "dtd_10": {"flowers102": 0.08, "cifar10_1000": -0.05},
        "bird_groups": {"flowers102": -0.04, "dtd_10": 0.06, "noto_emoji": 0.2},
    }
    matrix = [
        {"set": name, "source": source, "gain": gain}
        for name, of in gains.items()
        for source, gain in of.items()
    ]
    found = module("transfer").transfer_gains
    assert found(matrix, "flowers102", but=None) == [0.08, -0.04]
    assert found(matrix, "dtd_10", but="flowers102") == [0.06]
    assert found(matrix, "noto_emoji", but=None) == [0.2]


def test_near_sources_beside_far_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    transfer = module("transfer")
    names = ["a", "b", "c", "d"]
    # Without a, the largest distance to the nearest other one is 3 (of d); without d it is 2.
    matrix = [[0, 2, 4, 3], [2, 0, 1, 4], [4, 1, 0, 3], [3, 4, 3, 0]]
    distances = {"whole": {"names": names, "matrix": matrix}}
    monkeypatch.setattr(transfer, "PROBES", {"probe": "a probe"})
    monkeypatch.setattr(transfer, "_distances", lambda _: distances["whole"])
    accuracies = {"a": {"b": 0.5, "c": 0.1, "d": 0.3}, "d": {"a": 0.2, "b": 0.2, "c": 0.2}}
    rows = [
        {"set": name, "source": source, "accuracy": accuracy}
        for name, of in accuracies.items()
        for source, accuracy in of.items()
    ]
    found = transfer.near_and_far(rows)["probe"]
    # Of a: b and d are near, 0.4 on average, c is far. Of d nothing is near.
    assert (found["near"], found["far"]) == (2, 4)
    assert found["difference"]["sets"] == pytest.approx([0.3])


def test_sources_whose_cells_are_only_smaller_gain_nothing_at_equal_size() -> None:
    # Accuracy falls by 0.1 for each doubling, and bird_groups is 0.03 above that line.
    parameters = {"flowers102": 1000, "dtd_10": 2000, "bird_groups": 4000}
    above = {"flowers102": 0.0, "dtd_10": 0.0, "bird_groups": 0.03}
    rows = [
        {
            "set": name,
            "source": source,
            "parameters": size if name == "aircraft_edges" else 5000 - size,
            "accuracy": base - 0.1 * np.log2(size if name == "aircraft_edges" else 5000 - size) + a,
        }
        for name, base in (("aircraft_edges", 0.9), ("cifar10_1000", 0.3))
        for (source, size), a in zip(parameters.items(), above.values(), strict=True)
    ]
    found = module("transfer").parameters_apart(rows)
    assert found["correlation"] < -0.9
    equal = found["gains_at_equal_size"]
    assert sum(equal[source] for source in parameters) == pytest.approx(0, abs=1e-3)
    assert max(equal, key=lambda s: equal[s]) == "bird_groups"
    assert equal["bird_groups"] - equal["dtd_10"] == pytest.approx(0.03, abs=0.01)


def test_agreement_counts_pairs_of_different_sets_alone() -> None:
    owners = np.array([0, 0, 1, 1, 2, 2])
    known = np.array(
        [
            [0, 9, 1, 2, 3, 4],
            [9, 0, 2, 3, 4, 5],
            [1, 2, 0, 9, 6, 7],
            [2, 3, 9, 0, 7, 8],
            [3, 4, 6, 7, 0, 9],
            [4, 5, 7, 8, 9, 0],
        ],
        dtype=float,
    )
    agreement = module("probes").agreement
    near = known.copy()
    near[owners[:, None] == owners[None]] = 0.0  # tasks of one set do not count
    assert agreement(near, known, owners)["rank_correlation"] == 1.0
    reversed_ = agreement(10 - known, known, owners)
    assert reversed_["rank_correlation"] == -1.0
    assert reversed_["by_task"] == -1.0
    # Nearest by the one: sets 1, 1, 0, 0, 0, 0; by the other the farthest: 2, 2, 2, 2, 1, 1.
    assert reversed_["nearest"] == 0.0
