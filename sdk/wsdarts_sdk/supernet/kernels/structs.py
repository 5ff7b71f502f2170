"""How tensors are described to ``cpu.cpp``: its structs, and what fills them."""

import ctypes

from torch import Tensor

from wsdarts_sdk.supernet.kernels import base
from wsdarts_sdk.supernet.kernels.base import EPSILON, MOMENTUM, strided

POINTER = ctypes.c_void_p
SIZE = ctypes.c_int64


class Shape(ctypes.Structure):
    """Extents of a call's images: source and result."""

    _fields_ = [
        (name, SIZE)
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


class Depthwise(ctypes.Structure):
    """A ``Convolution``."""

    _fields_ = [
        ("shape", Shape),
        ("source", POINTER),
        ("own", SIZE),
        ("mean", POINTER),
        ("rstd", POINTER),
        ("depthwise", POINTER),
        ("pointwise", POINTER),
    ]


class Pointwise(ctypes.Structure):
    """One part of a ``Lattice``, and where its outputs stand among all."""

    _fields_ = [
        ("shape", Shape),
        ("offset", SIZE),
        ("outputs", SIZE),
        ("total", SIZE),
        ("start", SIZE),
        ("source", POINTER),
        ("weights", POINTER),
    ]


class Statistics(ctypes.Structure):
    """A ``Norm`` of the forward pass."""

    _fields_ = [
        ("mean", POINTER),
        ("rstd", POINTER),
        ("running_mean", POINTER),
        ("running_variance", POINTER),
        ("momentum", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("training", SIZE),
        ("shared", SIZE),
    ]


class Upstream(ctypes.Structure):
    """A ``base.Upstream``."""

    _fields_ = [("gradients", POINTER), ("pitch", SIZE), ("coefficients", POINTER)]


class SourceGradient(ctypes.Structure):
    """Where a source's gradient goes, and room for its sums."""

    _fields_ = [("gradient", POINTER), ("pitch", SIZE), ("sums", POINTER)]


class WeightGradient(ctypes.Structure):
    """Where weight gradients go; null where none are wanted."""

    _fields_ = [("depthwise", POINTER), ("pointwise", POINTER)]


class FloatTerm(ctypes.Structure):
    """A ``Term`` of the float32 functions."""

    _fields_ = [
        ("values", POINTER),
        ("pitch", SIZE),
        ("mean", POINTER),
        ("rstd", POINTER),
        ("alpha", ctypes.c_float),
        ("seed", ctypes.c_uint64),
        ("rate", ctypes.c_double),
    ]


class DoubleTerm(ctypes.Structure):
    """A ``Term`` of the float64 functions."""

    _fields_ = [
        ("values", POINTER),
        ("pitch", SIZE),
        ("mean", POINTER),
        ("rstd", POINTER),
        ("alpha", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("rate", ctypes.c_double),
    ]


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's memory begins; None for none."""
    return None if tensor is None else tensor.data_ptr()


def place(tensor: Tensor | None) -> ctypes.c_void_p:
    """The same as ctypes passes it."""
    return POINTER(address(tensor))


def pitch(tensor: Tensor) -> int:
    """Elements from one pixel to the next."""
    return tensor.stride(-2)


def extents(tensor: Tensor) -> tuple[ctypes.c_int64, ...]:
    """A tensor's shape, as arguments."""
    return tuple(SIZE(extent) for extent in tensor.shape)


def depthwise(convolution: base.Convolution) -> tuple[Depthwise, tuple[int, ...]]:
    """The description that ``cpu.cpp`` takes, and the shape of the result."""
    source, norm = convolution.source, convolution.norm
    branches, kernel = len(convolution.depthwise), convolution.depthwise.shape[-1]
    images, height, width, channels = source.shape[-4:]
    rows, columns = strided(height, convolution.stride), strided(width, convolution.stride)
    described = Depthwise(
        shape=Shape(
            branches,
            images,
            height,
            width,
            channels,
            pitch(source),
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


def pointwise(lattice: base.Lattice, total: int) -> list[Pointwise]:
    """The description of each part; ``total`` counts the outputs of all."""
    images, height, width, channels = lattice.source.shape
    rows, columns = strided(height, lattice.stride), strided(width, lattice.stride)
    described, start = [], 0
    for weights, offset in lattice.parts:
        shape = Shape(
            len(weights),
            images,
            height,
            width,
            channels,
            pitch(lattice.source),
            rows,
            columns,
            1,
            lattice.stride,
            1,
        )
        outputs = weights.shape[1]
        described.append(
            Pointwise(
                shape,
                offset,
                outputs,
                total,
                start,
                lattice.source.data_ptr(),
                weights.data_ptr(),
            )
        )
        start += outputs
    return described


def pool_shape(source: Tensor, stride: int, branches: int) -> Shape:
    """Extents of a 3×3 pooling."""
    images, height, width, channels = source.shape
    return Shape(
        branches,
        images,
        height,
        width,
        channels,
        pitch(source),
        strided(height, stride),
        strided(width, stride),
        3,
        stride,
        1,
    )


def statistics(norm: base.Norm, *, shared: bool = False) -> Statistics:
    """The description of a norm; ``shared`` where its branches have one result."""
    return Statistics(
        norm.mean.data_ptr(),
        norm.rstd.data_ptr(),
        norm.running_mean.data_ptr(),
        norm.running_variance.data_ptr(),
        MOMENTUM,
        EPSILON,
        norm.training,
        shared,
    )


def upstream(reaching: base.Upstream) -> Upstream:
    """The description of what reaches a result."""
    gradients = reaching.gradients
    found = Upstream(pitch=pitch(gradients[0]), coefficients=reaching.coefficients.data_ptr())
    places = (POINTER * len(gradients))(*(g.data_ptr() for g in gradients))
    found.gradients = ctypes.cast(places, POINTER)
    found.kept = places  # alive as long as the description
    return found
