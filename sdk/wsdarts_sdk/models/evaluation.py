"""Evaluation of a trained model: metrics by torchmetrics, and intervals by the bootstrap.

torchmetrics rather than scikit-learn: 9 MB instead of 167 MB with SciPy, 0.7 s instead of 0.9 s to
import beside torch and timm, and it has the calibration error. It is imported when a model is
evaluated.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import ArtifactError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.prediction import TrainedModel, as_input
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.result_records import ClassScores, Evaluation, Interval, Mistake

BINS = 15
"""Bins of the calibration error, as in Guo et al., 2017, arXiv:1706.04599."""
RESAMPLES = 1000
_TOP = 5
_MISTAKES = 12
_PICTURE_SIDE = 96
_BATCH_PIXELS = 2**22
_LONGEST_NAME = 200
PartName = Literal["validation", "test", "train", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """Probabilities that a model gives to the images of a task.

    Attributes:
        indices: The images, as indices of the task, shape ``(images,)``.
        probabilities: float64, shape ``(images, classes)``.
        truth: Class of each image among the model's, shape ``(images,)``.
    """

    indices: NDArray[np.int64]
    probabilities: Tensor
    truth: Tensor

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each image is labelled right, shape ``(images,)``."""
        found: NDArray[np.bool_] = (self.probabilities.argmax(1) == self.truth).numpy()
        return found


