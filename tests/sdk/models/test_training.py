"""Training of a derived network: parts, schedule, evaluation, resumption."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data import loader as images_module
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, TrainingResult, train_network
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal, MemoryJournal

SMALL = TrainingSettings(
    cells=3, channels=4, image_size=8, epochs=4, batch_size=8, cutout=2, drop_path=0.2
)


def test_it_learns_and_evaluates_what_it_held_out(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    settings = replace(SMALL, epochs=15, cutout=0, drop_path=0.0, learning_rate=0.1, flip=False)
    result = train_network(genotype, digits_task, settings)
    validation = digits_task.indices(Part.VALIDATION)
    assert (result.held_out, result.images) == ("validation", len(validation))
    assert result.accuracy > 0.7  # three classes of digits
    # The same figures from the model as a user calls it: images in [0, 1].
    pixels = torch.from_numpy(digits_task.pixels(8)[validation]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(digits_task.labels[validation])
    with torch.no_grad():
        logits = result.model(pixels)
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(result.accuracy)
    assert F.cross_entropy(logits, labels).item() == pytest.approx(result.loss, rel=1e-4)
    assert result.model.class_names == digits_task.class_names
    assert not result.model.training


def test_parts(genotype: Genotype, digits_task: ImageTask) -> None:
    final = Training(genotype, digits_task, SMALL, selection=False, device=None)
    assert len(final.images) == len(digits_task.train_indices)
    assert final.held_out is Part.VALIDATION
    selection = Training(genotype, digits_task, SMALL, selection=True, device=None)
    assert len(selection.images) == len(digits_task.indices(Part.WEIGHTS))
    assert selection.held_out is Part.ALPHA
    weights = digits_task.pixels(8)[digits_task.indices(Part.WEIGHTS)]
    mean = torch.from_numpy(weights).double().div(255).mean(dim=(0, 1, 2)).float()
    assert torch.allclose(selection.augmentation.mean, mean)  # of what it trains on


@pytest.mark.parametrize("selection", [False, True])
def test_what_diverged_in_its_last_step_is_no_result(
    selection: bool, genotype: Genotype, digits_task: ImageTask
) -> None:
    settings = replace(SMALL, epochs=1, steps_per_epoch=1, learning_rate=1e30)
    with pytest.raises(SettingsError, match="not finite"):
        train_network(genotype, digits_task, settings, selection=selection)


def test_rows_and_schedule(genotype: Genotype, digits_task: ImageTask) -> None:
    result = train_network(genotype, digits_task, SMALL)
    assert [row["epoch"] for row in result.rows] == [0, 1, 2, 3]
    # 0.025 (1 + cos(π e / 4)) / 2
    expected = [0.025, 0.0213388, 0.0125, 0.0036612]
    assert [row["learning_rate"] for row in result.rows] == pytest.approx(expected, abs=1e-6)
    seconds = [row["seconds"] for row in result.rows]
    assert seconds == sorted(seconds)
    assert result.seconds > seconds[-1]


def test_drop_path_grows_linearly_from_zero(
    genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(genotype, digits_task, SMALL, selection=False, device=None)
    rates = []
    original = training.engine

    def watched(*args: Any, **options: Any) -> Any:
        rates.append(options["rate"])
        return original(*args, **options)

    monkeypatch.setattr(training, "engine", watched)
    training.run(MemoryJournal(), lambda what, done, total: None)
    # 0.2 · e / E, as in the public code: the last epoch has 0.15, not 0.2.
    assert sorted(set(rates)) == pytest.approx([0.0, 0.05, 0.1, 0.15])


def test_parameters_do_not_count_the_auxiliary_tower(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    quick = replace(SMALL, epochs=1, steps_per_epoch=1)
    with_tower = train_network(genotype, digits_task, quick)
    without = train_network(genotype, digits_task, replace(quick, auxiliary_weight=0.0))
    assert with_tower.parameters == without.parameters


def test_auxiliary_loss_is_weighted(genotype: Genotype, digits_task: ImageTask) -> None:
    # One step without momentum or decay: the auxiliary tower's bias moves by lr · weight · g.
    moves = []
    for weight in (0.2, 0.4):
        settings = replace(
            SMALL,
            epochs=1,
            steps_per_epoch=1,
            auxiliary_weight=weight,
            momentum=0.0,
            weight_decay=0.0,
            gradient_clip=1e9,
        )
        training = Training(genotype, digits_task, settings, selection=False, device=None)
        assert training.net.auxiliary is not None
        bias = training.net.auxiliary.classify.bias
        before = bias.detach().clone()
        training.run(MemoryJournal(), lambda what, done, total: None)
        moves.append((bias.detach() - before).norm().item())
    assert moves[1] == pytest.approx(2 * moves[0], rel=1e-3)
    assert moves[0] > 0


def test_gradient_is_clipped(genotype: Genotype, digits_task: ImageTask) -> None:
    settings = replace(
        SMALL, epochs=1, steps_per_epoch=1, momentum=0.0, weight_decay=0.0, gradient_clip=0.01
    )
    training = Training(genotype, digits_task, settings, selection=False, device=None)
    before = torch.cat([p.detach().ravel().clone() for p in training.net.parameters()])
    training.run(MemoryJournal(), lambda what, done, total: None)
    after = torch.cat([p.detach().ravel() for p in training.net.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.025 * 0.01, rel=1e-2)


def test_seed(genotype: Genotype, digits_task: ImageTask) -> None:
    first = train_network(genotype, digits_task, SMALL)
    torch.manual_seed(99)
    assert_identical(train_network(genotype, digits_task, SMALL), first)
    other = train_network(genotype, digits_task, replace(SMALL, seed=1))
    assert other.loss != first.loss


class PowerCutError(Exception):
    """What stops a training in these tests."""


def assert_identical(found: TrainingResult, whole: TrainingResult) -> None:
    assert (found.accuracy, found.loss) == (whole.accuracy, whole.loss)
    expected = whole.model.state_dict()
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    rows = [[{**row, "seconds": 0} for row in each.rows] for each in (found, whole)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("steps", [5, 7, 11])
def test_resumed_training_is_identical(
    kind: str, steps: int, tmp_path: Path, genotype: Genotype, digits_task: ImageTask
) -> None:
    # An epoch has 4 steps (or 5); each life makes a few more, the rest of which is lost.
    whole = train_network(genotype, digits_task, SMALL)
    memory = AlwaysDue()
    open_journal: Callable[[], Journal] = (
        (lambda: FileJournal(tmp_path, "training", interval=0.0))
        if kind == "file"
        else (lambda: memory)
    )
    lives, found = 0, None
    while found is None:
        assert lives < 50, "it does not get ahead"
        lives += 1
        left = steps

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "evaluation":
                raise PowerCutError

        try:
            found = train_network(
                genotype, digits_task, SMALL, journal=open_journal(), progress=tick
            )
        except PowerCutError:
            continue
    assert lives > 1
    assert_identical(found, whole)


class AlwaysDue(MemoryJournal):
    """A journal in memory that asks for a checkpoint after each epoch."""

    def due(self) -> bool:
        """Always."""
        return True


def test_divergence_is_an_error(genotype: Genotype, digits_task: ImageTask) -> None:
    settings = replace(SMALL, learning_rate=1e30, gradient_clip=1e30)
    with pytest.raises(SettingsError, match="not finite after epoch 1"):
        train_network(genotype, digits_task, settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": 0}, "cells is 0; "),
        ({"batch_size": 1}, "batch_size is 1; "),
        ({"drop_path": 1.0}, r"drop_path is 1\.0; "),
        ({"cutout": -1}, "cutout is -1; "),
        ({"image_size": 4}, "image_size is 4; "),
        ({"steps_per_epoch": 0}, "steps_per_epoch is 0; "),
        ({"crop_padding": -2}, "crop_padding is -2; "),
        ({"auxiliary_weight": -0.1}, r"auxiliary_weight is -0\.1; "),
    ],
)
def test_refused_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(SMALL, **change)


def test_progress(genotype: Genotype, digits_task: ImageTask) -> None:
    seen: list[tuple[str, int, int]] = []
    train_network(
        genotype,
        digits_task,
        replace(SMALL, epochs=2, steps_per_epoch=2),
        progress=lambda *call: seen.append(call),
    )
    validation = len(digits_task.indices(Part.VALIDATION))
    steps = [call for call in seen if not call[0].startswith("compiling")]  # once a machine
    assert steps == [
        ("training, epoch 1/2", 1, 4),
        ("training, epoch 1/2", 2, 4),
        ("training, epoch 2/2", 3, 4),
        ("training, epoch 2/2", 4, 4),
        ("evaluation", validation, validation),
    ]


def test_streamed_images_train_the_same_network(
    genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = train_network(genotype, digits_task, SMALL)
    monkeypatch.setattr(images_module, "free_memory", lambda device: 0)
    assert Training(genotype, digits_task, SMALL, selection=False, device=None).images.streamed
    streamed = train_network(genotype, digits_task, SMALL)
    assert (streamed.accuracy, streamed.loss) == (held.accuracy, held.loss)
    ours, theirs = held.model.state_dict(), streamed.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
