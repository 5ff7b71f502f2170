"""The compiled Fisher information against the one by autograd, and what it leaves to that."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.sdk.task2vec.conftest import gratings
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec._compiled_fisher import CompiledFisher, compiled_fisher
from wsdarts_sdk.task2vec._network_plan import network_plan
from wsdarts_sdk.task2vec.embedding import embed
from wsdarts_sdk.task2vec.estimation import ProbeWithHead
from wsdarts_sdk.task2vec.fisher import (
    FisherSettings,
    image_fisher,
    label_factors,
    rademacher_signs,
)
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Head, Preprocessing, Probe

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

SMALL = {"channels": (4, 6, 8, 10), "stem_width": 4, "zero_init_last": False}
# 17 and 33 channels: a vector of the machine and one more.
WIDE = {"channels": (17, 33, 8, 10), "zero_init_last": False}
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "deep stem, average pools": ("resnet10t", SMALL, 32),
    "an odd size": ("resnet10t", SMALL, 37),
    "a stem of 7×7": ("resnet18", WIDE, 40),
    "bottlenecks": ("resnet26", WIDE, 32),
    "without max pool": ("resnet10t", SMALL | {"replace_stem_pool": True}, 32),
}


def probe_of(architecture: str, options: dict[str, Any], size: int) -> Probe:
    """A probe with random weights, in float64."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=0, **options)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
    preprocessing = Preprocessing(size=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    probe = Probe.of(
        network,
        name="random",
        architecture=architecture,
        options=options,
        preprocessing=preprocessing,
    )
    network.double()
    return probe


def both(
    probe: Probe, pixels: Tensor, classes: int, signs: Tensor | None = None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Shares by compiled code and by autograd, under a head with random weights."""
    found = compiled_fisher(probe, pixels.shape[-1])
    assert isinstance(found, CompiledFisher)
    with torch.no_grad():
        features = probe.features(pixels.double())
    torch.testing.assert_close(found.features(pixels), features, rtol=1e-10, atol=1e-12)
    draws = torch.Generator().manual_seed(1)
    weight = torch.randn(classes, features.shape[1], generator=draws).double()
    head = Head(weight=weight / 3, bias=torch.zeros(classes).double())
    factors = label_factors(head.logits(features).softmax(1), signs)
    shares = found.shares(pixels, torch.stack(factors, dim=1) @ head.weight)
    network = ProbeWithHead(probe, head)
    return shares, np.concatenate(list(image_fisher(network, pixels, signs=signs)))


def noise(count: int, size: int) -> Tensor:
    draws = torch.Generator().manual_seed(2)
    return torch.randint(256, (count, 3, size, size), generator=draws, dtype=torch.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_one_by_autograd(name: str) -> None:
    architecture, options, size = NETWORKS[name]
    found, expected = both(probe_of(architecture, options, size), noise(3, size), classes=4)
    assert (expected > 0).mean() > 0.7
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())


@pytest.mark.parametrize("classes", [2, 3, 6, 10, 12, 20])
def test_any_number_of_passes(classes: int) -> None:
    found, expected = both(probe_of("resnet10t", SMALL, 32), noise(2, 32), classes)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_sketches() -> None:
    signs = rademacher_signs(3, 4, 30, seed=0)
    found, expected = both(probe_of("resnet10t", SMALL, 32), noise(3, 32), 30, signs)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_of_equal_numbers_under_a_max_pool_the_first_counts() -> None:
    plain = torch.full((2, 3, 40, 40), 200, dtype=torch.uint8)
    found, expected = both(probe_of("resnet18", WIDE, 40), plain, classes=3)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_threads_do_not_matter() -> None:
    probe, before = probe_of("resnet10t", SMALL, 32), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, _ = both(probe, noise(5, 32), classes=3)
        torch.set_num_threads(3)
        three, _ = both(probe, noise(5, 32), classes=3)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("classes", [4, 12])
def test_an_embedding_is_the_same_with_portable_kernels(
    classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = ImageTask.load(gratings(classes, 5), name="gratings")
    values = {}
    for kernels in ("compiled", "portable"):
        monkeypatch.setenv("WSDARTS_HUB_KERNELS", kernels)
        probe = load_probe()
        probe.model.double()
        values[kernels] = embed(task, probe, FisherSettings(), cache_dir=tmp_path / kernels).values
    np.testing.assert_allclose(values["compiled"], values["portable"], rtol=1e-6)


def test_what_a_plan_does_not_hold() -> None:
    grouped = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    shared = nn.Conv2d(3, 3, 1)
    for network in (
        grouped,
        timm.create_model("mobilenetv2_050", num_classes=0),
        timm.create_model("resnet18", num_classes=0).train(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()),
        nn.Sequential(shared, shared, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ):
        assert network_plan(network, 32) is None


def test_images_that_would_take_too_much_memory_are_left_to_autograd(tiny_probe: Probe) -> None:
    assert compiled_fisher(tiny_probe, 400) is not None
    assert compiled_fisher(tiny_probe, 4000) is None


def test_without_a_compiler_autograd_computes_it(
    tiny_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_fisher(tiny_probe, 32) is not None
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    assert compiled_fisher(tiny_probe, 32) is None
    assert compiled_fisher(probe_of("mobilenetv2_050", {}, 32), 32) is None
