"""What users hand in: datasets and probes in any of their forms, and where a run goes."""

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry.errors import ProbeError, TaskError
from wsdarts_registry.files import exists
from wsdarts_registry.store import Store
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.task2vec import Probe, load_probe
from wsdarts_sdk.tasks import ImageTask

# A path, "hf:NAME", "torchvision:NAME", (images, labels), or a task that is loaded already.
Data = Any
_SHIPPED = "shipped"


def load_task(data: Data, *, progress: Progress, **options: Any) -> ImageTask:
    """The task that ``data`` names or is; options go to ``ImageTask.load``.

    What is to be known about a task that is read here is said by ``progress``.
    """
    if isinstance(data, ImageTask):
        return data
    task = ImageTask.load(data, progress=progress, **options)
    for note in task.notes:
        progress(f"{task.name}: {note}", 1, 1)
    return task


def load_tasks(data: Sequence[Data], *, progress: Progress, **options: Any) -> list[ImageTask]:
    """Several tasks, each once.

    Raises:
        TaskError: No task, or one task twice.
    """
    tasks = [load_task(each, progress=progress, **options) for each in data]
    if not tasks:
        raise TaskError("no dataset was given; name at least one")
    digests = [task.digest for task in tasks]
    for position, task in enumerate(tasks):
        if task.digest in digests[:position]:
            raise TaskError(f"{task.name} is given twice (the same images); give each task once")
    return tasks


def find_probe(probe: str | Path | Probe | None, device: torch.device) -> Probe:
    """The probe itself, or the one of that name (None is the shipped one), on a device."""
    return probe if isinstance(probe, Probe) else load_probe(probe, device=str(device))


def probe_for(probe: str | Path | Probe | None, store: Store, device: torch.device) -> Probe:
    """The probe that was asked for; else the shipped one, if the registry names that.

    A registry is anyone's: which other network is built and fetched, the user decides.

    Raises:
        ProbeError: None was asked for, and the registry names another than the shipped one.
    """
    named = store.config.default_probe
    if probe is None and named != _SHIPPED:
        raise ProbeError(
            f"the registry {store.location} names the probe {named}, which is only loaded if you "
            f"ask for it: --probe {shlex.quote(named)}, or --probe {_SHIPPED} for the one that "
            "comes with the package"
        )
    return find_probe(probe, device)


def train_parts(
    tasks: Sequence[ImageTask], settings: SearchSettings, device: torch.device, progress: Progress
) -> list[TrainPart]:
    """The train part of each task at the search's image size, heads in the given order."""
    return [
        TrainPart.of(
            task,
            image_size=settings.image_size,
            batch_size=settings.batch_size,
            padding=settings.padding,
            flip=settings.flip,
            head=head,
            seed=settings.seed,
            device=device,
            memory_format=torch.channels_last,
            progress=progress,
        )
        for head, task in enumerate(tasks)
    ]


def run_path(out: str | Path | None, command: str, name: str) -> Path:
    """Where a run goes: ``out``, or the first free ``runs/COMMAND-NAME-N``."""
    if out is not None:
        return Path(out)
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    numbers = itertools.count(1)
    return next(p for n in numbers if not exists(p := Path("runs") / f"{command}-{stem}-{n}"))
