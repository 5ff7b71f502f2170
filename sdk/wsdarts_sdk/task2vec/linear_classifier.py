"""A linear classifier on a probe's features: a baseline without any search."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_registry._files import cache_directory, exists, read_regular
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_registry.errors import EmbeddingError, FileAccessError
from wsdarts_sdk.data.decoding import write_cached
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.task2vec._compiled_fisher import compiled_fisher
from wsdarts_sdk.task2vec.estimation import batch_size, feature_rows
from wsdarts_sdk.task2vec.loading import SHIPPED, load_probe
from wsdarts_sdk.task2vec.probe import Head, Probe, fit_head

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_WITHOUT_GAIN = 2  # weaker strengths that are tried after the best
_TOLERANCE = 1e-4
_CHUNK = 256

# Tasks whose train parts the shipped probe was trained on, as its card PROBE.md lists them.
_SHIPPED_SAW = {
    "sha256:f8bdb6cb62971c0e9822ffa99a7f7b5e04d638659c13cca1afb23b463c58dd4a": "Flowers-102",
    "sha256:3320d4cffd913e204f565cdeb1291244c2a2b4101b7afcaf676aa3ab36be7186": "Tiny ImageNet",
    "sha256:2c7423298638d19af3d57e680b593bae6a423762dfd05b3142446af813bd4d7f": "textures",
    "sha256:1bd504f22242bf052bdf90a73b9bfb7f7bed301d001fd32f54e4ba28314fcac9": "aircraft edges",
    "sha256:4e8c14b99ab50b49bc720fde7853b4f5a5e91301c843f632790e188147c15776": "birds by group",
    "sha256:892d9665522c25f32097767597bc18c9123d0824f5680548fd3d4031bfdab52e": "CIFAR-10",
}
_COLLECTIONS = (
    "Flowers-102, Tiny ImageNet, Describable Textures, FGVC-Aircraft (edge maps), birds by group "
    "and CIFAR-10"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearClassifier:
    """A head that was fitted to the train part of a task.

    Attributes:
        head: Weights and bias on the probe's features.
        l2: Its regularisation strength.
        chosen: How that was chosen, as a sentence.
        logits: Of the held-out images, in the order of the task, shape ``(images, classes)``.
    """

    head: Head
    l2: float
    chosen: str
    logits: Tensor

    @property
    def parameters(self) -> int:
        """Number of weights and biases of the head."""
        return self.head.weight.numel() + self.head.bias.numel()


def fit_linear_classifier(
    task: ImageTask,
    probe: Probe,
    *,
    cache_dir: str | Path | None = None,
    progress: Progress = silent,
) -> LinearClassifier:
    """Fit a linear classifier to the train part, and apply it to the held-out part.

    Its regularisation strength is chosen on the alpha half, fitted to the weights half; where
    the task has a test part, on the validation part, fitted to the train part. It is then fitted
    to the whole train part. The held-out part has no influence.

    Args:
        task: The dataset.
        probe: The network whose features it takes.
        cache_dir: Where features are kept; else ``cache_directory()``.
        progress: Told how many images the probe has seen.

    Raises:
        SettingsError: The fit does not converge.
        TaskError: An image has changed since the task was loaded.
    """
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    features_NF = task_features(task, probe, cache, progress)
    labels_N = torch.from_numpy(task.labels.copy())
    fitted, judged = task.indices(Part.WEIGHTS), task.indices(Part.ALPHA)
    where = "on the alpha half of the train part, fitted to the weights half"
    if task.held_out is Part.TEST:
        fitted, judged = task.train_indices, task.indices(Part.VALIDATION)
        where = "on the validation part, fitted to the train part"
    l2 = choose_strength(features_NF, labels_N, fitted, judged)
    train = task.train_indices
    head = _fit(features_NF[train], labels_N[train], l2, task.classes)
    return LinearClassifier(
        head=head,
        l2=l2,
        chosen=f"Its regularisation strength, {l2:g}, was chosen {where}.",
        logits=head.logits(features_NF[task.indices(task.held_out)].double()),
    )


def choose_strength(
    features_NF: Tensor,
    labels_N: Tensor,
    fitted: NDArray[np.int64],
    judged: NDArray[np.int64],
) -> float:
    """Return the regularisation strength that labels most of the judged images right.

    Strengths are tried from the strongest on, until two in turn are no better than the best.
    """
    classes = int(labels_N.max()) + 1
    best, right, since = STRENGTHS[0], -1, 0
    for l2 in STRENGTHS:
        head = _fit(features_NF[fitted], labels_N[fitted], l2, classes)
        found = int((head.logits(features_NF[judged]).argmax(1) == labels_N[judged]).sum())
        since += 1
        if found > right:
            best, right, since = l2, found, 0
        if since == _WITHOUT_GAIN:
            break
    return best


def task_features(
    task: ImageTask, probe: Probe, cache: Path, progress: Progress = silent
) -> Tensor:
    """Return the probe's features of all images of a task, shape ``(images, features)``, cached.

    Raises:
        TaskError: An image has changed since the task was loaded, or the cache cannot be written.
    """
    size = probe.preprocessing.size
    path = _features_file(cache, task, probe)
    order = _numbers(task)
    try:
        arrays, _ = read_tensors(read_regular(path), what=str(path), error=EmbeddingError)
        if (arrays["images"] == order).all():
            return torch.from_numpy(arrays["features"].copy())
    except (FileAccessError, EmbeddingError, KeyError, ValueError):
        pass  # not there, or damaged: computed anew
    features_NF = torch.cat(list(_computed(task, probe, size, progress)))
    write_cached(path, write_tensors({"features": features_NF.numpy(), "images": order}))
    return features_NF


def feature_seconds(
    task: ImageTask, probe: Probe, *, cache_dir: str | Path | None = None
) -> tuple[float, int]:
    """Compute the features of a few images; return seconds for those of all, and their number.

    It takes no time where the features are cached.
    """
    size = probe.preprocessing.size
    cache = cache_directory() if cache_dir is None else Path(cache_dir)
    if exists(_features_file(cache, task, probe)):
        return 0.0, probe.check(size)
    compiled = compiled_fisher(probe, size, silent)
    batch = min(batch_size(size, probe.device.type), len(task))
    started = time.perf_counter()
    pixels = torch.from_numpy(task.read(np.arange(batch), size)).permute(0, 3, 1, 2)
    (features_NF,) = feature_rows(probe, compiled, pixels, batch)
    spent = time.perf_counter() - started
    return spent * len(task) / batch, features_NF.shape[1]


def trained_on(probe: Probe, task: ImageTask) -> str:
    """Return the facts about a probe's training images, as a sentence."""
    if probe.digest != load_probe(SHIPPED).digest:
        return (
            f"On which images {probe.name} was trained is not known here; its figure flatters "
            "where they are like these."
        )
    named = _SHIPPED_SAW.get(task.digest)
    if named is not None:
        return (
            f"The shipped probe was trained on the train part of this very dataset ({named}), with "
            "its labels, so its figure flatters; it has not seen the held-out images."
        )
    return (
        f"The shipped probe was trained on the train parts of {_COLLECTIONS}; its figure flatters "
        "on images from these."
    )


