"""Imported by a process under test: from a moment on it may allocate little more than it has.

MEMORY_OF_SEARCH leaves a search, when it first counts the parts of its batches, that share of the
memory of a whole batch; MEMORY_OF_TRAINING leaves a training, when its first epoch begins, so many
bytes. The limit is one of the address space, so that the figures do not depend on how much the
machine has, nor on what libraries had taken until then.
"""

import os
import resource
from pathlib import Path
from typing import Any

from wsdarts_sdk.models.training_loop import TrainingLoop
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.step import needed_memory

_parts_that_fit, _run_epoch = loop.parts_that_fit, TrainingLoop._run_epoch
_AIM = 0.8  # of what is free a search plans with


def _allow(octets: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + int(octets)
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limited_search(net: Any, *, image_size: int, batch: int, **more: Any) -> int:
    whole = needed_memory(net, image_size=image_size, batch=batch)
    _allow(float(os.environ["MEMORY_OF_SEARCH"]) * whole / _AIM)
    return _parts_that_fit(net, image_size=image_size, batch=batch, **more)


def _limited_epoch(self: Any, *arguments: Any) -> Any:
    _allow(float(os.environ["MEMORY_OF_TRAINING"]))
    return _run_epoch(self, *arguments)


if "MEMORY_OF_SEARCH" in os.environ:
    loop.parts_that_fit = _limited_search
if "MEMORY_OF_TRAINING" in os.environ:
    TrainingLoop._run_epoch = _limited_epoch  # type: ignore[method-assign]
