r"""Estimation of the Fisher information from images, its standard error, and its limits.

For n images whose shares in filter f are $q_{if}$, with mean $F_f$, the standard error is

$$e_f = \sqrt{\frac{1}{n (n - 1)} \sum_i \left(q_{if} - m_i F_f\right)^2},
  \quad m_i = mean_f \frac{q_{if}}{F_f}.$$

$m_i$, the factor by which image i exceeds the mean at all filters alike, is taken out because
distances do not see it. (With $m_i = 1$ it would be the usual standard error of a mean, which is
about 3 % larger in what was measured.) Sketches of the label expectation are drawn for each image
on its own, so their noise is in it.

It is that of the images for the head as it is. The head is fitted to the same images, and other
images would give another one: disjoint halves of a task lay 0.8 to 1.4 times as far apart as this
error says if they had one head, and 1.5 to 8 times if each had its own. (Six pairs of halves, 120
to 400 images each, 10 or 102 classes, the shipped probe.) So it tells how far some of a task's
images are from all of them, where all have a part in the head, rather than from other images.
"""

import itertools
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf
from numbers import Real
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry._arguments import check_kind
from wsdarts_registry._files import read_regular
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_registry.embedding.embedding import relative_error
from wsdarts_registry.errors import EmbeddingError, FileAccessError, SettingsError
from wsdarts_sdk.data.decoding import write_cached
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.task2vec._compiled_fisher import CompiledFisher, compiled_fisher
from wsdarts_sdk.task2vec.fisher import (
    FisherSettings,
    image_fisher,
    label_factors,
    rademacher_signs,
)
from wsdarts_sdk.task2vec.probe import Head, Probe, fit_head
from wsdarts_sdk.task2vec.variational import VariationalSettings, variational_fisher