def compute_outputs(
    model: TrainedModel,
    task: ImageTask,
    indices: NDArray[np.int64],
    truth: NDArray[np.int64],
    *,
    progress: Progress = silent,
) -> Outputs:
    """Return a model's outputs for some images of a task, at its image size.

    Args:
        model: The trained model.
        task: The dataset.
        indices: The images, shape ``(images,)``.
        truth: Class of each of them among the model's, shape ``(images,)``.
        progress: Told how many images are done.

    Raises:
        ArtifactError: The model computes numbers that are not finite.
        TaskError: The images have changed since the task was loaded.
    """
    size, device = model.image_size, model.mean.device
    batch = max(1, min(256, _BATCH_PIXELS // size**2))
    rows: list[Tensor] = []
    training = model.training
    model.eval()
    try:
        for start in range(0, len(indices), batch):
            some = indices[start : start + batch]
            with torch.no_grad():
                pixels = task.read(some, size, resize=model.resize)
                rows.append(model(as_input(pixels).to(device)).double().cpu())
            progress("evaluation", start + len(some), len(indices))
    finally:
        model.train(training)
    return Outputs(
        indices=indices,
        probabilities=as_probabilities(torch.cat(rows)),
        truth=torch.from_numpy(truth.copy()),
    )


def as_probabilities(logits: Tensor) -> Tensor:
    """Return the softmax in float64.

    Raises:
        ArtifactError: A logit is not finite.
    """
    if not bool(logits.isfinite().all()):
        raise ArtifactError(
            "the model computes numbers that are not finite",
            hint="train it again, with a lower learning rate",
        )
    return logits.double().softmax(dim=1)


def evaluate_outputs(
    outputs: Outputs,
    task: ImageTask,
    *,
    class_names: Sequence[str],
    part: PartName,
    note: str = "",
    seed: int = 0,
) -> Evaluation:
    """Return the evaluation of a model's outputs.

    Args:
        outputs: What the model gives for some images of the task.
        task: The dataset.
        class_names: The model's classes, in the order of its outputs.
        part: Name of the images.
        note: What is known of them and the model's training, as a sentence.
        seed: Seed of the bootstrap.

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals; images
        are drawn with replacement, 1,000 times).
    """
    scores = Scores.of(outputs.probabilities, outputs.truth)
    value, samples = scores.figures(), bootstrap(scores.resampled, len(outputs.truth), seed)
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    found = {
        name: Interval(value=value[name], low=float(low[place]), high=float(high[place]))
        for place, name in enumerate(value)
    }
    confusion = scores.confusion
    pairs = [(int(t), int(p), int(confusion[t, p])) for t, p in np.argwhere(confusion)]
    return Evaluation(
        dataset=task.name,
        digest=task.digest,
        part=part,
        note=note,
        images=len(outputs.truth),
        top_5=found.pop("top_5", None),
        **found,
        classes=scores.classes(class_names),
        confusion=tuple(pairs),
        mistakes=_mistakes(outputs, task),
    )


def bootstrap(
    figures: Callable[[NDArray[np.float64]], Sequence[float]], images: int, seed: int
) -> NDArray[np.float64]:
    """Return figures of samples of the images, drawn with replacement.

    Args:
        figures: Computes them, given how often each image was drawn, shape ``(images,)``.
        images: Number of images.
        seed: Seed of the draws.

    Returns:
        Shape ``(1000, figures)``.
    """
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, images, images)
        rows.append(figures(np.bincount(drawn, minlength=images).astype(np.float64)))
    return np.array(rows)


def share_right(
    right: NDArray[np.bool_], than: NDArray[np.bool_] | None = None, *, seed: int = 0
) -> Interval:
    """Return the share of images that are labelled right, or its paired difference to another's.

    Args:
        right: Whether each image is labelled right, shape ``(images,)``.
        than: The same of what it is compared with, on the same images.
        seed: Seed of the bootstrap.
    """
    gain = right.astype(np.float64) - (0.0 if than is None else than.astype(np.float64))
    samples = bootstrap(lambda weights: [float(weights @ gain)], len(gain), seed) / len(gain)
    low, high = np.quantile(samples[:, 0], [0.025, 0.975])
    return Interval(value=float(gain.mean()), low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Predictions, and how often each pair of classes is confused.

    Attributes:
        truth: Class of each image, shape ``(images,)``.
        predicted: Most probable class of each image.
        confidence: Its probability.
        probabilities: float64, shape ``(images, classes)``.
        among_five: Whether each class is among the five most probable; None for five classes or
            fewer.
        confusion: Images by true and predicted class, shape ``(classes, classes)``.
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    probabilities: Tensor
    among_five: NDArray[np.bool_] | None
    confusion: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor) -> "Scores":
        """Return the scores of some probabilities, shape ``(images, classes)``."""
        best, classes = probabilities.max(dim=1), probabilities.shape[1]
        matrix = _functions().multiclass_confusion_matrix(best.indices, truth, num_classes=classes)
        among = None
        if classes > _TOP:
            top = probabilities.topk(_TOP, dim=1).indices
            among = (top == truth[:, None]).any(dim=1).numpy()
        return cls(
            truth=truth.numpy(),
            predicted=best.indices.numpy(),
            confidence=best.values.numpy(),
            probabilities=probabilities,
            among_five=among,
            confusion=matrix.numpy(),
        )

    def figures(self) -> dict[str, float]:
        """Return the figures of all images, by field of ``Evaluation``, in a fixed order."""
        of, classes = _functions(), self.probabilities.shape[1]
        truth, predicted = torch.from_numpy(self.truth), torch.from_numpy(self.predicted)
        recall = of.multiclass_recall(predicted, truth, num_classes=classes, average=None)
        there = torch.bincount(truth, minlength=classes)
        found: dict[str, Any] = {
            "accuracy": np.trace(self.confusion) / len(truth),  # exact, where float32 rounds
            # torchmetrics' macro average counts a class that is only predicted, too.
            "balanced_accuracy": recall.double()[there > 0].mean(),
            "macro_f1": of.multiclass_f1_score(
                predicted, truth, num_classes=classes, average="macro"
            ),
            "calibration_error": of.multiclass_calibration_error(
                self.probabilities, truth, num_classes=classes, n_bins=BINS, norm="l1"
            ),
        }
        if self.among_five is not None:
            found["top_5"] = of.multiclass_accuracy(
                self.probabilities, truth, num_classes=classes, average="micro", top_k=_TOP
            )
        return {
            name: float(value) if name == "accuracy" else _rounded(value)
            for name, value in found.items()
        }

    def classes(self, names: Sequence[str]) -> tuple[ClassScores, ...]:
        """Return the scores of each class."""
        of, classes = _functions(), len(names)
        truth, predicted = torch.from_numpy(self.truth), torch.from_numpy(self.predicted)
        kinds = (of.multiclass_precision, of.multiclass_recall, of.multiclass_f1_score)
        columns = [kind(predicted, truth, num_classes=classes, average=None) for kind in kinds]
        there, given = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return tuple(
            ClassScores(
                name=sanitize(name, _LONGEST_NAME),
                precision=_rounded(precision) if given[place] else None,
                recall=_rounded(recall) if there[place] else None,
                f1=_rounded(f1) if there[place] or given[place] else None,
                images=int(there[place]),
            )
            for place, (name, precision, recall, f1) in enumerate(
                zip(names, *(column.tolist() for column in columns), strict=True)
            )
        )

    def resampled(self, weights: NDArray[np.float64]) -> list[float]:
        """Return the same figures, each image counted so many times; torchmetrics has no weights.

        Law: with weights of 1 they are those of ``figures``.
        """
        classes = self.probabilities.shape[1]
        right = weights * (self.truth == self.predicted)
        true_positives = np.bincount(self.truth, right, classes)
        there = np.bincount(self.truth, weights, classes)
        given = np.bincount(self.predicted, weights, classes)
        seen = there + given > 0
        bins = np.searchsorted(np.linspace(0, 1, BINS + 1), self.confidence, side="right")
        gap = np.bincount(bins, weights * self.confidence - right)
        found = [
            right.sum() / weights.sum(),
            (true_positives[there > 0] / there[there > 0]).mean(),
            (2 * true_positives[seen] / (there + given)[seen]).mean(),
            np.abs(gap).sum() / weights.sum(),
        ]
        if self.among_five is not None:
            found.append(weights @ self.among_five / weights.sum())
        return [float(value) for value in found]


def _rounded(value: float | Tensor) -> float:
    """Round what torchmetrics computes in float32 to the digits that it has."""
    return round(float(value), 6)


def _mistakes(outputs: Outputs, task: ImageTask) -> tuple[Mistake, ...]:
    """Return the most confident wrong labels, with pictures."""
    confidence, predicted = (best.numpy() for best in outputs.probabilities.max(dim=1))
    wrong = np.flatnonzero(~outputs.right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    if not len(worst):
        return ()
    images = outputs.indices[worst]
    pictures = task.read(images, _PICTURE_SIDE)
    return tuple(
        Mistake(
            image=sanitize(task.images.source.describe(int(task.images.rows[image])), 1000),
            truth=int(outputs.truth[place]),
            predicted=int(predicted[place]),
            probability=min(1.0, float(confidence[place])),
            picture=_jpeg(pixels),
        )
        for place, image, pixels in zip(worst, images, pictures, strict=True)
    )


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def _functions() -> Any:
    """Return torchmetrics' functions, which take long to import."""
    from torchmetrics.functional import classification  # noqa: PLC0415

    return classification
