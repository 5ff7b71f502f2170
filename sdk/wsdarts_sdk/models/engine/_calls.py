"""Calls of the kernels in ``derived.cpp``: the library, structs for it, and tensors in an arena.

A tensor is in planes, images × rows × columns × channels each: one for each node of a cell. It lies
in an arena, from which all memory of a step is handed out.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from wsdarts_sdk.compiler import compiled_library
from wsdarts_sdk.supernet.kernels.base import strided

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
ALIGNED = 64  # bytes: a line of the cache


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
    """Memory that a gradient is written or added to."""

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
        size = -(-size // ALIGNED) * ALIGNED
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
        """Pixels of one image."""
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
    """Memory that collects the gradient of a tensor; its first writer does not add.

    Attributes:
        address: Of its first number.
        width: Channels of a plane.
        plane: Numbers of a plane.
        written: Whether something has been written there.
    """

    address: int
    width: int
    plane: int
    written: bool = False

    def target(self) -> Target:
        """Return where the next writer writes or adds."""
        found = Target(
            gradient=self.address,
            pitch=self.width,
            add=self.written,
            width=self.width,
            plane=self.plane,
        )
        self.written = True
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """A tensor in memory, with the batch norm that its readers apply.

    Attributes:
        address: Of its first number.
        width: Channels of a plane.
        plane: Numbers of a plane.
        extent: With the channels of all planes.
        norm: The batch norm; None where the values are as they are.
    """

    address: int
    width: int
    plane: int
    extent: Extent
    norm: Norm | None = None

    def source(self) -> Source:
        """Return how a kernel reads it."""
        norm = self.norm
        return Source(
            values=self.address,
            pitch=self.width,
            scale=None if norm is None else norm.scale,
            shift=None if norm is None else norm.shift,
            width=self.width,
            plane=self.plane,
        )
