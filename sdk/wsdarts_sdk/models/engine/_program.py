"""One training step of a network's cells, laid out for one shape of images.

A program is built once and run often. Building it goes through the cells as the forward and the
backward pass will, and notes every call of a kernel with the addresses of what it reads and writes.
All of it lies in one arena: what a pass no longer needs is given to what comes after, so that the
memory of a step is known before it runs, and a step allocates nothing.

Forward, an output of a cell is read once for all cells that take it in: their 1×1 convolutions are
one call. Backward, its gradient is written by one call, when all of these cells are through.
"""

import ctypes
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from wsdarts_sdk.models._operations import FactorizedReduce, ReluConvNorm
from wsdarts_sdk.models.engine import _calls as calls
from wsdarts_sdk.models.engine._calls import ALIGNED, POINTER, Extent, Place, Values
from wsdarts_sdk.models.engine._operations import Operations, Path, convolution, norm_of
from wsdarts_sdk.models.network import DerivedCell, DerivedNetwork
from wsdarts_sdk.supernet.operation_plan import reduction_positions

_INPUTS = 2  # of a cell


@dataclass(kw_only=True, slots=True)
class Input:
    """An input of a cell, and the module that prepares it.

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
        self.memory = torch.empty(draft.arena.size + ALIGNED, dtype=torch.uint8)
        base = -(-self.memory.data_ptr() // ALIGNED) * ALIGNED
        self._shift = base - self.memory.data_ptr()
        built = _Builder(net, images, stem, library, dtype, base=base)
        self._base, self._dtype, self._images = base, dtype, images
        self._library, self._built = library, built
        self.factors = self._view(built.factors, (built.paths, images))
        self.output = self._planes(built.taken[-1].values)
        self.below = None if built.below is None else self._planes(built.below.values)
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
            top: Gradient of the output's mean over its pixels, shape ``(B, planes · C)``.
            side: Gradient of ``below``, shape ``(B, H, W, planes · C)``.
        """
        assert self._top is not None  # the last output always matters  # noqa: S101
        pixels = self._built.taken[-1].values.extent.pixels
        self._top.copy_(_in_planes((top / pixels)[:, None, None], self._top))
        if self._side is not None and side is not None:
            if self._side.data_ptr() == self._top.data_ptr():
                self._side += _in_planes(side, self._side)
            else:
                self._side.copy_(_in_planes(side, self._side))
        self._library.use_threads()
        calls.run(self._built.backward)
        # The arena is written again in the next step; gradients are the caller's.
        parts = iter(torch.split(self._gradients.clone(), [p.numel() for p in self._like]))
        return [None if t is None else t[0] for t in self._stem], [
            next(parts).view(p.shape) if wanted else None
            for p, wanted in zip(self.parameters, self._wanted, strict=True)
        ]

    def _planes(self, values: Values, address: int | None = None) -> Tensor:
        """Return a tensor, or what has its shape at another address: ``(planes, B, H, W, C)``."""
        e = values.extent
        shape = (e.channels // values.width, self._images, e.height, e.width, values.width)
        return self._view(values.address if address is None else address, shape)

    def _gradient(self, taken: Taken) -> Tensor | None:
        return None if taken.place is None else self._planes(taken.values, taken.place.address)

    def _view(self, address: int, shape: tuple[int, ...]) -> Tensor:
        start = address - self._base + self._shift
        size = torch.Size(shape).numel() * self._dtype.itemsize
        return self.memory[start : start + size].view(self._dtype).view(shape)


class _Builder(Operations):
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
        super().__init__(images, library, dtype, base)
        self.net = net
        self.cells: list[DerivedCell] = list(net.cells)  # type: ignore[arg-type]
        self.paths = sum(
            not isinstance(operation, nn.Identity)
            for cell in self.cells
            for node in cell.nodes
            for operation in node  # type: ignore[attr-defined]
        )
        self.factors = self.room(self.paths * images)
        self.taken: list[Taken] = []
        self.stems = len(stem)
        self._plan(stem)
        self._place_gradients()
        self._nodes: list[list[list[Path]]] = []  # of each cell
        for position in range(len(self.cells)):
            if position == 0:
                for number in range(len(stem)):
                    self._take(self.taken[number])
            self._cell_forward(position)
            self._take(self.taken[len(stem) + position])
        self._run_backward()

    def _plan(self, stem: tuple[Extent, ...]) -> None:
        """Find which input is made of which output, and what has a gradient."""
        for extent in stem:
            values = Values(
                address=0, width=extent.channels, plane=self.elements(extent), extent=extent
            )
            self.stem_values.append(values)
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
            values = self._output(position, address=0)
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

    def _output(self, position: int, address: int) -> Values:
        cell = self.cells[position]
        before = self.taken[self.order[position + 1]].values.extent
        channels = norm_of(cell.second).num_features
        extent = before.over(self._stride(position, 0), channels * len(cell.nodes))
        size = self.elements(extent) // len(cell.nodes)
        return Values(address=address, width=channels, plane=size, extent=extent)

    def _plane(self, values: Values, number: int) -> Values:
        """Return one plane of a tensor: a node of a cell."""
        return replace(
            values,
            address=values.address + number * values.plane * self.item,
            extent=replace(values.extent, channels=values.width),
        )

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
        self.gradients = self.room(self.count)
        self.gradient_places = {
            key: self.gradients + offset * self.item for key, offset in offsets.items()
        }

    def _take(self, taken: Taken) -> None:
        """Compute the inputs that are made of an output."""
        whole = [entry for entry in taken.inputs if isinstance(entry.module, ReluConvNorm)]
        joint = [entry for entry in whole if entry.used]
        if joint:
            taken.joint = self._joint_forward(taken, joint)
        for entry in taken.inputs:
            if isinstance(entry.module, FactorizedReduce):
                entry.values = self.reduce_forward(taken.values, entry.module)
            elif not entry.used:  # its norm has running statistics all the same
                self.arena.give_back(self._joint_forward(taken, [entry]).result)

    def _joint_forward(self, taken: Taken, inputs: list[Input]) -> Joint:
        extent = taken.values.extent
        widths = [norm_of(entry.module).num_features for entry in inputs]
        total, pixels = sum(widths), self.images * extent.pixels
        joint = Joint(inputs=inputs, result=self.room(pixels * total), total=total)
        start = 0
        for entry, width in zip(inputs, widths, strict=True):
            entry.values = Values(
                address=joint.result + start * pixels * self.item,
                width=width,
                plane=width * pixels,
                extent=extent.over(1, width),
                norm=self.norm(entry.module),
            )
            start += width
        modules = [convolution(entry.module) for entry in inputs]
        sums = self.room_for_sums(total)
        projection = self.project(taken.values, modules, _results(joint), total=total)
        self.call(self.forward, "project_forward", ctypes.byref(projection), POINTER(sums))
        self.norm_sums(extent, sums, [entry.module for entry in inputs])
        return joint

    def _joint_backward(self, taken: Taken, joint: Joint) -> None:
        reached = []
        for entry in joint.inputs:
            assert entry.values is not None and entry.place is not None  # noqa: S101, PT018
            self.norms_backward([(entry.values, None)], entry.place, entry.values.extent)
            reached.append(self.reached(entry.place, entry.values.norm, None))
        modules = [convolution(entry.module) for entry in joint.inputs]
        projection = self.project(
            taken.values, modules, _results(joint), reached, total=joint.total
        )
        self.call(
            self.backward,
            "project_backward",
            ctypes.byref(projection),
            ctypes.byref(self._gradient_of(taken).target()),
        )
        self.arena.give_back(joint.result)

    def _cell_forward(self, position: int) -> None:
        cell = self.cells[position]
        output = self.taken[self.stems + position]
        output.values = self._output(position, self.room(self.elements(output.values.extent)))
        # An input that nothing reads has no values.
        states = [entry.values or output.values for entry in self.inputs[position]]
        nodes: list[list[Path]] = []
        for number, (sources, operations) in enumerate(zip(cell.sources, cell.nodes, strict=True)):
            node = self._plane(output.values, number)
            paths = [
                self.path_forward(operation, source, states[source], self._stride(position, source))
                for source, operation in zip(sources, operations, strict=True)  # type: ignore[call-overload]
            ]
            self.sum_paths(paths, node)
            nodes.append(paths)
            states.append(node)
        self._nodes.append(nodes)
        if not output.wanted:
            self.release(nodes)

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
                self.norms_backward([(entry.values, None)], entry.place, entry.values.extent)
                self.reduce_backward(
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
            taken.place = self.new_place(taken.values)
        return taken.place

    def _cell_backward(self, position: int, output: Taken) -> None:
        nodes = self._nodes[position]
        whole = self._gradient_of(output)
        places: list[Place | None] = []
        for entry in self.inputs[position]:
            if entry.used:
                assert entry.values is not None  # of the forward pass  # noqa: S101
                entry.place = self.new_place(entry.values)
            places.append(entry.place)
        step = whole.plane * self.item
        places += [
            replace(whole, address=whole.address + number * step, written=True)
            for number in range(len(nodes))
        ]
        states = [entry.values for entry in self.inputs[position]]
        states += [self._plane(output.values, number) for number in range(len(nodes))]
        extent = replace(output.values.extent, channels=output.values.width)
        for number in reversed(range(len(nodes))):
            reached = places[_INPUTS + number]
            assert reached is not None  # of a node  # noqa: S101
            self.norms_backward(
                [(path.values, path.factors) for path in nodes[number] if path.factors],
                reached,
                extent,
            )
            for path in nodes[number]:
                values, to = states[path.source], places[path.source]
                assert values is not None and to is not None  # it is read  # noqa: S101, PT018
                self.path_backward(path, reached, values, to, self._stride(position, path.source))
        self.release(nodes)
        self.arena.give_back(whole.address)
        self.arena.give_back(output.values.address)


def _results(joint: Joint) -> list[Values]:
    """Return what each of the inputs is."""
    found = [entry.values for entry in joint.inputs]
    assert None not in found  # once they are computed  # noqa: S101
    return found  # type: ignore[return-value]


def _in_planes(x_BHWC: Tensor, planes: Tensor) -> Tensor:
    """Return channels as planes: ``(planes, B, H, W, C)``."""
    return torch.stack(x_BHWC.chunk(len(planes), dim=-1))
