"""The mixed operation: an edge of the supernet, a weighted sum of its candidates."""

from torch import Tensor, nn

from wsdarts_sdk.models._operations import build_operation
from wsdarts_sdk.supernet.kernels.base import kept


def drop_entries(x_BCHW: Tensor, rate: float, seed: int) -> Tensor:
    """Zero entries with probability ``rate`` and scale the rest by ``1 / (1 - rate)``."""
    if rate == 0:
        return x_BCHW
    batch, channels, height, width = x_BCHW.shape
    stays = kept(seed, rate, (batch, height, width, channels), x_BCHW.device)
    return x_BCHW * stays.permute(0, 3, 1, 2).to(x_BCHW.dtype) / (1 - rate)


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

    def forward(self, x_BCHW: Tensor, weights: Tensor, rate: float = 0.0, seed: int = 0) -> Tensor:
        """Mix the operations.

        Args:
            x_BCHW: The source node.
            weights: One row of softmax(α), shape ``(candidates,)``.
            rate: Rate of the skip-connect dropout.
            seed: Seed of its random draws.
        """
        mixed: Tensor | None = None
        for column, operation in zip(self.columns, self.operations.values(), strict=True):
            y = operation(x_BCHW)
            if isinstance(operation, nn.Identity):
                y = drop_entries(y, rate, seed)
            mixed = weights[column] * y if mixed is None else mixed + weights[column] * y
        assert mixed is not None  # OperationMasks refuses edges without operations
        return mixed
