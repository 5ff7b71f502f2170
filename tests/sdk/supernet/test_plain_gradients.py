"""First-order gradients of the plain engine in float64, against central finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference.gradients import first_order
from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout

_STEP = 1e-6


@pytest.fixture
def net() -> PlainSupernet:
    """A normal and two reduction cells with two edges and all eight operations."""
    masks = OperationMasks.full(SearchSpace(nodes=1))
    net = PlainSupernet(masks, cells=3, channels=2, classes=[3, 2], seed=1).double()
    with torch.no_grad():
        for alpha in net.alpha_parameters():
            alpha.mul_(1000)  # far from uniform
    return net


def make_batch(seed: int, head: int = 0) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 3, 8, 8, generator=draws, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    return Batch(images=images, labels=labels, head=head)


def numeric(loss: Callable[[], float], tensor: Tensor, index: tuple[int, ...]) -> float:
    with torch.no_grad():
        tensor[index] += _STEP
        up = loss()
        tensor[index] -= 2 * _STEP
        down = loss()
        tensor[index] += _STEP
    return (up - down) / (2 * _STEP)


@pytest.mark.parametrize("skip", [NO_DROPOUT, SkipDropout(rate=0.5, seed=5)])
def test_gradient_of_alpha(net: PlainSupernet, skip: SkipDropout) -> None:
    batch = make_batch(1)

    def loss() -> float:
        return F.cross_entropy(net(batch.images, skip=skip), batch.labels).item()

    found = first_order(net, batch, net.alpha_parameters(), skip)
    assert found.loss.item() == pytest.approx(loss(), abs=1e-12)
    for alpha, gradient in zip(net.alpha_parameters(), found.values, strict=True):
        expected = [[numeric(loss, alpha, (e, o)) for o in range(8)] for e in range(2)]
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-9)
        assert gradient.abs().max() > 1e-3  # there is something to compare


def test_gradient_of_weights(net: PlainSupernet) -> None:
    batch, draws = make_batch(2), np.random.default_rng(3)
    named = list(net.named_weights())
    found = first_order(net, batch, [weight for _, weight in named], NO_DROPOUT)

    def loss() -> float:
        return F.cross_entropy(net(batch.images), batch.labels).item()

    for (name, weight), gradient in zip(named, found.values, strict=True):
        if name.startswith("heads.1."):
            assert gradient is None  # another task's head: not zero, nothing
            continue
        index = tuple(int(draws.integers(extent)) for extent in weight.shape)
        expected = numeric(loss, weight, index)
        assert gradient[index].item() == pytest.approx(expected, rel=1e-5, abs=1e-8), name


def test_loss_is_the_mean_over_the_batch(net: PlainSupernet) -> None:
    batch = make_batch(4, head=1)
    found = first_order(net, batch, net.alpha_parameters(), NO_DROPOUT)
    scores = found.logits.numpy()
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    chosen = shares[np.arange(4), batch.labels.numpy()]
    assert scores.shape == (4, 2)
    assert found.loss.item() == pytest.approx(-np.log(chosen).mean(), abs=1e-12)


def test_alpha_step_computes_no_weight_gradients(net: PlainSupernet) -> None:
    first_order(net, make_batch(5), net.alpha_parameters(), NO_DROPOUT)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_float32_agrees_with_float64(net: PlainSupernet) -> None:
    batch = make_batch(6)
    exact = first_order(net, batch, net.alpha_parameters(), NO_DROPOUT)
    single = Batch(images=batch.images.float(), labels=batch.labels)
    net = net.float()
    rough = first_order(net, single, net.alpha_parameters(), NO_DROPOUT)
    for kind, a, b in zip(CELL_KINDS, exact.values, rough.values, strict=True):
        assert torch.allclose(a, b.double(), rtol=1e-3, atol=1e-4), kind


def test_gradient_of_alpha_on_one_edge_by_hand() -> None:
    # One mixed operation of none and skip-connect, p = softmax(a, b), y = p₂ · x, L = Σ y.
    # dL/db = p₂ (1 − p₂) Σ x and dL/da = −p₁ p₂ Σ x, for p₂ = 3/4 and Σ x = 16: 3 and −3.
    alpha = nn.Parameter(torch.tensor([0.0, np.log(3.0)], dtype=torch.float64))
    shares = alpha.softmax(0)
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    (shares[0] * x * 0 + shares[1] * x).sum().backward()
    assert alpha.grad.tolist() == pytest.approx([-3.0, 3.0])
