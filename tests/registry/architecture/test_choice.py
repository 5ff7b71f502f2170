"""The test of a choice against chance, and how an artifact keeps it."""

import pytest

from wsdarts_registry.architecture.search_verdicts import (
    ChanceTest,
    candidate_count,
    candidate_metrics,
)

TEST = ChanceTest(candidates=8, others=3, gain=0.031, margin=0.02)


def test_law_of_the_metrics() -> None:
    assert ChanceTest.from_metrics(TEST.to_metrics()) == TEST
    assert candidate_count(TEST.to_metrics()) == 8
    assert ChanceTest.from_metrics(candidate_metrics(5)) is None
    assert candidate_count(candidate_metrics(5)) == 5
    assert candidate_count({}) == 0


def test_verdict() -> None:
    assert TEST.is_better
    same = ChanceTest(candidates=8, others=3, gain=0.02, margin=0.02)
    assert not same.is_better
    assert "no better" in str(same)
    assert "no better" not in str(TEST)
    assert "+3.1" in str(TEST)
    assert "2.0" in str(TEST)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"choice_candidates": 1e300},
        {"choice_candidates": -3},
        {"choice_others": 0},
        {"choice_others": 8},
        {"choice_gain_accuracy": 1e300},
    ],
)
def test_spoilt_metrics_say_nothing(spoilt: dict[str, float]) -> None:
    assert ChanceTest.from_metrics({**TEST.to_metrics(), **spoilt}) is None
