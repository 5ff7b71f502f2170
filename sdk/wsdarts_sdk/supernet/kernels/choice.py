"""Which kernels a supernet runs on."""

import os
from dataclasses import dataclass

import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.kernels.compiler import compiled_library
from wsdarts_sdk.supernet.kernels.portable import PortableKernels

VARIABLE = "WSDARTS_HUB_KERNELS"
_COMPILED_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Kernels and the reason for them.

    Attributes:
        kernels: Ready to be used by one supernet.
        why: In words, for ``doctor``.
    """

    kernels: Kernels
    why: str


def choose_kernels(device: torch.device, dtype: torch.dtype) -> Choice:
    """Compiled kernels on the CPU where they can be had, portable ones elsewhere.

    The environment variable ``WSDARTS_HUB_KERNELS`` (``compiled`` or ``portable``) decides
    where it is set.

    Raises:
        SettingsError: The variable names other kernels, or ones that cannot be had here.
    """
    asked = os.environ.get(VARIABLE) or None
    if asked not in (None, "compiled", "portable"):
        raise SettingsError(
            f"{VARIABLE} is {asked!r}; expected compiled or portable, or leave it unset"
        )
    if asked == "portable":
        return Choice(kernels=PortableKernels(), why=f"{VARIABLE} says so")
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
