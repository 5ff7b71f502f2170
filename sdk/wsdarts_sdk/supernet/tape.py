"""What the forward pass of a cell leaves for its backward pass, and what both are given.

What gradients are asked of, and what is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import Convolution, Lattice, Norm, Term
from wsdarts_sdk.supernet.plan import Group
from wsdarts_sdk.supernet.skip_dropout import DeviceSkipDropout, SkipDropout


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The flat vectors that a network's runs are views of.

    Attributes:
        weights: All weights of all cells.
        gradient: Where weight gradients are written, or None.
        running_mean: Of all batch norms.
        running_variance: The same.
    """

    weights: Tensor
    gradient: Tensor | None
    running_mean: Tensor
    running_variance: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What the batch norms of one pass find: one vector each for all of them.

    Attributes:
        mean: Of the batch.
        rstd: 1/√(variance + ε).
        coefficients: Three times as long; see ``Upstream``.
    """

    mean: Tensor
    rstd: Tensor
    coefficients: Tensor

    @classmethod
    def like(cls, running: Tensor) -> Self:
        """Room for as many batch norms as there are running statistics."""
        return cls(
            mean=torch.empty_like(running),
            rstd=torch.empty_like(running),
            coefficients=running.new_empty(3 * len(running)),
        )


@dataclass(kw_only=True, slots=True)
class Computed:
    """What the forward pass of a group leaves for the backward pass."""

    group: Group
    convolutions: list[Convolution] = field(default_factory=list)
    middles: list[Tensor | None] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    lattice: Lattice | None = None
    terms: list[Term] = field(default_factory=list)

    def term(self, branch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Values, mean and rstd of one branch's last result."""
        norm, values = self.norms[-1], self.results[-1]
        shared = values.dim() == 4
        return values if shared else values[branch], norm.mean[branch], norm.rstd[branch]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One term of a node: which branch it is and where its α stands."""

    term: Term
    computed: Computed
    branch: int
    column: int


@dataclass(kw_only=True, slots=True)
class Tape:
    """What a cell's forward pass leaves for its backward pass."""

    output: Tensor
    inputs: list[tuple[Lattice, Tensor, Norm]] = field(default_factory=list)
    sources: list[Tensor] = field(default_factory=list)
    computed: list[list[Computed]] = field(default_factory=list)
    nodes: list[list[Entry]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """What stays the same for all cells in one forward pass.

    Attributes:
        alpha: Softmaxed α of each kind, as ``Kernels.scalars`` gives it.
        training: Whether batch norms use batch statistics and identities drop.
        keep: Whether a backward pass follows.
        weight_gradients: Whether it is to find weight gradients.
        skip: Dropout on identities.
        statistics: Room for what the batch norms find.
    """

    alpha: dict[str, Sequence[Any]]
    training: bool
    keep: bool
    weight_gradients: bool
    skip: SkipDropout | DeviceSkipDropout
    statistics: Statistics


Wanted = Literal["alpha", "weights", "both"]


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
