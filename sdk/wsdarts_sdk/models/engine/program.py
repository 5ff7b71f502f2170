"""One training step of a network's cells, laid out for one shape of images.

A program is built once and run often. Building it goes through the cells as the forward and the
backward pass will, and notes every call of a kernel with the addresses of what it reads and writes.
All of it lies in one arena: what a pass no longer needs is given to what comes after, so that the
memory of a step is known before it runs, and a step allocates nothing.

Forward, an output of a cell is read once for all cells that take it in: their 1×1 convolutions are
one call. Backward, its gradient is written by one call, when all of these cells are through.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wsdarts_sdk.models.engine import calls
from wsdarts_sdk.models.engine.calls import POINTER, SIZE
from wsdarts_sdk.models.network import DerivedCell, DerivedNetwork
from wsdarts_sdk.models.operations import (
    DilatedConv,
    FactorizedReduce,
    Pooling,
    ReluConvNorm,
    SeparableConv,
)
from wsdarts_sdk.supernet import reduction_positions
from wsdarts_sdk.supernet.kernels.base import strided

_ALIGNED = 64  # bytes: a line of the cache
_DOUBLE = 8
_INPUTS = 2  # of a cell
_Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Arena:
    """Places in one piece of memory, handed out and taken back while a program is built.

    Args:
        base: Address of the memory; 0 where only its size is to be found.
    """

    def __init__(self, base: int) -> None:
        self.base, self.size = base, 0
        self._free: list[tuple[int, int]] = []  # start and end, sorted
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> int:
        """Return the address of that many bytes: the first gap that is large enough."""
        size = -(-size // _ALIGNED) * _ALIGNED
        for place, (start, end) in enumerate(self._free):
            if end - start >= size:
                self._free[place : place + 1] = [(start + size, end)] if end - start > size else []
                break
        else:
            start = self.size
            if self._free and self._free[-1][1] == self.size:
                start = self._free.pop()[0]
            self.size = start + size
        self._taken[start] = size
        return self.base + start

    def give_back(self, address: int) -> None:
        """Take back what begins at an address."""
        start = address - self.base
        found = sorted([*self._free, (start, start + self._taken.pop(start))])
        merged = [found[0]]
        for gap in found[1:]:
            if gap[0] == merged[-1][1]:
                merged[-1] = (merged[-1][0], gap[1])
            else:
                merged.append(gap)
        self._free = merged


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Shape of a tensor, without its images."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.height * self.width

    def over(self, stride: int, channels: int) -> "Extent":
        """Return the extent of what an operation makes of it."""
        return Extent(
            height=strided(self.height, stride),
            width=strided(self.width, stride),
            channels=channels,
        )


@dataclass(kw_only=True, slots=True)
class Place:
    """Where the gradient of a tensor is collected; its first writer does not add."""

    address: int
    pitch: int
    written: bool = False

    def target(self) -> calls.Target:
        """Return where the next writer writes or adds."""
        found = calls.Target(gradient=self.address, pitch=self.pitch, add=self.written)
        self.written = True
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """A tensor in memory, with the batch norm that its readers apply."""

    address: int
    pitch: int
    extent: Extent
    norm: calls.Norm | None = None

    def source(self) -> calls.Source:
        """Return how a kernel reads it."""
        norm = self.norm
        return calls.Source(
            values=self.address,
            pitch=self.pitch,
            scale=None if norm is None else norm.scale,
            shift=None if norm is None else norm.shift,
        )


@dataclass(kw_only=True, slots=True)
class Path:
    """One operation into a node, as the forward pass leaves it for the backward pass.

    Attributes:
        operation: The module.
        source: Index of the state that it reads.
        values: Its last result; that of the source for an identity.
        inner: Result of the first half of a separable convolution.
        factors: Address of the images' factors of drop path; None for an identity.
    """

    operation: nn.Module
    source: int
    values: Values
    inner: Values | None = None
    factors: int | None = None


@dataclass(kw_only=True, slots=True)
class Input:
    """How a cell takes one of its inputs.

    Attributes:
        module: ReLU, convolution and norm; or a factorised reduction.
        cell: Position of the cell.
        which: First or second input.
        used: Whether an operation reads it and the cell's output is used.
        values: What it makes of the input.
        place: Gradient of that.
    """

    module: nn.Module
    cell: int
    which: int
    used: bool
    values: Values | None = None
    place: Place | None = None


@dataclass(kw_only=True, slots=True)
class Taken:
    """An output of the stem or of a cell, and the inputs that are made of it.

    Attributes:
        values: The output.
        wanted: Whether its gradient is.
        inputs: Of the cells that take it.
        place: Its gradient.
        joint: Result of the inputs that are computed together.
    """

    values: Values
    wanted: bool
    inputs: list[Input] = field(default_factory=list)
    place: Place | None = None
    joint: "Joint | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """Inputs of cells that are 1×1 convolutions of the same pixels, computed together.

    Attributes:
        inputs: In the order of their outputs.
        result: Address of the outputs, next to each other.
        total: Number of their channels.
    """

    inputs: list[Input]
    result: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Half:
    """ReLU, depthwise and pointwise convolution, and batch norm."""

    depthwise: nn.Conv2d
    pointwise: nn.Conv2d
    norm: nn.BatchNorm2d

    @property
    def stride(self) -> int:
        return self.depthwise.stride[0]

    @property
    def dilation(self) -> int:
        return self.depthwise.dilation[0]

    @property
    def kernel(self) -> int:
        return self.depthwise.kernel_size[0]


class Program:
    """One step of a network's cells.

    Args:
        net: The network; its parameters and statistics are used where they are.
        images: Batch size.
        stem: Extents of the one or two outputs of the stem.
        library: The kernels.
        dtype: Of the network.
    """

    def __init__(
        self,
        net: DerivedNetwork,
        images: int,
        stem: tuple[Extent, ...],
        library: calls.Library,
        dtype: torch.dtype,
    ) -> None:
        draft = _Builder(net, images, stem, library, dtype, base=0)
        self.memory = torch.empty(draft.arena.size + _ALIGNED, dtype=torch.uint8)
        base = -(-self.memory.data_ptr() // _ALIGNED) * _ALIGNED
        self._shift = base - self.memory.data_ptr()
        built = _Builder(net, images, stem, library, dtype, base=base)
        self._base, self._dtype, self._images = base, dtype, images
        self._library, self._built = library, built
        self.factors = self._view(built.factors, (built.paths, images))
        output = built.taken[-1].values
        self.output = self._values(output)
        self.below = None if built.below is None else self._values(built.below.values)
        self._gradients = self._view(built.gradients, (built.count,))
        self.parameters = list(net.cells.parameters())
        found = built.gradient_places
        self._sizes = [found[id(p)] for p in self.parameters if id(p) in found]
        self._wanted = [id(p) in found for p in self.parameters]
        self._like = [p for p in self.parameters if id(p) in found]
        self._top = self._gradient(built.taken[-1])
        self._side = None if built.below is None else self._gradient(built.below)
        # The first outputs are the stem's, which torch computes anew in each step.
        self._stem = [self._gradient(taken) for taken in built.taken[: len(stem)]]

    def forward(self, stem: tuple[Tensor, ...]) -> None:
        """Compute ``output`` of the last cell, and ``below`` of that under the auxiliary tower.

        Args:
            stem: Outputs of the stem, shape ``(B, H, W, C)``, contiguous.
        """
        for source, tensor in self._built.from_stem:
            source.values = stem[tensor].data_ptr()
        self._library.use_threads()
        calls.run(self._built.forward)

    def backward(
        self, top: Tensor, side: Tensor | None
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return the gradients of the stem's outputs and of the cells' parameters.

        Args:
            top: Gradient of the output's mean over its pixels, shape ``(B, C)``.
            side: Gradient of ``below``, shape ``(B, H, W, C)``.
        """
        assert self._top is not None  # the last output always matters  # noqa: S101
        self._top.copy_((top / self._built.taken[-1].values.extent.pixels)[:, None, None])
        if self._side is not None and side is not None:
            if self._side.data_ptr() == self._top.data_ptr():
                self._side += side
            else:
                self._side.copy_(side)
        self._library.use_threads()
        calls.run(self._built.backward)
        # The arena is written again in the next step; gradients are the caller's.
        parts = iter(torch.split(self._gradients.clone(), [p.numel() for p in self._like]))
        return self._stem, [
            next(parts).view(p.shape) if wanted else None
            for p, wanted in zip(self.parameters, self._wanted, strict=True)
        ]

    def _values(self, values: Values) -> Tensor:
        e = values.extent
        return self._view(values.address, (self._images, e.height, e.width, e.channels))

    def _gradient(self, taken: Taken) -> Tensor | None:
        if taken.place is None:
            return None
        e = taken.values.extent
        return self._view(taken.place.address, (self._images, e.height, e.width, e.channels))

    def _view(self, address: int, shape: tuple[int, ...]) -> Tensor:
        start = address - self._base + self._shift
        size = torch.Size(shape).numel() * self._dtype.itemsize
        return self.memory[start : start + size].view(self._dtype).view(shape)


