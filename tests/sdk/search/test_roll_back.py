"""A search whose numbers stop being finite goes back, with lower rates, and comes to its end.

A weight or α is overwritten with NaN after a step, as a bad gradient would leave it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.reports.rows import roll_back_warnings
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal
from wsdarts_sdk.runs.directory import ROLL_BACKS
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
Poison = Callable[..., None]
# Stage and epoch of the poisoned step; an epoch has two.
STAGE, EPOCH = 1, 1


class PowerCutError(Exception):
    """What stops a search in these tests."""


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[Poison]:
    """Let a step of a search end with NaN in a weight or in α while its rates are high."""

    def prepare(*, times: int, step: int, parameter: str) -> None:
        usual = loop.take_step

        def poisoned(state: SearchState, *given: Any) -> None:
            usual(state, *given)
            settings: SearchSettings = given[1]
            rate = settings.alpha.learning_rate * 0.5**times
            here = (state.stage, state.epoch, state.step) == (STAGE, EPOCH, step)
            if here and state.adam.param_groups[0]["lr"] > rate:
                with torch.no_grad():
                    state.net.get_parameter(parameter).view(-1)[0] = float("nan")

        monkeypatch.setattr(loop, "take_step", poisoned)

    yield prepare
    monkeypatch.undo()


@pytest.fixture
def settings(make_settings: Make) -> SearchSettings:
    """Settings of two stages of two epochs."""
    made = make_settings()
    return replace(made, stages=made.stages[:2])


def parts_of(task: ImageTask, settings: SearchSettings, make: MakePart) -> list[TrainPart]:
    return [make(task, settings)]


def assert_same(found: SearchResult, other: SearchResult) -> None:
    for kind in CELL_KINDS:
        assert found.alpha[kind].tobytes() == other.alpha[kind].tobytes()
    for name, value in other.weights.items():
        assert torch.equal(found.weights[name], value), name
    assert found.genotype == other.genotype
    ignored = ("seconds", "peak_memory")
    rows = [
        [{k: v for k, v in r.items() if k not in ignored} for r in x.rows] for x in (found, other)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("parameter", ["cell_weights", "alpha.normal"])
@pytest.mark.parametrize("times", [1, 3])
def test_ends_with_lower_rates(
    parameter: str,
    times: int,
    poison: Poison,
    digits_task: ImageTask,
    settings: SearchSettings,
    make_part: MakePart,
) -> None:
    parts = parts_of(digits_task, settings, make_part)
    undisturbed = search(parts, settings)
    said: list[str] = []
    poison(times=times, step=1, parameter=parameter)
    found = search(parts, settings, progress=lambda what, done, total: said.append(what))
    assert sum("not finite" in what for what in said) == times
    # The rows before are the same, those after have lower rates.
    assert [row.get(ROLL_BACKS) for row in found.rows] == [None, None, None, times]
    before, after = found.rows[:3], found.rows[3]
    assert [r["weights_loss"] for r in before] == [r["weights_loss"] for r in undisturbed.rows[:3]]
    assert after["learning_rate"] == undisturbed.rows[3]["learning_rate"] * 0.5**times
    assert all(np.isfinite(values).all() for values in found.alpha.values())
    assert all(bool(value.isfinite().all()) for value in found.weights.values())
    (warning,) = roll_back_warnings(found.rows, "search")
    assert "epoch 2 of stage 2" in warning
    assert roll_back_warnings(undisturbed.rows, "search") == ()


# Checkpoints after each step, also between the poisoned one and the end of its epoch; or at the
# ends of epochs only.
@pytest.mark.parametrize("interval", [0.0, 1e9])
@pytest.mark.parametrize("life", [2, 3])
def test_killed_before_and_after(
    interval: float,
    life: int,
    tmp_path: Path,
    poison: Poison,
    digits_task: ImageTask,
    settings: SearchSettings,
    make_part: MakePart,
) -> None:
    parts = parts_of(digits_task, settings, make_part)
    poison(times=2, step=0, parameter="cell_weights")
    whole = search(parts, settings)
    if interval:
        life += 2  # more than an epoch, within which there is no checkpoint
    found, lives = None, 0
    while found is None:
        assert lives < 50, "it does not get ahead"
        lives += 1
        left = life

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "search":
                raise PowerCutError

        journal: Journal = FileJournal(tmp_path, "search", interval=interval)
        try:
            found = search(parts, settings, journal=journal, progress=tick)
        except PowerCutError:
            continue
    assert lives > 2
    assert_same(found, whole)


def test_error_when_lower_rates_do_not_help(
    tmp_path: Path,
    poison: Poison,
    digits_task: ImageTask,
    settings: SearchSettings,
    make_part: MakePart,
) -> None:
    parts = parts_of(digits_task, settings, make_part)
    poison(times=99, step=1, parameter="cell_weights")
    said: list[str] = []
    for times in (5, 5):  # resumed, it does not begin to count anew
        with pytest.raises(SettingsError) as caught:
            search(
                parts,
                settings,
                journal=FileJournal(tmp_path, "search"),
                progress=lambda what, done, total: said.append(what),
            )
        assert "0.03125" in caught.value.what
        assert caught.value.hint
        assert sum("not finite" in what for what in said) == times
    # What is on disk is still the beginning of the epoch.
    kept = FileJournal(tmp_path, "search").restore()
    assert kept is not None
    assert all(bool(t.isfinite().all()) for t in kept.tensors.values())
