"""Evaluation of trained models, at the end of a training and afterwards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import Classifier, Genotype, TrainingRun, evaluate, train
from wsdarts_registry.errors import ArtifactError, RunError, SettingsError, TaskError
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.reports.report_files import read_run

CELLS = Path(__file__).parents[2] / "golden" / "formats" / "warm" / "genotype.json"


@pytest.fixture(scope="module")
def trained(digits_task: ImageTask, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A finished training, with its baseline."""
    training = replace(QUICK.training, epochs=2, steps_per_epoch=None)
    return train(
        Genotype.load(CELLS),
        digits_task,
        out=tmp_path_factory.mktemp("evaluated") / "net",
        preset=replace(QUICK, training=training),
    )


def test_a_training_keeps_its_evaluation(trained: TrainingRun, digits_task: ImageTask) -> None:
    found, baseline = trained.evaluation, trained.baseline
    assert found.accuracy.value == pytest.approx(trained.accuracy, abs=1e-12)
    assert found.images == trained.result.images == found.confusion_matrix.sum()
    assert found.part == "validation"
    assert [each.name for each in found.classes] == list(digits_task.class_names)
    assert baseline is not None
    assert baseline.accuracy.value > 0.8
    assert baseline.difference.value == pytest.approx(trained.accuracy - baseline.accuracy.value)
    assert baseline.network_parameters == trained.result.parameters
    assert baseline.network_image_size == 8
    assert baseline.parameters == 1_000_856 + 3 * 208 + 3
    assert baseline.image_size == 64
    kept = json.loads((trained.path / "result.json").read_text())
    assert (kept["evaluation"], kept["baseline"]) == (found.to_json(), baseline.to_json())
    report = read_run(trained.path)
    assert (report.evaluation, report.baseline) == (found, baseline)


def test_json_of_a_training(trained: TrainingRun) -> None:
    data = json.loads(json.dumps(trained.to_json()))
    assert data["accuracy"] == trained.accuracy
    assert data["path"] == str(trained.path)
    assert data["baseline"]["kind"] == "linear"
    assert data["evaluation"]["images"] == trained.result.images


def test_the_same_images_give_the_same_evaluation(
    trained: TrainingRun, digits_task: ImageTask
) -> None:
    found = evaluate(trained.path, digits_task)
    assert found.part == "validation"
    assert found.confusion == trained.evaluation.confusion
    assert found.accuracy == trained.evaluation.accuracy
    # The model knows what it was trained on, in memory and in a file that was copied elsewhere.
    assert evaluate(trained.model, digits_task).confusion == found.confusion
    elsewhere = trained.path.parent / "copied.safetensors"
    shutil.copy(trained.model_file, elsewhere)
    assert evaluate(elsewhere, digits_task).confusion == found.confusion


def test_another_dataset_is_evaluated_whole(trained: TrainingRun, digits_task: ImageTask) -> None:
    other = digits_task.subset(np.arange(0, len(digits_task), 2))
    found = evaluate(trained.path, other)
    assert (found.part, found.images) == ("all", len(other))
    held_out = evaluate(trained.path, other, part="validation")
    assert held_out.images == len(other.indices(Part.VALIDATION))
    assert held_out.note == found.note != trained.evaluation.note


def test_a_part_by_name(trained: TrainingRun, digits_task: ImageTask) -> None:
    found = evaluate(trained.path, digits_task, part="train")
    assert found.images == len(digits_task.train_indices)
    assert found.note != trained.evaluation.note
    with pytest.raises(TaskError) as absent:
        evaluate(trained.path, digits_task, part="test")
    assert digits_task.part_sizes in absent.value.expected
    with pytest.raises(SettingsError):
        evaluate(trained.path, digits_task, part="tests")  # type: ignore[arg-type]


def test_models_of_earlier_versions_are_known_by_their_run(
    trained: TrainingRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    older = Classifier.load(trained.path)
    older.trained_on = None
    run = shutil.copytree(trained.path, tmp_path / "run")
    older.save(run / "model.safetensors")
    assert evaluate(run, digits_task).part == "validation"
    assert evaluate(older, digits_task).part == "all"


def test_classes_are_matched_by_name(trained: TrainingRun, digits_task: ImageTask) -> None:
    # The same images under other labels: 2, 0, 1 instead of 0, 1, 2 in another order.
    images = digits_task.pixels(8)
    order = ["2", "0", "1"]
    labels = np.array([order.index(digits_task.class_names[y]) for y in digits_task.labels])
    other = ImageTask.load((images, labels, order), name="in another order")
    assert other.digest == digits_task.digest  # names are no part of what a task is
    found = evaluate(trained.model, other, part="all")
    whole = evaluate(trained.model, digits_task, part="all")
    assert found.accuracy.value == whole.accuracy.value
    assert found.confusion == whole.confusion
    unknown = ImageTask.load((images, labels, ["2", "0", "one"]), name="renamed")
    with pytest.raises(TaskError) as refused:
        evaluate(trained.model, unknown)
    assert "one" in refused.value.what
    assert "2" in refused.value.expected


def test_two_classes_of_one_name(trained: TrainingRun, digits_task: ImageTask) -> None:
    model = Classifier.load(trained.path)
    model.class_names = ("0", "0", "1")
    with pytest.raises(ArtifactError):
        evaluate(model, digits_task)


def test_a_page_is_written(trained: TrainingRun, digits_task: ImageTask, tmp_path: Path) -> None:
    found = evaluate(trained.path, digits_task, out=tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert page.count("data:image/jpeg") == len(found.mistakes) > 0
    evaluate(trained.path, digits_task, out=tmp_path / "evaluation.html")
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(RunError):
        evaluate(trained.path, digits_task, out=tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text() == "mine"


def test_without_a_baseline(digits_task: ImageTask, tmp_path: Path) -> None:
    cells = Genotype.load(CELLS)
    found = train(cells, digits_task, out=tmp_path / "net", preset=QUICK, baseline=None)
    assert found.baseline is None
    assert json.loads((tmp_path / "net" / "result.json").read_text())["baseline"] is None
    assert found.to_json()["baseline"] is None
    # It is no setting of the training: a run goes on with or without.
    again = train(cells, digits_task, out=tmp_path / "net", preset=QUICK, resume=True)
    assert again.baseline is not None
    assert again.accuracy == found.accuracy


@pytest.mark.parametrize("baseline", ["knn", "linear:", "", "timm:"])
def test_baselines_that_there_are_not(
    digits_task: ImageTask, tmp_path: Path, baseline: str
) -> None:
    with pytest.raises(SettingsError):
        train(
            Genotype.load(CELLS),
            digits_task,
            out=tmp_path / "net",
            preset=QUICK,
            baseline=baseline,
        )
    assert not (tmp_path / "net").exists()
