"""The choice of kernels: compiled, portable or Triton.

On CUDA the candidates run one cell forward and backward; of those whose results agree with the
portable kernels the fastest is taken.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.compiler import ENGINE, compiled_library, has_compiler, must_compile
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.supernet._cell import Cell, PassOptions, Statistics, Vectors
from wsdarts_sdk.supernet.kernels.base import Kernels, SkipDropout
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.operation_plan import Layout, plan_cell

VARIABLE = "WSDARTS_HUB_KERNELS"
_COMPILED_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Kernels and the reason for them.

    Attributes:
        kernels: Ready to be used by one supernet.
        why: In words, for ``doctor``; with figures where they were measured.
    """

    kernels: Kernels
    why: str


def choose_kernels(device: torch.device, dtype: torch.dtype) -> Choice:
    """Return compiled kernels on the CPU, the faster of Triton and portable ones on CUDA.

    What is faster is measured on a cell when a process first asks for a device and dtype; kernels
    that fail there or compute something else are not taken. Elsewhere, and where others cannot be
    had, the portable ones run. The environment variable ``WSDARTS_HUB_KERNELS`` (``compiled``,
    ``portable`` or ``triton``) decides where it is set, without a measurement.

    Raises:
        SettingsError: The variable names other kernels, or ones that cannot be had here.
    """
    asked = asked_kernels()
    if asked == "portable":
        return Choice(kernels=PortableKernels(), why=f"{VARIABLE} says so")
    if asked == "triton":
        return _asked_for_triton(device)
    if asked is None and device.type == "cuda":
        return _fastest_on_cuda(device, dtype)
    if device.type != "cpu" or dtype not in _COMPILED_DTYPES:
        why = f"the compiled ones are for float32 and float64 on the CPU, not {dtype} on {device}"
    else:
        found = compiled_library()
        if found.library is not None:
            return Choice(kernels=CompiledKernels(found.library, dtype), why=found.why)
        why = found.why
    if asked == "compiled":
        raise SettingsError(f"{VARIABLE} asks for compiled kernels, but {why}")
    return Choice(kernels=PortableKernels(), why=why)


def check_kernels(device: torch.device) -> None:
    """Refuse kernels that are asked for and cannot be had here, without compiling any.

    Raises:
        SettingsError: ``WSDARTS_HUB_KERNELS`` names other kernels, or ones that need a compiler,
            a package or a device that is not here.
    """
    asked = asked_kernels()
    if asked == "triton":
        _asked_for_triton(device)
    if asked == "compiled" and device.type != "cpu":
        raise SettingsError(
            f"{VARIABLE} asks for compiled kernels, but they are for the CPU, not {device}",
            hint="leave it unset",
        )
    if asked == "compiled" and not has_compiler():
        raise SettingsError(
            (
                f"{VARIABLE} asks for compiled kernels, but there is no C++ compiler (g++, "
                "clang++, or what CXX names)"
            ),
            hint="install one, or leave it unset",
        )


def asked_kernels() -> str | None:
    """Return the kernels that ``WSDARTS_HUB_KERNELS`` names, or None.

    Raises:
        SettingsError: There are none of that name.
    """
    asked = os.environ.get(VARIABLE) or None
    if asked not in (None, "compiled", "portable", "triton"):
        raise SettingsError(
            VARIABLE,
            found=repr(asked),
            expected="compiled, portable or triton",
            hint="leave it unset to have them chosen",
        )
    return asked


def must_wait(device: torch.device, dtype: torch.dtype, source: str = ENGINE) -> bool:
    """Return whether kernels have to be compiled first, which takes a while."""
    asked = os.environ.get(VARIABLE) or None
    wanted = asked in (None, "compiled") and device.type == "cpu" and dtype in _COMPILED_DTYPES
    return wanted and must_compile(source)


def compile_ahead(device: torch.device, dtype: torch.dtype, progress: Progress) -> None:
    """Compile the kernels now, and report it, if the first use would have to."""
    if must_wait(device, dtype):
        progress("compiling the engine for this processor, once", 0, 1)
        compiled_library()


def _triton() -> Kernels:
    from wsdarts_sdk.supernet.kernels.triton_kernels import TritonKernels  # noqa: PLC0415

    return TritonKernels()


_ON_CUDA: dict[str, Callable[[], Kernels]] = {"portable": PortableKernels, "triton": _triton}


def _asked_for_triton(device: torch.device) -> Choice:
    if find_spec("triton") is None:
        raise SettingsError(
            f"{VARIABLE} asks for triton kernels, but triton is not installed",
            hint="pip install triton, or leave it unset",
        )
    from wsdarts_sdk.supernet.kernels.triton_kernels import interpreted  # noqa: PLC0415

    if device.type != "cuda" and not interpreted():
        raise SettingsError(
            f"{VARIABLE} asks for triton kernels, but they are for CUDA, not {device}",
            hint="leave it unset",
        )
    return Choice(kernels=_triton(), why=f"{VARIABLE} says so")


def _fastest_on_cuda(device: torch.device, dtype: torch.dtype) -> Choice:
    if find_spec("triton") is None:
        return Choice(kernels=PortableKernels(), why="triton is not installed; pip install triton")
    name, why = _measured(device, dtype)
    return Choice(kernels=_ON_CUDA[name](), why=why)


