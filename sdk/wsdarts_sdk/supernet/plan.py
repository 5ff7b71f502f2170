"""What is computed in a cell: groups of branches, and where their weights lie.

The edges that leave a source carry up to eight operations each, 14 · 8 branches in a cell. All
branches of one operation that leave one source have the same input and the same shape, so they
are one group and one call. Pooling does not even depend on the edge: its edges share one result.
"""

from dataclasses import dataclass

from wsdarts_sdk.supernet.layout import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """Depthwise convolution, pointwise convolution and norm of all branches of a group."""

    depthwise: Run
    pointwise: Run
    norm: Run
    stride: int
    dilation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """All branches of one operation that leave one source.

    Attributes:
        operation: Its name.
        source: Index of the source node; 0 and 1 are the cell's inputs.
        stride: 1 or 2.
        edges: The edge of each branch.
        targets: The intermediate node that each branch is added to, from 0.
        halves: Of separable (two) and dilated (one) convolutions.
        parts: Weights of a factorised reduction: even and odd pixels.
        norm: Its batch norms (of pooling and factorised reduction).
    """

    operation: str
    source: int
    stride: int
    edges: tuple[int, ...]
    targets: tuple[int, ...]
    halves: tuple[Half, ...] = ()
    parts: tuple[Run, ...] = ()
    norm: Run | None = None

    @property
    def identity(self) -> bool:
        """Whether the branches hand the source on as it is."""
        return self.operation == "skip_connect" and self.stride == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """How a cell takes one of its two inputs: ReLU, 1×1 convolution and norm.

    Attributes:
        parts: Weights, one for all pixels or two for the even and the odd ones.
        norm: Its batch norm.
        stride: 2 for the factorised reduction behind a reduction cell.
    """

    parts: tuple[Run, ...]
    norm: Run
    stride: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """Everything about a cell that does not depend on weights or images.

    Attributes:
        index: Position in the network.
        kind: ``normal`` or ``reduction``.
        channels: Of each node.
        nodes: Number of intermediate nodes.
        columns: Number of candidates: the width of a row of α.
        candidates: Their names, in the order of α's columns.
        inputs: Of the cell before the last and of the last cell.
        groups: In the order of their sources.
    """

    index: int
    kind: str
    channels: int
    nodes: int
    candidates: tuple[str, ...]
    inputs: tuple[Input, Input]
    groups: tuple[Group, ...]

    def column(self, edge: int, operation: str) -> int:
        """Where an operation's weight stands in the flat α."""
        return edge * len(self.candidates) + self.candidates.index(operation)
