"""The supernet as plainly as it can be written: modules of modules, one for each operation.

It judges the engine: what the engine computes must agree with what autograd makes of this.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from reference.mixed import MixedOperation
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.models._operations import FactorizedReduce, ReluConvNorm
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, reduction_positions

_ALPHA_SCALE = 1e-3


class PlainCell(nn.Module):
    """One cell: every node is the sum of the mixed operations on its incoming edges."""

    def __init__(
        self,
        masks: OperationMasks,
        *,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        kind = "reduction" if reduction else "normal"
        self.space = masks.space
        self.first: nn.Module
        if after_reduction:
            self.first = FactorizedReduce(inputs[0], channels, affine=False)
        else:
            self.first = ReluConvNorm(inputs[0], channels, affine=False)
        self.second = ReluConvNorm(inputs[1], channels, affine=False)
        self.edges = nn.ModuleList(
            MixedOperation(
                masks.space.candidates,
                masks.operations(kind, index),
                channels,
                stride=2 if reduction and source < 2 else 1,
            )
            for index, (source, _) in enumerate(masks.space.edges)
        )

    def forward(
        self,
        previous: tuple[Tensor, Tensor],
        weights: Tensor,
        skip: SkipDropout = NO_DROPOUT,
        position: int = 0,
    ) -> Tensor:
        """Concatenate the intermediate nodes.

        Args:
            previous: Outputs of the cell before the last and of the last cell.
            weights: softmax(α) of this cell's kind, shape ``(edges, candidates)``.
            skip: Dropout on skip-connects.
            position: The cell's place in the network, which the dropout's draws depend on.

        Returns:
            Shape ``(B, nodes · channels, H, W)``.
        """
        nodes = [self.first(previous[0]), self.second(previous[1])]
        for target in range(2, 2 + self.space.nodes):
            incoming = [
                self.edges[edge](
                    nodes[self.space.edges[edge][0]],
                    weights[edge],
                    skip.rate,
                    skip.edge_seed(position, edge),
                )
                for edge in self.space.incoming(target)
            ]
            nodes.append(sum(incoming[1:], start=incoming[0]))
        return torch.cat(nodes[2:], dim=1)


class PlainSupernet(nn.Module):
    """The network that a search trains, with one classifier head for each task.

    α is a parameter of full width, ``(edges, candidates)``; the softmax runs over the
    candidates that the masks keep, so one layout serves every stage.

    Args:
        masks: Which operations exist on which edge.
        cells: Number of cells.
        channels: Channels of the first cell; doubled by each reduction cell.
        classes: Number of classes of each task, one head each.
        seed: Seed of the initial weights and of α (1e-3 · randn, as in DARTS).
    """

    def __init__(
        self,
        masks: OperationMasks,
        *,
        cells: int,
        channels: int,
        classes: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        self.masks, self.channels = masks, channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = self._build(cells, channels)
            self.heads = nn.ModuleList(nn.Linear(width, count) for count in classes)
            self.alpha = nn.ParameterDict(
                {
                    kind: nn.Parameter(_ALPHA_SCALE * torch.randn(masks.space.shape))
                    for kind in CELL_KINDS
                }
            )
        for kind in CELL_KINDS:
            mask = torch.from_numpy(masks.array(kind))
            self.register_buffer(f"mask_{kind}", mask, persistent=False)

    def _build(self, cells: int, channels: int) -> int:
        stem = STEM_MULTIPLIER * channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
        )
        self.cells = nn.ModuleList()
        inputs, after_reduction = (stem, stem), False
        self.kinds: list[str] = []
        for position in range(cells):
            reduction = position in reduction_positions(cells)
            channels *= 2 if reduction else 1
            cell = PlainCell(
                self.masks,
                inputs=inputs,
                channels=channels,
                reduction=reduction,
                after_reduction=after_reduction,
            )
            self.cells.append(cell)
            self.kinds.append("reduction" if reduction else "normal")
            inputs = (inputs[1], self.masks.space.nodes * channels)
            after_reduction = reduction
        return inputs[1]

    def probabilities(self, kind: str) -> Tensor:
        """softmax(α) over the surviving candidates, shape ``(edges, candidates)``."""
        mask = self.get_buffer(f"mask_{kind}")
        alpha: Tensor = self.alpha[kind]
        return alpha.masked_fill(~mask, float("-inf")).softmax(dim=-1)

    def features(self, x_BCHW: Tensor, *, skip: SkipDropout = NO_DROPOUT) -> Tensor:
        """Pooled features before the classifier, shape ``(B, width)``."""
        weights = {kind: self.probabilities(kind) for kind in CELL_KINDS}
        previous = (self.stem(x_BCHW),) * 2
        dropout = skip if self.training else NO_DROPOUT
        for position, (kind, cell) in enumerate(zip(self.kinds, self.cells, strict=True)):
            previous = (previous[1], cell(previous, weights[kind], dropout, position))
        last: Tensor = previous[1]
        return last.mean(dim=(2, 3))

    def forward(self, x_BCHW: Tensor, *, head: int = 0, skip: SkipDropout = NO_DROPOUT) -> Tensor:
        """Logits for one task, shape ``(B, classes)``."""
        logits: Tensor = self.heads[head](self.features(x_BCHW, skip=skip))
        return logits

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter but α, with its name."""
        return ((n, p) for n, p in self.named_parameters() if not n.startswith("alpha."))

    def weight_parameters(self) -> list[nn.Parameter]:
        """Every parameter but α."""
        return [parameter for _, parameter in self.named_weights()]

    def alpha_parameters(self) -> list[nn.Parameter]:
        """α of the normal and of the reduction cell."""
        return [self.alpha[kind] for kind in CELL_KINDS]
