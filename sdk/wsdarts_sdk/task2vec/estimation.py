"""From images to Fisher information: features, head, gradients, until a limit ends it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry.embedding import relative_error
from wsdarts_registry.errors import EmbeddingError
from wsdarts_registry.files import read_whole, write_atomically
from wsdarts_registry.tensors import read_tensors, write_tensors
from wsdarts_sdk.task2vec.fisher import image_fisher, rademacher_signs
from wsdarts_sdk.task2vec.head import Head, fit_head
from wsdarts_sdk.task2vec.limits import Limits, until
from wsdarts_sdk.task2vec.probe import Probe
from wsdarts_sdk.task2vec.settings import FisherSettings, VariationalSettings
from wsdarts_sdk.task2vec.uncertainty import standard_error
from wsdarts_sdk.task2vec.variational import variational_fisher
from wsdarts_sdk.tasks.pixels import Progress

_BATCH_PIXELS = {"cpu": 2**18, "cuda": 2**20}
_FEATURES_SHARE = 0.25
_TRUSTED = 30  # images that a standard error needs before it may end the work


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Fisher information, and what it was estimated from.

    Attributes:
        values: One number a filter, shape ``(filters,)``.
        standard_error: Its standard error, of the same shape; None where it is not known.
        images: How many images it has: the first ones.
    """

    values: NDArray[np.float64]
    standard_error: NDArray[np.float64] | None
    images: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimation:
    """What an estimate is made of.

    Attributes:
        probe: The probe.
        pixels: The images, uint8, shape ``(images, 3, size, size)``, in such an order that every
            first part stands for the task.
        labels: Their classes 0 … C-1, shape ``(images,)``.
        places: Where each stands in the sample, shape ``(images,)``: the order of the features'
            file and of the sketches, which no limit changes.
        limits: What ends the work early.
        started: When their time began, by ``time.perf_counter``.
        progress: Called with (what, done, total).
    """

    probe: Probe
    pixels: Tensor
    labels: Tensor
    places: Tensor
    limits: Limits
    started: float
    progress: Progress | None

    def run(self, settings: FisherSettings | VariationalSettings, features: Path) -> Estimate:
        """Estimate.

        Args:
            settings: Which estimator, and its settings.
            features: The file that keeps the probe's features.

        Raises:
            ProbeError: The network is none that its gradients can be had of.
            SettingsError: One class only, or a head that does not converge.
        """
        features_NF = self._features(features)
        labels = self.labels[: len(features_NF)]
        head = fit_head(features_NF, labels, settings.head_l2, std_floor=settings.std_floor)
        network = ProbeWithHead(self.probe, head)
        if isinstance(settings, VariationalSettings):
            report = _reporter(self.progress, "Fisher information")
            order = self.places.argsort()  # its draws are by the place in the sample
            values = variational_fisher(
                network, self.pixels[order], labels[order], settings, progress=report
            )
            return Estimate(values=values, standard_error=None, images=len(labels))
        shares_NF = self._shares(network, settings, len(labels))
        return Estimate(
            values=shares_NF.mean(0, dtype=np.float64),
            standard_error=standard_error(shares_NF),
            images=len(shares_NF),
        )

    def _features(self, path: Path) -> Tensor:
        """The probe's features, shape ``(images, features)``; of fewer images if time is short."""
        known = _read_features(path)
        if known is not None:
            return known[self.places]
        images, batch = len(self.pixels), self._batch()

        def compute() -> Iterator[Tensor]:
            for some in torch.split(self.pixels, batch):
                with torch.no_grad():
                    yield self.probe.features(some.to(self.probe.device).float()).cpu()

        report = _reporter(self.progress, "probe's features")
        rows: list[Tensor] = []
        least = ceil((int(self.labels.max()) + 1) / batch)  # so that every class has an image
        for row in until(self._deadline(_FEATURES_SHARE), compute(), least=least):
            rows.append(row)
            if report is not None:
                report(sum(map(len, rows)), images)
        features_NF = torch.cat(rows)
        if len(features_NF) == images:
            stored = torch.empty_like(features_NF)
            stored[self.places] = features_NF
            write_atomically(path, write_tensors({"features": stored.numpy()}))
        return features_NF

    def _shares(
        self, network: nn.Module, settings: FisherSettings, images: int
    ) -> NDArray[np.floating]:
        """What each image adds to each filter, of at most so many; shape ``(images, filters)``."""
        signs, classes = None, int(self.labels.max()) + 1
        if classes > settings.exact_classes:
            signs = rademacher_signs(len(self.pixels), settings.sketches, classes, settings.seed)[
                self.places
            ][:images]
        batch = max(2, self._batch())  # one image has no standard error
        report = _reporter(self.progress, "Fisher information")
        rows: list[NDArray[np.floating]] = []
        done = 0
        with closing(
            image_fisher(network, self.pixels[:images], signs=signs, batch=batch)
        ) as computed:
            for row in until(self._deadline(), computed):
                rows.append(row)
                done += len(row)
                if report is not None:
                    report(done, images)
                if self._exact_enough(rows, done):
                    break
        return np.concatenate(rows)

    def _batch(self) -> int:
        return batch_size(self.pixels.shape[-1], self.probe.device.type)

    def _deadline(self, share: float = 1.0) -> float | None:
        """When a share of the time that is left is over."""
        if self.limits.seconds is None:
            return None
        now, end = time.perf_counter(), self.started + self.limits.seconds
        return now + share * (end - now)

    def _exact_enough(self, rows: list[NDArray[np.floating]], done: int) -> bool:
        if self.limits.error is None or done < _TRUSTED:
            return False
        shares_NF = np.concatenate(rows)
        error = standard_error(shares_NF)
        return error is not None and relative_error(shares_NF.mean(0), error) <= self.limits.error


class ProbeWithHead(nn.Module):
    """A probe and a head: from pixels 0 … 255 to logits."""

    def __init__(self, probe: Probe, head: Head) -> None:
        super().__init__()
        self.backbone = probe.model
        self._probe = probe
        self._head = head

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Logits, shape ``(images, classes)``."""
        return self._head.logits(self._probe.features(pixels_BCHW))


def batch_size(size: int, device: str = "cpu") -> int:
    """How many images of that size at a time.

    On a CPU enough to keep two cores busy, and no more than the allocator has at hand; on CUDA
    more, within a few gigabytes.
    """
    return max(1, min(64, _BATCH_PIXELS.get(device, 2**18) // size**2))


def _read_features(path: Path) -> Tensor | None:
    try:
        arrays, _ = read_tensors(read_whole(path), what=str(path), error=EmbeddingError)
        return torch.from_numpy(arrays["features"].copy())
    except (OSError, EmbeddingError, KeyError):
        return None  # not there, or damaged: computed anew


def _reporter(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)