class _Builder:
    """The calls of one step, with the addresses of everything; see ``Program``."""

    def __init__(
        self,
        net: DerivedNetwork,
        images: int,
        stem: tuple[Extent, ...],
        library: calls.Library,
        dtype: torch.dtype,
        *,
        base: int,
    ) -> None:
        self.arena = Arena(base)
        self.images, self.library, self.item = images, library, dtype.itemsize
        self.net = net
        self.cells: list[DerivedCell] = list(net.cells)  # type: ignore[arg-type]
        self.forward: list[_Call] = []
        self.backward: list[_Call] = []
        self.from_stem: list[tuple[calls.Source, int]] = []
        self.paths = sum(
            not isinstance(operation, nn.Identity)
            for cell in self.cells
            for node in cell.nodes
            for operation in node  # type: ignore[attr-defined]
        )
        self.factors = self._room(self.paths * images)
        self._path = 0
        self.taken: list[Taken] = []
        self.stems = len(stem)
        self._plan(stem)
        self._place_gradients()
        self._norms: dict[int, calls.Norm] = {}
        self._nodes: list[list[list[Path]]] = []  # of each cell
        for position in range(len(self.cells)):
            if position == 0:
                for number in range(len(stem)):
                    self._take(self.taken[number])
            self._cell_forward(position)
            self._take(self.taken[len(stem) + position])
        self._run_backward()

    # ------------------------------------------------------------------------------ planning

    def _plan(self, stem: tuple[Extent, ...]) -> None:
        """Find which input is made of which output, and what has a gradient."""
        for extent in stem:
            values = Values(address=0, pitch=extent.channels, extent=extent)
            self.taken.append(Taken(values=values, wanted=False))
        count = len(self.cells)
        self.order = [0, *range(count)] if len(stem) == 1 else list(range(1 + count))
        self.inputs: list[tuple[Input, Input]] = []
        for position, cell in enumerate(self.cells):
            first, second = (
                Input(module=module, cell=position, which=which, used=False)
                for which, module in enumerate((cell.first, cell.second))
            )
            self.inputs.append((first, second))
            extent = self._output_extent(position)
            values = Values(address=0, pitch=extent.channels, extent=extent)
            self.taken.append(Taken(values=values, wanted=False))
        for position, pair in enumerate(self.inputs):
            for which in reversed((0, 1)):
                self.taken[self.order[position + which]].inputs.append(pair[which])
        self.below: Taken | None = None
        if self.net.auxiliary is not None:
            self.below = self.taken[len(stem) + self.net.auxiliary_position]
            self.below.wanted = True
        self.taken[-1].wanted = True
        for position in reversed(range(len(self.cells))):
            if not self.taken[len(stem) + position].wanted:
                continue
            read = {source for sources in self.cells[position].sources for source in sources}
            for which in (0, 1):
                if which in read:
                    self.inputs[position][which].used = True
                    self.taken[self.order[position + which]].wanted = True

    def _output_extent(self, position: int) -> Extent:
        cell = self.cells[position]
        before = self.taken[self.order[position + 1]].values.extent
        channels = _norm_of(cell.second).num_features
        return before.over(self._stride(position, 0), channels * len(cell.nodes))

    def _stride(self, position: int, source: int) -> int:
        reduces = position in reduction_positions(len(self.cells))
        return 2 if reduces and source < _INPUTS else 1

    def _place_gradients(self) -> None:
        """Give each parameter that has a gradient its place in one vector, in their order."""
        wanted: set[int] = set()
        stems = len(self.taken) - len(self.cells)
        for position, cell in enumerate(self.cells):
            modules = [entry.module for entry in self.inputs[position] if entry.used]
            if self.taken[stems + position].wanted:
                modules.append(cell.nodes)
            wanted |= {id(p) for module in modules for p in module.parameters()}
        self.count, offsets = 0, {}
        for parameter in self.net.cells.parameters():
            if id(parameter) in wanted:
                offsets[id(parameter)] = self.count
                self.count += parameter.numel()
        self.gradients = self._room(self.count)
        self.gradient_places = {
            key: self.gradients + offset * self.item for key, offset in offsets.items()
        }

    # ------------------------------------------------------------------------------- pieces

    def _room(self, elements: int) -> int:
        return self.arena.take(max(elements, 1) * self.item)

    def _call(self, calls_: list[_Call], name: str, *arguments: Any) -> None:
        prepared = tuple(SIZE(a) if isinstance(a, int) else a for a in arguments)
        calls_.append((self.library.functions[name], prepared))

    def _to(self, parameter: Tensor) -> int | None:
        return self.gradient_places.get(id(parameter))

    def _norm(self, module: nn.Module) -> calls.Norm:
        """Return the struct of a batch norm, with room for its statistics."""
        norm = _norm_of(module)
        if id(norm) not in self._norms:
            channels = norm.num_features
            assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
            self._norms[id(norm)] = calls.Norm(
                weight=norm.weight.data_ptr(),
                bias=norm.bias.data_ptr(),
                mean=self._room(channels),
                rstd=self._room(channels),
                scale=self._room(channels),
                shift=self._room(channels),
                running_mean=norm.running_mean.data_ptr(),
                running_variance=norm.running_var.data_ptr(),
                coefficients=self._room(3 * channels),
                to_weight=self._to(norm.weight),
                to_bias=self._to(norm.bias),
                momentum=norm.momentum,
                epsilon=norm.eps,
                channels=channels,
            )
        return self._norms[id(norm)]

    def _grid(self, extent: Extent, stride: int, kernel: int = 1, dilation: int = 1) -> calls.Grid:
        after = extent.over(stride, extent.channels)
        return calls.Grid(
            images=self.images,
            height=extent.height,
            width=extent.width,
            channels=extent.channels,
            rows=after.height,
            columns=after.width,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
        )

    def _elements(self, extent: Extent) -> int:
        return self.images * extent.pixels * extent.channels

    def _project(
        self,
        values: Values,
        modules: list[nn.Conv2d],
        reached: list[calls.Reached] | None = None,
        *,
        total: int,
        start: int = 0,
        offset: int = 0,
    ) -> calls.Projection:
        """Return the struct of 1×1 convolutions of the same pixels."""
        parts = (calls.Part * len(modules))(
            *(
                calls.Part(
                    weights=module.weight.data_ptr(),
                    to_weights=self._to(module.weight),
                    outputs=module.out_channels,
                    reached=calls.Reached() if reached is None else reached[place],
                )
                for place, module in enumerate(modules)
            )
        )
        projection = calls.Projection(
            grid=self._grid(values.extent, modules[0].stride[0]),
            source=values.source(),
            offset=offset,
            total=total,
            start=start,
            relu=1,
            count=len(modules),
            parts=ctypes.cast(parts, POINTER),
        )
        projection.kept = parts  # alive as long as the struct
        for number, taken in enumerate(self.taken[: self.stems]):
            if values is taken.values:
                self.from_stem.append((projection.source, number))
        return projection

    def _norm_sums(self, extent: Extent, sums: int, modules: list[nn.Module]) -> None:
        """Finish the norms of a projection, whose outputs are in the modules' order."""
        start, total = 0, sum(_norm_of(module).num_features for module in modules)
        for module in modules:
            self._call(
                self.forward,
                "finish",
                ctypes.byref(self._norm(module)),
                POINTER(sums),
                self.images,
                total,
                start,
                ctypes.c_double(self.images * extent.pixels),
            )
            start += _norm_of(module).num_features
        self.arena.give_back(sums)

    def _room_for_sums(self, total: int) -> int:
        return self.arena.take(calls.GROUPS * 2 * total * _DOUBLE)

    # ----------------------------------------------------------------- inputs of the cells

    def _take(self, taken: Taken) -> None:
        """Compute the inputs that are made of an output."""
        whole = [entry for entry in taken.inputs if isinstance(entry.module, ReluConvNorm)]
        joint = [entry for entry in whole if entry.used]
        if joint:
            taken.joint = self._joint_forward(taken, joint)
        for entry in taken.inputs:
            if isinstance(entry.module, FactorizedReduce):
                entry.values = self._reduce_forward(taken.values, entry.module)
            elif not entry.used:  # its norm has running statistics all the same
                self.arena.give_back(self._joint_forward(taken, [entry]).result)

    def _joint_forward(self, taken: Taken, inputs: list[Input]) -> Joint:
        extent = taken.values.extent
        widths = [_norm_of(entry.module).num_features for entry in inputs]
        total = sum(widths)
        joint = Joint(
            inputs=inputs, result=self._room(self.images * extent.pixels * total), total=total
        )
        start = 0
        for entry, width in zip(inputs, widths, strict=True):
            entry.values = Values(
                address=joint.result + start * self.item,
                pitch=total,
                extent=extent.over(1, width),
                norm=self._norm(entry.module),
            )
            start += width
        modules = [_convolution(entry.module) for entry in inputs]
        sums = self._room_for_sums(total)
        projection = self._project(taken.values, modules, total=total)
        self._call(
            self.forward,
            "project_forward",
            ctypes.byref(projection),
            POINTER(joint.result),
            POINTER(sums),
        )
        self._norm_sums(extent, sums, [entry.module for entry in inputs])
        return joint

    def _joint_backward(self, taken: Taken, joint: Joint) -> None:
        reached = []
        for entry in joint.inputs:
            assert entry.values is not None and entry.place is not None  # noqa: S101, PT018
            self._norms_backward([(entry.values, None)], entry.place, entry.values.extent)
            reached.append(self._reached(entry.place, entry.values.norm, None))
        modules = [_convolution(entry.module) for entry in joint.inputs]
        projection = self._project(taken.values, modules, reached, total=joint.total)
        self._call(
            self.backward,
            "project_backward",
            ctypes.byref(projection),
            POINTER(joint.result),
            ctypes.byref(self._gradient_of(taken).target()),
        )
        self.arena.give_back(joint.result)

    def _reduce_forward(self, values: Values, module: FactorizedReduce) -> Values:
        """Two convolutions, of the even and of the odd pixels, with one norm."""
        total = module.norm.num_features
        extent = values.extent.over(2, total)
        result, sums = self._room(self._elements(extent)), self._room_for_sums(total)
        start = 0
        for offset, half in enumerate((module.even, module.odd)):
            if half.out_channels:
                projection = self._project(values, [half], total=total, start=start, offset=offset)
                self._call(
                    self.forward,
                    "project_forward",
                    ctypes.byref(projection),
                    POINTER(result),
                    POINTER(sums),
                )
            start += half.out_channels
        self._norm_sums(extent, sums, [module])
        return Values(address=result, pitch=total, extent=extent, norm=self._norm(module))

    def _reduce_backward(
        self,
        values: Values,
        module: FactorizedReduce,
        result: Values,
        gradient: Place,
        factors: int | None,
        to: Place,
    ) -> None:
        """Send a gradient, whose norm is through, to a source; both halves add."""
        if not to.written:  # together they reach only a half of the pixels
            self._clear(to, values.extent)
        start = 0
        for offset, half in enumerate((module.even, module.odd)):
            if half.out_channels:
                reached = self._reached(gradient, result.norm, factors, start)
                projection = self._project(
                    values, [half], [reached], total=result.pitch, start=start, offset=offset
                )
                self._call(
                    self.backward,
                    "project_backward",
                    ctypes.byref(projection),
                    POINTER(result.address),
                    ctypes.byref(to.target()),
                )
            start += half.out_channels

    # --------------------------------------------------------------------- cells, forward

    def _cell_forward(self, position: int) -> None:
        cell = self.cells[position]
        output = self.taken[self.stems + position]
        wide = output.values.extent
        channels = wide.channels // len(cell.nodes)
        output.values = Values(
            address=self._room(self._elements(wide)), pitch=wide.channels, extent=wide
        )
        # An input that nothing reads has no values.
        states = [entry.values or output.values for entry in self.inputs[position]]
        extent = Extent(height=wide.height, width=wide.width, channels=channels)
        nodes: list[list[Path]] = []
        for number, (sources, operations) in enumerate(zip(cell.sources, cell.nodes, strict=True)):
            node = Values(
                address=output.values.address + number * channels * self.item,
                pitch=wide.channels,
                extent=extent,
            )
            paths = [
                self._path_forward(
                    operation, source, states[source], self._stride(position, source)
                )
                for source, operation in zip(sources, operations, strict=True)  # type: ignore[call-overload]
            ]
            self._sum(paths, node)
            nodes.append(paths)
            states.append(node)
        self._nodes.append(nodes)
        if not output.wanted:
            self._release(nodes)

    def _path_forward(self, operation: nn.Module, source: int, values: Values, stride: int) -> Path:
        if isinstance(operation, nn.Identity):
            return Path(operation=operation, source=source, values=values)
        factors = self.factors + self._path * self.images * self.item
        self._path += 1
        path = Path(operation=operation, source=source, values=values, factors=factors)
        if isinstance(operation, FactorizedReduce):
            path.values = self._reduce_forward(values, operation)
        elif isinstance(operation, Pooling):
            extent = values.extent.over(stride, values.extent.channels)
            path.values = Values(
                address=self._room(self._elements(extent)), pitch=extent.channels, extent=extent
            )
            self._call(
                self.forward,
                "pool_forward",
                ctypes.byref(self._grid(values.extent, stride, 3)),
                int(isinstance(operation[0], nn.MaxPool2d)),
                ctypes.byref(values.source()),
                POINTER(path.values.address),
            )
        else:
            for half in _halves(operation):
                path.inner = None if path.values is values else path.values
                path.values = self._half_forward(half, path.values)
        return path

    def _half_forward(self, half: _Half, values: Values) -> Values:
        described = self._half(half, values)
        extent = values.extent.over(half.stride, values.extent.channels)
        result = Values(
            address=self._room(self._elements(extent)),
            pitch=extent.channels,
            extent=extent,
            norm=self._norm(half.norm),
        )
        self._call(
            self.forward,
            "half_forward",
            ctypes.byref(described),
            POINTER(result.address),
            ctypes.byref(self._norm(half.norm)),
        )
        return result

    def _half(self, half: _Half, values: Values) -> calls.Half:
        return calls.Half(
            grid=self._grid(values.extent, half.stride, half.kernel, half.dilation),
            source=values.source(),
            depthwise=half.depthwise.weight.data_ptr(),
            pointwise=half.pointwise.weight.data_ptr(),
        )

    def _sum(self, paths: list[Path], node: Values) -> None:
        terms = (calls.Term * len(paths))(
            *(calls.Term(source=path.values.source(), factors=path.factors) for path in paths)
        )
        extent = node.extent
        self._call(
            self.forward,
            "sum_forward",
            self.images,
            extent.pixels,
            extent.channels,
            terms,
            len(paths),
            POINTER(node.address),
            node.pitch,
        )

    def _release(self, nodes: list[list[Path]]) -> None:
        for path in (path for node in nodes for path in node):
            if not isinstance(path.operation, nn.Identity):
                self.arena.give_back(path.values.address)
            if path.inner is not None:
                self.arena.give_back(path.inner.address)

    # -------------------------------------------------------------------- cells, backward

    def _run_backward(self) -> None:
        for taken in (self.taken[-1], *([self.below] if self.below is not None else [])):
            self._gradient_of(taken).written = True  # by autograd
        for position in reversed(range(len(self.cells))):
            taken = self.taken[self.stems + position]
            self._taken_backward(taken)
            if taken.wanted:
                self._cell_backward(position, taken)
        for taken in self.taken[: self.stems]:
            self._taken_backward(taken)

    def _taken_backward(self, taken: Taken) -> None:
        """Collect the gradient of an output from all inputs that are made of it."""
        if taken.joint is not None:
            self._joint_backward(taken, taken.joint)
        for entry in taken.inputs:
            if entry.values is None or not isinstance(entry.module, FactorizedReduce):
                continue
            if entry.used:
                assert entry.place is not None  # written by the cell  # noqa: S101
                self._norms_backward([(entry.values, None)], entry.place, entry.values.extent)
                self._reduce_backward(
                    taken.values,
                    entry.module,
                    entry.values,
                    entry.place,
                    None,
                    self._gradient_of(taken),
                )
            self.arena.give_back(entry.values.address)
        for entry in taken.inputs:
            if entry.place is not None:
                self.arena.give_back(entry.place.address)

    def _gradient_of(self, taken: Taken) -> Place:
        if taken.place is None:
            extent = taken.values.extent
            taken.place = Place(address=self._room(self._elements(extent)), pitch=extent.channels)
        return taken.place

    def _cell_backward(self, position: int, output: Taken) -> None:
        nodes = self._nodes[position]
        whole = self._gradient_of(output)
        channels = output.values.extent.channels // len(nodes)
        places: list[Place | None] = []
        for entry in self.inputs[position]:
            if entry.used:
                assert entry.values is not None  # of the forward pass  # noqa: S101
                extent = entry.values.extent
                entry.place = Place(
                    address=self._room(self._elements(extent)), pitch=extent.channels
                )
            places.append(entry.place)
        places += [
            Place(
                address=whole.address + number * channels * self.item,
                pitch=whole.pitch,
                written=True,
            )
            for number in range(len(nodes))
        ]
        states = [entry.values for entry in self.inputs[position]]
        extent = Extent(
            height=output.values.extent.height,
            width=output.values.extent.width,
            channels=channels,
        )
        states += [
            Values(
                address=output.values.address + number * channels * self.item,
                pitch=output.values.pitch,
                extent=extent,
            )
            for number in range(len(nodes))
        ]
        for number in reversed(range(len(nodes))):
            reached = places[_INPUTS + number]
            assert reached is not None  # of a node  # noqa: S101
            self._norms_backward(
                [(path.values, path.factors) for path in nodes[number] if path.factors],
                reached,
                extent,
            )
            for path in nodes[number]:
                values, to = states[path.source], places[path.source]
                assert values is not None and to is not None  # it is read  # noqa: S101, PT018
                self._path_backward(path, reached, values, to, self._stride(position, path.source))
        self._release(nodes)
        self.arena.give_back(whole.address)
        self.arena.give_back(output.values.address)

    def _path_backward(
        self, path: Path, reached: Place, values: Values, to: Place, stride: int
    ) -> None:
        """Send a node's gradient through an operation to its source."""
        operation, extent = path.operation, values.extent
        if isinstance(operation, nn.Identity):
            self._call(
                self.backward,
                "identity_backward",
                self.images,
                extent.pixels,
                extent.channels,
                POINTER(reached.address),
                reached.pitch,
                ctypes.byref(to.target()),
            )
        elif isinstance(operation, FactorizedReduce):
            self._reduce_backward(values, operation, path.values, reached, path.factors, to)
        elif isinstance(operation, Pooling):
            self._call(
                self.backward,
                "pool_backward",
                ctypes.byref(self._grid(extent, stride, 3)),
                int(isinstance(operation[0], nn.MaxPool2d)),
                ctypes.byref(values.source()),
                POINTER(path.values.address),
                ctypes.byref(self._reached(reached, None, path.factors)),
                ctypes.byref(to.target()),
            )
        else:
            self._halves_backward(path, reached, values, to)

    def _halves_backward(self, path: Path, reached: Place, values: Values, to: Place) -> None:
        halves = _halves(path.operation)
        above = self._reached(reached, path.values.norm, path.factors)
        if path.inner is None:
            self._half_backward(halves[0], values, path.values, above, to.target(), None)
            return
        inner = path.inner
        between = Place(
            address=self._room(self._elements(inner.extent)), pitch=inner.extent.channels
        )
        self._half_backward(halves[1], inner, path.values, above, between.target(), inner.norm)
        below = self._reached(between, inner.norm, None)
        self._half_backward(halves[0], values, inner, below, to.target(), None)
        self.arena.give_back(between.address)

    def _half_backward(
        self,
        half: _Half,
        values: Values,
        result: Values,
        reached: calls.Reached,
        to: calls.Target,
        norm: calls.Norm | None,
    ) -> None:
        self._call(
            self.backward,
            "half_backward",
            ctypes.byref(self._half(half, values)),
            POINTER(result.address),
            ctypes.byref(reached),
            ctypes.byref(to),
            None if norm is None else ctypes.byref(norm),
            POINTER(self._to(half.depthwise.weight)),
            POINTER(self._to(half.pointwise.weight)),
        )

    def _reached(
        self, place: Place, norm: calls.Norm | None, factors: int | None, start: int = 0
    ) -> calls.Reached:
        """Return the gradient of a result, of its channels from ``start``."""
        return calls.Reached(
            gradient=place.address + start * self.item,
            pitch=place.pitch,
            coefficients=None if norm is None else norm.coefficients + start * self.item,
            wide=0 if norm is None else norm.channels,
            factors=factors,
        )

    def _norms_backward(
        self, values: list[tuple[Values, int | None]], reached: Place, extent: Extent
    ) -> None:
        """Find the gradients of the norms whose results were added to one sum."""
        terms = [
            calls.Term(source=value.source(), factors=factors, norm=ctypes.addressof(value.norm))
            for value, factors in values
            if value.norm is not None
        ]
        if terms:
            self._call(
                self.backward,
                "norms_backward",
                self.images,
                extent.pixels,
                extent.channels,
                (calls.Term * len(terms))(*terms),
                len(terms),
                POINTER(reached.address),
                reached.pitch,
            )

    def _clear(self, place: Place, extent: Extent) -> None:
        """Fill a gradient with zeros, which everything is then added to."""
        size = self._elements(extent) * self.item
        self.backward.append((_clear, (place.address, size)))
        place.written = True


def _clear(address: int, size: int) -> int:
    ctypes.memset(address, 0, size)
    return 0


def _norm_of(module: nn.Module) -> nn.BatchNorm2d:
    """Return the batch norm of an input of a cell, or a batch norm itself."""
    if isinstance(module, FactorizedReduce):
        return module.norm
    found = module[2] if isinstance(module, ReluConvNorm) else module
    assert isinstance(found, nn.BatchNorm2d)  # as they are built  # noqa: S101
    return found


def _convolution(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, ReluConvNorm)  # the caller's choice  # noqa: S101
    found = module[1]
    assert isinstance(found, nn.Conv2d)  # as it is built  # noqa: S101
    return found


def _halves(operation: nn.Module) -> tuple[_Half, ...]:
    """Return the halves of a separable convolution, or the only one of a dilated one."""
    assert isinstance(operation, SeparableConv | DilatedConv)  # noqa: S101
    modules: list[Any] = list(operation)
    return tuple(
        _Half(depthwise=modules[k], pointwise=modules[k + 1], norm=modules[k + 2])
        for k in range(1, len(modules), 4)
    )
