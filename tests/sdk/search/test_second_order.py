"""Second-order gradients of α in float64: as the plain engine finds them, and its exact form."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reference import gradients as plain
from reference.comparison import TOLERANCE, random_batch, twins
from reference.gradients import PlainInnerStep
from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.search import step as engine
from wsdarts_sdk.search.step import InnerStep, second_order
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

_RATE, _MOMENTUM, _DECAY = 0.3, 0.9, 0.01
Pair = tuple[PlainSupernet, Supernet]


@pytest.fixture(params=["chosen", "portable"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Both engines with three cells of two edges, α far from uniform, two heads."""
    space = SearchSpace(
        nodes=1, candidates=("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
    )
    found = twins(OperationMasks.full(space), cells=3, channels=2, classes=[3, 2], seed=1)
    if request.param == "portable":
        found[1].use(PortableKernels())
    return found


def make_batch(seed: int, head: int = 0) -> Batch:
    return random_batch((8, 8), images=6, classes=2, head=head, seed=seed)


def make_inner(
    pair: Pair, *, rate: float = 0.0, head: int = 0, momentum: bool = True
) -> tuple[PlainInnerStep, InnerStep]:
    """The same inner step for both engines: momentum by name, and by parameter."""
    net, draws = pair[1], torch.Generator().manual_seed(9)
    fields = {
        "batch": make_batch(1, head),
        "learning_rate": _RATE,
        "momentum": _MOMENTUM,
        "weight_decay": _DECAY,
        "skip": SkipDropout(rate=rate, seed=1),
    }
    named: dict[str, Tensor] = {}
    buffers: list[Tensor | None] = []
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    for weight in net.weight_parameters():
        buffer = 0.05 * torch.randn(weight.shape, generator=draws, dtype=torch.float64)
        buffers.append(buffer if momentum else None)
        if momentum:
            named |= net.named_views(names[id(weight)], buffer)
    return PlainInnerStep(**fields, buffers=named), InnerStep(**fields, buffers=buffers)


def flat(values: tuple[Tensor | None, ...]) -> Tensor:
    return torch.cat([value.ravel() for value in values if value is not None])


@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_as_the_plain_finite_difference(pair: Pair, rate: float, head: int, momentum: bool) -> None:
    by_name, inner = make_inner(pair, rate=rate, head=head, momentum=momentum)
    batch, skip = make_batch(2, head), SkipDropout(rate=rate, seed=2)
    wanted = plain.second_order(pair[0], batch, by_name, skip)
    found = second_order(pair[1], batch, inner, skip)
    assert found.weights == ()
    assert found.loss.item() == pytest.approx(wanted.loss.item(), rel=TOLERANCE)
    assert torch.allclose(found.logits, wanted.logits, rtol=TOLERANCE, atol=TOLERANCE)
    direct = flat(plain.first_order(pair[0], batch, pair[0].alpha_parameters(), skip).values)
    expected = flat(wanted.values)
    assert (expected - direct).norm() > 0.05 * expected.norm()  # the second order matters here
    # The difference is divided by 2ε ≈ 0.02 / ‖v‖: rounding grows by so much.
    assert (flat(found.alpha) - expected).norm() < 1e-9 * expected.norm()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_tends_to_the_exact_form(pair: Pair, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # With ε ‖v‖ = 1e-5 no kink of the small network lies between the two passes. The known slip
    # of `(p - n) / 2. * eps` would be off by the whole implicit part.
    monkeypatch.setattr(engine, "_EPSILON", 1e-5)
    by_name, inner = make_inner(pair, rate=rate)
    batch, skip = make_batch(2), SkipDropout(rate=rate, seed=2)
    exact = flat(plain.second_order(pair[0], batch, by_name, skip, exact=True).values)
    found = flat(second_order(pair[1], batch, inner, skip).alpha)
    assert (found - exact).norm() < 1e-6 * exact.norm()


def test_without_an_inner_step_it_is_the_first_order(pair: Pair) -> None:
    inner, batch = replace(make_inner(pair)[1], learning_rate=0.0), make_batch(2)
    found = second_order(pair[1], batch, inner, NO_DROPOUT)
    first = pair[1].gradients(batch, "alpha")
    assert torch.allclose(found.loss, first.loss, atol=1e-12)
    assert torch.allclose(flat(found.alpha), flat(first.alpha), atol=1e-10)


def test_nothing_is_left_behind(pair: Pair) -> None:
    net, inner = pair[1], make_inner(pair, rate=0.5)[1]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    buffers = [None if buffer is None else buffer.clone() for buffer in inner.buffers]
    generator = torch.get_rng_state()
    second_order(net, make_batch(2), inner, SkipDropout(rate=0.5, seed=2))
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # with running statistics
    for old, new in zip(buffers, inner.buffers, strict=True):
        assert old is not None
        assert new is not None
        assert torch.equal(old, new)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(generator, torch.get_rng_state())


def test_weights_come_back_after_an_error(pair: Pair) -> None:
    net, inner = pair[1], make_inner(pair)[1]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    wrong = replace(make_batch(2), labels=torch.tensor([7] * 6))  # there are three classes
    with pytest.raises(IndexError, match="Target 7 is out"):
        second_order(net, wrong, inner, NO_DROPOUT)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_another_tasks_head_does_not_matter(pair: Pair) -> None:
    net, inner, batch = pair[1], make_inner(pair, head=1, momentum=False)[1], make_batch(2, head=1)
    found = second_order(net, batch, inner, NO_DROPOUT)
    with torch.no_grad():
        net.heads[0].weight.fill_(1e6)
    again = second_order(net, batch, inner, NO_DROPOUT)
    assert found.logits.shape == (6, 2)
    assert torch.allclose(flat(found.alpha), flat(again.alpha), rtol=1e-9)


def test_a_flat_loss_gives_no_nonsense() -> None:
    # Zero features, a zero head and balanced labels: ‖v‖ = 0, which must not divide. A supernet
    # of one cell has no normal cell, so the loss does not reach the normal cell's α.
    space = SearchSpace(nodes=1, candidates=("none", "skip_connect"))
    net = Supernet(OperationMasks.full(space), cells=1, channels=2, classes=[2], seed=0).double()
    with torch.no_grad():
        net.stem[1].weight.zero_()
        net.stem[1].bias.zero_()
        net.heads[0].weight.zero_()
        net.heads[0].bias.zero_()
    inner = InnerStep(
        batch=make_batch(1),
        learning_rate=0.1,
        momentum=0.0,
        buffers=[None] * len(net.weight_parameters()),
        weight_decay=0.0,
    )
    found = second_order(net, make_batch(1), inner, NO_DROPOUT)
    assert [torch.count_nonzero(value) for value in found.alpha] == [0, 0]
