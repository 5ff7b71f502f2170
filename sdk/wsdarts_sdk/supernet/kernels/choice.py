"""Which kernels a supernet runs on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.kernels.compiler import compiled_library, has_compiler, must_compile
from wsdarts_sdk.supernet.kernels.portable import PortableKernels

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
    """Compiled kernels on the CPU, the faster of Triton and portable ones on CUDA.

    What is faster is measured on a cell when a process first asks for a device and dtype; kernels
    that fail there or compute something else are not taken. Elsewhere, and where others cannot be
    had, the portable ones run. The environment variable ``WSDARTS_HUB_KERNELS`` (``compiled``,
    ``portable`` or ``triton``) decides where it is set, without a measurement.

    Raises:
        SettingsError: The variable names other kernels, or ones that cannot be had here.
    """
    asked = _asked()
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
    asked = _asked()
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


def _asked() -> str | None:
    asked = os.environ.get(VARIABLE) or None
    if asked not in (None, "compiled", "portable", "triton"):
        raise SettingsError(
            f"{VARIABLE}",
            found=repr(asked),
            expected="compiled, portable or triton, or leave it unset",
        )
    return asked


def must_wait(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether choosing takes a while, since the compiled kernels have to be made first."""
    asked = os.environ.get(VARIABLE) or None
    wanted = asked in (None, "compiled") and device.type == "cpu" and dtype in _COMPILED_DTYPES
    return wanted and must_compile()


def compile_ahead(device: torch.device, dtype: torch.dtype, progress: Progress) -> None:
    """Make the compiled kernels now, and say so, if the first use would have to."""
    if must_wait(device, dtype):
        progress("compiling the engine for this processor, once", 0, 1)
        compiled_library()


def _triton() -> Kernels:
    from wsdarts_sdk.supernet.kernels.triton.kernels import TritonKernels  # noqa: PLC0415

    return TritonKernels()


_ON_CUDA: dict[str, Callable[[], Kernels]] = {"portable": PortableKernels, "triton": _triton}


def _asked_for_triton(device: torch.device) -> Choice:
    if find_spec("triton") is None:
        raise SettingsError(
            f"{VARIABLE} asks for triton kernels, but triton is not installed",
            hint="pip install triton, or leave it unset",
        )
    from wsdarts_sdk.supernet.kernels.triton.kernels import interpreted  # noqa: PLC0415

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
    """The name of the fastest kernels and the figures, measured once in a process."""
    from wsdarts_sdk.supernet.kernels.trial import (  # noqa: PLC0415 (it needs cells: a circle)
        CellRehearsal,
        cuda_milliseconds,
        judge,
    )

    with torch.cuda.device(device):
        verdict = judge(_ON_CUDA, CellRehearsal(device, dtype), cuda_milliseconds)
    return verdict.name, verdict.why