@cache
def _measured(device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return the name of the fastest kernels and the figures, measured once in a process."""
    with torch.cuda.device(device):
        verdict = pick_fastest(_ON_CUDA, CellBenchmark(device, dtype), cuda_milliseconds)
    return verdict.name, verdict.why


Computation = Callable[[Kernels], Sequence[Tensor]]
Timer = Callable[[Callable[[], object]], float]
_CHANNELS, _IMAGES, _SIDE = 16, 32, 42
_REPEATS = 5
# Of the norm of each result. Outside of a search cuDNN may multiply float32 in TF32 (ten bits). In
# bfloat16 a cell's gradients are 6% off those of float32, and two kernels 3% off each other.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-2}
_HALF = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The kernels that a comparison picked.

    Attributes:
        name: Of the kernels to run on.
        why: With the time of each, or what speaks against it.
    """

    name: str
    why: str


def pick_fastest(
    candidates: Mapping[str, Callable[[], Kernels]], run: Computation, timer: Timer
) -> Selection:
    """Run all candidates, drop those that fail or differ, and return the fastest.

    Args:
        candidates: By name, how each is made. The first is what the others must agree with; an
            error of its own is not caught.
        run: Computes something on kernels.
        timer: Milliseconds that a call takes.
    """
    times, against = {}, []
    wanted: Sequence[Tensor] | None = None
    for name, make in candidates.items():
        try:
            kernels = make()
            found = run(kernels)
            if wanted is not None:
                _check(found, wanted)
            times[name] = timer(partial(run, kernels))
        except Exception as error:
            if wanted is None:
                raise
            against.append(f"{name} failed: {_line(error)}")
            continue
        wanted = found if wanted is None else wanted
    best = min(times, key=lambda name: times[name])
    measured = ", ".join(f"{name} {took:.2f} ms" for name, took in times.items())
    return Selection(name=best, why="; ".join([f"a cell took {measured}", *against]))


def _check(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Raise an ArithmeticError for results that are not those of the first candidate."""
    for value, right in zip(found, wanted, strict=True):
        away = (value.double() - right.double()).norm() / right.double().norm()
        allowed = _TOLERANCE.get(right.dtype, _HALF)
        if not away <= allowed:  # NaN is not either
            raise ArithmeticError(f"off by {away.item():.2g}, more than {allowed:g}")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def cuda_milliseconds(call: Callable[[], object]) -> float:
    """Return the least time of a few repeats by the device's clock, after a warm-up."""
    call()
    found: list[float] = []
    for _ in range(_REPEATS):
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        start.record()
        call()
        end.record()
        end.synchronize()
        found.append(float(start.elapsed_time(end)))
    return min(found)


class CellBenchmark:
    """Benchmark of a normal cell of all operations, always on the same numbers.

    Args:
        device: Where it is computed.
        dtype: What in.
        images: Batch size.
        side: Rows and columns.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, *, images: int = _IMAGES, side: int = _SIDE
    ) -> None:
        weights, statistics = Layout(), Layout()
        masks = OperationMasks.full(SearchSpace(nodes=2))
        self.plan = plan_cell(
            masks,
            index=0,
            inputs=(_CHANNELS, _CHANNELS),
            channels=_CHANNELS,
            reduction=False,
            after_reduction=False,
            weights=weights,
            statistics=statistics,
        )
        draws = torch.Generator().manual_seed(0)
        self._weights = torch.randn(weights.size, generator=draws).mul_(0.2).to(device, dtype)
        wide = torch.promote_types(dtype, torch.float32)
        count = masks.array("normal").size
        self._alpha = torch.rand(count, generator=draws).to(device, wide)
        shape = (images, side, side, _CHANNELS)
        self._images = torch.randn(shape, generator=draws).to(device, dtype)
        wider = (*shape[:-1], self.plan.nodes * _CHANNELS)
        self._gradient = torch.randn(wider, generator=draws).to(device, dtype)
        self._running = torch.zeros(statistics.size, dtype=wide, device=device)

    @torch.no_grad()
    def __call__(self, kernels: Kernels) -> list[Tensor]:
        """Return output, running statistics, and gradients of the inputs, the weights and α."""
        mean, variance = torch.zeros_like(self._running), torch.ones_like(self._running)
        vectors = Vectors(
            weights=self._weights,
            gradient=torch.zeros_like(self._weights, dtype=self._running.dtype),
            running_mean=mean,
            running_variance=variance,
        )
        options = PassOptions(
            alpha={"normal": kernels.scalars(self._alpha)},
            training=True,
            keep=True,
            weight_gradients=True,
            skip=SkipDropout(rate=0.3, seed=1),
            statistics=Statistics.like(self._running),
        )
        cell, found = Cell(self.plan, vectors, kernels), torch.zeros_like(self._alpha).double()
        tape = cell.forward((self._images, self._images), options)
        output = tape.output.clone()
        to = torch.zeros_like(self._images)
        cell.backward(tape, self._gradient.clone(), (to, to), found, options)
        assert vectors.gradient is not None  # given above  # noqa: S101
        # The gradients' dtype decides how near they must be: that of what was computed in.
        dtype = self._weights.dtype
        return [output, to, *(t.to(dtype) for t in (mean, variance, vectors.gradient, found))]
