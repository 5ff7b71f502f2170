"""The mixed operation: an edge of the supernet, a weighted sum of its candidates."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from wsdarts_sdk.supernet.operations import build_operation


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipDropout:
    """Operation dropout on skip-connects: the rate and where its random draws start.

    The draws are a function of ``seed`` alone, so evaluating the supernet twice with one
    ``SkipDropout`` evaluates one function twice, as finite differences need.

    Attributes:
        rate: Probability that an entry of an identity's output is zeroed, in [0, 1).
        seed: Seed of the draws of one forward pass.

    Source: Chen et al., "Progressive DARTS", 2019, arXiv:1904.12760, section 3.3.
    """

    rate: float = 0.0
    seed: int = 0

    def draws(self) -> Generator | None:
        """A fresh generator, or None where nothing is dropped."""
        return torch.Generator().manual_seed(self.seed) if self.rate > 0 else None


NO_DROPOUT = SkipDropout()


def drop_entries(x: Tensor, rate: float, draws: Generator | None) -> Tensor:
    """Zero entries with probability ``rate`` and scale the rest by ``1 / (1 - rate)``."""
    if draws is None:
        return x
    kept = torch.empty(x.shape, dtype=x.dtype).bernoulli_(1 - rate, generator=draws)
    return x * kept.to(x.device) / (1 - rate)


class MixedOperation(nn.Module):
    """The sum of an edge's surviving operations, weighted by softmax(α).

    Dropout applies to identities only: a skip-connect of stride 2 has weights of its own and
    never drops, as in the public P-DARTS code.
    """

    def __init__(
        self, candidates: tuple[str, ...], kept: tuple[str, ...], channels: int, stride: int
    ) -> None:
        super().__init__()
        self.columns = tuple(candidates.index(name) for name in kept)
        self.operations = nn.ModuleDict(
            {name: build_operation(name, channels, stride, affine=False) for name in kept}
        )

    def forward(
        self, x_BCHW: Tensor, weights: Tensor, rate: float, draws: Generator | None
    ) -> Tensor:
        """Mix the operations.

        Args:
            x_BCHW: The source node.
            weights: One row of softmax(α), shape ``(candidates,)``.
            rate: Rate of the skip-connect dropout.
            draws: Where its random numbers come from; None drops nothing.
        """
        mixed: Tensor | None = None
        for column, operation in zip(self.columns, self.operations.values(), strict=True):
            y = operation(x_BCHW)
            if isinstance(operation, nn.Identity):
                y = drop_entries(y, rate, draws)
            mixed = weights[column] * y if mixed is None else mixed + weights[column] * y
        assert mixed is not None  # OperationMasks refuses edges without operations  # noqa: S101
        return mixed
