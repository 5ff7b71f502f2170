"""A trained model as a file: what is written is what is read, and nothing else is."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from tests.error_fields import assert_fields
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ArtifactError, SettingsError
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.network import DerivedNetwork

RUN = Path(__file__).parents[2] / "golden" / "formats" / "warm"


@pytest.fixture
def model(genotype: Genotype) -> Classifier:
    """A network of three cells with an auxiliary tower and used norms."""
    network = DerivedNetwork(genotype, classes=3, cells=3, channels=4, auxiliary=True, seed=3)
    network(torch.randn(16, 3, 8, 8))  # moves the running statistics
    return Classifier(
        network,
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([0.4, 0.5, 0.6]),
        image_size=8,
        class_names=("Äpfel", "b", "c"),
    ).eval()


def test_round_trip(model: Classifier, tmp_path: Path) -> None:
    path = model.save(tmp_path / "deep" / "model.safetensors")
    found = Classifier.load(path)
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(found(x), model(x))
    assert found.class_names == model.class_names
    assert found.image_size == 8
    assert not found.training
    assert found.network.auxiliary is None  # it only helps in training
    assert not any("auxiliary" in name for name in load_file(path))
    again = found.save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_round_trip_with_the_stem_for_large_images(model: Classifier, tmp_path: Path) -> None:
    network = DerivedNetwork(
        Genotype.from_json(model.network.config["genotype"]),
        classes=3,
        cells=2,
        channels=4,
        stem="imagenet",
    )
    model.network = network
    found = Classifier.load(model.save(tmp_path / "model.safetensors"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(found(x), model.eval()(x))


def test_a_file_from_before_there_was_another_stem(model: Classifier, tmp_path: Path) -> None:
    found = Classifier.load(rewritten(model, tmp_path / "model.safetensors", stem=None))
    assert torch.equal(found(x := torch.rand(2, 3, 8, 8)), model(x))


def test_preprocessing_is_part_of_the_model(model: Classifier) -> None:
    x = torch.rand(2, 3, 8, 8)
    mean = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
    assert torch.equal(model(x), model.network((x - mean) / std))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.safetensors is not"):
        Classifier.load(tmp_path / "nowhere.safetensors")


def test_the_run_of_a_search_is_told_from_its_trainings(tmp_path: Path) -> None:
    run = shutil.copytree(RUN, tmp_path / "a run")
    training = run / "training-tiny-1"
    for path in (run, run / "model.safetensors"):
        with pytest.raises(ArtifactError) as refused:
            Classifier.load(path)
        assert_fields(refused.value, what=run, expected="wsdarts-hub train", hint=training)
    assert Classifier.load(training).class_names
    (training / "model.safetensors").unlink()
    with pytest.raises(ArtifactError) as refused:
        Classifier.load(run)
    assert_fields(refused.value, what=run, hint=f"wsdarts-hub train '{run}' DATA")
    with pytest.raises(ArtifactError) as refused:
        Classifier.load(training)
    assert_fields(refused.value, what=training / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 100, -1, -500])
def test_truncated_file(keep: int, model: Classifier, tmp_path: Path) -> None:
    path = model.save(tmp_path / "model.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(ArtifactError, match="not a trained model") as caught:
        Classifier.load(path)
    assert "\n" not in str(caught.value)


def rewritten(model: Classifier, path: Path, **changes: Any) -> Path:
    """The model's file with other metadata; None removes a key."""
    model.save(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["classifier"])
    about = {k: v for k, v in (about | changes).items() if v is not None}
    path.write_bytes(save(load_file(path), {"classifier": json.dumps(about)}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2 .* reads 1: update"),
        ({"genotype": None}, "genotype"),
        ({"genotype": {"format": 1}}, "genotype in JSON"),
        ({"cells": 4}, "Missing key"),
        ({"cells": 10**9}, r"image size are \(1000000000, 4, 3, 8\)"),
        ({"channels": "4"}, r"image size are \(3, '4', 3, 8\)"),
        ({"channels": 5}, "size mismatch"),
        ({"class_names": ["a"]}, "1 class names for 3 classes"),
        ({"class_names": [1, 2, 3]}, r"class_names is \[1, 2, 3\]; .* 3 names"),
        ({"class_names": "abc"}, "class_names is 'abc'; .* 3 names"),
        ({"class_names": {"a": 2, "b": 1, "c": 0}}, "class_names .*{'a': 2, 'b': 1, 'c': 0}"),
        ({"classes": 2, "class_names": ["a", "b"]}, "size mismatch"),
        ({"stem": "other"}, "stem is 'other'"),
        ({"stem": ["cifar"]}, "stem is "),
        ({"cells": 0}, "cells is 0; .* 1 to 200"),
        ({"channels": 512}, "larger network .*holds weights"),
        ({"cells": 300}, r"image size are \(300, 4, 3, 8\)"),
        ({"image_size": 10**6}, r"image size are \(3, 4, 3, 1000000\)"),
        ({"image_size": True}, r"image size are \(3, 4, 3, True\)"),
    ],
)
def test_metadata_that_does_not_fit(
    changes: dict[str, Any], message: str, model: Classifier, tmp_path: Path
) -> None:
    path = rewritten(model, tmp_path / "model.safetensors", **changes)
    with pytest.raises(ArtifactError, match=message) as caught:
        Classifier.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["abc", {"a": 0, "b": 1, "c": 2}, ["a", "b"], [0, 1, 2], None])
def test_class_names_that_do_not_fit(names: Any, model: Classifier) -> None:
    with pytest.raises(SettingsError, match="class") as caught:
        Classifier(model.network, mean=model.mean, std=model.std, image_size=8, class_names=names)
    assert "3" in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ArtifactError, match=str(path)):
        Classifier.load(path)


def test_another_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": torch.ones(2)}))
    with pytest.raises(ArtifactError, match="not a trained model"):
        Classifier.load(path)
    path.write_bytes(save({"a": torch.ones(2)}, {"classifier": "[" * 100_000}))
    with pytest.raises(ArtifactError, match="not a trained model"):
        Classifier.load(path)
