"""A trained model on the Hub: exported, uploaded by the Hub's own client, loaded by timm."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard, constants
from timm.data import resolve_data_config

import wsdarts_hub.timm  # noqa: F401 - registers the networks
from tests.cli.conftest import Run, run
from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from tests.registry.hostile import LINE
from wsdarts_hub import TINY, Classifier, ImageTask, train
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.progress import silent

__all__ = ["hub_server", "run", "start_hub"]


@pytest.fixture
def net(genotype: Genotype, digits_task: ImageTask, tmp_path: Path) -> Path:
    """The run directory of a short training."""
    settings = replace(
        TINY.training, cells=3, channels=4, image_size=8, epochs=2, batch_size=16, cutout=0
    )
    preset = replace(TINY, training=settings)
    train(genotype, digits_task, preset=preset, out=tmp_path / "net", progress=silent)
    return tmp_path / "net"


def hf(*arguments: str, server: HubServer) -> str:
    """Run the Hub's own command, as in the README, and return what it printed."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_TOKEN": ALICE.token,
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    command = [str(Path(sys.executable).with_name("hf")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_exported_model_is_uploaded_and_loaded_by_its_name(
    net: Path, run: Run, hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "net-timm"
    assert run("export", net, "--timm", folder).code == 0
    hf("upload", "alice/digits", str(folder), server=hub_server)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)

    model = Classifier.load(net)
    found = timm.create_model("hf-hub:alice/digits", pretrained=True).eval()
    for name, value in found.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name]), name
    assert found.num_classes == 3
    assert found.pretrained_cfg["label_names"] == list(model.class_names)
    assert found.pretrained_cfg["hf_hub_id"] == "alice/digits"
    config = resolve_data_config({}, model=found)
    assert list(config["input_size"]) == [3, 8, 8]
    assert config["crop_mode"] == "squash"
    x = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(config[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(found((x - mean) / std), model(x), rtol=1e-5, atol=1e-6)
    # A start for other classes, and without weights.
    other = timm.create_model("hf-hub:alice/digits", pretrained=True, num_classes=5)
    assert torch.equal(other.stem[0].weight, found.stem[0].weight)
    assert other.classifier.out_features == 5
    bare = timm.create_model("hf-hub:alice/digits", pretrained=False)
    assert not torch.equal(bare.stem[0].weight, found.stem[0].weight)

    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-classification"
    assert "import wsdarts_hub.timm" in card.text
    assert "Classes: `0`, `1`, `2`." in card.text


def test_hostile_class_names_in_its_card(genotype: Genotype, tmp_path: Path) -> None:
    network = DerivedNetwork(genotype, classes=60, cells=3, channels=4)
    names = (LINE, "`", "\x1b[31m\u202e\n---\nlicense: mit", *(f"c{i}" for i in range(57)))
    ones = torch.ones(3)
    model = Classifier(network, mean=ones, std=ones, image_size=8, class_names=names)
    text = (model.save_timm(tmp_path / "timm") / "README.md").read_text(encoding="utf-8")
    classes = text[text.index("Classes: ") : text.index("## The cells")]
    assert classes.startswith("Classes: `<script>alert(1)")
    assert classes.rstrip().endswith("`c46` and 10 more.")
    assert classes.count("\n") == 2
    assert not set("\x1b\u202e\u200b") & set(text)
    assert text.count("\n---\n") == 1
