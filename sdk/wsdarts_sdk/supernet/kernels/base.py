"""The interface of the kernels, whatever device they run on, and the draws that they share.

Shape legend: M branches of one operation that leave the same source, B images, H rows, W
columns, C channels. Images are kept channels-last, ``(B, H, W, C)``; merged results have a
branch axis in front. Sources may be slices of a wider tensor.

Source of the dropout on skip-connects: Chen et al., "Progressive DARTS", 2019, arXiv:1904.12760,
section 3.3. Whether an element is dropped is a function of its number and a seed (splitmix64,
Steele et al., "Fast splittable pseudorandom number generators", 2014), so a backward pass draws
again instead of keeping masks, and evaluating the supernet twice evaluates one function twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

MOMENTUM = 0.1
EPSILON = 1e-5
# Of splitmix64.
_WORD = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """A batch norm without affine parameters over one merged result.

    Attributes:
        mean: Filled by the forward pass, shape ``(M, C)``.
        rstd: 1/√(variance + ε), filled by the forward pass, shape ``(M, C)``.
        running_mean: Updated in training, read in evaluation, shape ``(M, C)``.
        running_variance: The same, unbiased as torch keeps it.
        coefficients: Room for the backward pass, shape ``(M, 3, C)``; see ``OutputGradient``.
        training: Whether batch statistics are used.
    """

    mean: Tensor
    rstd: Tensor
    coefficients: Tensor
    running_mean: Tensor
    running_variance: Tensor
    training: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One summand of a node: ``alpha · norm(values)``.

    Attributes:
        values: A branch's result, shape ``(B, H, W, C)``.
        mean: Of its batch norm, shape ``(C,)``; None for an identity.
        rstd: Of its batch norm.
        alpha: Its weight: one of ``Kernels.scalars``, or 1.0.
        seed: Of the dropout on an identity; a 64-bit word where it lies on the device.
        rate: Rate of that dropout; float64 where it lies on the device.
    """

    values: Tensor
    mean: Tensor | None = None
    rstd: Tensor | None = None
    alpha: Any = 1.0
    seed: int | Tensor = 0
    rate: float | Tensor = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputGradient:
    """The gradient that reaches each branch's result y: ``a · g + b · y + c`` by channel.

    Attributes:
        gradients: g of the node that each branch is added to, shape ``(B, H, W, C)``.
        coefficients: a, b and c of each branch, shape ``(M, 3, C)``.
        memory: What the gradients lie in, where it is to be released after use.
    """

    gradients: Sequence[Tensor]
    coefficients: Tensor
    memory: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """ReLU, depthwise and pointwise convolution of M branches.

    Attributes:
        source: Shape ``(B, H, W, C)``, or ``(M, B, H, W, C)`` where each branch has its own.
        norm: Of an own source: batch norm before the ReLU.
        depthwise: Shape ``(M, C, K, K)``.
        pointwise: Shape ``(M, C, C)``, outputs first.
        stride: 1 or 2.
        dilation: 1 or 2.
    """

    source: Tensor
    norm: Norm | None
    depthwise: Tensor
    pointwise: Tensor
    stride: int
    dilation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PointwiseConvolution:
    """ReLU and a 1×1 convolution: on all pixels, or halved on the even and the odd ones.

    Attributes:
        source: Shape ``(B, H, W, I)``.
        parts: Weights ``(M, O, I)`` and the first row and column that each of them sees; their
            outputs are concatenated.
        stride: 1 or 2.
    """

    source: Tensor
    parts: tuple[tuple[Tensor, int], ...]
    stride: int


