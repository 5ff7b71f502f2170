"""The Fisher information by ``fisher.cpp``, which a C++ compiler makes for this processor."""

import ctypes
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_sdk.compiler import compiled_library, must_compile
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.task2vec._network_plan import NetworkPlan, Operation, network_plan
from wsdarts_sdk.task2vec.probe import Probe, convolutions

# A Gram matrix of so many positions is cheaper than the gradients of all passes.
_GRAM_POSITIONS = 64
_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p
_KINDS = ("convolution", "relu", "max_pool", "average_pool", "add", "mean")
_SOURCES = {
    torch.float32: "task2vec/fisher.cpp:float",
    torch.float64: "task2vec/fisher.cpp:double",
}
_PASSES = 9  # at a time
_MOST_NUMBERS = 2**28  # of the gradients of one image
# The environment variable of the engine's kernels.
_VARIABLE = "WSDARTS_HUB_KERNELS"


class _Value(ctypes.Structure):
    _fields_ = [
        (name, _SIZE)
        for name in (
            "channels",
            "height",
            "width",
            "pad",
            "place",
            "gradient",
            "shared",
            "users",
        )
    ]


class _Operation(ctypes.Structure):
    _fields_ = [
        *(
            (name, _SIZE)
            for name in (
                "kind",
                "input",
                "other",
                "output",
                "kernel_height",
                "kernel_width",
                "stride_height",
                "stride_width",
                "pad_height",
                "pad_width",
                "filter",
                "gradient",
                "gram",
            )
        ),
        ("weights", _POINTER),
        ("bias", _POINTER),
        ("factors", _POINTER),
    ]


class _Network(ctypes.Structure):
    _fields_ = [
        *(
            (name, _SIZE)
            for name in (
                "images",
                "passes",
                "filters",
                "threads",
                "values",
                "operations",
                "features",
                "numbers",
                "gradients",
            )
        ),
        ("value", _POINTER),
        ("operation", _POINTER),
        ("pixels", _POINTER),
        ("at_output", _POINTER),
        ("result", _POINTER),
    ]


