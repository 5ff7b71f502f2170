"""The plan of a supernet's cells: groups of branches, and places for their weights.

The edges that leave a source carry up to eight operations each, 14 · 8 branches in a cell. All
branches of one operation that leave one source have the same input and the same shape, so they
are one group and one call. Pooling does not even depend on the edge: its edges share one result.

All weights of the cells lie in one vector (``Layout``), those of a group next to each other. Every
named tensor on disk is a contiguous slice of it, so that a weight, its gradient and its momentum
are read and written through views.

The memory of a step is known before it runs (``elements_per_image``). Counted are the tensors of
image size: the results that the forward pass keeps for the backward pass, and the gradients that
the backward pass holds at its widest. Weights, optimisers and a thread's buffers are small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS_CANDIDATES
from wsdarts_registry.errors import SpaceError
from wsdarts_sdk.supernet.kernels.base import strided


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A contiguous slice of a vector, viewed as a tensor."""

    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    def of(self, vector: Tensor) -> Tensor:
        """Return the view of this slice."""
        return vector[self.start : self.start + self.size].view(self.shape)


@dataclass(kw_only=True)
class Layout:
    """Named slices, one after the other.

    Attributes:
        size: Length of the vector so far.
        runs: The run of each name.
    """

    size: int = 0
    runs: dict[str, Slice] = field(default_factory=dict)

    def merge(self, names: list[str], shape: tuple[int, ...]) -> Slice:
        """Place tensors of one shape next to each other; their common slice has an axis more."""
        merged = Slice(start=self.size, shape=(len(names), *shape))
        for name in names:
            run = Slice(start=self.size, shape=shape)
            self.runs[name] = run
            self.size += run.size
        return merged

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return each name's view of a vector: of weights, of gradients, of momentum."""
        return {name: run.of(vector) for name, run in self.runs.items()}


def draw_weights(views: Mapping[str, Tensor]) -> None:
    """Draw the named weights as torch's own layers do, in the order that modules are made in."""
    for name in sorted(views, key=_module_order):
        nn.init.kaiming_uniform_(views[name], a=5**0.5)