class Kernels(ABC):
    """The operations of a supernet, forward and backward."""

    name: str

    @abstractmethod
    def scalars(self, weights: Tensor) -> Sequence[Any]:
        """Return the softmaxed α of a cell kind, flat, in the form that ``Term.alpha`` takes."""

    @abstractmethod
    def convolution_forward(
        self, convolution: Convolution, norm: Norm, *, keep: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Return the depthwise results (if ``keep``) and the results, before ``norm``."""

    @abstractmethod
    def convolution_backward(
        self,
        convolution: Convolution,
        middle: Tensor | None,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: tuple[Tensor, Tensor] | None,
    ) -> OutputGradient | None:
        """Add to a shared source's gradient, or return the gradient of an own source.

        Weight gradients are written, where asked for: depthwise, then pointwise.
        """

    @abstractmethod
    def pointwise_forward(self, pointwise: PointwiseConvolution, norm: Norm) -> Tensor:
        """Return the results before ``norm``, shape ``(M, B, H, W, O)``."""

    @abstractmethod
    def pointwise_backward(
        self,
        pointwise: PointwiseConvolution,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: Sequence[Tensor] | None,
    ) -> None:
        """Add to the source's gradient and write the weight gradients, where asked for."""

    @abstractmethod
    def pooling_forward(self, source: Tensor, kind: str, stride: int, norm: Norm) -> Tensor:
        """Return the 3×3 pooling before ``norm``, shape ``(B, H, W, C)``; M edges share it."""

    @abstractmethod
    def pooling_backward(
        self,
        source: Tensor,
        kind: str,
        stride: int,
        result: Tensor,
        output_gradient: OutputGradient,
        source_gradient: Tensor,
    ) -> None:
        """Add the gradients of all edges to the source's gradient."""

    @abstractmethod
    def mix_forward(self, terms: Sequence[Term], result: Tensor) -> None:
        """Write the sum of the terms."""

    @abstractmethod
    def mix_backward(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        """Write each term's a, b and c, shape ``(3, C)``; return α's gradients, ``(terms,)``."""

    @abstractmethod
    def identity_backward(self, term: Term, gradient: Tensor, source_gradient: Tensor) -> None:
        """Add the gradient of an identity to the source's gradient."""

    def check(self, device: torch.device, dtype: torch.dtype) -> None:  # noqa: B027 (most take any)
        """Check that the kernels are for a device and a dtype.

        Raises:
            TypeError: The kernels are for others.
        """

    def begin_pass(self, images: int) -> None:  # noqa: B027 (most hold no memory)
        """Begin a pass of so many images: give back memory that is held for other numbers."""

    def held(self) -> int:
        """Return the elements of the memory that is held for the results of further passes."""
        return 0

    def empty(self, *shape: int, like: Tensor) -> Tensor:
        """Allocate memory for a result."""
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    def release(self, *tensors: Tensor | None) -> None:  # noqa: B027 (most need not)
        """Release the memory of results."""


def strided(extent: int, stride: int) -> int:
    """Return the rows or columns that remain after a stride: ⌈extent / stride⌉."""
    return -(-extent // stride)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipDropout:
    """Dropout of one forward pass.

    Attributes:
        rate: Probability that an entry of an identity's output is zeroed, in [0, 1).
        seed: Seed of the pass; every edge of every cell draws from its own.
        first: Place in the batch of the first image of the pass, which is a part of the batch
            where several ranks share it.
    """

    rate: float = 0.0
    seed: int = 0
    first: int = 0

    def edge_seed(self, cell: int, edge: int, elements: int = 0) -> int:
        """Return the 64-bit seed of one edge of one cell.

        Args:
            cell: Index of the cell.
            edge: Index of the edge.
            elements: Numbers of an image on that edge, so that each image has the draws of its
                place in the batch.
        """
        seed = _mix((_mix((self.seed + STEP) & _WORD) + cell * 4096 + edge) & _WORD)
        return (seed + self.first * elements * STEP) & _WORD


NO_DROPOUT = SkipDropout()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSkipDropout:
    """The same dropout with its numbers in a device's memory, for the replay of a graph.

    Attributes:
        rate: Float64, shape ``()``.
        seeds: 64-bit words of each edge of each cell, shape ``(cells, edges)``.
    """

    rate: Tensor
    seeds: Tensor

    @classmethod
    def allocate(cls, cells: int, edges: int, device: torch.device) -> Self:
        """Allocate memory for the numbers of a network."""
        return cls(
            rate=torch.zeros((), dtype=torch.float64, device=device),
            seeds=torch.zeros(cells, edges, dtype=torch.int64, device=device),
        )

    def fill(self, skip: SkipDropout) -> None:
        """Copy the numbers of one pass."""
        cells, edges = self.seeds.shape
        words = [
            [signed(skip.edge_seed(cell, edge)) for edge in range(edges)] for cell in range(cells)
        ]
        self.seeds.copy_(torch.tensor(words))
        self.rate.fill_(skip.rate)

    def edge_seed(self, cell: int, edge: int, elements: int = 0) -> Tensor:
        """Return the 64-bit seed of one edge of one cell, as a view."""
        del elements  # graphs are replayed by the only rank, whose first image is the batch's
        return self.seeds[cell, edge]


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * FIRST) & _WORD
    z = ((z ^ (z >> 27)) * SECOND) & _WORD
    return z ^ (z >> 31)


def kept(
    seed: int | Tensor, rate: float | Tensor, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Return a bool tensor of the elements that stay, numbered in the order of the shape."""
    count = torch.Size(shape).numel()
    first = seed if isinstance(seed, Tensor) else signed(seed)
    z = torch.arange(count, device=device) * signed(STEP) + first
    z = (z ^ _shifted(z, 30)) * signed(FIRST)
    z = (z ^ _shifted(z, 27)) * signed(SECOND)
    z = z ^ _shifted(z, 31)
    draws = _shifted(z, 11).double() * 2.0**-53
    return draws.ge(rate).view(shape)


def word(seed: int | Tensor, device: torch.device) -> Tensor:
    """Return a seed as a 64-bit word in the device's memory, shape ``()``."""
    return seed if isinstance(seed, Tensor) else torch.tensor(signed(seed)).to(device)


def signed(word: int) -> int:
    """Return the int64 with the bits of an unsigned word: torch multiplies modulo 2⁶⁴."""
    return word - (1 << 64) if word >> 63 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Return the logical shift to the right of an int64 tensor."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
