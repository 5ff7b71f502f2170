"""Commands that use a trained model."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from wsdarts_hub import Classifier
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.models.network import DerivedNetwork


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The run directory of a training whose model says 0.8 and 0.2 of everything."""
    nodes = ((Connection(source=0, operation="sep_conv_3x3"),),)
    genotype = Genotype(space=SearchSpace(nodes=1), normal=nodes, reduction=nodes)
    network = DerivedNetwork(genotype, classes=2, cells=2, channels=2)
    torch.nn.init.zeros_(network.classifier.weight)
    with torch.no_grad():
        network.classifier.bias.copy_(torch.tensor([0.2, 0.8]).log())
    model = Classifier(
        network, mean=torch.zeros(3), std=torch.ones(3), image_size=8, class_names=("dark", "light")
    )
    model.save(tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


def test_predict(model: Path, images: Path, run: Run) -> None:
    one = images / "dark" / "00.png"
    shown = run("predict", model, one, images / "light")
    assert shown.code == 0
    assert shown.lines[0] == f"{one}  light 80.0 %, dark 20.0 %"
    assert len(shown.lines) == 1 + 12
    quiet = run("predict", model / "model.safetensors", one, "-q")
    assert (quiet.out, quiet.err) == (f"{one} light\n", "")
    assert run("predict", model, one, "-k", "1").lines == [f"{one}  light 80.0 %"]


def test_predict_as_json(model: Path, images: Path, run: Run) -> None:
    broken = images / "broken.png"
    broken.write_bytes(b"x")
    shown = run("predict", model, images / "dark" / "00.png", broken, "--json", "-q")
    assert shown.code == 1
    good, bad = json.loads(shown.out)
    assert [c["name"] for c in good["classes"]] == ["light", "dark"]
    assert [c["probability"] for c in good["classes"]] == pytest.approx([0.8, 0.2])
    assert (bad["image"], bad["classes"], good["problem"]) == (str(broken), [], None)
    assert bad["problem"]


def test_predict_names_what_it_cannot_read(model: Path, images: Path, run: Run) -> None:
    one, absent = images / "dark" / "00.png", images / "absent.png"
    (images / "broken.png").write_bytes(b"x")
    shown = run("predict", model, absent, images / "broken.png", one, "-q")
    assert shown.code == 1
    assert shown.out == f"{one} light\n"
    named = [line.partition(": ")[0] for line in shown.err.splitlines()]
    assert named == [str(absent), str(images / "broken.png")]


def test_what_is_no_model(images: Path, run: Run) -> None:
    for what in (images, "cifar10-1000@3"):
        shown = run("predict", what, images, "-q")
        assert shown.code == 1
        assert str(what) in shown.err
        assert "`wsdarts-hub train`" in shown.err
        assert len(shown.err.splitlines()) == 1


@pytest.mark.slow
def test_export(model: Path, images: Path, run: Run, tmp_path: Path) -> None:
    both = ("--onnx", tmp_path / "m.onnx", "--timm", tmp_path / "folder")
    shown = run("export", model, *both, "--images", images / "dark", "--images", images / "light")
    assert shown.code == 0
    assert shown.lines[0] == str(tmp_path / "m.onnx")
    assert "on 32 images" in shown.lines[1]
    assert shown.lines[2] == str(tmp_path / "folder")
    assert shown.lines[3].endswith(f"create_model('local-dir:{tmp_path}/folder', pretrained=True)")
    assert (tmp_path / "m.onnx").stat().st_size > 1000


def test_export_for_timm(model: Path, run: Run, tmp_path: Path) -> None:
    quiet = run("export", model, "--timm", tmp_path / "folder", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, f"{tmp_path / 'folder'}\n", "")
    again = run("export", model, "--timm", tmp_path / "folder", "-q")
    assert again.code == 1
    assert f"{tmp_path / 'folder'} is there already" in again.err
    nothing = run("export", model)
    assert nothing.code == 2
    assert "--onnx FILE or --timm DIR" in nothing.err


def test_evaluate(model: Path, images: Path, run: Run, tmp_path: Path) -> None:
    # The model says "light" of everything, so half of the images are labelled right.
    shown = run("evaluate", model, images, "--out", tmp_path)
    assert shown.code == 0, shown.err
    assert shown.lines[0].startswith("accuracy           50.0 % (")
    assert f"page               {tmp_path / 'evaluation.html'}" in shown.lines
    assert ["dark", "light", "12"] in [line.split() for line in shown.lines]
    assert (tmp_path / "evaluation.html").exists()
    quiet = run("evaluate", model, images, "-q", "--part", "validation")
    assert (quiet.out, quiet.err) == ("0.5000\n", "")


def test_evaluate_as_json(model: Path, images: Path, run: Run) -> None:
    shown = run("evaluate", model, images, "--json")
    found = json.loads(shown.out)
    assert found["accuracy"]["value"] == 0.5
    assert found["confusion"] == [[0, 1, 12], [1, 1, 12]]
    assert found["part"] == "all"
    assert run("evaluate", model, images, "--part", "test").code == 1


def test_evaluate_refuses_other_classes(model: Path, images: Path, run: Run) -> None:
    (images / "dark").rename(images / "darker")
    shown = run("evaluate", model, images, "-q")
    assert (shown.code, shown.out) == (1, "")
    assert "darker" in shown.err
    assert len(shown.err.splitlines()) == 1
