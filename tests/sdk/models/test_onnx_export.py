"""The ONNX file computes what the model computes, or there is none."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from timm.data import create_transform, resolve_data_config
from torch import Tensor

import wsdarts_hub.timm  # noqa: F401 - registers the networks
from wsdarts_hub import TINY, Classifier, ImageTask
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_registry.errors import ArtifactError, ExportError
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.data.sources.folder import image_files
from wsdarts_sdk.models import _export as export
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.models.prediction import as_input, decoded_images
from wsdarts_sdk.models.training import train_network


def classifier(network: Any, size: int, *names: str) -> Classifier:
    """A model whose norms fit their inputs, and whose preprocessing would be missed."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # or every image would look the same behind a few cells
    network(torch.randn(16, 3, size, size))
    return Classifier(
        network,
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([0.4, 0.5, 0.6]),
        image_size=size,
        class_names=names,
    ).eval()


@pytest.fixture
def model(genotype: Genotype) -> Classifier:
    """Three cells for images of 9×9: odd sizes take a path of their own."""
    network = DerivedNetwork(genotype, classes=3, cells=3, channels=4, seed=3)
    return classifier(network, 9, "Äpfel", "b", "c")


def run_file(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


@pytest.mark.slow
def test_an_exported_file(model: Classifier, tmp_path: Path) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    found = model.save_onnx(tmp_path / "deep" / "model.onnx", images=list(noise))
    assert found.images == 1 + 7 + 40
    assert found.difference < 1e-5
    assert model.training  # the model itself is left alone
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    for count in (1, 2, 5):
        x = torch.rand(count, 3, 9, 9)
        torch.testing.assert_close(run_file(found.path, x), model(x), rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["Äpfel", "b", "c"]
    assert about["image_size"] == "9"
    cells = Genotype.from_darts(about["genotype"])
    assert cells.to_json() == model.network.config["genotype"]
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("images", ["batch", 3, 9, 9])
    assert (made.name, made.shape) == ("logits", ["batch", 3])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_of_another_type_is_exported_in_float32(
    dtype: torch.dtype, model: Classifier, tmp_path: Path
) -> None:
    model.to(dtype)
    found = model.save_onnx(tmp_path / "model.onnx")
    assert found.difference < 1e-5
    assert next(model.parameters()).dtype == dtype  # the model itself is left alone
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(run_file(found.path, x), model.float()(x), rtol=1e-5, atol=1e-5)


@pytest.fixture
def exported(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A model whose export is done beforehand by hand, for what comes after it."""
    weight = torch.zeros(3 * 9 * 9, 3)
    weight[0, 0] = 1.0
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "first_pixel",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 9, 9])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight.numpy(), "weight")],
    )
    opset = [helper.make_opsetid("", 20)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(proto)
    monkeypatch.setattr(export, "_exported", lambda _: proto.SerializeToString())
    return model


class FirstPixel(torch.nn.Module):
    """What the file above computes, with a small error in a class of one's choice."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.zeros(len(x), 3)
        logits[:, 0] = x[:, 0, 0, 0]
        logits[-1, 2] += self.error
        return logits


@pytest.mark.parametrize(("error", "fits"), [(0.0, True), (5e-5, True), (2e-4, False)])
def test_a_difference_is_an_error(
    error: float, fits: bool, exported: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "forward", lambda _, x: FirstPixel(error)(x))
    target = tmp_path / "model.onnx"
    target.write_bytes(b"before")
    if fits:
        assert exported.save_onnx(target).difference == pytest.approx(error, rel=1e-3)
        assert target.read_bytes() != b"before"
        return
    with pytest.raises(ExportError, match=r"2\.0e-04, allowed 1e-04"):
        exported.save_onnx(target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_no_number_is_a_difference(
    exported: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "forward", lambda _, x: FirstPixel(float("nan"))(x))
    with pytest.raises(ExportError, match="relative difference nan"):
        exported.save_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_image_that_does_not_decode(
    exported: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "forward", lambda _, x: FirstPixel(0.0)(x))
    with pytest.raises(ExportError, match="image 0: not an image"):
        exported.save_onnx(tmp_path / "model.onnx", images=b"broken")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"cannot write .*model\.onnx"):
        exported.save_onnx(tmp_path / "file" / "model.onnx")


def test_missing_packages(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match="onnxruntime: `pip install '"):
        model.save_onnx(tmp_path / "model.onnx")


def test_a_model_that_torch_cannot_export(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no\nsuch operation")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ExportError, match=r"\(no such operation\)"):
        model.save_onnx(tmp_path / "model.onnx")


@pytest.fixture
def photos(shared_data: Path) -> list[Path]:
    """A hundred photographs of ten kinds of surfaces."""
    kinds = sorted(path for path in (shared_data / "dtd_10").iterdir() if path.is_dir())
    return [file for kind in kinds for file in image_files(kind)[:10]]


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """A hundred handwritten digits."""
    digits, found = load_digits(), []
    for label in range(10):
        for number, pixels in enumerate(digits.images[digits.target == label][:10]):
            found.append(tmp_path / "digits" / str(label) / f"{number}.png")
            found[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15).astype(np.uint8)).resize((24, 24)).save(found[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "kind"), [("dtd-10@2", "photos"), ("cifar10-1000@3", "scans")]
)
def test_three_forms_of_a_shipped_genotypes_network_agree_on_real_images(
    reference: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    files: list[Path] = request.getfixturevalue(kind)
    assert len(files) == 100
    decoded = [pixels for _, pixels in decoded_images(files, 16)[1]]
    pixels = np.stack([each for each in decoded if isinstance(each, np.ndarray)])
    task = ImageTask.load((pixels, np.arange(100) // 10), name=kind, cache_dir=tmp_path / "cache")
    changes = {"cells": 5, "image_size": 16, "batch_size": 16, "steps_per_epoch": 4, "cutout": 0}
    settings = replace(TINY.training, learning_rate=0.1, **changes)
    genotype = find_genotype(reference)
    assert genotype.space == DARTS
    model = train_network(genotype, task, settings).model
    # Neither weights nor norms are what they were before the training.
    norms = [m for m in model.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(
        norm.num_batches_tracked == 32 and norm.running_mean.abs().max() > 0 for norm in norms
    )
    assert any((norm.weight - 1).abs().max() > 1e-3 for norm in norms if norm.affine)

    found = model.save_onnx(tmp_path / "model.onnx", images=files)
    assert found.images == 108
    assert found.difference < 1e-5
    with torch.no_grad():
        expected = model(as_input(pixels))
    in_onnx = run_file(found.path, as_input(pixels))
    timm_model = timm.create_model(
        f"local-dir:{model.save_timm(tmp_path / 'timm')}", pretrained=True
    ).eval()
    # timm's own transform reads the files itself.
    transform = create_transform(**resolve_data_config({}, model=timm_model))
    images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        in_timm = timm_model(images)
    # A thousand times what is allowed: the images differ, and the network sees it.
    assert expected.std(dim=0).min() > 0.01
    for other in (in_onnx, in_timm):
        torch.testing.assert_close(other, expected, rtol=1e-5, atol=1e-5)


def test_a_file_in_another_format_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(ArtifactError, match="not a trained model"):
        Classifier.load(tmp_path / "model.onnx")
