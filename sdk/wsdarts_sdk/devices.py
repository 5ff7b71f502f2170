"""Which device work runs on."""

import resource
import sys

import torch

from wsdarts_registry.errors import SettingsError


def find_device(name: str | None = None) -> torch.device:
    """The device of that name; by default CUDA where there is one, else the CPU.

    Raises:
        SettingsError: The name is unknown, or there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"no device is called {name!r}; expected cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"device {name} was asked for but torch finds no CUDA device here; leave --device out, "
            "or run `wsdarts-hub doctor`"
        )
    return device


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held so far: on the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
