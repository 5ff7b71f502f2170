"""The kernels of ``cpu.cpp``, called through ctypes."""

import ctypes
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels import structs
from wsdarts_sdk.supernet.kernels.base import (
    Convolution,
    Kernels,
    Lattice,
    Norm,
    Term,
    Upstream,
    strided,
)

_FUNCTIONS = (
    "depthwise_forward",
    "depthwise_backward",
    "inner_coefficients",
    "pointwise_forward",
    "pointwise_backward",
    "finish",
    "pool_forward",
    "pool_backward",
    "mix_forward",
    "mix_backward",
    "identity_backward",
)


class CompiledKernels(Kernels):
    """Kernels for the CPU, compiled for one dtype.

    Results live in memory that is handed out again as soon as it is released: pages fresh from
    the operating system cost more than the arithmetic.
    """

    name = "compiled"

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype) -> None:
        suffix = {torch.float32: "float", torch.float64: "double"}[dtype]
        self._dtype = dtype
        self._term: Any = structs.FloatTerm if dtype == torch.float32 else structs.DoubleTerm
        self.calls = {name: getattr(library, f"{name}_{suffix}") for name in _FUNCTIONS}
        for function in self.calls.values():
            function.restype = ctypes.c_int
            function.errcheck = _check_memory
        self._library = library
        self._free: dict[int, list[Tensor]] = defaultdict(list)

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        if dtype != self._dtype or device.type != "cpu":
            raise TypeError(
                f"these kernels are for {self._dtype} on the CPU; found {dtype} on {device}"
            )

    def scalars(self, weights: Tensor) -> Sequence[Any]:
        self._library.set_threads(structs.SIZE(torch.get_num_threads()))
        values: list[float] = weights.detach().flatten().tolist()
        return values

    def empty(self, *shape: int, like: Tensor) -> Tensor:
        count = torch.Size(shape).numel()
        free = self._free[count]
        flat = free.pop() if free else torch.empty(count, dtype=like.dtype)
        return flat.view(shape)

    def release(self, *tensors: Tensor | None) -> None:
        for tensor in tensors:
            if tensor is not None:
                self._free[tensor.numel()].append(tensor.view(-1))

    def held(self) -> int:
        """Elements of all memory that is held for results; between steps, all that they took."""
        return sum(count * len(free) for count, free in self._free.items())

    def convolution_forward(
        self, convolution: Convolution, norm: Norm, *, keep: bool
    ) -> tuple[Tensor | None, Tensor]:
        described, shape = structs.depthwise(convolution)
        result = self.empty(*shape, like=convolution.source)
        middle = self.empty(*shape, like=convolution.source) if keep else None
        self.calls["depthwise_forward"](
            ctypes.byref(described),
            structs.place(middle),
            structs.place(result),
            ctypes.byref(structs.statistics(norm)),
        )
        return middle, result

    def convolution_backward(
        self,
        convolution: Convolution,
        middle: Tensor | None,
        result: Tensor,
        upstream: Upstream,
        *,
        source_gradient: Tensor | None,
        weight_gradients: tuple[Tensor, Tensor] | None,
    ) -> Upstream | None:
        described, _ = structs.depthwise(convolution)
        source, norm = convolution.source, convolution.norm
        sums = None
        if source_gradient is None:
            source_gradient = self.empty(*source.shape, like=source)
            sums = torch.zeros(*source.shape[:2], 2, source.shape[-1], dtype=torch.float64)
        to = structs.SourceGradient(
            gradient=source_gradient.data_ptr(),
            pitch=structs.pitch(source_gradient),
            sums=structs.address(sums),
        )
        weights = structs.WeightGradient()
        if weight_gradients is not None:
            weights = structs.WeightGradient(*(g.data_ptr() for g in weight_gradients))
        self.calls["depthwise_backward"](
            ctypes.byref(described),
            structs.place(middle),
            structs.place(result),
            ctypes.byref(structs.upstream(upstream)),
            ctypes.byref(to),
            ctypes.byref(weights),
        )
        if sums is None or norm is None:
            return None
        branches, images, height, width, channels = source.shape
        self.calls["inner_coefficients"](
            structs.SIZE(branches),
            structs.SIZE(images),
            structs.SIZE(channels),
            ctypes.c_double(images * height * width),
            structs.place(sums),
            structs.place(norm.mean),
            structs.place(norm.rstd),
            structs.place(norm.coefficients),
        )
        return Upstream(
            gradients=source_gradient.unbind(0),
            coefficients=norm.coefficients,
            memory=source_gradient,
        )

    def lattice_forward(self, lattice: Lattice, norm: Norm) -> Tensor:
        images, height, width, _ = lattice.source.shape
        branches = len(lattice.parts[0][0])
        rows, columns = strided(height, lattice.stride), strided(width, lattice.stride)
        total = sum(weights.shape[1] for weights, _ in lattice.parts)
        result = self.empty(branches, images, rows, columns, total, like=lattice.source)
        sums = torch.zeros(branches, images, 2, total, dtype=torch.float64)
        for part in structs.pointwise(lattice, total):
            self.calls["pointwise_forward"](
                ctypes.byref(part), structs.place(result), structs.place(sums)
            )
        self.calls["finish"](
            ctypes.byref(structs.statistics(norm)),
            structs.place(sums),
            structs.SIZE(branches),
            structs.SIZE(images),
            structs.SIZE(total),
            ctypes.c_double(images * rows * columns),
        )
        return result

    def lattice_backward(
        self,
        lattice: Lattice,
        result: Tensor,
        upstream: Upstream,
        *,
        source_gradient: Tensor | None,
        weight_gradients: Sequence[Tensor] | None,
    ) -> None:
        pitch = 0 if source_gradient is None else structs.pitch(source_gradient)
        for index, part in enumerate(structs.pointwise(lattice, result.shape[-1])):
            wanted = None if weight_gradients is None else weight_gradients[index]
            self.calls["pointwise_backward"](
                ctypes.byref(part),
                structs.place(result),
                ctypes.byref(structs.upstream(upstream)),
                structs.place(source_gradient),
                structs.SIZE(pitch),
                structs.place(wanted),
            )

    def pooling_forward(self, source: Tensor, kind: str, stride: int, norm: Norm) -> Tensor:
        shape = structs.pool_shape(source, stride, len(norm.mean))
        result = self.empty(shape.images, shape.rows, shape.columns, shape.channels, like=source)
        self.calls["pool_forward"](
            ctypes.byref(shape),
            structs.SIZE(kind == "max"),
            structs.place(source),
            structs.place(result),
            ctypes.byref(structs.statistics(norm, shared=True)),
        )
        return result

    def pooling_backward(
        self,
        source: Tensor,
        kind: str,
        stride: int,
        result: Tensor,
        upstream: Upstream,
        source_gradient: Tensor,
    ) -> None:
        self.calls["pool_backward"](
            ctypes.byref(structs.pool_shape(source, stride, len(upstream.gradients))),
            structs.SIZE(kind == "max"),
            structs.place(source),
            structs.place(result),
            ctypes.byref(structs.upstream(upstream)),
            structs.place(source_gradient),
            structs.SIZE(structs.pitch(source_gradient)),
        )

    def mix_forward(self, terms: Sequence[Term], result: Tensor) -> None:
        self.calls["mix_forward"](
            *structs.extents(result),
            self._terms(terms),
            structs.SIZE(len(terms)),
            structs.place(result),
            structs.SIZE(structs.pitch(result)),
        )

    def mix_backward(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        found = torch.empty(len(terms), dtype=torch.float64)
        places = (structs.POINTER * len(terms))(*(structs.address(c) for c in coefficients))
        self.calls["mix_backward"](
            *structs.extents(gradient),
            self._terms(terms),
            structs.SIZE(len(terms)),
            structs.place(gradient),
            structs.SIZE(structs.pitch(gradient)),
            places,
            structs.place(found),
        )
        return found

    def identity_backward(self, term: Term, gradient: Tensor, source_gradient: Tensor) -> None:
        images, rows, columns, channels = gradient.shape
        self.calls["identity_backward"](
            structs.SIZE(images * rows),
            structs.SIZE(columns),
            structs.SIZE(channels),
            self._terms([term]),
            structs.place(gradient),
            structs.SIZE(structs.pitch(gradient)),
            structs.place(source_gradient),
            structs.SIZE(structs.pitch(source_gradient)),
        )

    def _terms(self, terms: Sequence[Term]) -> ctypes.Array[Any]:
        described: ctypes.Array[Any] = (self._term * len(terms))(
            *(
                self._term(
                    values=t.values.data_ptr(),
                    pitch=structs.pitch(t.values),
                    mean=structs.address(t.mean),
                    rstd=structs.address(t.rstd),
                    alpha=t.alpha,
                    seed=t.seed,
                    rate=t.rate,
                )
                for t in terms
            )
        )
        return described


def _check_memory(lacked: int, _function: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if lacked:
        raise MemoryError("there is not enough for the supernet's kernels")
    return arguments
