"""What gradients are asked of, and what is found."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Wanted = Literal["alpha", "weights", "both"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch of one task.

    Attributes:
        images: Normalised images, shape ``(B, 3, H, W)``.
        labels: Class indices, shape ``(B,)``.
        head: Which task's classifier it belongs to.
    """

    images: Tensor
    labels: Tensor
    head: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradients:
    """A loss, its logits and the gradients that were asked for.

    Attributes:
        loss: Mean cross-entropy.
        logits: Shape ``(B, classes)``.
        alpha: In the order of ``alpha_parameters``; empty where not asked for.
        weights: In the order of ``weight_parameters``, None for another task's head. They are
            the network's own memory and hold until its next gradients.
    """

    loss: Tensor
    logits: Tensor
    alpha: tuple[Tensor, ...] = ()
    weights: tuple[Tensor | None, ...] = ()