class _Features(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        maps = self.model.forward_features(x)  # type: ignore[operator]
        features: Tensor = self.model.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features


class CompiledFisher:
    """The features and the Fisher information of one probe at one input size, by compiled code.

    Args:
        probe: The probe, on the CPU.
        plan: Its operations.
        library: The compiled code.
    """

    def __init__(self, probe: Probe, plan: NetworkPlan, library: ctypes.CDLL) -> None:
        parameter = next(probe.model.parameters())
        self._dtype, self._width = parameter.dtype, plan.features
        self._mean = parameter.new_tensor(probe.preprocessing.mean)
        self._std = parameter.new_tensor(probe.preprocessing.std)
        self._library = library
        columns, self._filters = {}, 0
        for name, conv in convolutions(probe.model).items():
            columns[f"model.{name}"] = self._filters
            self._filters += conv.out_channels
        self._kept: list[Tensor] = []
        self._values, self._numbers, self._gradients = _described_values(plan)
        self._operations = (_Operation * len(plan.operations))(
            *(self._described(op, plan, columns) for op in plan.operations)
        )

    def shares(self, pixels_BCHW: Tensor, gradients_BKF: Tensor) -> NDArray[np.floating]:
        """Return the share of each image in the Fisher information of every filter.

        Args:
            pixels_BCHW: Images, RGB in 0 … 255, any number type.
            gradients_BKF: Gradients of several passes at the features, shape
                ``(images, passes, features)``.

        Returns:
            Shape ``(images, filters)``, filters in the order of ``convolutions``.

        Raises:
            MemoryError: There is not enough.
        """
        gradients_BKF = gradients_BKF.to(self._dtype).contiguous()
        result = torch.empty(len(pixels_BCHW), self._filters, dtype=self._dtype)
        self._call(self._library.shares, pixels_BCHW, gradients_BKF, result)
        return result.numpy()

    def features(self, pixels_BCHW: Tensor) -> Tensor:
        """Return the probe's features, shape ``(images, features)``, as ``Probe.features`` does.

        Raises:
            MemoryError: There is not enough.
        """
        result = torch.empty(len(pixels_BCHW), self._width, dtype=self._dtype)
        self._call(self._library.features, pixels_BCHW, result.new_empty(0, 0, 0), result)
        return result

    def _call(self, function: Any, pixels_BCHW: Tensor, at_output: Tensor, result: Tensor) -> None:
        x_BHWC = pixels_BCHW.permute(0, 2, 3, 1).to(self._dtype) / 255
        x_BHWC = ((x_BHWC - self._mean) / self._std).contiguous()
        network = _Network(
            images=len(x_BHWC),
            passes=at_output.shape[1],
            filters=self._filters,
            threads=torch.get_num_threads(),
            values=len(self._values),
            operations=len(self._operations),
            features=self._width,
            numbers=self._numbers,
            gradients=self._gradients,
            value=ctypes.addressof(self._values),
            operation=ctypes.addressof(self._operations),
            pixels=x_BHWC.data_ptr(),
            at_output=at_output.data_ptr(),
            result=result.data_ptr(),
        )
        function.restype = ctypes.c_int
        if function(ctypes.byref(network)):
            raise MemoryError("there is not enough for the Fisher information")

    def _described(self, op: Operation, plan: NetworkPlan, columns: dict[str, int]) -> _Operation:
        described = _Operation(
            kind=_KINDS.index(op.kind),
            input=op.inputs[0],
            other=op.inputs[-1],
            output=op.output,
            kernel_height=op.kernel[0],
            kernel_width=op.kernel[1],
            stride_height=op.stride[0],
            stride_width=op.stride[1],
            pad_height=op.padding[0],
            pad_width=op.padding[1],
        )
        if op.folded is not None:
            folded = op.folded
            described.filter = columns[op.name]
            described.gradient = op.inputs[0] != 0
            positions = plan.values[op.output].shape[1] * plan.values[op.output].shape[2]
            described.gram = positions <= _GRAM_POSITIONS
            described.weights = self._address(folded.weight)
            described.bias = self._address(folded.bias)
            described.factors = self._address(folded.scale.square() / folded.weight[0].numel())
        return described

    def _address(self, values: Tensor) -> int:
        kept = values.to(self._dtype).contiguous()
        self._kept.append(kept)
        return kept.data_ptr()


def compiled_fisher(
    probe: Probe, size: int, progress: Progress | None = None
) -> CompiledFisher | None:
    """Return the compiled Fisher information; None where autograd has to compute it.

    That is on other devices and dtypes, without a C++ compiler, with ``WSDARTS_HUB_KERNELS``
    set to ``portable``, for networks that no plan holds, and where a thread would take too much
    memory.

    Args:
        probe: The probe.
        size: Height and width of its input.
        progress: Told where the first use has to compile.
    """
    source = _SOURCES.get(next(probe.model.parameters()).dtype)
    if source is None or probe.device.type != "cpu" or os.environ.get(_VARIABLE) == "portable":
        return None
    plan = network_plan(_Features(probe.model), size)
    if plan is None or _PASSES * sum(value.numbers for value in plan.values) > _MOST_NUMBERS:
        return None
    if progress is not None and must_compile(source):
        progress("compiling the embedding for this processor, once", 0, 1)
    library = compiled_library(source).library
    return None if library is None else CompiledFisher(probe, plan, library)


def _described_values(plan: NetworkPlan) -> tuple[ctypes.Array[_Value], int, int]:
    """Return the structs of all values, and the elements of values and of gradients."""
    places, gradients = [0], [0]
    described = (_Value * len(plan.values))()
    for index, value in enumerate(plan.values):
        channels, height, width = value.shape
        place = places[-1] if value.place == index else described[value.place].place
        described[index] = _Value(
            channels=channels,
            height=height,
            width=width,
            pad=value.padding,
            place=place,
            gradient=gradients[-1],
            shared=value.shared,
            users=value.users,
        )
        if value.place == index:
            places.append(places[-1] + value.numbers)
        if value.shared < 0:
            gradients.append(gradients[-1] + value.numbers)
    return described, places[-1], gradients[-1]
