"""A training whose numbers stop being finite goes back, with a lower rate, and comes to its end.

A weight is overwritten with NaN after a step, as a bad gradient would leave it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, TrainingResult, train_network
from wsdarts_sdk.runs.checkpoints import ROLL_BACKS, FileJournal
from wsdarts_sdk.schedule import cosine_learning_rate

SMALL = TrainingSettings(
    cells=3,
    channels=4,
    image_size=8,
    epochs=3,
    steps_per_epoch=3,
    batch_size=8,
    cutout=2,
    averaged_weights=0.9,
    patience=3,
)
EPOCH = 1


class PowerCutError(Exception):
    """What stops a training in these tests."""


def poison(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let the steps of an epoch end with NaN in a weight while its rate is high."""
    usual = Training._run_step
    rate = cosine_learning_rate(
        first=SMALL.learning_rate, last=0.0, epoch=EPOCH, epochs=SMALL.epochs
    )

    def poisoned(self: Training, *given: Any) -> None:
        usual(self, *given)
        if self.epoch == EPOCH and self.sgd.param_groups[0]["lr"] > rate * 0.5**times:
            with torch.no_grad():
                next(self.net.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Training, "_run_step", poisoned)


def assert_same(found: TrainingResult, other: TrainingResult) -> None:
    assert (found.accuracy, found.loss) == (other.accuracy, other.loss)
    rows = [[{**row, "seconds": 0} for row in each.rows] for each in (found, other)]
    assert rows[0] == rows[1]
    assert torch.equal(found.logits, other.logits)


def test_ends_with_a_lower_rate(
    genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train_network(genotype, digits_task, SMALL)
    poison(monkeypatch, times=2)
    said: list[str] = []
    found = train_network(
        genotype, digits_task, SMALL, progress=lambda what, done, total: said.append(what)
    )
    assert sum("not finite" in what for what in said) == 2
    assert [row.get(ROLL_BACKS) for row in found.rows] == [None, 2, 2]
    assert found.rows[0]["loss"] == undisturbed.rows[0]["loss"]
    rates = [row["learning_rate"] for row in found.rows]
    expected = [row["learning_rate"] for row in undisturbed.rows]
    assert rates == [expected[0], expected[1] / 4, expected[2] / 4]
    assert all(bool(v.isfinite().all()) for v in found.model.state_dict().values())


@pytest.mark.parametrize("interval", [0.0, 1e9])
@pytest.mark.parametrize("life", [5, 8])
def test_killed_before_and_after(
    interval: float,
    life: int,
    tmp_path: Path,
    genotype: Genotype,
    digits_task: ImageTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch, times=2)
    whole = train_network(genotype, digits_task, SMALL)
    if interval:
        life += 4  # more than two epochs, at whose ends there is no checkpoint
    found, lives = None, 0
    while found is None:
        assert lives < 50, "it does not get ahead"
        lives += 1
        left = life

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "evaluation":
                raise PowerCutError

        journal = FileJournal(tmp_path, "training", interval=interval)
        try:
            found = train_network(genotype, digits_task, SMALL, journal=journal, progress=tick)
        except PowerCutError:
            continue
    assert lives > 1
    assert_same(found, whole)


def test_error_when_lower_rates_do_not_help(
    tmp_path: Path, genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, times=99)
    settings = replace(SMALL, patience=None, averaged_weights=0.0)
    with pytest.raises(SettingsError) as caught:
        train_network(genotype, digits_task, settings, journal=FileJournal(tmp_path, "training"))
    assert "0.03125" in caught.value.what
    assert caught.value.hint