def _module_order(name: str) -> tuple[int, int, int, int, str]:
    """Return a sort key by which nested modules would be made: first, second, then edges."""
    parts = name.split(".")
    cell = int(parts[1])
    if parts[2] != "edges":
        return (cell, 0, 0, 0, name)
    return (cell, 1, int(parts[3]), DARTS_CANDIDATES.index(parts[5]), name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeparableHalf:
    """Depthwise convolution, pointwise convolution and norm of all branches of a group."""

    depthwise: Slice
    pointwise: Slice
    norm: Slice
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
    halves: tuple[SeparableHalf, ...] = ()
    parts: tuple[Slice, ...] = ()
    norm: Slice | None = None

    @property
    def identity(self) -> bool:
        """Whether the branches are the identity."""
        return self.operation == "skip_connect" and self.stride == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """Preprocessing of one of a cell's two inputs: ReLU, 1×1 convolution and norm.

    Attributes:
        parts: Weights, one for all pixels or two for the even and the odd ones.
        norm: Its batch norm.
        stride: 2 for the factorised reduction behind a reduction cell.
    """

    parts: tuple[Slice, ...]
    norm: Slice
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
        """Return the index of an operation's weight in the flat α."""
        return edge * len(self.candidates) + self.candidates.index(operation)


STEM_MULTIPLIER = 3


def reduction_positions(cells: int) -> frozenset[int]:
    """Return the positions of the reduction cells: ⌊L/3⌋ and ⌊2L/3⌋."""
    return frozenset({cells // 3, 2 * cells // 3})


def plan_cells(
    masks: OperationMasks, cells: int, channels: int, *, weights: Layout, statistics: Layout
) -> tuple[CellPlan, ...]:
    """Plan all cells and place their weights and running statistics, in their order.

    Raises:
        SpaceError: The engine has no operation of a candidate's name.
    """
    stem = STEM_MULTIPLIER * channels
    inputs, after_reduction, plans = (stem, stem), False, []
    for position in range(cells):
        reduction = position in reduction_positions(cells)
        channels *= 2 if reduction else 1
        plan = plan_cell(
            masks,
            index=position,
            inputs=inputs,
            channels=channels,
            reduction=reduction,
            after_reduction=after_reduction,
            weights=weights,
            statistics=statistics,
        )
        plans.append(plan)
        inputs = (inputs[1], plan.nodes * channels)
        after_reduction = reduction
    return tuple(plans)


def plan_cell(
    masks: OperationMasks,
    *,
    index: int,
    inputs: tuple[int, int],
    channels: int,
    reduction: bool,
    after_reduction: bool,
    weights: Layout,
    statistics: Layout,
) -> CellPlan:
    """Plan a cell and place its weights and running statistics.

    Raises:
        SpaceError: The engine has no operation of a candidate's name.
    """
    unknown = sorted(set(masks.space.candidates) - set(DARTS_CANDIDATES))
    if unknown:
        raise SpaceError(
            "the operation",
            found=repr(unknown[0]),
            expected=f"one of {', '.join(sorted(DARTS_CANDIDATES))}",
        )
    layout = _CellLayout(f"cells.{index}", channels, weights, statistics)
    kind = "reduction" if reduction else "normal"
    space = masks.space
    taken = (
        layout.halved("first", inputs[0]) if after_reduction else layout.whole("first", inputs[0]),
        layout.whole("second", inputs[1]),
    )
    groups = []
    for source in range(1 + space.nodes):
        leaving = [e for e, (start, _) in enumerate(space.edges) if start == source]
        for operation in space.candidates:
            edges = tuple(e for e in leaving if operation in masks.operations(kind, e))
            if not edges or operation == "none":
                continue
            stride = 2 if reduction and source < 2 else 1
            targets = tuple(space.edges[e][1] - 2 for e in edges)
            groups.append(layout.group(operation, source, stride, edges, targets))
    return CellPlan(
        index=index,
        kind=kind,
        channels=channels,
        nodes=space.nodes,
        candidates=space.candidates,
        inputs=taken,
        groups=tuple(groups),
    )


@dataclass(frozen=True, slots=True)
class _CellLayout:
    """Layout of one cell's tensors under the names of the plain network's modules."""

    cell: str
    channels: int
    weights: Layout
    statistics: Layout

    def whole(self, name: str, inputs: int) -> Input:
        weight = self.weights.merge([f"{self.cell}.{name}.1.weight"], (self.channels, inputs, 1, 1))
        norm = self.statistics.merge([f"{self.cell}.{name}.2"], (self.channels,))
        return Input(parts=(_matrix(weight, self.channels, inputs),), norm=norm, stride=1)

    def halved(self, name: str, inputs: int) -> Input:
        parts = self._even_and_odd([f"{self.cell}.{name}"], inputs)
        norm = self.statistics.merge([f"{self.cell}.{name}.norm"], (self.channels,))
        return Input(parts=parts, norm=norm, stride=2)

    def group(
        self,
        operation: str,
        source: int,
        stride: int,
        edges: tuple[int, ...],
        targets: tuple[int, ...],
    ) -> Group:
        names = [f"{self.cell}.edges.{edge}.operations.{operation}" for edge in edges]
        halves: tuple[SeparableHalf, ...] = ()
        parts: tuple[Slice, ...] = ()
        norm: Slice | None = None
        match operation.split("_", maxsplit=1)[0]:
            case "sep":
                kernel = int(operation[-1])
                halves = (
                    self._half(names, 1, kernel, stride, 1),
                    self._half(names, 5, kernel, 1, 1),
                )
            case "dil":
                halves = (self._half(names, 1, int(operation[-1]), stride, 2),)
            case "max" | "avg":
                norm = self._norm(names, "1")
            case "skip" if stride == 2:
                parts = self._even_and_odd(names, self.channels)
                norm = self._norm(names, "norm")
        return Group(
            operation=operation,
            source=source,
            stride=stride,
            edges=edges,
            targets=targets,
            halves=halves,
            parts=parts,
            norm=norm,
        )

    def _half(
        self, names: list[str], first: int, kernel: int, stride: int, dilation: int
    ) -> SeparableHalf:
        """Place depthwise, pointwise and norm: modules ``first``, ``first + 1``, ``first + 2``."""
        c = self.channels
        depthwise = self.weights.merge(
            [f"{n}.{first}.weight" for n in names], (c, 1, kernel, kernel)
        )
        pointwise = self.weights.merge([f"{n}.{first + 1}.weight" for n in names], (c, c, 1, 1))
        return SeparableHalf(
            depthwise=Slice(start=depthwise.start, shape=(len(names), c, kernel, kernel)),
            pointwise=_matrix(pointwise, c, c, len(names)),
            norm=self._norm(names, str(first + 2)),
            stride=stride,
            dilation=dilation,
        )

    def _even_and_odd(self, names: list[str], inputs: int) -> tuple[Slice, ...]:
        outputs = {"even": self.channels // 2, "odd": self.channels - self.channels // 2}
        return tuple(
            _matrix(
                self.weights.merge([f"{n}.{part}.weight" for n in names], (count, inputs, 1, 1)),
                count,
                inputs,
                len(names),
            )
            for part, count in outputs.items()
        )

    def _norm(self, names: list[str], module: str) -> Slice:
        return self.statistics.merge([f"{n}.{module}" for n in names], (self.channels,))


def _matrix(run: Slice, outputs: int, inputs: int, branches: int = 1) -> Slice:
    return Slice(start=run.start, shape=(branches, outputs, inputs))


# Depthwise and pointwise results of each half; one result of everything else that computes.
_KEPT_BY_HALF = 2


def elements_per_image(plans: Sequence[CellPlan], stem: int, size: int) -> int:
    """Return the number of elements that one image of a batch needs in a weight step.

    Args:
        plans: Of the supernet's cells.
        stem: Channels of its stem.
        size: Rows and columns of an image.
    """
    kept = passing = 3 * stem * size**2  # convolution, norm and gradient of the stem
    for plan in plans:
        before = size**2
        if plan.kind == "reduction":
            size = strided(size, 2)
        area = size**2
        inputs = 4 * plan.channels * before  # two inputs, before and after their norm
        branches = sum(_kept(group) * plan.channels * area for group in plan.groups)
        output = plan.nodes * plan.channels * area
        kept += inputs + branches + output
        widest = max(
            (len(group.edges) * plan.channels * area for group in plan.groups if group.halves),
            default=0,
        )
        # Gradients of three outputs, of the cell's inputs, and between two halves.
        passing = max(passing, 3 * output + inputs // 2 + widest)
    return kept + passing


def _kept(group: Group) -> int:
    """Return the number of results that a group keeps, in tensors of one branch."""
    if group.halves:
        return _KEPT_BY_HALF * len(group.halves) * len(group.edges)
    if group.identity:
        return 0
    return len(group.edges) if group.parts else 1  # the edges of a pool share its result
