"""A dry run writes no run and counts the steps that the work takes; no test asks for times."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.registry.factories import make_genotype
from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import (
    Estimate,
    FisherSettings,
    VariationalSettings,
    estimate_embedding,
    estimate_nearest,
    estimate_search,
    estimate_training,
    estimate_warm_start,
    search,
    train,
    warm_start,
)
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models import training as training_module
from wsdarts_sdk.pipelines import dry_runs
from wsdarts_sdk.progress import silent
from wsdarts_sdk.search.settings import StageSettings
from wsdarts_sdk.task2vec.embedding import embed
from wsdarts_sdk.task2vec.loading import load_probe

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


def test_epochs_of_one_step(digits_task: ImageTask) -> None:
    preset = PRESET.with_training(batch_size=1000).with_search(batch_size=19)
    network = estimate_training(
        make_genotype(), digits_task, preset=preset, baseline=None, progress=silent
    )
    assert network.phases[0].steps == 3
    assert network.phases[0].seconds > 0
    found = estimate_search(digits_task, preset=preset, progress=silent)
    assert [phase.steps for phase in found.phases] == [3, 2]
    assert all(phase.seconds > 0 for phase in found.phases)


def test_a_baseline_has_its_own_phase(digits_task: ImageTask) -> None:
    def phases(baseline: str | None) -> list[tuple[str, int, int]]:
        found = estimate_training(
            make_genotype(), digits_task, preset=PRESET, baseline=baseline, progress=silent
        )
        held_back(found)
        return [(phase.phase, phase.steps, phase.images) for phase in found.phases]

    training, evaluation = phases(None)
    assert phases("linear") == [("baseline", 0, len(digits_task)), training, evaluation]
    assert phases("timm:shipped") == [("baseline", training[1], 0), training, evaluation]
    with pytest.raises(SettingsError):
        phases("timm:shipped?size=big")


def test_an_embedding(digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_runs, "SECONDS", 1e-9)  # one batch, on any machine
    found = estimate_embedding(digits_task, progress=silent)
    held_back(found)
    images = len(digits_task.train_indices)
    assert {phase.phase for phase in found.phases} >= {"reading", "Fisher information"}
    assert {phase.images for phase in found.phases} == {images}
    assert not found.note
    other = FisherSettings(images=12)  # the embedding of so few images is whole, and in the cache
    short = estimate_embedding(digits_task, settings=other, budget=1e-9, progress=silent)
    assert [(phase.phase, phase.seconds) for phase in short.phases] == [("embedding", 1e-9)]
    few = estimate_embedding(digits_task, settings=FisherSettings(images=6), progress=silent)
    assert {phase.images for phase in few.phases} == {6}


def test_an_embedding_by_the_variational_estimator(digits_task: ImageTask) -> None:
    settings = VariationalSettings(images=6, steps=50)
    found = estimate_embedding(digits_task, settings=settings, progress=silent)
    assert found.phases[-1].steps == found.steps == 50


def test_an_embedding_in_the_cache_costs_nothing(
    digits_task: ImageTask, zoo: DirectoryStore
) -> None:
    first = estimate_nearest(digits_task, registry=zoo, progress=silent)
    assert first.phases[-1].phase == "ranking"
    embed(digits_task, load_probe())
    again = estimate_nearest(digits_task, registry=zoo, progress=silent)
    assert [phase.phase for phase in again.phases] == ["embedding", "ranking"]
    assert again.note
    assert again.disk == 0


@pytest.mark.parametrize("mode", ["topology", "cold"])
def test_a_warm_start(
    mode: str,
    digits_task: ImageTask,
    zoo: DirectoryStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    asked = {"registry": zoo, "mode": mode, "preset": PRESET, "progress": silent}
    found = estimate_warm_start(digits_task, **asked)  # type: ignore[arg-type]
    assert set(tmp_path.iterdir()) == before
    held_back(found)
    assert mode in found.note
    run = warm_start(digits_task, out="run", **asked)  # type: ignore[arg-type]
    assert found.steps == sum(row["steps"] for row in run.result.rows)
    swept = estimate_warm_start(digits_task, sweep_skip_dropout=True, **asked)  # type: ignore[arg-type]
    assert swept.phases[-1].phase == "selection"
    searched = sum(phase.steps for phase in swept.phases if phase.phase.startswith("stage"))
    assert searched == 10 * found.steps
