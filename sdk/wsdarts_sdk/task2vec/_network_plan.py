"""Plans of networks: the list of operations that the compiled Fisher information runs.

A plan holds networks of convolutions, batch norm in eval mode, ReLU, pooling and sums that end
in a global average, such as ResNets. Others have none; ``fisher`` computes them by autograd.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

Kind = Literal["convolution", "relu", "max_pool", "average_pool", "add", "mean"]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A result of an operation, or the network's input.

    Attributes:
        shape: Channels, height and width.
        padding: Zeros around it.
        place: Index of the value whose memory it takes; its own, or that of a ReLU's input.
        shared: Index of the later value whose gradient is its own, or -1.
        users: Number of operations that read it.
    """

    shape: tuple[int, int, int]
    padding: int = 0
    place: int
    shared: int = -1
    users: int = 0

    @property
    def numbers(self) -> int:
        """Return the number of its elements, with those of the padding."""
        channels, height, width = self.shape
        return channels * (height + 2 * self.padding) * (width + 2 * self.padding)


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """A convolution and the batch norm that follows it, as one convolution, in float64.

    Attributes:
        weight: Shape ``(filters, kernel height, kernel width, inputs)``.
        bias: Shape ``(filters,)``.
        scale: Factor of the batch norm, shape ``(filters,)``.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One operation.

    Attributes:
        kind: What it computes.
        inputs: Indices of the values that it reads.
        output: Index of its result.
        kernel: Height and width of a convolution's or pooling's window.
        stride: Its steps, down and right.
        padding: Its zeros above and to the left.
        name: Name of the convolution's module.
        folded: A convolution's weights.
    """

    kind: Kind
    inputs: tuple[int, ...]
    output: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    name: str = ""
    folded: Folded | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkPlan:
    """The operations of a network in order; its input is value 0.

    Attributes:
        values: All values.
        operations: All operations; the last is the global average.
    """

    values: tuple[Value, ...]
    operations: tuple[Operation, ...]

    @property
    def features(self) -> int:
        """Return the number of features."""
        return self.values[self.operations[-1].inputs[0]].shape[0]


class _UnsupportedError(Exception):
    """The network has an operation that plans do not support."""


def network_plan(features: nn.Module, size: int) -> NetworkPlan | None:
    """Return the plan of a network; None if it has something that no plan holds.

    Args:
        features: Maps images ``(images, 3, size, size)`` to pooled features; in eval mode.
        size: Height and width of the input.
    """
    try:
        graph = fx.symbolic_trace(features).graph
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (networks are free in what they do with their input)
        return None
    try:
        return _Builder(features, graph, size).plan()
    except _UnsupportedError:
        return None


