"""Early stopping: the best epoch of a training, by images that it does not train on.

These are never the images whose accuracy is reported. Where a task has a validation and a test
part, they are the validation part; else a slice of the train part, about a tenth of each class,
which then does not train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data import ImageTask, Part
from wsdarts_sdk.data.split import stopping_images

_PREFIX = "best."
VALIDATION_PART, TRAIN_SLICE = "validation part", "slice of the train part"
"""What early stopping judges by."""


@dataclass(frozen=True, kw_only=True)
class BestEpoch:
    """The epoch of a training whose weights were kept.

    Attributes:
        epoch: Counted from 1.
        accuracy: Share of the judging images that it labels right.
        loss: Mean cross-entropy on them.
        images: How many these are.
        judged_on: ``VALIDATION_PART`` or ``TRAIN_SLICE``.
    """

    epoch: int
    accuracy: float
    loss: float
    images: int
    judged_on: str


class EarlyStopping:
    """The best epoch so far with its weights, and whether to go on.

    A higher accuracy is better; of equal ones, the lower loss.

    Args:
        patience: Epochs without a better one after which the training ends.
        images: Indices of the images that it is judged on.
        judged_on: What they are, in words.
    """

    def __init__(self, patience: int, images: NDArray[np.int64], judged_on: str) -> None:
        self.images, self.judged_on = images, judged_on
        self._patience = patience
        self._best: BestEpoch | None = None
        self._weights: dict[str, Tensor] = {}
        self._without_gain = 0

    @property
    def ended(self) -> bool:
        """Return whether patience is at its end."""
        return self._without_gain >= self._patience

    @property
    def best(self) -> BestEpoch:
        """Return the best epoch so far; there has to be one."""
        if self._best is None:
            raise RuntimeError("no epoch has been judged")
        return self._best

    @property
    def best_weights(self) -> dict[str, Tensor]:
        """Return the state of the network after the best epoch."""
        return self._weights

    def judge(
        self, epoch: int, accuracy: float, loss: float, weights: Mapping[str, Tensor]
    ) -> None:
        """Keep the weights of an epoch if it is the best so far; else count it.

        Args:
            epoch: Counted from 1.
            accuracy: On the judging images.
            loss: Mean cross-entropy on them.
            weights: State of the network; it is copied if it is kept.
        """
        if self._best is not None and not (
            (accuracy, -loss) > (self._best.accuracy, -self._best.loss)
        ):
            self._without_gain += 1
            return
        self._without_gain = 0
        self._weights = {name: value.detach().clone() for name, value in weights.items()}
        self._best = BestEpoch(
            epoch=epoch,
            accuracy=accuracy,
            loss=loss,
            images=len(self.images),
            judged_on=self.judged_on,
        )

    def begin_anew(self) -> None:
        """Reset the patience, for a training that continues with more epochs."""
        self._without_gain = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the kept weights as tensors of a checkpoint."""
        return {f"{_PREFIX}{name}": value for name, value in self._weights.items()}

    def facts(self) -> dict[str, Any]:
        """Return the rest of the state as JSON data of a checkpoint."""
        if self._best is None:
            return {}
        best = {name: getattr(self._best, name) for name in ("epoch", "accuracy", "loss")}
        return {**best, "without_gain": self._without_gain}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take the state from a checkpoint."""
        kept = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
        if facts:
            self.judge(facts["epoch"], facts["accuracy"], facts["loss"], kept)
            self._without_gain = facts["without_gain"]


def early_stopping(
    task: ImageTask, indices: NDArray[np.int64], *, held_out: Part, patience: int
) -> tuple[EarlyStopping, NDArray[np.int64]]:
    """Choose the images that a training is judged on.

    Args:
        task: The dataset.
        indices: The images to train on, increasing.
        held_out: The part that is reported in the end.
        patience: As for ``EarlyStopping``.

    Returns:
        The early stopping, and the images that are left to train on.

    Raises:
        SettingsError: No class has two distinct images, or groups of images, of its own.
    """
    if held_out is Part.TEST:
        judges = task.indices(Part.VALIDATION)
        return EarlyStopping(patience, judges, VALIDATION_PART), indices
    groups = None if task.groups is None else task.groups[indices]
    chosen = stopping_images(task.labels[indices], task.image_digests[indices], groups)
    if not chosen.any():
        raise SettingsError(
            f"{task.name} has no images to spare for early stopping",
            expected="a class with two distinct images to train on",
            hint="leave patience at None",
        )
    stopping = EarlyStopping(patience, indices[chosen], TRAIN_SLICE)
    return stopping, indices[~chosen]
