"""Learning rate and skip-connect dropout over the epochs of a stage, by hand."""

import math

import pytest

from wsdarts_sdk.search.settings import SearchSettings, StageSettings, WeightOptimiser

PAPER = StageSettings(cells=5, operations=8, epochs=25, weights_only_epochs=10, skip_dropout=0.4)


def test_cosine_learning_rate() -> None:
    optimiser = WeightOptimiser(learning_rate=0.1, learning_rate_min=0.02)
    found = [optimiser.rate_at(epoch, 4) for epoch in range(5)]
    # 0.02 + 0.08 · (1 + cos(π e / 4)) / 2
    root = math.sqrt(0.5)
    assert found == pytest.approx([0.1, 0.06 + 0.04 * root, 0.06, 0.06 - 0.04 * root, 0.02])


def test_cosine_learning_rate_of_the_paper() -> None:
    assert WeightOptimiser().rate_at(0, 25) == 0.025
    assert WeightOptimiser().rate_at(24, 25) == pytest.approx(0.0125 * (1 - math.cos(math.pi / 25)))


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.4 * 24 / 25),  # not 0.4: the public code counts E - e - 1
        (9, 0.4 * 15 / 25),
        (10, 0.4),  # the first epoch with α starts over at p
        (11, 0.4 * math.exp(-0.2)),
        (24, 0.4 * math.exp(-0.2 * 14)),
    ],
)
def test_skip_dropout_rate(epoch: int, rate: float) -> None:
    assert PAPER.skip_dropout_at(epoch) == pytest.approx(rate, rel=1e-12)


def test_skip_dropout_decays_within_each_phase() -> None:
    rates = [PAPER.skip_dropout_at(epoch) for epoch in range(25)]
    assert rates[:10] == sorted(rates[:10], reverse=True)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_rate_without_dropout_or_without_alpha() -> None:
    off = StageSettings(cells=3, operations=2, epochs=3, weights_only_epochs=0)
    assert [off.skip_dropout_at(epoch) for epoch in range(3)] == [0, 0, 0]
    only = StageSettings(cells=3, operations=2, epochs=2, weights_only_epochs=2, skip_dropout=0.5)
    assert [only.skip_dropout_at(epoch) for epoch in range(2)] == [0.25, 0]


def test_work_counts_an_alpha_step_twice() -> None:
    # 5 cells · 8 operations · (10 weights-only epochs + 2 · 15 with α)
    assert PAPER.work() == PAPER.work(25) == 40 * 40
    assert PAPER.work(10.5) == 40 * 11
    assert SearchSettings(stages=(PAPER, PAPER)).work() == 2 * 40 * 40
