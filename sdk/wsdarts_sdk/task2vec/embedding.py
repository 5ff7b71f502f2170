"""The embedding of a task: a sample of its images, an estimate from them, and a cache.

Sample and order depend on the content of the images alone, not on names or the order of files.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_registry._files import cache_directory, exists, read_regular
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.errors import EmbeddingError, SettingsError
from wsdarts_sdk.data.decoding import write_cached
from wsdarts_sdk.data.split import class_digests
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.task2vec.estimation import Estimate, Estimation, Limits
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.probe import Probe
from wsdarts_sdk.task2vec.variational import VariationalSettings


def balanced_choice(labels: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Choose at most ``limit`` positions, as evenly over the classes as possible.

    The first image of every class is taken, then the second of every class, and so on; what
    is left of the limit in the last round goes to the images that stand first. So the choice
    depends on the order of the images (which a task keeps canonical) and on which of them
    share a class, but not on how the classes are numbered.

    Args:
        labels: One class an image, shape ``(images,)``, in canonical order.
        limit: Number of images to choose, at least 1; may be below the number of classes.

    Returns:
        Positions in ``labels``, ascending, shape ``(min(limit, images),)``.
    """
    return np.sort(balanced_order(labels)[:limit])


def balanced_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return positions in an order of which every first part is even over the classes.

    Args:
        labels: One class an image, shape ``(images,)``.

    Returns:
        Positions in ``labels``: the first of every class, then the second of every class, and so
        on; in a round the one that stands first comes first. Shape ``(images,)``.
    """
    rounds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rounds[members] = np.arange(len(members))
    return np.lexsort((np.arange(len(labels)), rounds))


def number_by_appearance(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the classes by their first appearance, from 0.

    Law: any renumbering of the classes gives the same result, so that nothing computed from
    it depends on label names, to the last bit.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Some images of a task's train part, with their classes numbered anew.

    Attributes:
        indices: Their indices in the task, shape ``(images,)``.
        labels: Their classes 0 … C-1, shape ``(images,)``.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, task: ImageTask, images: int) -> "Sample":
        """Choose at most so many images of the train part, as evenly over classes as possible.

        The choice is by digests, so it is random in effect, but the same on every machine,
        whatever the order of the files and the names of the classes. Held-out images have no
        influence.
        """
        train = task.train_indices
        digests, labels = task.image_digests[train], task.labels[train]
        # For an image in two classes, the class with the lower digest goes first.
        order = np.lexsort((class_digests(labels, digests)[labels], digests))
        chosen = order[balanced_choice(labels[order], images)]
        return cls(indices=train[chosen], labels=number_by_appearance(labels[chosen]))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def pixels(self, task: ImageTask, size: int, progress: Progress | None) -> Tensor:
        """Decode the chosen images only: at the size of a probe a whole task is large.

        Returns:
            uint8, RGB, shape ``(images, 3, size, size)``.

        Raises:
            TaskError: An image has changed since the task was loaded.
        """
        pixels_NHWC = task.read(self.indices, size, progress=progress)
        return torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous()


Settings = FisherSettings | VariationalSettings
DEFAULT_SETTINGS = FisherSettings()
_log = logging.getLogger("wsdarts_hub.embedding")
_VERSIONS = {FisherSettings: ("fisher", 1), VariationalSettings: ("variational", 1)}


def embedding_space(probe: Probe, settings: Settings = DEFAULT_SETTINGS) -> EmbeddingSpace:
    """Return the space of embeddings by this probe and with these settings."""
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
    """Return the pixels a side of the probe's input."""
    return probe.preprocessing.size if settings.size is None else settings.size


