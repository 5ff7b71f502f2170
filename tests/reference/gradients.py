"""Gradients of α and of the weights as autograd finds them, the second order exactly, too.

Source: Liu et al., "DARTS", 2019, arXiv:1806.09055: equation 5 (first order with ξ = 0,
second order with ξ = the weights' learning rate), equations 7 and 8 (finite difference).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from reference.network import PlainSupernet
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout

Named = dict[str, Tensor]
_EPSILON = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainInnerStep:
    """The weight step that a second-order α step looks through: w′ = w − ξ(∇w L + μ·m + λ·w).

    Attributes:
        batch: The batch of the coming weight step.
        learning_rate: ξ.
        momentum: μ.
        buffers: m for each weight by name; a weight without one has m = 0.
        weight_decay: λ.
        skip: Skip-connect dropout of the coming weight step.
    """

    batch: Batch
    learning_rate: float
    momentum: float
    buffers: Named
    weight_decay: float
    skip: SkipDropout = NO_DROPOUT


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainGradients:
    """A loss, its logits and its gradients in the order of the parameters asked for.

    A parameter that the batch does not reach (another task's head) has the gradient None.
    """

    loss: Tensor
    logits: Tensor
    values: tuple[Tensor | None, ...]


def first_order(
    net: PlainSupernet, batch: Batch, parameters: list[torch.nn.Parameter], skip: SkipDropout
) -> PlainGradients:
    """Gradient of the batch's mean cross-entropy, computed for the given parameters only."""
    logits = net(batch.images, head=batch.head, skip=skip)
    loss = F.cross_entropy(logits, batch.labels)
    values = torch.autograd.grad(loss, parameters, allow_unused=True)
    return PlainGradients(loss=loss.detach(), logits=logits.detach(), values=values)


def second_order(
    net: PlainSupernet,
    batch: Batch,
    inner: PlainInnerStep,
    skip: SkipDropout,
    *,
    exact: bool = False,
) -> PlainGradients:
    """Gradient of L_α(w′(α), α) for α, where w′ is the weights after the inner step.

    By default the product with the mixed second derivative is a central difference,
    ``(∇α L_w(w + εv) − ∇α L_w(w − εv)) / 2ε`` with ``v = ∇w′ L_α`` and ``ε = 0.01 / ‖v‖``;
    ``exact`` differentiates through the inner step instead. Both passes of the difference
    use the same random draws. Running statistics of batch norm stay as they are: all of
    these evaluations are hypothetical.
    """
    weights = dict(net.named_weights())
    alpha = net.alpha_parameters()
    with torch.enable_grad():
        inner_loss = _loss(net, weights, inner.batch, inner.skip)[0]
        inner_gradient = _slopes(inner_loss, list(weights.values()), create_graph=exact)
        stepped = _inner_step(weights, inner_gradient, inner, exact=exact)
        loss, logits = _loss(net, stepped, batch, skip)
        if exact:
            values = _slopes(loss, alpha)
        else:
            values = _finite_difference(net, weights, stepped, loss, inner)
    return PlainGradients(loss=loss.detach(), logits=logits.detach(), values=values)


def _inner_step(
    weights: dict[str, torch.nn.Parameter],
    gradient: tuple[Tensor, ...],
    inner: PlainInnerStep,
    *,
    exact: bool,
) -> Named:
    stepped = {}
    for (name, weight), slope in zip(weights.items(), gradient, strict=True):
        fixed = inner.weight_decay * weight.detach()
        if name in inner.buffers:
            fixed = fixed + inner.momentum * inner.buffers[name]
        moved = weight.detach() - inner.learning_rate * (fixed + slope)
        stepped[name] = moved if exact else moved.detach().requires_grad_()
    return stepped


def _finite_difference(
    net: PlainSupernet,
    weights: dict[str, torch.nn.Parameter],
    stepped: Named,
    loss: Tensor,
    inner: PlainInnerStep,
) -> tuple[Tensor, ...]:
    alpha = net.alpha_parameters()
    found = _slopes(loss, [*alpha, *stepped.values()])
    direct, direction = found[: len(alpha)], found[len(alpha) :]
    norm = torch.stack([v.pow(2).sum() for v in direction]).sum().sqrt()
    epsilon = _EPSILON / norm.clamp_min(torch.finfo(norm.dtype).tiny)

    def slope(sign: float) -> tuple[Tensor, ...]:
        moved = {
            name: weight.detach() + sign * epsilon * v
            for (name, weight), v in zip(weights.items(), direction, strict=True)
        }
        return _slopes(_loss(net, moved, inner.batch, inner.skip)[0], alpha)

    return tuple(
        first - inner.learning_rate * (up - down) / (2 * epsilon)
        for first, up, down in zip(direct, slope(1), slope(-1), strict=True)
    )


def _slopes(
    loss: Tensor, places: Sequence[Tensor], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Gradients, zero for what the loss does not reach (another task's head)."""
    return torch.autograd.grad(
        loss, places, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _loss(
    net: PlainSupernet,
    weights: Named | dict[str, torch.nn.Parameter],
    batch: Batch,
    skip: SkipDropout,
) -> tuple[Tensor, Tensor]:
    """Loss and logits with other weights; buffers are copies, so nothing is left behind."""
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    logits: Tensor = functional_call(
        net, {**weights, **buffers}, (batch.images,), {"head": batch.head, "skip": skip}
    )
    return F.cross_entropy(logits, batch.labels), logits
