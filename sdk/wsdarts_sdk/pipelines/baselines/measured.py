"""Figures of a baseline on the held-out images, before it is compared with a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._format import percent, pluralize
from wsdarts_sdk.models.evaluation import share_right
from wsdarts_sdk.models.network import Size, count
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.evaluation import Baseline


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a baseline does on the held-out part, before there is a network to compare it with.

    Attributes:
        name: What it is.
        kind: ``linear`` or ``timm``.
        right: Whether it labels each held-out image right, shape ``(images,)``.
        size: Its parameters and multiply-adds, with the network that makes the features.
        chosen: How its settings were chosen, as a sentence.
        trained_on: Which images its weights come from, as a sentence.
        seconds: Wall time of computing it.
    """

    name: str
    kind: Literal["linear", "timm"]
    right: NDArray[np.bool_]
    size: Size
    chosen: str
    trained_on: str
    seconds: float

    def announce(self, progress: Progress) -> None:
        """Report its figure."""
        images = pluralize(len(self.right), "held-out image")
        share = percent(float(self.right.mean()))
        progress(f"the figure to beat: a {self.name} labels {share} of {images} right", 1, 1)

    def beside(self, result: TrainingResult, right: NDArray[np.bool_]) -> Baseline:
        """Return the baseline beside a trained network.

        Args:
            result: The trained network.
            right: Whether the network labels each held-out image right, shape ``(images,)``.
        """
        network = count(result.model, result.model.image_size)
        return Baseline(
            name=self.name,
            kind=self.kind,
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


Measure = Callable[[RunContext], Measured]
"""How to measure a baseline in the open run of a training."""
