"""A search or a training in a process that is killed at counted events; run by test_kill.py.

    python killed_work.py

Each line of the standard input asks for a work: ``WHAT DATA RUN OUT [EVENTS:MANNER…]``. An event
is a call of the progress callback, that is the end of a step, or the opening or renaming of a file
in RUN, so that it is the same on a fast machine and on a slow one. For each of the last arguments
a process begins or resumes the work and is killed with SIGKILL after so many events: ``event`` is
at once, ``write`` is within the next write of a checkpoint, and ``instant`` is from outside, at an
instant that only the scheduler knows, before ``SLACK`` more events. A last process works to the
end and writes what it found to OUT. All processes are forked from one that has imported its
libraries and done nothing else, which saves their start-up. For each line it prints the exit code
of the last process, the number of killed ones, and that of the different checkpoints they left.
"""

import gc
import hashlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # which the first step of an optimiser imports: once for all processes

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import WsdartsError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.pipelines.baselines import FineTuning, fine_tuning_settings
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import RunDirectory, open_run
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings, settings_json
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.task2vec.loading import load_probe

SEARCH = SearchSettings(
    space=SearchSpace(nodes=2, candidates=("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")),
    stages=tuple(
        StageSettings(
            cells=cells, operations=operations, epochs=9, weights_only_epochs=2, skip_dropout=0.4
        )
        for cells, operations in ((3, 4), (3, 3), (4, 2))
    ),
    channels=2,
    image_size=8,
    batch_size=4,
)
TRAINING = TrainingSettings(
    cells=3,
    channels=4,
    image_size=8,
    epochs=45,
    batch_size=4,
    steps_per_epoch=4,
    cutout=2,
    drop_path=0.3,
)
CHOICES = replace(
    TRAINING,
    augmentation="trivialaugment",
    mixup=0.4,
    cutmix=1.0,
    class_balance="sampling",
    averaged_weights=0.9,
    patience=39,
)
FINE_TUNING = fine_tuning_settings(replace(TRAINING, averaged_weights=0.9), 8)
GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 0), "
    "('max_pool_3x3', 2)], normal_concat=[2, 3], reduce=[('avg_pool_3x3', 0), ('skip_connect', "
    "1), ('sep_conv_5x5', 1), ('skip_connect', 2)], reduce_concat=[2, 3])"
)
SLACK = 8  # events, among which there is always a checkpoint


class CountingJournal(FileJournal):
    """A journal on disk whose interval between checkpoints is a number of calls of ``due``."""

    _asked = 0

    def due(self) -> bool:
        """Return whether this is the last call of an interval."""
        self._asked += 1
        return self._asked % self._interval == 0


class Events:
    """Count the events of this process, and act on the last one.

    Args:
        run: The run directory, whose files count.
        last: Number of the event to act on; 0 for none.
        manner: Whether to die there, in the next write of a checkpoint, or to tell the parent.
        begun: Descriptor to tell the parent by.
    """

    def __init__(self, run: Path, last: int, manner: str, begun: int) -> None:
        self.count = 0
        self._run, self._last, self._manner, self._begun = str(run), last, manner, begun
        sys.addaudithook(self._hook)

    def progress(self, what: str, done: int, total: int) -> None:
        """Count a call of the progress callback."""
        self._add("progress", "")

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename") and str(arguments[0]).startswith(self._run):
            self._add(event, str(arguments[0]))

    def _add(self, event: str, path: str) -> None:
        self.count += 1
        if not self._last or self.count < self._last:
            return
        if self._manner == "event" or self.count >= self._last + SLACK:
            os.kill(os.getpid(), signal.SIGKILL)
        # The temporary file is whole, and is not the checkpoint yet.
        if self._manner == "write" and event == "os.rename" and ".checkpoint." in path:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._manner == "instant" and self.count == self._last:
            os.write(self._begun, b"x")


def load_task(data: Path) -> ImageTask:
    """The task in DATA, an npz file; decoded beside it once."""
    with np.load(data) as arrays:
        return ImageTask.load(
            (arrays["images"], arrays["labels"]), name="digits", cache_dir=data.parent / "cache"
        )


