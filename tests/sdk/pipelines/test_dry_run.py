"""A dry run writes no run and counts the steps that the work takes; no test asks for times."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.registry.factories import make_genotype
from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import Estimate, estimate_search, estimate_training, search, train
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.models import training as training_module
from wsdarts_sdk.progress import silent
from wsdarts_sdk.search.settings import StageSettings

STAGES = (
    StageSettings(cells=3, operations=3, epochs=3, weights_only_epochs=1, skip_dropout=0.0),
    StageSettings(cells=3, operations=2, epochs=2, weights_only_epochs=0, skip_dropout=0.0),
)
PRESET = replace(
    QUICK.with_search(stages=STAGES, steps_per_epoch=None).with_training(
        epochs=3, steps_per_epoch=None
    ),
    name="mine",
)


def held_back(found: Estimate) -> None:
    assert found.seconds > 0
    assert found.memory > 0
    assert found.disk > 0


def test_a_search(digits_task: ImageTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = estimate_search(digits_task, preset=PRESET, device="cpu", progress=silent)
    assert not list(tmp_path.iterdir())
    held_back(found)
    run = search(digits_task, preset=PRESET, out="run", device="cpu", progress=silent)
    steps = [row["steps"] for row in run.result.rows]
    assert [phase.steps for phase in found.phases] == [sum(steps[:3]), sum(steps[3:])]
    assert found.steps == sum(steps)


def test_a_search_with_a_choice(
    digits_task: ImageTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = PRESET.with_choice(candidates=4, steps=2, checked=0).with_selection(batch_size=8)
    found = estimate_search(digits_task, preset=preset, device="cpu", progress=silent)
    assert not list(tmp_path.iterdir())
    held_back(found)
    # Four trainings of two steps, and two more of the two that are left.
    assert [(p.phase, p.steps) for p in found.phases][-1] == ("choice", 4 * 2 + 2 * 2)


@pytest.mark.parametrize("patience", [None, 3])
def test_a_training(
    patience: int | None,
    digits_task: ImageTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = PRESET.with_training(patience=patience)
    genotype = make_genotype()
    found = estimate_training(genotype, digits_task, preset=preset, device="cpu", progress=silent)
    assert not list(tmp_path.iterdir())
    held_back(found)
    taken = []
    original = training_module.Training._run_step

    def counted(self: training_module.Training, *values: object) -> None:
        taken.append(1)
        original(self, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(training_module.Training, "_run_step", counted)
    run = train(genotype, digits_task, preset=preset, out="net", device="cpu", progress=silent)
    assert len(run.result.rows) == 3
    assert found.steps == len(taken)
