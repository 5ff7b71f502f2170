"""The second-order gradient of α.

Source: Liu et al., "DARTS", 2019, arXiv:1806.09055: equation 5 with ξ = the weights' learning
rate, and equations 7 and 8 for the finite difference.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsdarts_sdk.search.accumulation import accumulated
from wsdarts_sdk.search.optimisers import norm_of
from wsdarts_sdk.supernet import NO_DROPOUT, Batch, Gradients, SkipDropout, Supernet

_EPSILON = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class InnerStep:
    """The weight step that a second-order α step looks through: w′ = w − ξ(∇w L + μ·m + λ·w).

    Attributes:
        batch: The batch of the coming weight step.
        learning_rate: ξ.
        momentum: μ.
        buffers: m of each weight parameter, in their order; None where m = 0.
        weight_decay: λ.
        skip: Skip-connect dropout of the coming weight step.
    """

    batch: Batch
    learning_rate: float
    momentum: float
    buffers: Sequence[Tensor | None]
    weight_decay: float
    skip: SkipDropout = NO_DROPOUT


@torch.no_grad()
def second_order(
    net: Supernet, batch: Batch, inner: InnerStep, skip: SkipDropout, *, parts: int = 1
) -> Gradients:
    """Gradient of L_α(w′(α), α) for α, where w′ is the weights after the inner step.

    The product with the mixed second derivative is a central difference,
    ``(∇α L_w(w + εv) − ∇α L_w(w − εv)) / 2ε`` with ``v = ∇w′ L_α`` and ``ε = 0.01 / ‖v‖``;
    both of its passes use the same random draws. Batches are computed in so many ``parts``.
    Weights and running statistics are as before
    afterwards: all of these evaluations are hypothetical.
    """
    weights = net.weight_parameters()
    with _hypothetical(net) as start:
        slopes = accumulated(net, inner.batch, "weights", skip=inner.skip, parts=parts).weights
        for weight, slope, buffer in zip(weights, slopes, inner.buffers, strict=True):
            fixed = inner.weight_decay * weight
            if buffer is not None:
                fixed += inner.momentum * buffer
            weight.sub_(inner.learning_rate * (fixed if slope is None else fixed + slope))
        outer = accumulated(net, batch, "both", skip=skip, parts=parts)
        direction = [None if v is None else v.clone() for v in outer.weights]
        norm = norm_of([v for v in direction if v is not None])
        epsilon = _EPSILON / norm.clamp_min(torch.finfo(norm.dtype).tiny)

        def slope_at(sign: int) -> tuple[Tensor, ...]:
            for weight, before, v in zip(weights, start, direction, strict=True):
                weight.copy_(before if v is None else before + sign * epsilon * v)
            return accumulated(net, inner.batch, "alpha", skip=inner.skip, parts=parts).alpha

        alpha = tuple(
            direct - inner.learning_rate * (up - down) / (2 * epsilon)
            for direct, up, down in zip(outer.alpha, slope_at(1), slope_at(-1), strict=True)
        )
    return replace(outer, alpha=alpha, weights=())


@contextmanager
def _hypothetical(net: Supernet) -> Iterator[list[Tensor]]:
    """Copies of the weights; they and all buffers are put back at the end."""
    changed: list[Tensor] = [*net.weight_parameters(), *net.buffers()]
    before = [tensor.clone() for tensor in changed]
    try:
        yield before[: len(net.weight_parameters())]
    finally:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