def standard_error(shares_NF: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return the standard error of the mean of the images' shares; see the top of this module.

    Args:
        shares_NF: Share of each image in each filter, shape ``(images, filters)``, >= 0.

    Returns:
        Shape ``(filters,)``; None for one image alone, or if all shares are 0.
    """
    images = len(shares_NF)
    shares_NF = shares_NF.astype(np.float64)
    mean_F = shares_NF.mean(0)
    seen = mean_F > 0
    if images < 2 or not seen.any():
        return None
    factors_N = (shares_NF[:, seen] / mean_F[seen]).mean(1)
    shares_NF -= factors_N[:, None] * mean_F
    error: NDArray[np.float64] = np.sqrt(np.square(shares_NF).sum(0) / (images * (images - 1)))
    return error


_Item = TypeVar("_Item")
_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s|m|h|)")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that end an estimation before all images are done; None for no limit.

    Attributes:
        seconds: Wall time, above 0.
        error: Relative standard error that is small enough, between 0 and 1.
    """

    seconds: float | None = None
    error: float | None = None

    @classmethod
    def of(cls, budget: float | str | None, target_error: float | None) -> "Limits":
        """Return limits from values that a user gave.

        Args:
            budget: Seconds, or a time such as ``"30s"``, ``"2m"``, ``"1h"``.
            target_error: Relative standard error, such as 0.05.

        Raises:
            SettingsError: A value is out of range or cannot be read.
        """
        if target_error is not None:
            check_kind(target_error, Real, "target_error", "a fraction, such as 0.05")
        if target_error is not None and not 0 < target_error < 1:
            raise SettingsError(
                "target_error",
                found=f"{target_error:g}",
                expected="a fraction between 0 and 1, such as 0.05 for five per cent",
            )
        return cls(seconds=None if budget is None else _seconds(budget), error=target_error)

    def __bool__(self) -> bool:
        return self.seconds is not None or self.error is not None


def until(deadline: float | None, items: Iterator[_Item], *, least: int = 1) -> Iterator[_Item]:
    """Yield items until one more would probably come after the deadline.

    Args:
        deadline: In the time of ``time.perf_counter``; None for never.
        items: Items that take time to compute.
        least: Number of items that are yielded in any case.
    """
    longest = 0.0
    for count in itertools.count():
        begun = time.perf_counter()
        if count >= least and deadline is not None and begun + longest > deadline:
            return
        try:
            item = next(items)
        except StopIteration:
            return
        longest = max(longest, time.perf_counter() - begun)
        yield item


def _seconds(budget: float | str) -> float:
    check_kind(budget, (Real, str), "budget", "seconds, or a time such as 30s")
    if isinstance(budget, str):
        found = _TIME.fullmatch(budget.strip())
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    else:
        seconds = float(budget)
    if not 0 < seconds < inf:
        raise SettingsError(
            "budget",
            found=f"{str(budget)[:40]!r}",
            expected="a time above 0, such as 30s, 2m, 1h or a number of seconds",
        )
    return seconds


_BATCH_PIXELS = {"cpu": 2**18, "cuda": 2**20}
_FEATURES_SHARE = 0.25
_PREVIEW_PAUSE = 10  # times as long as a preview took
_LEAST_IMAGES = 30  # images that a standard error needs before it may end the work


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """An estimate of the Fisher information.

    Attributes:
        values: One number for each filter, shape ``(filters,)``.
        standard_error: Its standard error, of the same shape; None if unknown.
        images: Number of images used: the first ones.
    """

    values: NDArray[np.float64]
    standard_error: NDArray[np.float64] | None
    images: int


class ProbeWithHead(nn.Module):
    """A probe and a head: from pixels 0 … 255 to logits."""

    def __init__(self, probe: Probe, head: Head) -> None:
        super().__init__()
        self.backbone = probe.model
        self._probe = probe
        self.head = head

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Return logits, shape ``(images, classes)``."""
        return self.head.logits(self._probe.features(pixels_BCHW))


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimation:
    """One estimation: the probe, the images in order, and the limits.

    Attributes:
        probe: The probe.
        pixels: The images, uint8, shape ``(images, 3, size, size)``, in such an order that every
            first part stands for the task.
        labels: Their classes 0 … C-1, shape ``(images,)``.
        positions: Position of each in the sample, shape ``(images,)``: the order of the cached
            features and of the sketches, which no limit changes.
        limits: Limits of time and error.
        started: Start of the time, by ``time.perf_counter``.
        progress: Called with (what, done, total).
        preview: Returns a short sentence on an estimate from the images so far.
    """

    probe: Probe
    pixels: Tensor
    labels: Tensor
    positions: Tensor
    limits: Limits
    started: float
    progress: Progress | None
    preview: Callable[[Estimate], str] | None = None

    def run(self, settings: FisherSettings | VariationalSettings, features: Path) -> Estimate:
        """Return the estimate.

        Args:
            settings: Settings of one of the estimators.
            features: The file that caches the probe's features.

        Raises:
            ProbeError: The network's gradients cannot be computed.
            SettingsError: One class only, or a head that does not converge.
        """
        features_NF = self._features(features)
        labels = self.labels[: len(features_NF)]
        head = fit_head(features_NF, labels, settings.head_l2, std_floor=settings.std_floor)
        network = ProbeWithHead(self.probe, head)
        if isinstance(settings, VariationalSettings):
            report = _reporter(self.progress, "Fisher information")
            order = self.positions.argsort()  # its draws are by position in the sample
            values = variational_fisher(
                network, self.pixels[order], labels[order], settings, progress=report
            )
            return Estimate(values=values, standard_error=None, images=len(labels))
        return _mean(self._shares(network, settings, features_NF))

    def _features(self, path: Path) -> Tensor:
        """Return the probe's features, shape ``(images, features)``, of fewer if time is short."""
        known = _read_features(path)
        if known is not None:
            return known[self.positions]
        images, batch = len(self.pixels), self._batch()
        computed = feature_rows(self.probe, self._compiled, self.pixels, batch)
        report = _reporter(self.progress, "probe's features")
        rows: list[Tensor] = []
        least = ceil((int(self.labels.max()) + 1) / batch)  # so that every class has an image
        for row in until(self._deadline(_FEATURES_SHARE), computed, least=least):
            rows.append(row)
            if report is not None:
                report(sum(map(len, rows)), images)
        features_NF = torch.cat(rows)
        if len(features_NF) == images:
            stored = torch.empty_like(features_NF)
            stored[self.positions] = features_NF
            write_cached(path, write_tensors({"features": stored.numpy()}))
        return features_NF

    def _shares(
        self, network: ProbeWithHead, settings: FisherSettings, features_NF: Tensor
    ) -> NDArray[np.floating]:
        """Return each image's share in each filter, ``(images, filters)``, of those with features.

        Fewer if a limit ends the work.
        """
        images, signs, classes = len(features_NF), None, int(self.labels.max()) + 1
        if classes > settings.exact_classes:
            signs = rademacher_signs(len(self.pixels), settings.sketches, classes, settings.seed)[
                self.positions
            ][:images]
        batch = max(2, self._batch())  # one image has no standard error
        rows: list[NDArray[np.floating]] = []
        so_far = _SoFar(self.preview)
        with closing(self._rows(network, features_NF, signs, batch)) as computed:
            for row in until(self._deadline(), computed):
                rows.append(row)
                done = sum(map(len, rows))
                if self.progress is not None:
                    self.progress(f"Fisher information{so_far(rows)}", done, images)
                if self._exact_enough(rows, done):
                    break
        return np.concatenate(rows)

    def _rows(
        self, network: ProbeWithHead, features_NF: Tensor, signs: Tensor | None, batch: int
    ) -> Generator[NDArray[np.floating]]:
        """Yield shares as ``image_fisher`` does, by compiled code where there is some."""
        pixels = self.pixels[: len(features_NF)]
        compiled = self._compiled
        if compiled is None:
            yield from image_fisher(network, pixels, signs=signs, batch=batch)
            return
        for start in range(0, len(pixels), batch):
            some = slice(start, start + batch)
            logits_BC = network.head.logits(features_NF[some]).double()
            chosen = None if signs is None else signs[some].double()
            factors_BKC = torch.stack(label_factors(logits_BC.softmax(1), chosen), dim=1)
            yield compiled.shares(pixels[some], factors_BKC @ network.head.weight)

    @cached_property
    def _compiled(self) -> CompiledFisher | None:
        return compiled_fisher(self.probe, self.pixels.shape[-1], self.progress)

    def _batch(self) -> int:
        return batch_size(self.pixels.shape[-1], self.probe.device.type)

    def _deadline(self, share: float = 1.0) -> float | None:
        """Return the time at which a share of the remaining time is over."""
        if self.limits.seconds is None:
            return None
        now, end = time.perf_counter(), self.started + self.limits.seconds
        return now + share * (end - now)

    def _exact_enough(self, rows: list[NDArray[np.floating]], done: int) -> bool:
        if self.limits.error is None or done < _LEAST_IMAGES:
            return False
        shares_NF = np.concatenate(rows)
        error = standard_error(shares_NF)
        return error is not None and relative_error(shares_NF.mean(0), error) <= self.limits.error


def _mean(shares_NF: NDArray[np.floating]) -> Estimate:
    return Estimate(
        values=shares_NF.mean(0, dtype=np.float64),
        standard_error=standard_error(shares_NF),
        images=len(shares_NF),
    )


class _SoFar:
    """The end of the progress's sentence: what a preview says, and the error so far.

    It is found anew only when ten times as long as that last took has gone by, so that it costs
    at most a tenth of the time.
    """

    def __init__(self, preview: Callable[[Estimate], str] | None) -> None:
        self._preview, self._sentence, self._next = preview, "", 0.0

    def __call__(self, rows: list[NDArray[np.floating]]) -> str:
        begun = time.perf_counter()
        if begun >= self._next:
            estimate = _mean(np.concatenate(rows))
            said = "" if self._preview is None else self._preview(estimate)
            parts = ["", said] if said else [""]
            if estimate.standard_error is not None:
                error = relative_error(estimate.values, estimate.standard_error)
                parts.append(f"error {100 * error:.0f} %")
            self._sentence = ", ".join(parts)
            now = time.perf_counter()
            self._next = now + _PREVIEW_PAUSE * (now - begun)
        return self._sentence


def feature_rows(
    probe: Probe, compiled: CompiledFisher | None, pixels: Tensor, batch: int
) -> Iterator[Tensor]:
    """Yield the probe's features of a batch at a time, by compiled code where there is some."""
    parameter = next(probe.model.parameters())
    for some in torch.split(pixels, batch):
        if compiled is not None:
            yield compiled.features(some)
        else:
            with torch.no_grad():
                yield probe.features(some.to(parameter)).cpu()


def batch_size(size: int, device: str = "cpu") -> int:
    """Return the number of images of that size to compute at a time.

    On a CPU enough for two cores without new memory from the system; on CUDA more, within a few
    gigabytes.
    """
    return max(1, min(64, _BATCH_PIXELS.get(device, 2**18) // size**2))


def _read_features(path: Path) -> Tensor | None:
    try:
        arrays, _ = read_tensors(read_regular(path), what=str(path), error=EmbeddingError)
        return torch.from_numpy(arrays["features"].copy())
    except (FileAccessError, EmbeddingError, KeyError):
        return None  # not there, or damaged: computed anew


def _reporter(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)
