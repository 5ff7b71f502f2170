"""Calls of the kernels in ``derived.cpp``: structs that describe tensors, and the library."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from wsdarts_sdk.compiler import compiled_library

POINTER = ctypes.c_void_p
SIZE = ctypes.c_int64
GROUPS = 32  # of images, each with sums of its own
FUNCTIONS = (
    "half_forward",
    "half_backward",
    "project_forward",
    "project_backward",
    "finish",
    "pool_forward",
    "pool_backward",
    "sum_forward",
    "norms_backward",
    "identity_backward",
)
SOURCES = {
    torch.float32: "supernet/kernels/derived.cpp:float",
    torch.float64: "supernet/kernels/derived.cpp:double",
}


class Source(ctypes.Structure):
    """Values, and the scale and shift by channel that make of them what is meant."""

    _fields_ = [
        *(("values", POINTER), ("pitch", SIZE), ("scale", POINTER), ("shift", POINTER)),
        *(("width", SIZE), ("plane", SIZE)),
    ]


class Grid(ctypes.Structure):
    """Extents of a source and a result."""

    _fields_ = [
        (name, SIZE)
        for name in (
            *("images", "height", "width", "channels"),
            *("rows", "columns", "kernel", "stride", "dilation"),
        )
    ]


class Target(ctypes.Structure):
    """Where a gradient is written or added."""

    _fields_ = [
        *(("gradient", POINTER), ("pitch", SIZE), ("add", SIZE)),
        *(("width", SIZE), ("plane", SIZE)),
    ]


class Reached(ctypes.Structure):
    """The gradient of a result."""

    _fields_ = [
        ("gradient", POINTER),
        ("pitch", SIZE),
        ("coefficients", POINTER),
        ("wide", SIZE),
        ("factors", POINTER),
    ]


class Norm(ctypes.Structure):
    """A batch norm: parameters, statistics and gradients."""

    _fields_ = [
        *((name, POINTER) for name in ("weight", "bias", "mean", "rstd", "scale", "shift")),
        *((name, POINTER) for name in ("running_mean", "running_variance", "coefficients")),
        *((name, POINTER) for name in ("to_weight", "to_bias")),
        ("momentum", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("channels", SIZE),
    ]


class Half(ctypes.Structure):
    """ReLU, depthwise and pointwise convolution."""

    _fields_ = [("grid", Grid), ("source", Source), ("depthwise", POINTER), ("pointwise", POINTER)]


class Part(ctypes.Structure):
    """One of several 1×1 convolutions of the same pixels."""

    _fields_ = [
        ("weights", POINTER),
        ("to_weights", POINTER),
        ("outputs", SIZE),
        ("result", POINTER),
        ("pitch", SIZE),
        ("reached", Reached),
    ]


class Projection(ctypes.Structure):
    """1×1 convolutions of the same pixels."""

    _fields_ = [
        ("grid", Grid),
        ("source", Source),
        *((name, SIZE) for name in ("offset", "total", "start", "relu", "count")),
        ("parts", POINTER),
    ]


class Term(ctypes.Structure):
    """One summand of a node."""

    _fields_ = [("source", Source), ("factors", POINTER), ("norm", POINTER)]


class Library:
    """The compiled kernels for one dtype.

    Raises:
        LookupError: They cannot be had here; the message says why.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        found = compiled_library(SOURCES[dtype])
        if found.library is None:
            raise LookupError(found.why)
        self._library = found.library
        self.functions: dict[str, Callable[..., int]] = {}
        for name in FUNCTIONS:
            function = getattr(found.library, name)
            function.restype = ctypes.c_int
            self.functions[name] = function

    def use_threads(self) -> None:
        """Compute with as many threads as torch, from here on in this thread."""
        self._library.set_threads(SIZE(torch.get_num_threads()))


def run(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """Run kernels one after the other.

    Raises:
        MemoryError: One of them had not enough for its own sums.
    """
    for function, arguments in calls:
        if function(*arguments):
            raise MemoryError("there is not enough for the kernels of the training step")
