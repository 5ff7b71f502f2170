"""The kernels of ``cpu.cpp``, called through ctypes with structs that describe tensors."""

import ctypes
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import (
    EPSILON,
    MOMENTUM,
    Convolution,
    Kernels,
    Norm,
    OutputGradient,
    PointwiseConvolution,
    Term,
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
    the operating system cost more than the arithmetic. It is handed out for results of the same
    size only, so it is given back before a pass of another number of images.
    """

    name = "compiled"

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype) -> None:
        suffix, scalar = {
            torch.float32: ("float", ctypes.c_float),
            torch.float64: ("double", ctypes.c_double),
        }[dtype]
        self._dtype = dtype
        self._term: Any = _term_struct(scalar)
        self.calls = {name: getattr(library, f"{name}_{suffix}") for name in _FUNCTIONS}
        for function in self.calls.values():
            function.restype = ctypes.c_int
            function.errcheck = _check_memory
        self._library = library
        self._free: dict[int, list[Tensor]] = defaultdict(list)
        self._images = 0  # of the last pass

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        if dtype != self._dtype or device.type != "cpu":
            raise TypeError(
                f"these kernels are for {self._dtype} on the CPU; found {dtype} on {device}"
            )

    def scalars(self, weights: Tensor) -> Sequence[Any]:
        self._library.set_threads(_SIZE(torch.get_num_threads()))
        values: list[float] = weights.detach().flatten().tolist()
        return values

    def begin_pass(self, images: int) -> None:
        if images != self._images:
            self._free.clear()
        self._images = images

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
        """Return the elements of all free memory; between passes, all that results took."""
        return sum(count * len(free) for count, free in self._free.items())

    def convolution_forward(
        self, convolution: Convolution, norm: Norm, *, keep: bool
    ) -> tuple[Tensor | None, Tensor]:
        described, shape = _depthwise(convolution)
        result = self.empty(*shape, like=convolution.source)
        middle = self.empty(*shape, like=convolution.source) if keep else None
        self.calls["depthwise_forward"](
            ctypes.byref(described),
            _pointer(middle),
            _pointer(result),
            ctypes.byref(_statistics(norm)),
        )
        return middle, result

    def convolution_backward(
        self,
        convolution: Convolution,
        middle: Tensor | None,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: tuple[Tensor, Tensor] | None,
    ) -> OutputGradient | None:
        described, _ = _depthwise(convolution)
        source, norm = convolution.source, convolution.norm
        sums = None
        if source_gradient is None:
            source_gradient = self.empty(*source.shape, like=source)
            sums = torch.zeros(*source.shape[:2], 2, source.shape[-1], dtype=torch.float64)
        to = _SourceGradient(
            gradient=source_gradient.data_ptr(),
            pitch=_pitch(source_gradient),
            sums=_address(sums),
        )
        weights = _WeightGradients()
        if weight_gradients is not None:
            weights = _WeightGradients(*(g.data_ptr() for g in weight_gradients))
        self.calls["depthwise_backward"](
            ctypes.byref(described),
            _pointer(middle),
            _pointer(result),
            ctypes.byref(_output_gradient(output_gradient)),
            ctypes.byref(to),
            ctypes.byref(weights),
        )
        if sums is None or norm is None:
            return None
        branches, images, height, width, channels = source.shape
        self.calls["inner_coefficients"](
            _SIZE(branches),
            _SIZE(images),
            _SIZE(channels),
            ctypes.c_double(images * height * width),
            _pointer(sums),
            _pointer(norm.mean),
            _pointer(norm.rstd),
            _pointer(norm.coefficients),
        )
        return OutputGradient(
            gradients=source_gradient.unbind(0),
            coefficients=norm.coefficients,
            memory=source_gradient,
        )

    def pointwise_forward(self, pointwise: PointwiseConvolution, norm: Norm) -> Tensor:
        images, height, width, _ = pointwise.source.shape
        branches = len(pointwise.parts[0][0])
        rows, columns = strided(height, pointwise.stride), strided(width, pointwise.stride)
        total = sum(weights.shape[1] for weights, _ in pointwise.parts)
        result = self.empty(branches, images, rows, columns, total, like=pointwise.source)
        sums = torch.zeros(branches, images, 2, total, dtype=torch.float64)
        for part in _pointwise_parts(pointwise, total):
            self.calls["pointwise_forward"](ctypes.byref(part), _pointer(result), _pointer(sums))
        self.calls["finish"](
            ctypes.byref(_statistics(norm)),
            _pointer(sums),
            _SIZE(branches),
            _SIZE(images),
            _SIZE(total),
            ctypes.c_double(images * rows * columns),
        )
        return result

    def pointwise_backward(
        self,
        pointwise: PointwiseConvolution,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: Sequence[Tensor] | None,
    ) -> None:
        pitch = 0 if source_gradient is None else _pitch(source_gradient)
        for index, part in enumerate(_pointwise_parts(pointwise, result.shape[-1])):
            wanted = None if weight_gradients is None else weight_gradients[index]
            self.calls["pointwise_backward"](
                ctypes.byref(part),
                _pointer(result),
                ctypes.byref(_output_gradient(output_gradient)),
                _pointer(source_gradient),
                _SIZE(pitch),
                _pointer(wanted),
            )

    def pooling_forward(self, source: Tensor, kind: str, stride: int, norm: Norm) -> Tensor:
        shape = _pool_shape(source, stride, len(norm.mean))
        result = self.empty(shape.images, shape.rows, shape.columns, shape.channels, like=source)
        self.calls["pool_forward"](
            ctypes.byref(shape),
            _SIZE(kind == "max"),
            _pointer(source),
            _pointer(result),
            ctypes.byref(_statistics(norm, shared=True)),
        )
        return result

    def pooling_backward(
        self,
        source: Tensor,
        kind: str,
        stride: int,
        result: Tensor,
        output_gradient: OutputGradient,
        source_gradient: Tensor,
    ) -> None:
        self.calls["pool_backward"](
            ctypes.byref(_pool_shape(source, stride, len(output_gradient.gradients))),
            _SIZE(kind == "max"),
            _pointer(source),
            _pointer(result),
            ctypes.byref(_output_gradient(output_gradient)),
            _pointer(source_gradient),
            _SIZE(_pitch(source_gradient)),
        )

    def mix_forward(self, terms: Sequence[Term], result: Tensor) -> None:
        self.calls["mix_forward"](
            *_extents(result),
            self._terms(terms),
            _SIZE(len(terms)),
            _pointer(result),
            _SIZE(_pitch(result)),
        )

    def mix_backward(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        found = torch.empty(len(terms), dtype=torch.float64)
        places = (_POINTER * len(terms))(*(_address(c) for c in coefficients))
        self.calls["mix_backward"](
            *_extents(gradient),
            self._terms(terms),
            _SIZE(len(terms)),
            _pointer(gradient),
            _SIZE(_pitch(gradient)),
            places,
            _pointer(found),
        )
        return found

    def identity_backward(self, term: Term, gradient: Tensor, source_gradient: Tensor) -> None:
        images, rows, columns, channels = gradient.shape
        self.calls["identity_backward"](
            _SIZE(images * rows),
            _SIZE(columns),
            _SIZE(channels),
            self._terms([term]),
            _pointer(gradient),
            _SIZE(_pitch(gradient)),
            _pointer(source_gradient),
            _SIZE(_pitch(source_gradient)),
        )

    def _terms(self, terms: Sequence[Term]) -> ctypes.Array[Any]:
        described: ctypes.Array[Any] = (self._term * len(terms))(
            *(
                self._term(
                    values=t.values.data_ptr(),
                    pitch=_pitch(t.values),
                    mean=_address(t.mean),
                    rstd=_address(t.rstd),
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


_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_int64


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, _SIZE)
        for name in (
            "branches",
            "images",
            "height",
            "width",
            "channels",
            "pitch",
            "rows",
            "columns",
            "kernel",
            "stride",
            "dilation",
        )
    ]


class _Depthwise(ctypes.Structure):
    _fields_ = [
        ("shape", _Shape),
        ("source", _POINTER),
        ("own", _SIZE),
        ("mean", _POINTER),
        ("rstd", _POINTER),
        ("depthwise", _POINTER),
        ("pointwise", _POINTER),
    ]


class _Pointwise(ctypes.Structure):
    _fields_ = [
        ("shape", _Shape),
        ("offset", _SIZE),
        ("outputs", _SIZE),
        ("total", _SIZE),
        ("start", _SIZE),
        ("source", _POINTER),
        ("weights", _POINTER),
    ]


class _Statistics(ctypes.Structure):
    _fields_ = [
        ("mean", _POINTER),
        ("rstd", _POINTER),
        ("running_mean", _POINTER),
        ("running_variance", _POINTER),
        ("momentum", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("training", _SIZE),
        ("shared", _SIZE),
    ]


class _OutputGradient(ctypes.Structure):
    _fields_ = [("gradients", _POINTER), ("pitch", _SIZE), ("coefficients", _POINTER)]


class _SourceGradient(ctypes.Structure):
    """A source's gradient, and memory for its sums."""

    _fields_ = [("gradient", _POINTER), ("pitch", _SIZE), ("sums", _POINTER)]


class _WeightGradients(ctypes.Structure):
    """Weight gradients; null where none are wanted."""

    _fields_ = [("depthwise", _POINTER), ("pointwise", _POINTER)]


def _term_struct(scalar: type) -> type[ctypes.Structure]:
    """Return the struct of a ``Term`` whose α has a type of C."""

    class TermStruct(ctypes.Structure):
        _fields_ = [
            ("values", _POINTER),
            ("pitch", _SIZE),
            ("mean", _POINTER),
            ("rstd", _POINTER),
            ("alpha", scalar),
            ("seed", ctypes.c_uint64),
            ("rate", ctypes.c_double),
        ]

    return TermStruct


def _address(tensor: Tensor | None) -> int | None:
    """Return the address of a tensor's memory; None for none."""
    return None if tensor is None else tensor.data_ptr()


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address as ctypes passes it."""
    return _POINTER(_address(tensor))


def _pitch(tensor: Tensor) -> int:
    """Return the number of elements from one pixel to the next."""
    return tensor.stride(-2)


def _extents(tensor: Tensor) -> tuple[ctypes.c_int64, ...]:
    """Return a tensor's shape, as arguments."""
    return tuple(_SIZE(extent) for extent in tensor.shape)


def _depthwise(convolution: Convolution) -> tuple[_Depthwise, tuple[int, ...]]:
    """Return the struct of a convolution, and the shape of the result."""
    source, norm = convolution.source, convolution.norm
    branches, kernel = len(convolution.depthwise), convolution.depthwise.shape[-1]
    images, height, width, channels = source.shape[-4:]
    rows, columns = strided(height, convolution.stride), strided(width, convolution.stride)
    described = _Depthwise(
        shape=_Shape(
            branches,
            images,
            height,
            width,
            channels,
            _pitch(source),
            rows,
            columns,
            kernel,
            convolution.stride,
            convolution.dilation,
        ),
        source=source.data_ptr(),
        own=source.dim() == 5,
        mean=None if norm is None else norm.mean.data_ptr(),
        rstd=None if norm is None else norm.rstd.data_ptr(),
        depthwise=convolution.depthwise.data_ptr(),
        pointwise=convolution.pointwise.data_ptr(),
    )
    return described, (branches, images, rows, columns, channels)


def _pointwise_parts(pointwise: PointwiseConvolution, total: int) -> list[_Pointwise]:
    """Return the struct of each part; ``total`` counts the outputs of all."""
    images, height, width, channels = pointwise.source.shape
    rows, columns = strided(height, pointwise.stride), strided(width, pointwise.stride)
    described, start = [], 0
    for weights, offset in pointwise.parts:
        shape = _Shape(
            len(weights),
            images,
            height,
            width,
            channels,
            _pitch(pointwise.source),
            rows,
            columns,
            1,
            pointwise.stride,
            1,
        )
        outputs = weights.shape[1]
        described.append(
            _Pointwise(
                shape,
                offset,
                outputs,
                total,
                start,
                pointwise.source.data_ptr(),
                weights.data_ptr(),
            )
        )
        start += outputs
    return described


def _pool_shape(source: Tensor, stride: int, branches: int) -> _Shape:
    """Return the extents of a 3×3 pooling."""
    images, height, width, channels = source.shape
    return _Shape(
        branches,
        images,
        height,
        width,
        channels,
        _pitch(source),
        strided(height, stride),
        strided(width, stride),
        3,
        stride,
        1,
    )


def _statistics(norm: Norm, *, shared: bool = False) -> _Statistics:
    """Return the struct of a norm; ``shared`` where its branches have one result."""
    return _Statistics(
        norm.mean.data_ptr(),
        norm.rstd.data_ptr(),
        norm.running_mean.data_ptr(),
        norm.running_variance.data_ptr(),
        MOMENTUM,
        EPSILON,
        norm.training,
        shared,
    )


def _output_gradient(reaching: OutputGradient) -> _OutputGradient:
    """Return the struct of an output gradient."""
    gradients = reaching.gradients
    found = _OutputGradient(
        pitch=_pitch(gradients[0]), coefficients=reaching.coefficients.data_ptr()
    )
    places = (_POINTER * len(gradients))(*(g.data_ptr() for g in gradients))
    found.gradients = ctypes.cast(places, _POINTER)
    found.kept = places  # alive as long as the description
    return found
