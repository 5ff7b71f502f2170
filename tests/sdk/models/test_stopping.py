"""Early stopping: what judges, which epoch is kept, and what is reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sdk.models.test_training import SMALL, AlwaysDue, PowerCutError, assert_identical
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.training import Training, train_network
from wsdarts_sdk.models.training_choices import (
    TRAIN_SLICE,
    VALIDATION_PART,
    EarlyStopping,
    early_stopping,
)
from wsdarts_sdk.runs.checkpoints import FileJournal, MemoryJournal
from wsdarts_sdk.search.settings import settings_json

PATIENT = replace(SMALL, epochs=8, patience=2, learning_rate=0.2, drop_path=0.0)


def judged(*figures: tuple[float, float], patience: int) -> EarlyStopping:
    stopping = EarlyStopping(patience, np.arange(4), TRAIN_SLICE)
    for epoch, (accuracy, loss) in enumerate(figures, start=1):
        stopping.judge(epoch, accuracy, loss, {"w": torch.tensor([float(epoch)])})
    return stopping


def test_the_highest_accuracy_is_kept_and_of_equal_ones_the_lowest_loss() -> None:
    stopping = judged((0.5, 2.0), (0.7, 3.0), (0.7, 2.5), (0.6, 0.1), patience=9)
    assert (stopping.best.epoch, stopping.best.loss) == (3, 2.5)
    assert stopping.best_weights["w"].tolist() == [3.0]


def test_patience_counts_epochs_without_gain_in_a_row() -> None:
    assert not judged((0.5, 1.0), (0.4, 1.0), patience=2).ended
    assert judged((0.5, 1.0), (0.4, 1.0), (0.5, 1.0), patience=2).ended
    assert not judged((0.5, 1.0), (0.4, 1.0), (0.6, 1.0), (0.6, 1.0), patience=2).ended


def test_kept_weights_do_not_follow_the_network() -> None:
    stopping = EarlyStopping(1, np.arange(2), TRAIN_SLICE)
    weight = torch.ones(1)
    stopping.judge(1, 0.5, 1.0, {"w": weight})
    weight.add_(1)
    assert stopping.best_weights["w"].tolist() == [1.0]


def test_the_slice_does_not_train_and_is_never_what_is_reported(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    training = Training(genotype, digits_task, PATIENT, selection=False, device=None)
    assert training.stopping is not None
    slice_ = set(training.stopping.images.tolist())
    assert training.stopping.judged_on == TRAIN_SLICE
    assert slice_ < set(digits_task.train_indices.tolist())
    assert len(training.images) == len(digits_task.train_indices) - len(slice_)
    assert not slice_ & set(digits_task.indices(training.held_out).tolist())


def test_where_there_is_a_test_part_the_validation_part_judges(digits_task: ImageTask) -> None:
    train = digits_task.train_indices
    stopping, left = early_stopping(digits_task, train, held_out=Part.TEST, patience=1)
    assert stopping.judged_on == VALIDATION_PART
    assert (stopping.images == digits_task.indices(Part.VALIDATION)).all()
    assert (left == train).all()


def test_no_image_to_spare(digits_task: ImageTask) -> None:
    with pytest.raises(SettingsError) as caught:
        early_stopping(
            digits_task, digits_task.train_indices[:1], held_out=Part.VALIDATION, patience=1
        )
    assert "patience" in caught.value.hint


def test_the_model_has_the_weights_of_the_best_epoch(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    found = train_network(genotype, digits_task, PATIENT)
    assert found.best is not None
    assert len(found.rows) == found.best.epoch + 2 < PATIENT.epochs  # it did stop early
    row = found.rows[found.best.epoch - 1]
    assert (row["stopping_accuracy"], row["stopping_loss"]) == (
        found.best.accuracy,
        found.best.loss,
    )
    # The model as users call it, on the images that judged.
    training = Training(genotype, digits_task, PATIENT, selection=False, device=None)
    assert training.stopping is not None
    images = training.stopping.images
    pixels = torch.from_numpy(digits_task.pixels(8)[images]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        hits = found.model(pixels).argmax(1) == torch.from_numpy(digits_task.labels[images])
    assert hits.double().mean().item() == pytest.approx(found.best.accuracy)


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_resumed_early_stopping_is_identical(
    kind: str, tmp_path: Path, genotype: Genotype, digits_task: ImageTask
) -> None:
    whole = train_network(genotype, digits_task, PATIENT)
    memory, lives, found = AlwaysDue(), 0, None
    while found is None:
        lives += 1
        assert lives < 50
        left = 6

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "evaluation":
                raise PowerCutError

        journal = FileJournal(tmp_path, "training", interval=0.0) if kind == "file" else memory
        try:
            found = train_network(genotype, digits_task, PATIENT, journal=journal, progress=tick)
        except PowerCutError:
            continue
    assert lives > 2
    assert_identical(found, whole)
    assert found.best == whole.best


def test_a_finished_training_goes_on_with_a_schedule_of_its_own(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    journal = MemoryJournal()
    settings = replace(SMALL, epochs=2)
    train_network(genotype, digits_task, settings, journal=journal)
    rates = []
    more = replace(settings, epochs=4)
    found = train_network(genotype, digits_task, more, journal=journal)
    rates = [row["learning_rate"] for row in found.rows]
    # 0.025 (1 + cos(π e / 2)) / 2 twice; one schedule over 4 epochs would have 0.0125, 0.0037.
    assert rates == pytest.approx([0.025, 0.0125, 0.025, 0.0125])
    assert found.schedules == (0, 2)
    assert [row["epoch"] for row in found.rows] == [0, 1, 2, 3]
    # Resumed at its end, it is the same.
    assert_identical(train_network(genotype, digits_task, more, journal=journal), found)


def test_only_a_finished_training_goes_on(genotype: Genotype, digits_task: ImageTask) -> None:
    journal = AlwaysDue()

    def stop(what: str, done: int, total: int, /) -> None:
        if what.startswith("training, epoch 2"):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train_network(genotype, digits_task, SMALL, journal=journal, progress=stop)
    with pytest.raises(SettingsError) as caught:
        train_network(genotype, digits_task, replace(SMALL, epochs=9), journal=journal)
    assert (caught.value.what, caught.value.found) == ("epochs", "9")


def test_patience_begins_anew_with_more_epochs(genotype: Genotype, digits_task: ImageTask) -> None:
    journal = MemoryJournal()
    first = train_network(genotype, digits_task, PATIENT, journal=journal)
    more = replace(PATIENT, epochs=20)
    found = train_network(genotype, digits_task, more, journal=journal)
    assert found.schedules == (0, len(first.rows))
    assert len(found.rows) >= len(first.rows) + 2
    assert first.best is not None
    assert found.best is not None
    assert found.best.accuracy >= first.best.accuracy


def test_settings_without_patience_are_written_as_before() -> None:
    assert "patience" not in settings_json(SMALL)
    assert settings_json(PATIENT)["patience"] == 2