def _fit(features_NF: Tensor, labels_N: Tensor, l2: float, classes: int) -> Head:
    """Fit a head for all classes, also where some have no images here."""
    present, labels = torch.unique(labels_N, return_inverse=True)
    head = fit_head(features_NF, labels, l2, tolerance=_TOLERANCE)
    if len(present) == classes:
        return head
    weight = head.weight.new_zeros(classes, head.weight.shape[1])
    bias = head.bias.new_full((classes,), -torch.inf)
    weight[present], bias[present] = head.weight, head.bias
    return Head(weight=weight, bias=bias)


def _computed(task: ImageTask, probe: Probe, size: int, progress: Progress) -> Iterator[Tensor]:
    batch = batch_size(size, probe.device.type)
    compiled = compiled_fisher(probe, size, progress)
    for start in range(0, len(task), _CHUNK):
        some = np.arange(start, min(start + _CHUNK, len(task)))
        pixels = torch.from_numpy(task.read(some, size)).permute(0, 3, 1, 2)
        yield from feature_rows(probe, compiled, pixels, batch)
        progress("features of the baseline", int(some[-1]) + 1, len(task))


def _features_file(cache: Path, task: ImageTask, probe: Probe) -> Path:
    size = probe.preprocessing.size
    name = f"{probe.digest.removeprefix('sha256:')}-{size}px-task.safetensors"
    return cache / "features" / task.digest.removeprefix("sha256:") / name


def _numbers(task: ImageTask) -> NDArray[np.int64]:
    """Return a number of each image's content: tasks of equal digest may order images otherwise."""
    return np.array(
        [int(digest[:15], 16) for digest in task.image_digests.tolist()], dtype=np.int64
    )
