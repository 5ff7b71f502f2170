"""Search steps on a GPU by different engines, for ``measure.py`` and ``profile_step.py``."""

import gc
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from job import wait
from step_engines import CHANNELS, CLASSES, STAGES, Lean, Recorded, Setting, public_network
from torch import Tensor

from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.search.cuda_graphs import Graphs, graphs_for
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import SearchState, exact_float32
from wsdarts_sdk.search.step import (
    Runner,
    StepInputs,
    move_alpha,
    move_weights,
    run_eagerly,
)
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT


class Engine(ABC):
    """One engine's full step."""

    @abstractmethod
    def step(self) -> None:
        """Move α on one batch, then the weights on another."""

    def facts(self) -> dict[str, Any]:
        """What is to be told beside its time."""
        return {}


class Public(Engine):
    """The public network, or the plain one of this project, stepped by autograd."""

    def __init__(
        self, setting: Setting, reference: Path | None, device: torch.device, *, lean: bool
    ) -> None:
        net, alpha = public_network(reference, setting)
        images, labels = (tensor.to(device) for tensor in setting.images())
        kind = LeanMixed if lean else Recorded
        self._step = kind(net.to(device), alpha, images, labels)

    def step(self) -> None:
        """As its own training script does it, or lean."""
        self._step.full()


class LeanMixed(Lean):
    """Channels last, only the gradients that are needed, forward passes in bfloat16."""

    def loss(self) -> Tensor:
        """Mean cross-entropy of the batch."""
        with torch.autocast(self.images.device.type, torch.bfloat16):
            return super().loss()


class Ours(Engine):
    """A step of a search, with its own optimisers, clipping and counting."""

    def __init__(
        self, setting: Setting, device: torch.device, dtype: torch.dtype, *, graphs: bool
    ) -> None:
        cells, operations = STAGES[setting.stage]
        stage = StageSettings(cells=cells, operations=operations, epochs=1, weights_only_epochs=0)
        self.settings = SearchSettings(
            stages=(stage,),
            channels=CHANNELS,
            image_size=setting.size,
            batch_size=setting.batch,
        )
        self.state = SearchState.fresh(self.settings, 0, setting.masks(), [CLASSES], device, dtype)
        self.state.net.train()
        images, labels = (tensor.to(device) for tensor in setting.images())
        self.inputs = StepInputs(batch=Batch(images=images, labels=labels), skip=NO_DROPOUT)
        self.said: list[str] = []
        self.graphs: Graphs | None = graphs_for(self.state, self.said.append) if graphs else None

    def step(self) -> None:
        """Both halves, by graphs where they are wanted and can be had."""
        run: Runner = self.graphs or run_eagerly
        with exact_float32():  # as a search does
            run(Part.ALPHA, self.inputs, partial(move_alpha, self.state, self.settings))
            run(Part.WEIGHTS, self.inputs, partial(move_weights, self.state, self.settings))

    def facts(self) -> dict[str, Any]:
        """Which kernels, and what became of the graphs."""
        net = self.state.net
        choice = choose_kernels(net.cell_weights.device, self.state.dtype)
        found: dict[str, Any] = {"kernels": net.kernels.name, "kernels_because": choice.why}
        if self.graphs is not None:
            found |= {"replays": self.graphs.replays, "choices": self.graphs.choices}
        return found | ({"said": self.said} if self.said else {})


def measured(
    make: Callable[[int], Engine], setting: Setting, device: torch.device, *, rounds: int
) -> dict[str, Any]:
    """Time and peak memory of a full step.

    Where it does not fit into memory, the batch is halved until it does, and as many steps are
    counted as make up the batch; the result says so.

    Args:
        make: Makes the engine for a batch of so many images.
        setting: What is measured; its batch is the whole one.
        device: Where.
        rounds: How often it is timed, after two steps that are not.
    """
    parts = 1
    while True:
        try:
            return _measured(make(setting.batch // parts), device, rounds, parts)
        except torch.OutOfMemoryError:
            if setting.batch // parts < 4:
                return {"failed": "out of memory"}
        parts *= 2  # out of the handler, which holds on to what was computed
        release(device)


def _measured(engine: Engine, device: torch.device, rounds: int, parts: int) -> dict[str, Any]:
    for _ in range(2):
        engine.step()
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(parts):
            engine.step()
        wait(device)
        seconds.append(time.perf_counter() - begun)
    found = {
        "milliseconds": round(1000 * statistics.median(seconds), 3),
        "least": round(1000 * min(seconds), 3),
        "greatest": round(1000 * max(seconds), 3),
        "batch_in_parts": parts,
        **engine.facts(),
    }
    if device.type == "cuda":
        # A replay allocates nothing: its memory is what its pool has reserved.
        found["peak_memory"] = torch.cuda.max_memory_allocated(device)
        found["reserved_memory"] = torch.cuda.memory_reserved(device)
    return found


def release(device: torch.device) -> None:
    """Give back the memory of an engine that is gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
