"""Where a run ran: versions and hardware, without names of hosts, users or paths."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry._format import pluralize

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "datasets")


def code_version() -> str:
    """Version of the installed wsdarts-hub."""
    return version("wsdarts-hub")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on; one that is missing is left out."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> str:
    """The processor or GPU in one line, with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {pluralize(torch.get_num_threads(), 'thread')}"


def environment(device: torch.device) -> dict[str, Any]:
    """What ``environment.json`` of a run holds."""
    return {
        "wsdarts-hub": code_version(),
        "libraries": library_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "hardware": hardware(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
