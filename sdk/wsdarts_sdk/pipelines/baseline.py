"""The baseline beside a training: what labels the same held-out images without any search."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsdarts_registry._arguments import check_text
from wsdarts_registry._format import percent, pluralize
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.models.evaluation import share_right
from wsdarts_sdk.models.network import Size, count
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.evaluation import Baseline
from wsdarts_sdk.task2vec import Probe, load_probe
from wsdarts_sdk.task2vec.linear import fit_linear_classifier, trained_on

LINEAR = "linear"
_EXPECTED = "linear, linear:PROBE or None"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a baseline does on the held-out part, before there is a network to compare it with.

    Attributes:
        name: What it is.
        kind: ``linear``.
        right: Whether it labels each held-out image right, shape ``(images,)``.
        size: Its parameters and multiply-adds, with the network that makes the features.
        chosen: How its settings were chosen, as a sentence.
        trained_on: Which images its weights come from, as a sentence.
        seconds: Wall time of computing it.
    """

    name: str
    kind: str
    right: NDArray[np.bool_]
    size: Size
    chosen: str
    trained_on: str
    seconds: float

    def beside(self, result: TrainingResult, right: NDArray[np.bool_]) -> Baseline:
        """Return the baseline beside a trained network.

        Args:
            result: The trained network.
            right: Whether the network labels each held-out image right, shape ``(images,)``.
        """
        network = count(result.model, result.model.image_size)
        return Baseline(
            name=self.name,
            kind="linear",
            accuracy=share_right(self.right),
            difference=share_right(right, self.right),
            parameters=self.size.parameters,
            multiply_adds=self.size.multiply_adds,
            image_size=self.size.image_size,
            network_parameters=network.parameters,
            network_multiply_adds=network.multiply_adds,
            network_image_size=network.image_size,
            chosen=self.chosen,
            trained_on=self.trained_on,
            seconds=self.seconds,
        )


Measure = Callable[[ImageTask, Progress], Measured]


def find_baseline(baseline: str | None, device: torch.device) -> Measure | None:
    """Return how to measure a baseline, or None for none; what it needs is loaded here.

    Args:
        baseline: ``"linear"``, ``"linear:PROBE"`` with a probe as for ``load_probe``, or None.
        device: Where it is computed.

    Raises:
        SettingsError: There is no such baseline.
        ProbeError: The probe cannot be loaded.
    """
    check_text(baseline, "baseline", optional=True)
    if baseline is None:
        return None
    kind, _, named = baseline.partition(":")
    if kind != LINEAR or (":" in baseline and not named):
        raise SettingsError("baseline", found=repr(baseline[:80]), expected=_EXPECTED)
    probe = load_probe(named or None, device=str(device))
    return lambda task, progress: _measure_linear(task, probe, progress)


def _measure_linear(task: ImageTask, probe: Probe, progress: Progress) -> Measured:
    started = time.perf_counter()
    fitted = fit_linear_classifier(task, probe, progress=progress)
    size = count(probe.model, probe.preprocessing.size)
    head = fitted.head.weight.numel()
    right = fitted.logits.argmax(1).numpy() == task.labels[task.indices(task.held_out)]
    found = Measured(
        name=f"linear classifier on the features of {probe.name}",
        kind=LINEAR,
        right=right,
        size=Size(
            parameters=size.parameters + fitted.parameters,
            multiply_adds=size.multiply_adds + head,
            image_size=size.image_size,
        ),
        chosen=fitted.chosen,
        trained_on=trained_on(probe, task),
        seconds=time.perf_counter() - started,
    )
    told = f"{percent(float(right.mean()))} of {pluralize(len(right), 'held-out image')}"
    progress(f"the figure to beat: a {found.name} labels {told} right", 1, 1)
    return found