@dataclass(eq=False)
class _Builder:
    """Turns a traced graph into a plan."""

    network: nn.Module
    graph: fx.Graph
    size: int
    values: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    of_node: dict[fx.Node, int] = field(default_factory=dict)
    flat: set[fx.Node] = field(default_factory=set)
    overwritten: list[int] = field(default_factory=list)

    def plan(self) -> NetworkPlan:
        for node in self.graph.nodes:
            self._read(node)
        self._count_users()
        self._expect(all(self.values[index].users == 1 for index in self.overwritten))
        names = [op.name for op in self.operations if op.folded is not None]
        self._expect(bool(names) and len(set(names)) == len(names))
        self._share()
        self._pad()
        return NetworkPlan(values=tuple(self.values), operations=tuple(self.operations))

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._expect(not self.values)
            self.of_node[node] = self._value((3, self.size, self.size))
        elif node.op == "call_module":
            module = self.network.get_submodule(str(node.target))
            handle = _MODULES.get(type(module))
            self._expect(handle is not None and not node.kwargs and len(node.args) == 1)
            assert handle is not None  # noqa: S101 (checked above)
            handle(self, node, module)
        elif node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add):
            self._expect(not node.kwargs and len(node.args) == 2)
            self.add(node)
        elif node.op == "call_function" and node.target in (F.relu, torch.relu):
            self.relu(node)
        elif node.target in (torch.flatten, "flatten"):
            self._expect(node.args[1:] == (1,) and not node.kwargs)
            self.flatten(node)
        elif node.op == "output":
            (result,) = node.args
            self._expect(result in self.flat and self.operations[-1].kind == "mean")
        else:
            raise _UnsupportedError

    def _expect(self, condition: bool) -> None:
        if not condition:
            raise _UnsupportedError

    def _input(self, node: fx.Node, index: int = 0) -> int:
        found = node.args[index]
        self._expect(isinstance(found, fx.Node) and found not in self.flat)
        return self.of_node[found]  # type: ignore[index]

    def _value(self, shape: tuple[int, int, int], place: int | None = None) -> int:
        index = len(self.values)
        self.values.append(Value(shape=shape, place=index if place is None else place))
        return index

    def identity(self, node: fx.Node, _module: nn.Module) -> None:
        (source,) = node.args
        self._expect(isinstance(source, fx.Node))
        self.of_node[node] = self.of_node[source]  # type: ignore[index]
        if source in self.flat:
            self.flat.add(node)

    def convolution(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d)  # noqa: S101 (by the table)
        zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        self._expect(zeros and module.groups == 1 and module.dilation == (1, 1))
        source = self._input(node)
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        padding = _pair(module.padding)  # type: ignore[arg-type]
        height, width = _slots(self.values[source].shape[1:], kernel, stride, padding)
        output = self._value((module.out_channels, height, width))
        weight = module.weight.detach().double().permute(0, 2, 3, 1)
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
        self.of_node[node] = output
        self.operations.append(
            Operation(
                kind="convolution",
                inputs=(source,),
                output=output,
                kernel=kernel,
                stride=stride,
                padding=padding,
                name=str(node.target),
                folded=Folded(
                    weight=weight, bias=bias.double(), scale=torch.ones_like(bias.double())
                ),
            )
        )

    def batch_norm(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.BatchNorm2d)  # noqa: S101 (by the table)
        source = node.args[0]
        # Nothing else reads what it normalises, not through an identity either.
        self._expect(isinstance(source, fx.Node) and len(source.users) == 1)
        self._expect(source.op == "call_module")  # type: ignore[union-attr]
        before = self.network.get_submodule(str(source.target))  # type: ignore[union-attr]
        self._expect(type(before) is nn.Conv2d)
        last = self.operations[-1] if self.operations else None
        if last is None or last.folded is None or last.output != self._input(node):
            raise _UnsupportedError
        mean, variance = module.running_mean, module.running_var
        if mean is None or variance is None or module.training:
            raise _UnsupportedError
        scale = (variance.detach().double() + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.detach().double()
        shift = -mean.detach().double() * scale
        if module.bias is not None:
            shift = shift + module.bias.detach().double()
        folded = Folded(
            weight=last.folded.weight * scale[:, None, None, None],
            bias=last.folded.bias * scale + shift,
            scale=last.folded.scale * scale,
        )
        self.operations[-1] = replace(last, folded=folded)
        self.of_node[node] = last.output

    def relu(self, node: fx.Node, _module: nn.Module | None = None) -> None:
        before = self._input(node)
        place = self.values[before].place
        self._expect(before > 0)
        self.of_node[node] = output = self._value(self.values[before].shape, place)
        self.operations.append(Operation(kind="relu", inputs=(before,), output=output))
        self.overwritten.append(before)

    def pool(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.MaxPool2d | nn.AvgPool2d)  # noqa: S101 (by the table)
        kernel, stride, padding = map(_pair, (module.kernel_size, module.stride, module.padding))
        source = self._input(node)
        channels, height, width = self.values[source].shape
        slots = _slots((height, width), kernel, stride, padding, beyond=module.ceil_mode)
        kind: Kind = "max_pool"
        if isinstance(module, nn.AvgPool2d):
            kind = "average_pool"
            self._expect(padding == (0, 0) and module.divisor_override is None)
        else:
            self._expect(_pair(module.dilation) == (1, 1) and not module.return_indices)
        self.of_node[node] = output = self._value((channels, *slots))
        self.operations.append(
            Operation(
                kind=kind,
                inputs=(source,),
                output=output,
                kernel=kernel,
                stride=stride,
                padding=padding,
            )
        )

    def add(self, node: fx.Node) -> None:
        one, other = self._input(node), self._input(node, 1)
        self._expect(one != other and self.values[one].shape == self.values[other].shape)
        if node.target is operator.iadd:
            self.overwritten.append(one)
        self.of_node[node] = output = self._value(self.values[one].shape)
        self.operations.append(Operation(kind="add", inputs=(one, other), output=output))

    def mean(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.AdaptiveAvgPool2d)  # noqa: S101 (by the table)
        self._expect(module.output_size in (1, (1, 1)))
        source = self._input(node)
        self._expect(all(op.kind != "mean" for op in self.operations))
        self.of_node[node] = source
        self.flat.add(node)
        self.operations.append(Operation(kind="mean", inputs=(source,), output=source))

    def flatten(self, node: fx.Node, module: nn.Module | None = None) -> None:
        if isinstance(module, nn.Flatten):
            self._expect((module.start_dim, module.end_dim) == (1, -1))
        self._expect(node.args[0] in self.flat)
        self.identity(node, nn.Identity())

    def _count_users(self) -> None:
        for op in self.operations:
            for index in op.inputs:
                value = self.values[index]
                self.values[index] = replace(value, users=value.users + 1)

    def _share(self) -> None:
        """Let the inputs of a ReLU or a sum have its output's gradient."""
        for op in self.operations:
            for index in op.inputs if op.kind in ("relu", "add") else ():
                if index > 0 and self.values[index].users == 1:
                    self.values[index] = replace(self.values[index], shared=op.output)

    def _pad(self) -> None:
        """Pad what convolutions read, and alike what shares memory."""
        for op in self.operations:
            if op.kind == "convolution":
                self._widen(op.inputs[0], max(op.padding))
        while True:
            before = [value.padding for value in self.values]
            for index, value in enumerate(self.values):
                for other in (value.shared, value.place):
                    if other >= 0:
                        self._widen(index, self.values[other].padding)
                        self._widen(other, self.values[index].padding)
            if before == [value.padding for value in self.values]:
                return

    def _widen(self, index: int, padding: int) -> None:
        value = self.values[index]
        self.values[index] = replace(value, padding=max(value.padding, padding))


_MODULES: dict[type[nn.Module], Callable[[_Builder, fx.Node, Any], None]] = {
    nn.Conv2d: _Builder.convolution,
    nn.BatchNorm2d: _Builder.batch_norm,
    nn.ReLU: _Builder.relu,
    nn.MaxPool2d: _Builder.pool,
    nn.AvgPool2d: _Builder.pool,
    nn.AdaptiveAvgPool2d: _Builder.mean,
    nn.Flatten: _Builder.flatten,
    nn.Identity: _Builder.identity,
    nn.Dropout: _Builder.identity,
}


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _slots(
    size: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    *,
    beyond: bool = False,
) -> tuple[int, int]:
    """Return height and width of a window's result; its last windows may reach beyond the input."""
    found = []
    for length, k, step, pad in zip(size, kernel, stride, padding, strict=True):
        room = length + 2 * pad - k
        count = (room + step - 1 if beyond else room) // step + 1
        found.append(count - 1 if beyond and (count - 1) * step >= length + pad else count)
    return found[0], found[1]
