"""`train` goes on after its end with more epochs, and with nothing else changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import make_genotype
from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import TrainingRun, report, train
from wsdarts_registry.errors import RunError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.records import read_costs


@pytest.fixture
def trained(digits_task: ImageTask, tmp_path: Path) -> TrainingRun:
    return begin(digits_task, tmp_path)


def begin(
    task: ImageTask, folder: Path, progress: Progress = silent, **changes: Any
) -> TrainingRun:
    preset = QUICK.with_training(**{"epochs": 2, **changes})
    return train(
        make_genotype(), task, preset=preset, out=folder / "net", device="cpu", progress=progress,
        resume=(folder / "net").exists(),
    )  # fmt: skip


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "net" / "result.json").read_text("utf-8"))
    return found


def test_more_epochs(trained: TrainingRun, digits_task: ImageTask, tmp_path: Path) -> None:
    spent = read_costs(trained.path)
    assert "schedules" not in result(tmp_path)
    found = begin(digits_task, tmp_path, epochs=5)
    assert (len(found.result.rows), found.result.schedules) == (5, (0, 2))
    assert result(tmp_path)["schedules"] == [0, 2]
    config = json.loads((found.path / "config.json").read_text("utf-8"))
    assert config["training"]["epochs"] == 5
    assert len(report(found.path).to_json()["runs"]) == 1
    costs = read_costs(found.path)
    assert costs.finished
    assert (costs.total or 0) > (spent.total or 0)


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"epochs": 5, "seed": 3}, {"momentum": 0.5}])
def test_nothing_else_may_change(
    changes: dict[str, Any],
    trained: TrainingRun,
    digits_task: ImageTask,
    tmp_path: Path,
) -> None:
    before = {p.name: p.read_bytes() for p in trained.path.iterdir() if p.is_file()}
    with pytest.raises(RunError) as caught:
        begin(digits_task, tmp_path, **changes)
    assert "training." in caught.value.what
    after = {p.name: p.read_bytes() for p in trained.path.iterdir() if p.is_file()}
    assert {n for n in before if before[n] != after[n]} <= {".owner"}


class StopError(Exception):
    """What stops a training here."""


def test_killed_among_the_additional_epochs(
    trained: TrainingRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int, /) -> None:
        if what.startswith("training, epoch 4"):
            raise StopError

    with pytest.raises(StopError):
        begin(digits_task, tmp_path, stop, epochs=5)
    assert not (trained.path / "result.json").exists()  # nothing passes for the new result
    with pytest.raises(RunError):  # first these have to be done
        begin(digits_task, tmp_path, epochs=9)
    found = begin(digits_task, tmp_path, epochs=5)
    assert found.result.schedules == (0, 2)
    assert len(found.result.rows) == 5


def test_early_stopping_is_reported(digits_task: ImageTask, tmp_path: Path) -> None:
    found = begin(digits_task, tmp_path, epochs=3, patience=1)
    assert found.result.best is not None
    assert result(tmp_path)["best"]["epoch"] == found.result.best.epoch
    shown = json.loads((found.path / "report.json").read_text("utf-8"))
    accuracies = [row["stopping_accuracy"] for row in shown["training"]["epochs"]]
    assert accuracies[found.result.best.epoch - 1] == found.result.best.accuracy
