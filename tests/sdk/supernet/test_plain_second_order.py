"""The plain engine's second-order gradients: exact, by finite difference, by brute force."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reference import gradients
from reference.gradients import PlainInnerStep, first_order, second_order
from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout

_RATE, _MOMENTUM, _DECAY = 0.3, 0.9, 0.01


@pytest.fixture
def net() -> PlainSupernet:
    """Three cells with two edges; four operations keep the brute force quick."""
    space = SearchSpace(
        nodes=1, candidates=("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
    )
    net = PlainSupernet(OperationMasks.full(space), cells=3, channels=2, classes=[3, 2], seed=1)
    with torch.no_grad():
        for alpha in net.alpha_parameters():
            alpha.mul_(500)
    return net.double()


def make_batch(seed: int, head: int = 0) -> Batch:
    images = torch.randn(
        6, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return Batch(images=images, labels=torch.tensor([0, 1, 1, 0, 1, 0]), head=head)


def make_inner(net: PlainSupernet, skip: SkipDropout = NO_DROPOUT) -> PlainInnerStep:
    draws = torch.Generator().manual_seed(9)
    buffers = {
        name: 0.05 * torch.randn(weight.shape, generator=draws, dtype=torch.float64)
        for name, weight in net.named_weights()
    }
    return PlainInnerStep(
        batch=make_batch(1),
        learning_rate=_RATE,
        momentum=_MOMENTUM,
        buffers=buffers,
        weight_decay=_DECAY,
        skip=skip,
    )


def unrolled_loss(
    net: PlainSupernet, inner: PlainInnerStep, batch: Batch, skip: SkipDropout
) -> float:
    """L_α(w′, α), where torch.optim.SGD itself takes the inner step on a copy."""
    net = copy.deepcopy(net)
    sgd = torch.optim.SGD(
        net.weight_parameters(),
        lr=inner.learning_rate,
        momentum=inner.momentum,
        weight_decay=inner.weight_decay,
    )
    for name, weight in net.named_weights():
        sgd.state[weight]["momentum_buffer"] = inner.buffers[name].clone()
    logits = net(inner.batch.images, head=inner.batch.head, skip=inner.skip)
    F.cross_entropy(logits, inner.batch.labels).backward()
    sgd.step()
    with torch.no_grad():
        logits = net(batch.images, head=batch.head, skip=skip)
        return F.cross_entropy(logits, batch.labels).item()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_exact_form_against_brute_force(net: PlainSupernet, rate: float) -> None:
    inner = make_inner(net, SkipDropout(rate=rate, seed=1))
    batch, skip = make_batch(2), SkipDropout(rate=rate, seed=2)
    found = second_order(net, batch, inner, skip, exact=True)
    assert found.loss.item() == pytest.approx(unrolled_loss(net, inner, batch, skip), abs=1e-12)
    step = 1e-7
    for alpha, gradient in zip(net.alpha_parameters(), found.values, strict=True):
        for index in ((e, o) for e in range(2) for o in range(4)):
            alpha.data[index] += step
            up = unrolled_loss(net, inner, batch, skip)
            alpha.data[index] -= 2 * step
            down = unrolled_loss(net, inner, batch, skip)
            alpha.data[index] += step
            expected = (up - down) / (2 * step)
            assert gradient[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def flat(values: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([value.ravel() for value in values])


def stepped(net: PlainSupernet, inner: PlainInnerStep) -> PlainSupernet:
    """A copy with the weights w′ = w − ξ (∇w L + μ·m + λ·w)."""
    moved = copy.deepcopy(net)
    slopes = first_order(moved, inner.batch, moved.weight_parameters(), inner.skip).values
    for (name, weight), slope in zip(moved.named_weights(), slopes, strict=True):
        change = _MOMENTUM * inner.buffers[name] + _DECAY * weight.data
        weight.data -= inner.learning_rate * (change if slope is None else change + slope)
    return moved


def direct(net: PlainSupernet, inner: PlainInnerStep, batch: Batch) -> Tensor:
    """The part of the second-order gradient that does not go through the inner step."""
    moved = stepped(net, inner)
    return flat(first_order(moved, batch, moved.alpha_parameters(), NO_DROPOUT).values)


def test_finite_difference_form_tends_to_the_exact_one(
    net: PlainSupernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network has kinks (relu), and it is so small that a step of norm 0.01 crosses some:
    # with ε ‖v‖ = 1e-5 it does not, and the two forms agree. The known slip of
    # `(p - n) / 2. * eps` would be off by the whole implicit part.
    monkeypatch.setattr(gradients, "_EPSILON", 1e-5)
    inner, batch = make_inner(net), make_batch(2)
    exact = flat(second_order(net, batch, inner, NO_DROPOUT, exact=True).values)
    found = flat(second_order(net, batch, inner, NO_DROPOUT).values)
    implicit = exact - direct(net, inner, batch)
    assert implicit.norm() > 0.1 * exact.norm()  # the second order matters here
    assert (found - exact).norm() < 1e-6 * implicit.norm()


def test_finite_difference_form_by_its_definition(net: PlainSupernet) -> None:
    # Once more with plain modules: v = ∇w′ L_α, ε = 0.01 / ‖v‖ over all weights together, and
    # −ξ (∇α L_w(w + εv) − ∇α L_w(w − εv)) / 2ε. Another ε would show: the loss has kinks.
    inner, batch = make_inner(net), make_batch(2)
    moved = stepped(net, inner)
    vector = first_order(moved, batch, moved.weight_parameters(), NO_DROPOUT).values
    epsilon = 0.01 / flat(tuple(v for v in vector if v is not None)).norm().item()

    def slope_at(sign: float) -> Tensor:
        shifted = copy.deepcopy(net)
        for weight, v in zip(shifted.weight_parameters(), vector, strict=True):
            if v is not None:
                weight.data += sign * epsilon * v
        alpha = shifted.alpha_parameters()
        return flat(first_order(shifted, inner.batch, alpha, NO_DROPOUT).values)

    difference = (slope_at(1) - slope_at(-1)) / (2 * epsilon)
    expected = direct(net, inner, batch) - _RATE * difference
    found = flat(second_order(net, batch, inner, NO_DROPOUT).values)
    assert torch.allclose(found, expected, rtol=1e-7, atol=1e-10)


def test_both_differences_use_the_same_draws(
    net: PlainSupernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With other dropout in the two passes, their difference over 2ε would be all noise.
    monkeypatch.setattr(gradients, "_EPSILON", 1e-5)
    inner, batch = make_inner(net, SkipDropout(rate=0.5, seed=1)), make_batch(2)
    skip = SkipDropout(rate=0.5, seed=2)
    found = flat(second_order(net, batch, inner, skip).values)
    exact = flat(second_order(net, batch, inner, skip, exact=True).values)
    assert torch.allclose(found, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("exact", [False, True])
def test_without_an_inner_step_it_is_the_first_order(net: PlainSupernet, exact: bool) -> None:
    inner, batch = replace(make_inner(net), learning_rate=0.0), make_batch(2)
    found = second_order(net, batch, inner, NO_DROPOUT, exact=exact)
    plain = first_order(net, batch, net.alpha_parameters(), NO_DROPOUT)
    assert torch.allclose(found.loss, plain.loss, atol=1e-12)
    for a, b in zip(found.values, plain.values, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("exact", [False, True])
def test_nothing_is_left_behind(net: PlainSupernet, exact: bool) -> None:
    inner, skip = make_inner(net, SkipDropout(rate=0.5, seed=1)), SkipDropout(rate=0.5, seed=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    buffers = {name: value.clone() for name, value in inner.buffers.items()}
    generator = torch.get_rng_state()
    second_order(net, make_batch(2), inner, skip, exact=exact)
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # with running statistics
    assert all(torch.equal(buffers[name], inner.buffers[name]) for name in buffers)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(generator, torch.get_rng_state())


@pytest.mark.parametrize("exact", [False, True])
def test_another_tasks_head(net: PlainSupernet, exact: bool) -> None:
    inner = replace(make_inner(net), batch=make_batch(1, head=1), buffers={})
    batch = make_batch(2, head=1)
    found = second_order(net, batch, inner, NO_DROPOUT, exact=exact)
    with torch.no_grad():
        net.heads[0].weight.fill_(1e6)  # must not matter
    again = second_order(net, batch, inner, NO_DROPOUT, exact=exact)
    assert found.logits.shape == (6, 2)
    for a, b in zip(found.values, again.values, strict=True):
        assert torch.allclose(a, b, rtol=1e-9)


def test_a_flat_loss_gives_no_nonsense() -> None:
    # Zero features, a zero head and balanced labels: ‖v‖ = 0, which must not divide. A supernet
    # of one cell has no normal cell, so the loss does not reach the normal cell's α.
    space = SearchSpace(nodes=1, candidates=("none", "skip_connect"))
    net = PlainSupernet(
        OperationMasks.full(space), cells=1, channels=2, classes=[2], seed=0
    ).double()
    with torch.no_grad():
        net.stem[1].weight.zero_()
        net.stem[1].bias.zero_()
        net.heads[0].weight.zero_()
        net.heads[0].bias.zero_()
    balanced = replace(make_batch(1), labels=torch.tensor([0, 1] * 3))
    inner = PlainInnerStep(
        batch=balanced, learning_rate=0.1, momentum=0.0, buffers={}, weight_decay=0.0
    )
    for exact in (False, True):
        found = second_order(net, balanced, inner, NO_DROPOUT, exact=exact)
        assert [torch.count_nonzero(value) for value in found.values] == [0, 0]