def embed(
    task: ImageTask,
    probe: Probe,
    settings: Settings = DEFAULT_SETTINGS,
    *,
    budget: float | str | None = None,
    target_error: float | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    preview: Callable[[TaskEmbedding], str] | None = None,
) -> TaskEmbedding:
    """Embed a task by a probe, from images of its train part alone.

    Finished embeddings are cached by task, probe and settings, and the probe's features by task,
    probe, number of images and size. An embedding that a budget or a target ended early has its
    number of images and is not cached; if a finished one is cached, that is returned.

    Args:
        task: A task with at least two classes.
        probe: The network; the computation runs on the device of its weights.
        settings: Settings of one of the estimators.
        budget: Seconds, or a time such as ``"30s"`` or ``"2m"``: no images are added after it.
            Decoding, the head and one batch of images are done in any case.
        target_error: No images are added once the relative standard error is this small; see
            ``relative_error`` of a TaskEmbedding.
        cache_dir: Directory of the cache; else ``cache_directory()``.
        progress: Called with (what, done, total).
        preview: Called now and then with the embedding of the images so far; progress tells the
            short sentence that it returns, such as which artifact is nearest so far.

    Raises:
        ProbeError: The input size does not fit the probe.
        SettingsError: Too few images for two classes, a head that does not converge, or limits
            that are out of range or given for the variational estimator.
        TaskError: An image has changed since the task was loaded, or the cache cannot be written.
        EmbeddingError: The probe sees nothing in these images.
    """
    started = time.perf_counter()
    limits = check_limits(settings, budget, target_error)
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    space = embedding_space(probe, settings)
    path = _cache_file(cache, task, probe, settings)
    known = _cached_embedding(path, task, space)
    if known is not None:
        return dataclasses.replace(known, task_name=task.name)
    size = input_size(probe, settings)
    if size != probe.preprocessing.size:
        probe.check(size)
    sample = Sample.of(task, settings.images)
    order = balanced_order(sample.labels)
    positions = torch.from_numpy(order)
    described = partial(_described, task=task, space=space, labels=sample.labels[order])
    estimation = Estimation(
        probe=probe,
        pixels=sample.pixels(task, size, progress)[positions],
        labels=torch.from_numpy(sample.labels)[positions],
        positions=positions,
        limits=limits,
        started=started,
        progress=progress,
        preview=None if preview is None else lambda so_far: preview(described(so_far)),
    )
    estimate = estimation.run(settings, _features_file(cache, task, probe, len(sample), size))
    embedding = described(estimate)
    if estimate.images == len(sample):
        write_cached(path, embedding.to_bytes())
        seconds = time.perf_counter() - started
        write_cached(_cost_file(path), json.dumps(seconds).encode())
    return embedding


def _described(
    estimate: Estimate, *, task: ImageTask, space: EmbeddingSpace, labels: NDArray[np.int64]
) -> TaskEmbedding:
    """Return an estimate as the embedding of a task; labels in the order of its images."""
    error = estimate.standard_error
    return TaskEmbedding(
        space=space,
        values=_as_stored(estimate.values),
        task_digest=task.digest,
        task_name=task.name,
        images=estimate.images,
        classes=len(np.unique(labels[: estimate.images])),
        standard_error=None if error is None else _as_stored(error),
    )


def check_limits(
    settings: Settings, budget: float | str | None, target_error: float | None
) -> Limits:
    """Return the limits of an embedding, checked.

    Raises:
        SettingsError: They are out of range, or given for the variational estimator.
    """
    limits = Limits.of(budget, target_error)
    if limits and isinstance(settings, VariationalSettings):
        raise SettingsError(
            "budget and target_error are for the estimator fisher",
            hint="leave them out for the variational one, whose effort is its number of steps",
        )
    return limits


def embedding_seconds(
    task: ImageTask,
    probe: Probe,
    settings: Settings = DEFAULT_SETTINGS,
    *,
    cache_dir: str | Path | None = None,
) -> float | None:
    """Return the seconds that the cached embedding of a task took; None if unknown."""
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    try:
        found = json.loads(read_regular(_cost_file(_cache_file(cache, task, probe, settings))))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, float) else None


def _cache_file(cache: Path, task: ImageTask, probe: Probe, settings: Settings) -> Path:
    key = embedding_space(probe, settings).key
    return cache / "embeddings" / _plain(task.digest) / f"{key}.safetensors"


def _cost_file(path: Path) -> Path:
    return path.with_suffix(".seconds.json")


def _features_file(cache: Path, task: ImageTask, probe: Probe, images: int, size: int) -> Path:
    name = f"{_plain(probe.digest)}-{size}px-{images}.safetensors"
    return cache / "features" / _plain(task.digest) / name


def _cached_embedding(path: Path, task: ImageTask, space: EmbeddingSpace) -> TaskEmbedding | None:
    if not exists(path):
        return None
    try:
        found = TaskEmbedding.load(path)
    except EmbeddingError:
        return None  # damaged: computed anew
    if found.space != space or found.task_digest != task.digest:
        return None
    _log.info("the embedding of %s is in the cache", task.name)
    return found


def _as_stored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values rounded as those from the cache."""
    return values.astype(np.float32).astype(np.float64)


def _plain(digest: str) -> str:
    return digest.removeprefix("sha256:")
