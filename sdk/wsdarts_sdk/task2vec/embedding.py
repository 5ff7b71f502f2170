"""From a task to its embedding: images, features, head, Fisher information."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry.cache import cache_directory
from wsdarts_registry.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.errors import EmbeddingError
from wsdarts_registry.files import write_atomically
from wsdarts_registry.tensors import read_tensors, write_tensors
from wsdarts_sdk.task2vec.fisher import filter_fisher, rademacher_signs
from wsdarts_sdk.task2vec.head import Head, fit_head
from wsdarts_sdk.task2vec.probe import Probe
from wsdarts_sdk.task2vec.sample import Sample
from wsdarts_sdk.task2vec.settings import FisherSettings, VariationalSettings
from wsdarts_sdk.task2vec.variational import variational_fisher
from wsdarts_sdk.tasks import ImageTask
from wsdarts_sdk.tasks.pixels import Progress

Settings = FisherSettings | VariationalSettings
DEFAULT_SETTINGS = FisherSettings()
_VERSIONS = {FisherSettings: ("fisher", 1), VariationalSettings: ("variational", 1)}
_BATCH_PIXELS = 2**18


def embedding_space(probe: Probe, settings: Settings = DEFAULT_SETTINGS) -> EmbeddingSpace:
    """The space that embeddings by this probe and with these settings belong to."""
    estimator, version = _VERSIONS[type(settings)]
    values = dataclasses.asdict(settings)
    values["size"] = input_size(probe, settings)
    return EmbeddingSpace(
        probe=probe.name,
        probe_digest=probe.digest,
        estimator=estimator,
        version=version,
        settings=tuple(values.items()),
    )


def input_size(probe: Probe, settings: Settings) -> int:
    """Pixels a side at which the probe sees images."""
    return probe.preprocessing.size if settings.size is None else settings.size


def embed(
    task: ImageTask,
    probe: Probe,
    settings: Settings = DEFAULT_SETTINGS,
    *,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> TaskEmbedding:
    """Embed a task by a probe. Only images of its train part are looked at.

    Finished embeddings are kept in the cache by task, probe and settings, and the probe's
    features by task, probe, number of images and size.

    Args:
        task: A task with at least two classes.
        probe: The network; the computation runs where its weights lie.
        settings: Which estimator, and its settings.
        cache_dir: Where the cache is; else ``cache_directory()``.
        progress: Called with (what, done, total).

    Raises:
        ProbeError: The input size does not fit the probe.
        SettingsError: Too few images for two classes, or a head that does not converge.
        TaskError: An image has changed since the task was loaded.
        EmbeddingError: The probe sees nothing in these images.
    """
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    space = embedding_space(probe, settings)
    path = _cache_file(cache, task, probe, settings)
    known = _cached_embedding(path, task, space)
    if known is not None:
        return dataclasses.replace(known, task_name=task.name)
    started = time.perf_counter()
    size = input_size(probe, settings)
    if size != probe.preprocessing.size:
        probe.check(size)
    sample = Sample.of(task, settings.images)
    pixels = sample.pixels(task, size, progress)
    labels = torch.from_numpy(sample.labels)
    features = _features(task, probe, pixels, cache, progress)
    network = ProbeWithHead(
        probe, fit_head(features, labels, settings.head_l2, std_floor=settings.std_floor)
    )
    values = _estimate(network, pixels, labels, settings, progress)
    embedding = TaskEmbedding(
        space=space,
        values=values.astype(np.float32).astype(np.float64),  # as they will come from the cache
        task_digest=task.digest,
        task_name=task.name,
        images=len(labels),
        classes=sample.classes,
    )
    seconds = time.perf_counter() - started
    embedding.save(path)
    write_atomically(_cost_file(path), json.dumps(seconds).encode())
    return embedding


def embedding_seconds(
    task: ImageTask,
    probe: Probe,
    settings: Settings = DEFAULT_SETTINGS,
    *,
    cache_dir: str | Path | None = None,
) -> float | None:
    """What the cached embedding of a task cost when it was computed; None where that is lost."""
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    try:
        found = json.loads(_cost_file(_cache_file(cache, task, probe, settings)).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, float) else None


def _cache_file(cache: Path, task: ImageTask, probe: Probe, settings: Settings) -> Path:
    key = embedding_space(probe, settings).key
    return cache / "embeddings" / _plain(task.digest) / f"{key}.safetensors"


def _cost_file(path: Path) -> Path:
    return path.with_suffix(".seconds.json")


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


def _estimate(
    network: ProbeWithHead,
    pixels: Tensor,
    labels: Tensor,
    settings: Settings,
    progress: Progress | None,
) -> NDArray[np.float64]:
    report = _reporter(progress, "Fisher information")
    if isinstance(settings, VariationalSettings):
        return variational_fisher(network, pixels, labels, settings, progress=report)
    classes = int(labels.max()) + 1
    signs = None
    if classes > settings.exact_classes:
        signs = rademacher_signs(len(pixels), settings.sketches, classes, settings.seed)
    return filter_fisher(
        network, pixels, signs=signs, batch=_batch(pixels.shape[-1]), progress=report
    )


def _features(
    task: ImageTask, probe: Probe, pixels: Tensor, cache: Path, progress: Progress | None
) -> Tensor:
    """Features of the sample, shape ``(images, features)``, from the cache or by the probe."""
    images, size = len(pixels), pixels.shape[-1]
    name = f"{_plain(probe.digest)}-{size}px-{images}.safetensors"
    path = cache / "features" / _plain(task.digest) / name
    try:
        arrays, _ = read_tensors(path.read_bytes(), what=str(path), error=EmbeddingError)
        return torch.from_numpy(arrays["features"].copy())
    except (FileNotFoundError, EmbeddingError, KeyError):
        pass  # not there, or damaged: computed anew
    report = _reporter(progress, "probe's features")
    batch = _batch(size)
    rows = []
    with torch.no_grad():
        for start in range(0, images, batch):
            x = pixels[start : start + batch].to(probe.device).float()
            rows.append(probe.features(x).cpu())
            if report is not None:
                report(min(start + batch, images), images)
    features = torch.cat(rows)
    write_atomically(path, write_tensors({"features": features.numpy()}))
    return features


def _cached_embedding(path: Path, task: ImageTask, space: EmbeddingSpace) -> TaskEmbedding | None:
    if not path.exists():
        return None
    try:
        found = TaskEmbedding.load(path)
    except EmbeddingError:
        return None  # damaged: computed anew
    return found if found.space == space and found.task_digest == task.digest else None


def _batch(size: int) -> int:
    """Images at a time, so that all activations of a batch fit into about a gigabyte."""
    return max(1, min(64, _BATCH_PIXELS // size**2))


def _reporter(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _plain(digest: str) -> str:
    return digest.removeprefix("sha256:")
