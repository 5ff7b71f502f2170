"""The calls of one operation after the other, forward and backward, with the addresses they use."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wsdarts_sdk.models._operations import (
    DilatedConv,
    FactorizedReduce,
    Pooling,
    ReluConvNorm,
    SeparableConv,
)
from wsdarts_sdk.models.engine import _calls as calls
from wsdarts_sdk.models.engine._calls import POINTER, SIZE, Arena, Extent, Place, Values

_DOUBLE = 8
_Call = tuple[Callable[..., Any], tuple[Any, ...]]


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


class Operations:
    """Notes the calls of a network's operations.

    Attributes:
        forward: Calls of the forward pass.
        backward: Calls of the backward pass.
        from_stem: Structs that read an output of the stem, whose address is known in a step only.
        gradient_places: Address of each parameter's gradient, by its ``id``.
        factors: Address of the factors of drop path, those of a path next to each other.
    """

    def __init__(self, images: int, library: calls.Library, dtype: torch.dtype, base: int) -> None:
        self.arena = Arena(base)
        self.images, self.library, self.item = images, library, dtype.itemsize
        self.forward: list[_Call] = []
        self.backward: list[_Call] = []
        self.stem_values: list[Values] = []
        self.from_stem: list[tuple[calls.Source, int]] = []
        self.gradient_places: dict[int, int] = {}
        self.factors = 0
        self._path = 0
        self._norms: dict[int, calls.Norm] = {}

    def room(self, elements: int) -> int:
        """Take memory for that many numbers; return its address."""
        return self.arena.take(max(elements, 1) * self.item)

    def call(self, calls_: list[_Call], name: str, *arguments: Any) -> None:
        """Note a call of a kernel; whole numbers are passed as sizes."""
        prepared = tuple(SIZE(a) if isinstance(a, int) else a for a in arguments)
        calls_.append((self.library.functions[name], prepared))

    def _to(self, parameter: Tensor) -> int | None:
        return self.gradient_places.get(id(parameter))

    def norm(self, module: nn.Module) -> calls.Norm:
        """Return the struct of a batch norm, with room for its statistics."""
        norm = norm_of(module)
        if id(norm) not in self._norms:
            channels = norm.num_features
            assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
            self._norms[id(norm)] = calls.Norm(
                weight=norm.weight.data_ptr(),
                bias=norm.bias.data_ptr(),
                mean=self.room(channels),
                rstd=self.room(channels),
                scale=self.room(channels),
                shift=self.room(channels),
                running_mean=norm.running_mean.data_ptr(),
                running_variance=norm.running_var.data_ptr(),
                coefficients=self.room(3 * channels),
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

    def elements(self, extent: Extent) -> int:
        """Return the size of a batch of that shape."""
        return self.images * extent.pixels * extent.channels

    def new_values(
        self, extent: Extent, norm: calls.Norm | None = None, *, planes: int = 1
    ) -> Values:
        """Return a new tensor of that many planes."""
        size = self.elements(extent)
        return Values(
            address=self.room(size),
            width=extent.channels // planes,
            plane=size // planes,
            extent=extent,
            norm=norm,
        )

    def new_place(self, values: Values) -> Place:
        """Return a new place for the gradient of a tensor."""
        return Place(
            address=self.room(self.elements(values.extent)), width=values.width, plane=values.plane
        )

    def reached(
        self, place: Place, norm: calls.Norm | None, factors: int | None, start: int = 0
    ) -> calls.Reached:
        """Return the gradient of a result, of its channels from ``start``."""
        return calls.Reached(
            gradient=place.address + start * self.item,
            pitch=place.width,
            coefficients=None if norm is None else norm.coefficients + start * self.item,
            wide=0 if norm is None else norm.channels,
            factors=factors,
        )

    def norms_backward(
        self, values: list[tuple[Values, int | None]], reached: Place, extent: Extent
    ) -> None:
        """Find the gradients of the norms whose results were added to one sum."""
        terms = [
            calls.Term(source=value.source(), factors=factors, norm=ctypes.addressof(value.norm))
            for value, factors in values
            if value.norm is not None
        ]
        if terms:
            self.call(
                self.backward,
                "norms_backward",
                self.images,
                extent.pixels,
                extent.channels,
                (calls.Term * len(terms))(*terms),
                len(terms),
                POINTER(reached.address),
                reached.width,
            )

    def _clear(self, place: Place, extent: Extent) -> None:
        """Fill a gradient with zeros, which everything is then added to."""
        size = self.elements(extent) * self.item
        self.backward.append((_clear, (place.address, size)))
        place.written = True

    def project(
        self,
        values: Values,
        modules: list[nn.Conv2d],
        results: list[Values],
        reached: list[calls.Reached] | None = None,
        *,
        total: int,
        start: int = 0,
        offset: int = 0,
    ) -> calls.Projection:
        """Return the struct of 1×1 convolutions of the same pixels.

        Args:
            values: The source.
            modules: The convolutions.
            results: Of each of them.
            reached: Gradients of the results, for the backward pass.
            total: Channels of the sums that their norms need.
            start: The first of these convolutions' among them.
            offset: First row and column that is read.
        """
        parts = (calls.Part * len(modules))(
            *(
                calls.Part(
                    weights=module.weight.data_ptr(),
                    to_weights=self._to(module.weight),
                    outputs=module.out_channels,
                    result=results[place].address,
                    pitch=results[place].width,
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
        for number, of_stem in enumerate(self.stem_values):
            if values is of_stem:
                self.from_stem.append((projection.source, number))
        return projection

    def norm_sums(self, extent: Extent, sums: int, modules: list[nn.Module]) -> None:
        """Finish the norms of a projection, whose outputs are in the modules' order."""
        start, total = 0, sum(norm_of(module).num_features for module in modules)
        for module in modules:
            self.call(
                self.forward,
                "finish",
                ctypes.byref(self.norm(module)),
                POINTER(sums),
                self.images,
                total,
                start,
                ctypes.c_double(self.images * extent.pixels),
            )
            start += norm_of(module).num_features
        self.arena.give_back(sums)

    def room_for_sums(self, total: int) -> int:
        """Take memory for the sums of a projection's norms, of that many channels."""
        return self.arena.take(calls.GROUPS * 2 * total * _DOUBLE)

    def reduce_forward(self, values: Values, module: FactorizedReduce) -> Values:
        """Two convolutions, of the even and of the odd pixels, with one norm."""
        total = module.norm.num_features
        result = self.new_values(values.extent.over(2, total), self.norm(module))
        sums = self.room_for_sums(total)
        start = 0
        for offset, half in enumerate((module.even, module.odd)):
            if half.out_channels:
                projection = self.project(
                    values,
                    [half],
                    [self._from_channel(result, start)],
                    total=total,
                    start=start,
                    offset=offset,
                )
                self.call(self.forward, "project_forward", ctypes.byref(projection), POINTER(sums))
            start += half.out_channels
        self.norm_sums(result.extent, sums, [module])
        return result

    def _from_channel(self, values: Values, channel: int) -> Values:
        return replace(values, address=values.address + channel * self.item)

    def reduce_backward(
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
                reached = self.reached(gradient, result.norm, factors, start)
                projection = self.project(
                    values,
                    [half],
                    [self._from_channel(result, start)],
                    [reached],
                    total=result.width,
                    start=start,
                    offset=offset,
                )
                self.call(
                    self.backward,
                    "project_backward",
                    ctypes.byref(projection),
                    ctypes.byref(to.target()),
                )
            start += half.out_channels

    def path_forward(self, operation: nn.Module, source: int, values: Values, stride: int) -> Path:
        """Compute an operation of a source, up to the norm that its readers apply."""
        if isinstance(operation, nn.Identity):
            return Path(operation=operation, source=source, values=values)
        factors = self.factors + self._path * self.images * self.item
        self._path += 1
        path = Path(operation=operation, source=source, values=values, factors=factors)
        if isinstance(operation, FactorizedReduce):
            path.values = self.reduce_forward(values, operation)
        elif isinstance(operation, Pooling):
            path.values = self.new_values(values.extent.over(stride, values.extent.channels))
            self.call(
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

    def path_backward(
        self, path: Path, reached: Place, values: Values, to: Place, stride: int
    ) -> None:
        """Send a node's gradient through an operation to its source."""
        operation, extent = path.operation, values.extent
        if isinstance(operation, nn.Identity):
            self.call(
                self.backward,
                "identity_backward",
                self.images,
                extent.pixels,
                extent.channels,
                POINTER(reached.address),
                reached.width,
                ctypes.byref(to.target()),
            )
        elif isinstance(operation, FactorizedReduce):
            self.reduce_backward(values, operation, path.values, reached, path.factors, to)
        elif isinstance(operation, Pooling):
            self.call(
                self.backward,
                "pool_backward",
                ctypes.byref(self._grid(extent, stride, 3)),
                int(isinstance(operation[0], nn.MaxPool2d)),
                ctypes.byref(values.source()),
                POINTER(path.values.address),
                ctypes.byref(self.reached(reached, None, path.factors)),
                ctypes.byref(to.target()),
            )
        else:
            self._halves_backward(path, reached, values, to)

    def _half_forward(self, half: _Half, values: Values) -> Values:
        described = self._half(half, values)
        extent = values.extent.over(half.stride, values.extent.channels)
        result = self.new_values(extent, self.norm(half.norm))
        self.call(
            self.forward,
            "half_forward",
            ctypes.byref(described),
            POINTER(result.address),
            ctypes.byref(self.norm(half.norm)),
        )
        return result

    def _half(self, half: _Half, values: Values) -> calls.Half:
        return calls.Half(
            grid=self._grid(values.extent, half.stride, half.kernel, half.dilation),
            source=values.source(),
            depthwise=half.depthwise.weight.data_ptr(),
            pointwise=half.pointwise.weight.data_ptr(),
        )

    def _halves_backward(self, path: Path, reached: Place, values: Values, to: Place) -> None:
        halves = _halves(path.operation)
        above = self.reached(reached, path.values.norm, path.factors)
        if path.inner is None:
            self._half_backward(halves[0], values, path.values, above, to.target(), None)
            return
        inner = path.inner
        between = self.new_place(inner)
        self._half_backward(halves[1], inner, path.values, above, between.target(), inner.norm)
        below = self.reached(between, inner.norm, None)
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
        self.call(
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

    def sum_paths(self, paths: list[Path], node: Values) -> None:
        """Write the sum of paths into a node."""
        terms = (calls.Term * len(paths))(
            *(calls.Term(source=path.values.source(), factors=path.factors) for path in paths)
        )
        extent = node.extent
        self.call(
            self.forward,
            "sum_forward",
            self.images,
            extent.pixels,
            extent.channels,
            terms,
            len(paths),
            POINTER(node.address),
            node.width,
        )

    def release(self, nodes: list[list[Path]]) -> None:
        """Give back the results of a cell's operations."""
        for path in (path for node in nodes for path in node):
            if not isinstance(path.operation, nn.Identity):
                self.arena.give_back(path.values.address)
            if path.inner is not None:
                self.arena.give_back(path.inner.address)


def _clear(address: int, size: int) -> int:
    ctypes.memset(address, 0, size)
    return 0


def norm_of(module: nn.Module) -> nn.BatchNorm2d:
    """Return the batch norm of an input of a cell, or a batch norm itself."""
    if isinstance(module, FactorizedReduce):
        return module.norm
    found = module[2] if isinstance(module, ReluConvNorm) else module
    assert isinstance(found, nn.BatchNorm2d)  # as they are built  # noqa: S101
    return found


def convolution(module: nn.Module) -> nn.Conv2d:
    """Return the 1×1 convolution of an input of a cell."""
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
