"""Probes from files, from timm, and every way in which that can fail."""

import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry._tensors import write_tensors
from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Preprocessing, Probe

from .conftest import CARD, tiny_weights

PREPROCESSING = Preprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def save(path: Path, weights: dict[str, NDArray[Any]], card: dict[str, Any] | None) -> Path:
    path.write_bytes(write_tensors(weights, card))
    return path


def card(**changes: Any) -> dict[str, Any]:
    return {**CARD, **changes}


def test_a_file_with_a_card_says_all_about_itself(probe_file: Path) -> None:
    probe = load_probe(probe_file)
    assert probe.name == "tiny-resnet"
    assert probe.preprocessing == Preprocessing(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert not probe.model.training
    assert not any(parameter.requires_grad for parameter in probe.model.parameters())
    weights = tiny_weights()
    assert probe.filters == sum(len(w) for w in weights.values() if w.ndim == 4)
    assert probe.features(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_features_see_normalised_pixels(tiny_probe: Probe) -> None:
    pixels = torch.full((1, 3, 32, 32), 255.0)
    model: Any = tiny_probe.model
    expected = model(torch.full((1, 3, 32, 32), 2.0))  # (1 - 0.5) / 0.25
    torch.testing.assert_close(tiny_probe.features(pixels), expected)


def test_digest_is_of_the_content_not_of_the_file(tmp_path: Path, probe_file: Path) -> None:
    digest = load_probe(probe_file).digest
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    weights = tiny_weights()
    turned = dict(reversed(weights.items()))
    moved = save(tmp_path / "moved.safetensors", turned, card(name="other-name"))
    assert load_probe(moved).digest == digest
    classified = tiny_weights() | {"fc.weight": np.ones((7, 10)), "fc.bias": np.ones(7)}
    assert load_probe(save(tmp_path / "c.safetensors", classified, CARD)).digest == digest
    doubled = {name: weight.astype(np.float64) for name, weight in weights.items()}
    assert load_probe(save(tmp_path / "d.safetensors", doubled, CARD)).digest == digest


def test_digest_changes_with_everything_that_changes_features(
    tmp_path: Path, probe_file: Path
) -> None:
    digests = {load_probe(probe_file).digest}
    weights = tiny_weights()
    weights["conv1.0.weight"][0, 0, 0, 0] += 1e-3
    digests.add(load_probe(save(tmp_path / "w.safetensors", weights, CARD)).digest)
    for query in ("size=48", "mean=0.4", "std=0.5", "std=0.25,0.25,0.26"):
        digests.add(load_probe(f"{probe_file}?{query}").digest)
    # Options that leave the names and shapes of the weights as they are.
    digests.add(load_probe(f"{probe_file}?output_stride=16").digest)
    assert len(digests) == 7


def test_name_of_the_network_from_the_file_name_or_before_it(tmp_path: Path) -> None:
    network = timm.create_model("mobilenetv2_035", num_classes=10)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    path = save(tmp_path / "mobilenetv2_035.safetensors", weights, None)
    plain = load_probe(f"{path}?size=64&mean=0.5&std=0.5")
    assert plain.name == "mobilenetv2_035"
    assert plain.preprocessing == Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    other = path.rename(tmp_path / "weights.safetensors")
    same = load_probe(f"mobilenetv2_035={other}?size=64&mean=0.5&std=0.5")
    assert same.digest == plain.digest
    padded = load_probe(f"mobilenetv2_035={other}?pad_type=same&size=64&mean=0.5&std=0.5")
    assert padded.digest != plain.digest
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    assert not torch.allclose(padded.features(image), plain.features(image))
    # Without anything given, timm's own preprocessing.
    assert load_probe(f"mobilenetv2_035={other}").preprocessing.mean == (0.485, 0.456, 0.406)


def test_mobilenet_beside_the_project(shared_probe: Path) -> None:
    probe = load_probe(f"{shared_probe}?pad_type=same&size=224&mean=0.5&std=0.5")
    assert probe.name == "mobilenetv2_100"
    assert probe.filters == 17_056
    assert probe.check(224) == 1280


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_pretrained_weights_from_the_cache_of_the_hub(hub_cache: Path) -> None:
    revision = "0" * 40
    snapshot = hub_cache / "models--timm--resnet10t.c3_in1k" / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(revision)
    network = timm.create_model("resnet10t")
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save(snapshot / "model.safetensors", weights, None)
    probe = load_probe("timm:resnet10t.c3_in1k")
    assert probe.name == "resnet10t.c3_in1k"
    assert probe.preprocessing.size == 176
    assert probe.preprocessing.mean == (0.485, 0.456, 0.406)
    assert load_probe("resnet10t").digest == probe.digest


def test_no_network(hub_cache: Path) -> None:
    with pytest.raises(ProbeError) as caught:
        load_probe("timm:resnet34.tv_in1k")
    assert "resnet34.tv_in1k" in caught.value.what
    assert caught.value.hint.endswith("resnet34.tv_in1k=PATH.safetensors")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnet43", "'resnet43'.*did you mean resnet"),
        ("nothing like it", "'nothing like it'.*list_models"),
        ("hf-hub:evil/model", "'hf-hub:evil/model'"),
        ("resnet34.nope", "'resnet34.nope'.* resnet34.tv_in1k"),
        ("nowhere.safetensors", "nowhere.safetensors: No such file"),
    ],
)
def test_no_such_probe(hub_cache: Path, source: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        load_probe(source)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=big", "size is 'big'"),
        ("size=4", "4 pixels; .*at least 8"),
        ("mean=1,2", "^mean .*three by commas"),
        ("std=0", "those of std positive"),
        ("std=NaN", "those of std positive"),
        ("size", "'size' .*name=value"),
        ("size=32&size=64", "name one twice"),
        ("no_such_option=1", "resnet10t .*no_such_option=1"),
        ("checkpoint_path=evil.pth", "^checkpoint_path cannot"),
        ("pretrained=true", "^pretrained cannot"),
    ],
)
def test_options_that_cannot_be(probe_file: Path, query: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        load_probe(f"{probe_file}?{query}")


def test_a_file_of_an_unknown_network(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.safetensors", tiny_weights(), None)
    with pytest.raises(ProbeError, match=r"'mine'.*NETWORK=PATH.safetensors"):
        load_probe(path)


def test_a_truncated_file(probe_file: Path) -> None:
    probe_file.write_bytes(probe_file.read_bytes()[:-100])
    with pytest.raises(ProbeError, match="truncated or damaged"):
        load_probe(probe_file)
    probe_file.write_bytes(b"")
    with pytest.raises(ProbeError, match="has 0 bytes"):
        load_probe(probe_file)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    weights: dict[str, NDArray[Any]] = dict(tiny_weights())
    for name in ("bn1.bias", "bn1.weight", "bn1.running_mean", "bn1.running_var"):
        weights.pop(name)
    weights["head.weight"] = np.ones(3)
    weights["conv1.0.weight"] = weights["conv1.0.weight"][:2]
    weights["layer1.0.bn1.weight"][0] = np.nan
    path = save(tmp_path / "probe.safetensors", weights, CARD)
    with pytest.raises(ProbeError) as caught:
        load_probe(path)
    message = str(caught.value)
    assert "bn1.weight, bn1.bias, bn1.running_mean and 1" in message
    assert "head.weight unexpected" in message
    assert "conv1.0.weight (2, 3, 3, 3) (expected (3, 3, 3, 3))" in message
    assert "layer1.0.bn1.weight not finite" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "malformed at format"),
        ({"size": "64"}, "malformed at size"),
        ({"mean": [0.5]}, "malformed at mean"),
        ({"name": "../up"}, "malformed at name"),
        ({"more": 1}, "malformed at more"),
        ({"options": {"checkpoint_path": "x.pth"}}, "checkpoint_path cannot be set"),
        (
            {"architecture": "vit_giant_patch14_224", "options": {}},
            "^vit_giant_patch14_224 .*larger network",
        ),
        ({"options": {"channels": [4, 6, 8, 10_000]}}, "larger network"),
        ({"options": {"base_width": 10**9}}, "1000000000; .*16384"),
        ({"size": 100_000}, "100000 pixels; .*2048"),
    ],
)
def test_cards_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "probe.safetensors", tiny_weights(), card(**changes))
    with pytest.raises(ProbeError, match=message):
        load_probe(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ProbeError, match=str(path)):
        load_probe(path)


class Pooled(nn.Module):
    """The interface of a timm network around one layer."""

    def __init__(self, layer: nn.Module, *, pool: bool = True) -> None:
        super().__init__()
        self.layer = layer
        self.pool = pool

    def forward_features(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.layer(x)
        return mapped

    def forward_head(self, x: Tensor, *, pre_logits: bool) -> Tensor:
        assert pre_logits
        return x.mean((2, 3)) if self.pool else x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Pooled(nn.Linear(32, 4)), "no 2-d convolution"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), "no pooled classifier"),
        (Pooled(nn.Conv2d(3, 4, 1), pool=False), "one pooled vector"),
        (Pooled(nn.Conv2d(3, 4, 40)), "32×32 pixels .*larger size"),
        (Pooled(nn.Conv2d(1, 4, 1)), "32×32 pixels"),
    ],
)
def test_networks_that_cannot_be_probes(model: nn.Module, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        Probe.of(model, name="p", architecture="p", options={}, preprocessing=PREPROCESSING)
