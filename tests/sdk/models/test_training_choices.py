"""Choices of a training: loss, class balance, average of the weights, how images become squares."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from tests.sdk.models.test_training import SMALL, AlwaysDue, PowerCutError, assert_identical
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_sdk.data.decoding import decode
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.model_folder import save_timm
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, train_network
from wsdarts_sdk.models.training_choices import (
    WeightAverage,
    class_weights,
    decay_at,
    epoch_order,
    training_loss,
)
from wsdarts_sdk.progress import silent
from wsdarts_sdk.runs.checkpoints import MemoryJournal
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.setting_fields import COMPUTE_DTYPES, ComputeDtype

CHOICES = replace(
    SMALL,
    augmentation="randaugment",
    mixup=0.4,
    cutmix=1.0,
    label_smoothing=0.1,
    class_balance="sampling",
    averaged_weights=0.9,
    resize="crop",
    patience=3,
)


def test_class_weights_by_hand() -> None:
    # 8 images, 2 classes of 6 and 2: 8 / (2 · 6) and 8 / (2 · 2).
    labels = torch.tensor([0] * 6 + [1] * 2)
    assert class_weights(labels, 2).tolist() == pytest.approx([2 / 3, 2.0])
    assert class_weights(labels, 2)[labels].mean().item() == pytest.approx(1)


def test_the_loss_weighs_classes_and_smooths_labels() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    small, large = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    weighted = training_loss(labels, 2, balance="weights", label_smoothing=0.0)
    # Weights 2/3 and 2: the second image, of class 1, is right.
    assert weighted(logits, torch.tensor([0, 1])).item() == pytest.approx(small)
    found = weighted(logits, torch.tensor([0, 0])).item()
    assert found == pytest.approx((small + large) / 2)
    found = weighted(logits, torch.tensor([1, 1])).item()
    assert found == pytest.approx((small + large) / 2)
    mixed = weighted(logits[:1], torch.tensor([[0.25, 0.75]])).item()
    assert mixed == pytest.approx(2 / 3 * 0.25 * small + 2 * 0.75 * large)
    smooth = training_loss(labels, 2, balance="none", label_smoothing=0.2)
    # 0.2 over two classes: targets 0.9 and 0.1.
    found = smooth(logits[:1], torch.tensor([0])).item()
    assert found == pytest.approx(0.9 * small + 0.1 * large)


def test_an_epoch_has_each_image_once_unless_it_is_a_balanced_sample() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    plain = epoch_order(labels, torch.Generator().manual_seed(0), balance="none")
    assert sorted(plain.tolist()) == list(range(1000))
    sample = epoch_order(labels, torch.Generator().manual_seed(0), balance="sampling")
    assert len(sample) == 1000
    assert labels[sample].double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert len(sample[labels[sample] == 1].unique()) > 90


def test_the_average_by_hand() -> None:
    net = nn.BatchNorm1d(1)
    with torch.no_grad():
        net.weight.fill_(1.0)
    average = WeightAverage(net, 0.9)
    values = iter([2.0, 4.0, 8.0])
    for value in values:
        with torch.no_grad():
            net.weight.fill_(value)
            net.running_mean.fill_(10 * value)  # type: ignore[union-attr]
        average.update()
    # 2, then 2 + (1 − 2/11)(4 − 2), then that + (1 − 3/12)(8 − that).
    second = 2 + 9 / 11 * 2
    third = second + 0.75 * (8 - second)
    assert average.net.state_dict()["weight"].item() == pytest.approx(third)
    assert average.net.state_dict()["running_mean"].item() == pytest.approx(10 * third)
    assert [decay_at(0.9, steps) for steps in (1, 79, 80, 81, 500)] == pytest.approx(
        [2 / 11, 80 / 89, 0.9, 0.9, 0.9]
    )


def test_the_model_has_the_averaged_weights(genotype: Genotype, digits_task: ImageTask) -> None:
    settings = replace(SMALL, averaged_weights=0.5)
    training = Training(genotype, digits_task, settings, selection=False, device=None)
    found = training.run(MemoryJournal(), lambda what, done, total: None)
    assert training.average is not None
    averaged = training.average.net.state_dict()
    for name, value in found.model.network.state_dict().items():
        assert torch.equal(value, averaged[name]), name
    plain = train_network(genotype, digits_task, SMALL)
    assert [row["loss"] for row in plain.rows] == [row["loss"] for row in found.rows]
    assert plain.loss != found.loss


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        ("none", (0, False, 0, None)),
        ("flip-crop", (1, True, 2, None)),
        ("trivialaugment", (1, True, 2, "trivialaugment")),
    ],
)
def test_augmentation_by_name(
    augmentation: str, expected: tuple[object, ...], genotype: Genotype, digits_task: ImageTask
) -> None:
    settings = replace(SMALL, augmentation=augmentation)
    found = Training(genotype, digits_task, settings, selection=False, device=None).augmentation
    assert (found.padding, found.flip, found.cutout, found.policy) == expected


@pytest.mark.parametrize("dtype", COMPUTE_DTYPES)
def test_all_choices_together_are_resumed_to_the_same_bits(
    dtype: ComputeDtype, genotype: Genotype, digits_task: ImageTask
) -> None:
    choices = replace(CHOICES, compute_dtype=dtype)
    whole = train_network(genotype, digits_task, choices)
    journal, found = AlwaysDue(), None
    for _ in range(50):
        left = 7

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "evaluation":
                raise PowerCutError

        torch.rand(5)  # what the program draws between does not matter
        try:
            found = train_network(genotype, digits_task, choices, journal=journal, progress=tick)
        except PowerCutError:
            continue
        break
    assert found is not None
    assert_identical(found, whole)


def test_settings_at_their_old_meaning_are_written_as_before() -> None:
    new = {
        *("resize", "augmentation", "mixup", "cutmix", "label_smoothing"),
        *("class_balance", "averaged_weights", "patience"),
    }
    assert not new & set(settings_json(TrainingSettings()))
    assert new <= set(settings_json(CHOICES))


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (37, 37), (400, 9), (5, 61)])
@pytest.mark.parametrize("size", [8, 24])
def test_a_crop_is_that_of_torchvision(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    bilinear = v2.InterpolationMode.BILINEAR
    expected = v2.Compose([v2.Resize(size, interpolation=bilinear), v2.CenterCrop(size)])(
        Image.fromarray(pixels)
    )
    found = decode(pixels, size, "crop")
    assert isinstance(found, np.ndarray)
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_a_model_predicts_on_the_squares_that_it_was_trained_on(
    genotype: Genotype, digits_task: ImageTask, tmp_path: Path
) -> None:
    model = train_network(genotype, digits_task, replace(SMALL, epochs=1, resize="crop")).model
    loaded = Classifier.load(model.save(tmp_path / "model.safetensors"))
    assert loaded.resize == "crop"
    wide = np.random.default_rng(1).integers(0, 256, (20, 48, 3), dtype=np.uint8)
    (found,) = loaded.predict(wide, top_k=3)
    (middle,) = loaded.predict(decode(wide, 8, "crop"), top_k=3)
    assert found.classes == middle.classes
    (squashed,) = loaded.predict(decode(wide, 8, "squash"), top_k=3)
    assert found.classes != squashed.classes
    folder = save_timm(loaded, tmp_path / "timm")
    assert '"crop_mode": "center"' in (folder / "config.json").read_text(encoding="utf-8")


def test_older_model_files_squash(
    genotype: Genotype, digits_task: ImageTask, tmp_path: Path
) -> None:
    model = train_network(genotype, digits_task, replace(SMALL, epochs=1)).model
    path = model.save(tmp_path / "model.safetensors")
    assert b"resize" not in path.read_bytes()
    assert Classifier.load(path).resize == "squash"


def test_bfloat16_is_for_the_passes_of_training_alone(
    genotype: Genotype, digits_task: ImageTask
) -> None:
    mixed = replace(SMALL, epochs=2, compute_dtype="bfloat16", drop_path=0.0, cutout=0, flip=False)
    seen = set[torch.dtype]()
    training = Training(genotype, digits_task, mixed, selection=False, device=None)
    training.net.cells[0].register_forward_hook(lambda _m, _i, out: seen.add(out.dtype))
    result = training.run(MemoryJournal(), silent)
    assert seen == {torch.bfloat16, torch.float32}  # trained and evaluated
    assert training.engine.why_not is not None  # the kernels know no autocast
    assert result.logits.dtype == torch.float32
    assert {p.dtype for p in training.net.parameters()} == {torch.float32}
    assert all(b.dtype != torch.bfloat16 for b in training.net.buffers())
    exact = train_network(genotype, digits_task, replace(mixed, compute_dtype="float32"))
    assert result.rows[0]["loss"] == pytest.approx(exact.rows[0]["loss"], rel=0.02)
    assert result.rows[0]["loss"] != exact.rows[0]["loss"]


def test_float32_is_not_named_in_settings_of_a_training() -> None:
    assert "compute_dtype" not in settings_json(SMALL)  # so that earlier runs go on
    mixed = replace(SMALL, compute_dtype="bfloat16")
    assert settings_json(mixed)["compute_dtype"] == "bfloat16"
