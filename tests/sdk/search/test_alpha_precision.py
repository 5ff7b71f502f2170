"""α's gradient in each dtype that a search offers, against the same network in float64."""

from collections.abc import Callable
from statistics import fmean, median

import pytest
import torch
from torch import Tensor

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_sdk.data.loader import Batch, BatchPosition, TrainPart, batches
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import dtype_of
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import take_step
from wsdarts_sdk.setting_fields import COMPUTE_DTYPES
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
CPU = torch.device("cpu")
STEPS, BATCHES = 20, 4


@pytest.fixture(scope="module")
def settings(make_settings: Make) -> SearchSettings:
    """A first stage as in the paper, five cells of all operations, on small images."""
    stage = StageSettings(cells=5, operations=8, epochs=1, weights_only_epochs=1)
    return make_settings(space=DARTS, stages=(stage,), channels=4, image_size=16, batch_size=16)


@pytest.fixture(scope="module")
def state(settings: SearchSettings, digits_task: ImageTask, make_part: MakePart) -> SearchState:
    """Where α begins to move: after steps that trained the weights."""
    found = SearchState.fresh(settings, 0, OperationMasks.full(DARTS), [3], CPU)
    found.net.train()
    part = make_part(digits_task, settings)
    for step in range(STEPS):
        take_step(found, part, settings, step, 0.025)
    return found


@pytest.fixture(scope="module")
def exact(
    settings: SearchSettings, state: SearchState, digits_task: ImageTask, make_part: MakePart
) -> list[tuple[Batch, Tensor]]:
    """Batches of the α half, each with α's gradient in float64."""
    part = make_part(digits_task, settings)
    places = [
        BatchPosition(task=part, part=Part.ALPHA, stage=0, epoch=1, step=step)
        for step in range(BATCHES)
    ]
    net = like(state, settings).double()
    return [(batch, gradient(net, batch)) for batch in batches(places)]


def like(state: SearchState, settings: SearchSettings) -> Supernet:
    """The same network on plain kernels, which compute in every dtype, on any device."""
    net = SearchState.fresh(settings, 0, state.net.masks, [3], CPU).net.train()
    net.load_state_dict(state.net.state_dict())
    net.use(PortableKernels())
    return net


def gradient(net: Supernet, batch: Batch) -> Tensor:
    images = batch.images.to(net.cell_weights.dtype)
    found = net.gradients(Batch(images=images, labels=batch.labels, head=batch.head), "alpha")
    return torch.cat([each.double().flatten() for each in found.alpha])


def error(found: Tensor, right: Tensor) -> float:
    return float((found - right).norm() / right.norm())


def test_float32_is_exact_to_four_digits(
    settings: SearchSettings, state: SearchState, exact: list[tuple[Batch, Tensor]]
) -> None:
    # A rounding that switches one ReLU moves a gradient by up to 1e-3, so no single batch decides.
    for net in (state.net, like(state, settings)):  # compiled kernels, where there are any
        assert net.training
        found = [error(gradient(net, batch), right) for batch, right in exact]
        assert median(found) <= 1e-4, net.kernels.name


@pytest.mark.parametrize("name", [name for name in COMPUTE_DTYPES if name != "float32"])
def test_signs_survive_fewer_bits(
    settings: SearchSettings, state: SearchState, exact: list[tuple[Batch, Tensor]], name: str
) -> None:
    net = like(state, settings)
    net.compute_dtype = dtype_of(name)
    found = [gradient(net, batch) for batch, _ in exact]
    right = [each for _, each in exact]
    agreeing = [
        float((a.sign() == b.sign()).double().mean()) for a, b in zip(found, right, strict=True)
    ]
    assert fmean(agreeing) >= 0.95
    assert not any(torch.equal(a, b) for a, b in zip(found, right, strict=True))