def run_search(
    task: ImageTask, run: RunDirectory, progress: Progress
) -> tuple[dict[str, Any], object]:
    """The whole search, from the run directory's last checkpoint."""
    part = TrainPart.of(task, image_size=8, batch_size=4, padding=1, flip=True)
    journal = CountingJournal(run.path, "search", interval=3)  # steps
    found = search([part], SEARCH, journal=journal, progress=progress)
    arrays = {f"alpha.{kind}": alpha for kind, alpha in found.alpha.items()}
    arrays |= {name: value.numpy() for name, value in found.weights.items()}
    masks = [masks.to_json() for masks in found.stage_masks]
    rows = [{**row, "seconds": 0, "peak_memory": 0} for row in found.rows]
    return arrays, [found.genotype.to_json(), masks, rows]


def run_training(
    task: ImageTask,
    run: RunDirectory,
    progress: Progress,
    settings: TrainingSettings = TRAINING,
) -> tuple[dict[str, Any], object]:
    """The whole training, from the run directory's last checkpoint."""
    found = train_network(
        Genotype.from_darts(GENOTYPE),
        task,
        settings,
        journal=CountingJournal(run.path, "training", interval=1),  # epoch
        progress=progress,
    )
    arrays = {name: value.numpy() for name, value in found.model.state_dict().items()}
    rows = [{**row, "seconds": 0} for row in found.rows]
    return arrays, [found.accuracy, found.loss, rows]


def run_fine_tuning(
    task: ImageTask, run: RunDirectory, progress: Progress
) -> tuple[dict[str, Any], object]:
    """The whole fine-tuning of a baseline, from the run directory's last checkpoint."""
    tuning = FineTuning(load_probe(), task, FINE_TUNING, device=torch.device("cpu"))
    journal = CountingJournal(run.path, "baseline", interval=1)  # epoch
    logits = tuning.run(journal, progress)
    arrays = {name: value.numpy() for name, value in tuning.net.state_dict().items()}
    return {**arrays, "logits": logits.numpy()}, [{**row, "seconds": 0} for row in journal.rows()]


WORK: dict[str, tuple[Callable[..., tuple[dict[str, Any], object]], object]] = {
    "search": (run_search, settings_json(SEARCH)),
    "training": (run_training, settings_json(TRAINING)),
    "fine-tuning": (run_fine_tuning, settings_json(FINE_TUNING)),
    "choices": (partial(run_training, settings=CHOICES), settings_json(CHOICES)),
}


def work_to_the_end(what: str, data: Path, path: Path, out: Path, events: Events) -> None:
    """Begin or resume the work, end it, and write what was found."""
    torch.set_num_threads(1)
    task = load_task(data)
    work, settings = WORK[what]
    choose_kernels(torch.device("cpu"), torch.float32)  # compiles them: no part of the work
    with open_run(path, {"command": what, "settings": settings}, resume=True) as run:
        arrays, facts = work(task, run, events.progress)
    np.savez(out.with_suffix(".npz"), **arrays)
    out.write_text(json.dumps({"facts": facts, "events": events.count}), encoding="utf-8")


def fork(
    what: str, data: Path, path: Path, out: Path, last: int = 0, manner: str = ""
) -> tuple[int, int]:
    """Start a process that works; return its pid, and where it tells that its event has come."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work_to_the_end(what, data, path, out, Events(path, last, manner, writing))
        except WsdartsError as error:
            sys.exit(str(error))
        sys.exit(0)
    os.close(writing)
    return child, reading


def kill_and_end(
    what: str, data: Path, path: Path, out: Path, deaths: list[str]
) -> tuple[int, int, int]:
    """Do one work; return an exit code, and the numbers of kills and of checkpoints."""
    draws = np.random.default_rng(len(deaths))
    killed, checkpoints = 0, set()
    for last, manner in (text.split(":") for text in deaths):
        child, reading = fork(what, data, path, out, int(last), manner)
        if os.read(reading, 1):  # nothing where it has ended by itself
            time.sleep(draws.uniform(0, 0.01))  # it dies by itself if this is too long
            os.kill(child, signal.SIGKILL)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        for file in path.glob("*.checkpoint.safetensors"):
            checkpoints.add(hashlib.sha256(file.read_bytes()).hexdigest())
    child, reading = fork(what, data, path, out)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), killed, len(checkpoints)


def main() -> None:
    """See the module."""
    gc.freeze()  # else collections in the forks would copy the memory that they share
    for line in sys.stdin:
        what, data, path, out, *deaths = shlex.split(line)
        print(*kill_and_end(what, Path(data), Path(path), Path(out), deaths), flush=True)


if __name__ == "__main__":
    main()
