"""The networks as timm models: what timm asks of every model, and the exported folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn

from tests.error_fields import assert_fields
from tests.sdk.models.published import DARTS_V2, PDARTS
from wsdarts_hub import Classifier, load_network
from wsdarts_hub.timm import TimmNetwork, save_timm
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ExportError, SettingsError, SpaceError
from wsdarts_sdk.data.decoding import decode
from wsdarts_sdk.models.network import DerivedNetwork

SMALL = {"cells": 6, "channels": 4}
STEMS = ("cifar", "imagenet")
NAMES = [f"wsdarts_{cells}_{stem}" for cells in ("darts_v2", "pdarts") for stem in STEMS]


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def create(name: str = "wsdarts_pdarts_cifar", **arguments: Any) -> Any:
    return timm.create_model(name, **{**SMALL, **arguments})


def test_the_names_are_registered() -> None:
    assert timm.list_models("wsdarts_*") == sorted([*NAMES, "wsdarts_network"])
    assert timm.list_models("wsdarts_*", pretrained=True) == []


@pytest.mark.parametrize(("name", "millions"), list(zip(NAMES, (3.3, 4.7, 3.4, 4.9), strict=True)))
def test_published_sizes(name: str, millions: float) -> None:
    # As the papers print them: 3.3 (DARTS, its table 1), 4.7 (table 3), 3.4 and 4.9 (P-DARTS).
    assert int(parameters(timm.create_model(name)) / 1e5) / 10 == millions


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward(name: str) -> None:
    model = create(name, num_classes=7)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert bool(logits.isfinite().all())
    logits.mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_default_configuration(name: str) -> None:
    model = create(name)
    cfg = model.default_cfg
    assert model.num_classes == cfg["num_classes"] == (10 if "cifar" in name else 1000)
    assert model.state_dict()[f"{cfg['classifier']}.weight"].shape[0] == model.num_classes
    assert model.state_dict()[f"{cfg['first_conv']}.weight"].shape[1] == 3
    features = model.eval().forward_features(x := torch.randn(1, 3, 32, 32))
    assert features.shape[1] == model.num_features
    assert torch.equal(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True).shape == (1, model.head_hidden_size)
    assert model.get_classifier() is model.classifier


def test_other_and_no_last_layers() -> None:
    model = create(num_classes=7).eval()
    x = torch.randn(2, 3, 16, 16)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features)
    assert isinstance(model.get_classifier(), nn.Identity)
    model.reset_classifier(0, "")
    assert torch.equal(model(x), model.forward_features(x))
    with pytest.raises(SettingsError, match="global_pool="):
        model.reset_classifier(3)
    model.reset_classifier(3, "catavgmax")
    assert model(x).shape == (2, 3)
    assert model.num_classes == 3
    assert create(num_classes=0)(x).shape == (2, model.num_features)
    assert create(num_classes=0, global_pool="")(x).shape == (2, model.num_features, 4, 4)


@pytest.mark.parametrize(
    ("stem", "strides", "channels"),
    # 4 channels at first; a cell puts out four nodes: 16, 32, 64. ImageNet's stem has 4, too.
    [("cifar", [1, 2, 4], [16, 32, 64]), ("imagenet", [4, 8, 16, 32], [4, 16, 32, 64])],
)
def test_features(stem: str, strides: list[int], channels: list[int]) -> None:
    model = create(f"wsdarts_pdarts_{stem}", features_only=True).eval()
    assert model.feature_info.reduction() == strides
    assert model.feature_info.channels() == channels
    maps = model(torch.randn(2, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [
        (2, width, 64 // stride, 64 // stride)
        for width, stride in zip(channels, strides, strict=True)
    ]
    some = create(f"wsdarts_pdarts_{stem}", features_only=True, out_indices=(0, 1)).eval()
    assert [m.shape for m in some(torch.randn(2, 3, 64, 64))] == [m.shape for m in maps[:2]]
    assert parameters(some) < parameters(model)  # the cells behind are gone


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_features_of_few_cells(cells: int) -> None:
    maps = create(cells=cells, features_only=True)(torch.randn(2, 3, 16, 16))
    # One cell is one reduction cell, two are two; before the first one stands the stem.
    assert [m.shape[2] for m in maps] == [16, 8, 4][: cells + 1]
    assert maps[0].shape[1] == (12 if cells < 3 else 16)


def test_intermediates() -> None:
    model = create().eval()
    x = torch.randn(1, 3, 16, 16)
    last, maps = model.forward_intermediates(x)
    assert torch.equal(last, model.forward_features(x))
    assert torch.equal(last, maps[-1])
    (only,) = model.forward_intermediates(x, indices=[1], intermediates_only=True, stop_early=True)
    assert torch.equal(only, maps[1])
    assert len(model.forward_intermediates(x, indices=2, intermediates_only=True)) == 2
    with pytest.raises(SettingsError, match="output_fmt is 'NHWC'"):
        model.forward_intermediates(x, output_fmt="NHWC")


def test_the_same_network_as_the_native_one() -> None:
    native = load_network(DARTS_V2, classes=5, cells=6, channels=4, stem="imagenet").eval()
    model = create("wsdarts_darts_v2_imagenet", num_classes=5).eval()
    model.load_state_dict(native.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(x), native(x), rtol=1e-5, atol=1e-5)


def test_random_weights_follow_the_seed() -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(create().stem[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_dropout_drop_path_and_other_channels() -> None:
    x = torch.randn(4, 1, 16, 16)
    model = create(in_chans=1, drop_rate=0.5, drop_path_rate=0.5)
    assert model.stem[0].weight.shape == (12, 1, 3, 3)
    assert not torch.equal(model(x), model(x))
    features = model.eval().forward_features(x)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))
    model.drop_path_rate = 0.0
    assert torch.equal(model.forward_features(x), model.forward_features(x))
    large = create("wsdarts_pdarts_imagenet", in_chans=5)
    assert large.eval().forward_features(torch.randn(1, 5, 32, 32)).shape == (1, 64, 1, 1)


def test_groups_of_weights() -> None:
    groups = timm.models.group_parameters(create(), create().group_matcher())
    assert len(groups) >= 2 + 6
    create().set_grad_checkpointing(enable=False)
    with pytest.raises(SettingsError, match="gradient checkpointing"):
        create().set_grad_checkpointing()


def test_timm_is_told_that_scripting_does_not_work() -> None:
    with pytest.raises(ExportError, match="scriptable=True"):
        create(scriptable=True)


def test_a_genotype_of_ones_own(genotype: Genotype, tmp_path: Path) -> None:
    forms: tuple[Any, ...] = (PDARTS, Genotype.from_darts(PDARTS).to_json())
    for form in (*forms, json.dumps(forms[1])):
        model = create("wsdarts_network", genotype=form, num_classes=3)
        assert model.config["genotype"] == forms[1]
    assert create("wsdarts_network", genotype=genotype).num_features == 2 * 4 * 4
    with pytest.raises(SettingsError, match="needs the argument genotype"):
        create("wsdarts_network")
    for source in (str(genotype.save(tmp_path / "cell.json")), "cifar10-1000@3"):
        with pytest.raises(SpaceError, match="not a DARTS genotype"):  # neither path nor reference
            create("wsdarts_network", genotype=source)
    with pytest.raises(SpaceError, match="not valid JSON"):
        create("wsdarts_network", genotype="{")


@pytest.mark.parametrize("text", ["cifar10-1000", "cifar10-1000@3", "cifar10-1000@stable"])
def test_a_reference_as_text_is_told_how_it_is_loaded(text: str) -> None:
    with pytest.raises(SpaceError) as refused:
        create("wsdarts_network", genotype=text)
    assert_fields(refused.value, hint=f'genotype=load_network("{text}")')
    for other in ("no name", "lab/cifar10@2", "cifar10@", "Genotype(normal=[])"):
        with pytest.raises(SpaceError) as refused:
            create("wsdarts_network", genotype=other)
        assert "load_network" not in refused.value.hint


def test_a_trained_model_is_no_genotype(model: Classifier) -> None:
    with pytest.raises(SettingsError) as refused:
        create("wsdarts_network", genotype=model)
    assert_fields(refused.value, what="genotype", hint=("save_timm", "local-dir:DIR"))


@pytest.fixture
def model(genotype: Genotype) -> Classifier:
    """A network with used norms."""
    network = DerivedNetwork(genotype, classes=3, cells=3, channels=4, auxiliary=True, seed=3)
    network(torch.randn(16, 3, 8, 8))
    return Classifier(
        network,
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([0.4, 0.5, 0.6]),
        image_size=12,
        class_names=("Äpfel", "b", "c"),
    ).eval()


def test_the_exported_folder(model: Classifier, tmp_path: Path) -> None:
    folder = save_timm(model, tmp_path / "exported")
    names = ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    found = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert isinstance(found, TimmNetwork)
    assert found.pretrained_cfg["label_names"] == ["Äpfel", "b", "c"]
    config = resolve_data_config({}, model=found)
    transform = create_transform(**config)
    noise = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    ours = decode(noise, model.image_size)
    assert isinstance(ours, np.ndarray)
    x = torch.from_numpy(ours.copy()).permute(2, 0, 1)[None] / 255
    theirs = found(transform(Image.fromarray(noise))[None])
    torch.testing.assert_close(theirs, model(x), rtol=1e-5, atol=1e-6)


def test_an_exported_folder_as_a_start(model: Classifier, tmp_path: Path) -> None:
    name = f"local-dir:{save_timm(model, tmp_path / 'exported')}"
    other = timm.create_model(name, pretrained=True, num_classes=9)
    assert other.classifier.out_features == 9
    assert torch.equal(other.stem[0].weight, model.network.stem[0].weight)
    maps = timm.create_model(name, pretrained=True, features_only=True)(torch.randn(2, 3, 12, 12))
    assert [m.shape[1] for m in maps] == [8, 16, 32]
    random = timm.create_model(name)
    assert not torch.equal(random.stem[0].weight, model.network.stem[0].weight)


def test_timm_saves_it_again(model: Classifier, tmp_path: Path) -> None:
    first = timm.create_model(f"local-dir:{save_timm(model, tmp_path / 'a')}", pretrained=True)
    timm.models.save_for_hf(
        first, tmp_path / "b", safe_serialization=True, model_args=json_arguments(tmp_path / "a")
    )
    second = timm.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True)
    x = torch.randn(1, 3, 12, 12)
    assert torch.equal(first.eval()(x), second.eval()(x))


def json_arguments(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))["model_args"]
    return found


def test_a_folder_that_is_there_already(model: Classifier, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ExportError, match="full is there already"):
        save_timm(model, tmp_path / "full")
    with pytest.raises(ExportError, match="cannot write"):
        save_timm(model, tmp_path / "full" / "file" / "folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]
    assert save_timm(model, tmp_path / "new" / "deep").is_dir()
