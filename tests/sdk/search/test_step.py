"""One step: clipping, momentum, weight decay and Adam, against the formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import TrainPart, seed_of
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.search.settings import (
    AlphaOptimiser,
    SearchSettings,
    StageSettings,
    WeightOptimiser,
)
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import take_step
from wsdarts_sdk.supernet.kernels.base import SkipDropout
from wsdarts_sdk.supernet.network import Gradients, Supernet

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
_RATE = 0.02
# One stage without dropout, whose first epoch trains weights only.
PLAIN = (StageSettings(cells=3, operations=5, epochs=2, weights_only_epochs=1),)


def begin(settings: SearchSettings, epoch: int) -> SearchState:
    state = SearchState.fresh(
        settings, 0, OperationMasks.full(settings.space), [3], torch.device("cpu")
    )
    state.epoch = epoch
    for group in state.sgd.param_groups:
        group["lr"] = _RATE
    state.net.train()
    return state


def weights_of(state: SearchState) -> list[Tensor]:
    return [weight.detach().clone() for weight in state.net.weight_parameters()]


def norm(tensors: list[Tensor]) -> float:
    return torch.cat([tensor.ravel() for tensor in tensors]).norm().item()


@pytest.mark.parametrize("clip", [0.01, 5.0])
def test_gradient_of_the_weights_is_clipped(
    clip: float, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    optimiser = WeightOptimiser(momentum=0.0, weight_decay=0.0, gradient_clip=clip)
    settings = make_settings(weights=optimiser)
    part, state = make_part(digits_task, settings), begin(settings, epoch=0)
    if clip == 5.0:  # a head that makes the gradient longer than 5
        state.net.heads[0].weight.data.mul_(300)
    before = weights_of(state)
    take_step(state, part, settings, 0, _RATE)
    moved = [a - b for a, b in zip(weights_of(state), before, strict=True)]
    assert norm(moved) == pytest.approx(_RATE * clip, rel=1e-3)


def test_short_gradients_are_not_stretched(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(
        weights=WeightOptimiser(momentum=0.0, weight_decay=0.0, gradient_clip=1e6)
    )
    part, state = make_part(digits_task, settings), begin(settings, epoch=0)
    before, reference = weights_of(state), begin(settings, epoch=0)
    skip = SkipDropout(
        rate=0.15, seed=seed_of(settings.seed, "skip", "weights", part.head, 0, 0, 0)
    )
    batch = part.batch(Part.WEIGHTS, 0, 0, 0)
    slopes = reference.net.gradients(batch, "weights", skip=skip).weights
    take_step(state, part, settings, 0, _RATE)
    for old, new, slope in zip(before, weights_of(state), slopes, strict=True):
        assert slope is not None
        assert torch.allclose(new, old - _RATE * slope, atol=1e-7)


def test_momentum_and_weight_decay(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # b₁ = g₁ + λw₀, w₁ = w₀ − ξ b₁; b₂ = 0.9 b₁ + g₂ + λw₁, w₂ = w₁ − ξ b₂.
    settings = make_settings(
        weights=WeightOptimiser(weight_decay=0.1, gradient_clip=1e6), stages=PLAIN
    )
    part = make_part(digits_task, settings)
    state, reference = begin(settings, epoch=0), begin(settings, epoch=0)
    weights = reference.net.weight_parameters()
    buffers = [torch.zeros_like(weight) for weight in weights]
    for step in range(2):
        batch = part.batch(Part.WEIGHTS, 0, 0, step)
        slopes = reference.net.gradients(batch, "weights").weights
        for weight, buffer, slope in zip(weights, buffers, slopes, strict=True):
            assert slope is not None
            buffer.mul_(0.9).add_(slope + 0.1 * weight.data)
            weight.data.sub_(_RATE * buffer)
        take_step(state, part, settings, step, _RATE)
    for found, expected in zip(weights_of(state), weights, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_alpha_step_comes_first_and_is_adam(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # The first step of Adam with β₁ = 0.5, β₂ = 0.999 is lr · g / (|g| + ε), where g is the
    # clipped gradient plus weight decay · α: about one learning rate, by the sign of g.
    settings = make_settings(
        alpha=AlphaOptimiser(learning_rate=0.01, weight_decay=1e-3), stages=PLAIN
    )
    part, state = make_part(digits_task, settings), begin(settings, epoch=1)
    reference = begin(settings, epoch=1)
    alpha = reference.net.alpha_parameters()
    batch = part.batch(Part.ALPHA, 0, 1, 0)  # with the weights as they were before the step
    slopes = reference.net.gradients(batch, "alpha").alpha
    take_step(state, part, settings, 0, _RATE)
    for kind, old, slope in zip(CELL_KINDS, alpha, slopes, strict=True):
        gradient = slope + 1e-3 * old.data
        expected = old.data - 0.01 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(state.net.alpha[kind].data, expected, atol=1e-6)
        moments = state.adam.state[state.net.alpha[kind]]
        assert torch.allclose(moments["exp_avg"], 0.5 * gradient, atol=1e-8)
        assert torch.allclose(moments["exp_avg_sq"], 0.001 * gradient**2, atol=1e-10)


def test_gradient_of_alpha_is_clipped(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(
        alpha=AlphaOptimiser(weight_decay=0.0, gradient_clip=1e-4), stages=PLAIN
    )
    part, state = make_part(digits_task, settings), begin(settings, epoch=1)
    take_step(state, part, settings, 0, _RATE)
    moments = [state.adam.state[alpha]["exp_avg"] for alpha in state.net.alpha_parameters()]
    assert norm(moments) == pytest.approx(0.5 * 1e-4, rel=1e-2)


def test_sums_of_both_halves(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(stages=PLAIN)
    part = make_part(digits_task, settings)
    only_weights, both = begin(settings, epoch=0), begin(settings, epoch=1)
    take_step(only_weights, part, settings, 0, _RATE)
    take_step(both, part, settings, 0, _RATE)
    assert only_weights.sums[2:].tolist() == [8, 0, 0, 0]
    assert (both.sums[2].item(), both.sums[5].item()) == (8, 8)
    reference = begin(settings, epoch=0)
    found = reference.net.gradients(part.batch(Part.WEIGHTS, 0, 0, 0), "weights")
    assert only_weights.sums[0].item() == pytest.approx(8 * found.loss.item())
    hits = (found.logits.argmax(1) == part.batch(Part.WEIGHTS, 0, 0, 0).labels).sum().item()
    assert only_weights.sums[1].item() == hits


def test_batch_norm_statistics_move_in_both_steps(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # As in the public code, the α step runs in train mode, too.
    settings = make_settings(stages=PLAIN)
    part, state = make_part(digits_task, settings), begin(settings, epoch=1)
    take_step(state, part, settings, 0, _RATE)
    assert state.net.stem[1].num_batches_tracked.item() == 2


def test_dropout_draws_anew_in_every_step_half_and_task(
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings()
    seen: list[SkipDropout] = []

    computed = Supernet.gradients

    def watched(net: Supernet, *arguments: Any, skip: SkipDropout) -> Gradients:
        seen.append(skip)
        return computed(net, *arguments, skip=skip)

    monkeypatch.setattr(Supernet, "gradients", watched)
    state = SearchState.fresh(
        settings, 0, OperationMasks.full(settings.space), [3, 3], torch.device("cpu")
    )
    state.net.train()
    for head in (0, 1):
        part = make_part(digits_task, settings, head)
        for state.epoch in (0, 1):
            for step in (0, 1):
                take_step(state, part, settings, step, _RATE)
    # Epoch 0 trains weights only: 2 tasks · (2 steps + 2 steps · 2 halves).
    assert len({skip.seed for skip in seen}) == len(seen) == 12
    assert [skip.rate for skip in seen] == pytest.approx(([0.15] * 2 + [0.3] * 4) * 2)
