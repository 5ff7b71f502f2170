"""A search or a training in a process that can be killed; run by test_kill.py.

    python killed_work.py WHAT DATA RUN OUT [DELAY…]

Each delay is the life of one process: it is killed with SIGKILL so many seconds after it has
begun to work, or half as long again for each life in a row that left no new checkpoint, as on a
busy machine. The last process lives to the end and writes what it found to OUT. All processes are
forked from one that has imported its libraries and done nothing else, which saves their start-up.
Prints how many were killed, and how many different checkpoints the kills left behind.
"""

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # the first step of an optimiser imports it: seconds that no life need lose

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import WsdartsError
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.runs.directory import RunDirectory, open_run
from wsdarts_sdk.runs.journal import FileJournal
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings, settings_json
from wsdarts_sdk.supernet.kernel_choice import choose_kernels

SEARCH = SearchSettings(
    space=SearchSpace(nodes=2, candidates=("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")),
    stages=tuple(
        StageSettings(
            cells=cells, operations=operations, epochs=12, weights_only_epochs=3, skip_dropout=0.4
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
    epochs=40,
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
GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 0), "
    "('max_pool_3x3', 2)], normal_concat=[2, 3], reduce=[('avg_pool_3x3', 0), ('skip_connect', "
    "1), ('sep_conv_5x5', 1), ('skip_connect', 2)], reduce_concat=[2, 3])"
)
_INTERVAL = 0.02  # seconds between checkpoints: each short life has to get ahead


def load_task(data: Path) -> ImageTask:
    """The task in DATA, an npz file; decoded beside it once."""
    with np.load(data) as arrays:
        return ImageTask.load(
            (arrays["images"], arrays["labels"]), name="digits", cache_dir=data.parent / "cache"
        )


def run_search(task: ImageTask, run: RunDirectory) -> tuple[dict[str, np.ndarray], object]:
    """The whole search, from wherever the run directory's checkpoint is."""
    part = TrainPart.of(task, image_size=8, batch_size=4, padding=1, flip=True)
    found = search([part], SEARCH, journal=FileJournal(run.path, "search", interval=_INTERVAL))
    arrays = {f"alpha.{kind}": alpha for kind, alpha in found.alpha.items()}
    arrays |= {name: value.numpy() for name, value in found.weights.items()}
    masks = [masks.to_json() for masks in found.stage_masks]
    rows = [{**row, "seconds": 0, "peak_memory": 0} for row in found.rows]
    return arrays, [found.genotype.to_json(), masks, rows]


def run_training(
    task: ImageTask, run: RunDirectory, settings: TrainingSettings = TRAINING
) -> tuple[dict[str, np.ndarray], object]:
    """The whole training, from wherever the run directory's checkpoint is."""
    found = train_network(
        Genotype.from_darts(GENOTYPE),
        task,
        settings,
        journal=FileJournal(run.path, "training", interval=_INTERVAL),
    )
    arrays = {name: value.numpy() for name, value in found.model.state_dict().items()}
    rows = [{**row, "seconds": 0} for row in found.rows]
    return arrays, [found.accuracy, found.loss, rows]


def live(what: str, data: Path, path: Path, out: Path, begun: int) -> None:
    """One life: work to the end and write what was found; tell when the work begins."""
    torch.set_num_threads(1)
    task = load_task(data)
    work, settings = {
        "search": (run_search, settings_json(SEARCH)),
        "training": (run_training, settings_json(TRAINING)),
        "choices": (partial(run_training, settings=CHOICES), settings_json(CHOICES)),
    }[what]
    # Compiled once for all lives, so its time is no part of the whole that they are shares of.
    choose_kernels(torch.device("cpu"), torch.float32)
    with open_run(path, {"command": what, "settings": settings}, resume=True) as run:
        os.write(begun, b"x")
        started = time.perf_counter()
        arrays, facts = work(task, run)
        seconds = time.perf_counter() - started
    np.savez(out.with_suffix(".npz"), **arrays)
    out.write_text(json.dumps({"facts": facts, "seconds": seconds}), encoding="utf-8")


def fork(what: str, data: Path, path: Path, out: Path) -> tuple[int, int]:
    """A child that lives; its pid, and where it says that it has begun."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(what, data, path, out, writing)
        except WsdartsError as error:
            sys.exit(str(error))
        sys.exit(0)
    os.close(writing)
    return child, reading


def main() -> None:
    """See the module."""
    what, (data, path, out), delays = sys.argv[1], map(Path, sys.argv[2:5]), sys.argv[5:]
    killed, stretch, checkpoints = 0, 1.0, set()
    for delay in [float(text) for text in delays]:
        child, reading = fork(what, data, path, out)
        os.read(reading, 1)
        os.close(reading)
        time.sleep(delay * stretch)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        before = len(checkpoints)
        for file in path.glob("*.checkpoint.safetensors"):
            checkpoints.add(hashlib.sha256(file.read_bytes()).hexdigest())
        stretch = 1.0 if len(checkpoints) > before else 1.5 * stretch
    child, _ = fork(what, data, path, out)
    _, status = os.waitpid(child, 0)
    print(killed, len(checkpoints))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
