"""The linear classifier on a probe's features."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec.linear_classifier import (
    STRENGTHS,
    choose_strength,
    fit_linear_classifier,
    task_features,
    trained_on,
)
from wsdarts_sdk.task2vec.loading import load_probe


def test_digits_are_told_apart(digits_task: ImageTask, tmp_path: Path) -> None:
    found = fit_linear_classifier(digits_task, load_probe(), cache_dir=tmp_path)
    held_out = digits_task.indices(Part.VALIDATION)
    right = found.logits.argmax(1).numpy() == digits_task.labels[held_out]
    assert right.mean() > 0.8
    assert found.parameters == 3 * 208 + 3
    assert found.l2 in STRENGTHS


def test_the_held_out_part_has_no_influence(digits_task: ImageTask, tmp_path: Path) -> None:
    probe = load_probe()
    found = fit_linear_classifier(digits_task, probe, cache_dir=tmp_path)
    (file,) = tmp_path.rglob("*task.safetensors")
    features = task_features(digits_task, probe, tmp_path)
    spoilt = features.clone()
    spoilt[digits_task.indices(Part.VALIDATION)] = 1e3
    train, labels = digits_task.train_indices, torch.from_numpy(digits_task.labels.copy())
    halves = digits_task.indices(Part.WEIGHTS), digits_task.indices(Part.ALPHA)
    assert choose_strength(spoilt, labels, *halves) == found.l2
    assert len(train) == sum(map(len, halves))
    assert file.exists()


def test_features_come_from_the_cache(digits_task: ImageTask, tmp_path: Path) -> None:
    probe, told = load_probe(), []
    first = task_features(digits_task, probe, tmp_path, lambda *what: told.append(what))
    assert told
    told.clear()
    again = task_features(digits_task, probe, tmp_path, lambda *what: told.append(what))
    assert not told
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    (file,) = tmp_path.rglob("*task.safetensors")
    file.write_bytes(b"damaged")
    anew = task_features(digits_task, probe, tmp_path)
    torch.testing.assert_close(anew, first, rtol=0, atol=0)


def test_a_strength_is_chosen_by_the_judged_images() -> None:
    # Feature 0 tells the classes apart everywhere. Feature 1 does so in the fitted half, where it
    # is larger, and says the opposite in the judged half: a weak penalty relies on both alike.
    random = np.random.default_rng(0)
    labels = torch.tensor([0, 1] * 40)
    sign = labels.double() * 2 - 1
    noise = torch.from_numpy(random.normal(size=(80, 2)))
    features = torch.stack([sign, sign], 1) + 0.5 * noise
    fitted, judged = np.arange(40), np.arange(40, 80)
    assert choose_strength(features, labels, fitted, judged) in STRENGTHS
    # Where every strength is right, the strongest is taken.
    apart = torch.stack([sign * 10, noise[:, 0]], 1)
    assert choose_strength(apart, labels, fitted, judged) == STRENGTHS[0]


def test_what_the_probe_was_trained_on(digits_task: ImageTask) -> None:
    shipped = trained_on(load_probe(), digits_task)
    assert "Flowers" in shipped
    seen = "sha256:2c7423298638d19af3d57e680b593bae6a423762dfd05b3142446af813bd4d7f"
    textures = type("Task", (), {"digest": seen})()
    assert "this very dataset" in trained_on(load_probe(), textures)


@pytest.mark.parametrize("classes", [3])
def test_classes_without_train_images_are_never_given(classes: int) -> None:
    labels = torch.tensor([0, 1] * 20 + [2])
    features = torch.stack([labels.double(), torch.ones(41).double()], 1)
    half = np.arange(20)
    assert choose_strength(features, labels, half, np.arange(20, 40)) == STRENGTHS[0]
