"""Devices: choice, free memory, a limit on a network's memory, and the record of an environment.

The record holds versions and hardware, and no name of a host, a user or a path.
"""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import SettingsError


def dtype_of(name: str) -> torch.dtype:
    """Return ``float32`` or ``bfloat16`` by its name."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def name_of(dtype: torch.dtype) -> str:
    """Return the name that ``dtype_of`` takes."""
    return str(dtype).removeprefix("torch.")


def find_device(name: str | None = None) -> torch.device:
    """Return the device of that name; by default CUDA where there is one, else the CPU.

    Raises:
        SettingsError: The name is unknown, or there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"no device is called {name!r}", expected="cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(
            f"device {name} is of a kind that nothing here runs on", expected="cpu, cuda or cuda:N"
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"device {name} was asked for but torch finds no CUDA device here",
            hint="leave --device out, or run `wsdarts-hub doctor`",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device {name} was asked for but there are {torch.cuda.device_count()} CUDA devices "
            "here, counted from cuda:0"
        )
    return device


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held: on the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free: on the GPU, or on the CPU within the process's limits."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept  # torch keeps what it has freed, and gives it to the next
    available = _fields(Path("/proc/meminfo")).get("MemAvailable:")
    if available is None:  # not Linux: there is no such figure, so half of all the memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    group = Path("/sys/fs/cgroup")
    left = min(1024 * available, _left_in_container(group), _left_to_allocate())
    return left + _kept_by_allocator()


def _left_to_allocate() -> int:
    """Return the bytes that the process may still allocate (``ulimit -v``)."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return most
    return max(most - used * os.sysconf("SC_PAGE_SIZE"), 0)


def _kept_by_allocator() -> int:
    """Return the bytes that were freed and that malloc keeps for whoever asks next.

    For the system they are in use. A network that is dropped leaves most of its memory there, so
    without them a search would find less in each stage than in the one before.
    """
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):  # another C library, or one before glibc 2.33
        return 0
    ask.restype = _AllocatorFigures
    return int(ask().fordblks)


class _AllocatorFigures(ctypes.Structure):
    """``struct mallinfo2`` of glibc (malloc.h)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _left_in_container(group: Path) -> int:
    """Return the bytes that the control group (version 2) allows, with file cache it can free."""
    try:
        most = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return sys.maxsize
    return max(most - used + _fields(group / "memory.stat").get("inactive_file", 0), 0)


def _fields(path: Path) -> dict[str, int]:
    """Return numbers of lines such as ``MemAvailable: 123 kB`` by their first word; {} if none."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:  # not Linux
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


class TooLargeError(Exception):
    """A network needs more memory than it was allowed."""


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Build networks within a limit: refuse a tensor before its memory is used.

    What is counted are new tensors, whatever becomes of them, so that no order of making and
    dropping them evades the limit.

    Args:
        size: Bytes that new tensors may have together.

    Raises:
        TooLargeError: They would have more.
    """
    with _Counter(size):
        yield


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # Memory that was only reserved costs nothing before it is written to.
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not any(isinstance(each, Tensor) for each in args):
            self._left -= made.numel() * made.element_size()
            if self._left < 0:
                raise TooLargeError
        return made


_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "datasets")


def code_version() -> str:
    """Return the version of the installed wsdarts-hub."""
    return version("wsdarts-hub")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on, without missing ones."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> str:
    """Return the processor or GPU in one line, with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {pluralize(torch.get_num_threads(), 'thread')}"


def environment(device: torch.device) -> dict[str, Any]:
    """Return the content of ``environment.json`` of a run."""
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
