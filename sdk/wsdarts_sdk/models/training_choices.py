"""Choices of a training: balanced classes, averaged weights, early stopping.

Classes of unequal size get weights in the loss, or a balanced sample of the images. The average of
the weights over the steps of a training may be evaluated and kept in place of the last ones.

Early stopping keeps the weights of the best epoch, by images that it does not train on. These are
never the images whose accuracy is reported. Where a task has a validation and a test part, they are
the validation part; else a slice of the train part, about a tenth of each class, which then does
not train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.split import Part, stopping_images
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.settings import ClassBalance

_AVERAGE_PREFIX = "average."
_BEST_PREFIX = "best."
VALIDATION_PART, TRAIN_SLICE = "validation part", "slice of the train part"
"""What early stopping judges by."""


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return ``N / (classes · N_class)``, the mean of which over the N images is 1.

    Args:
        labels: Class of each image that trains, shape ``(N,)``.
        classes: Number of classes.

    Returns:
        float32, shape ``(classes,)``.
    """
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp_min(1)
    return (len(labels) / (classes * counts.double())).float()


def training_loss(
    labels: Tensor, classes: int, *, balance: ClassBalance, label_smoothing: float
) -> nn.CrossEntropyLoss:
    """Return the loss of a training; targets are class indices or shares of classes.

    Args:
        labels: Class of each image that trains, shape ``(N,)``.
        classes: Number of classes.
        balance: ``weights`` weighs an image by its class.
        label_smoothing: Share of the target that is spread over all classes.
    """
    weight = class_weights(labels, classes) if balance == "weights" else None
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing).to(labels.device)


def epoch_order(labels: Tensor, generator: Generator, *, balance: ClassBalance) -> Tensor:
    """Return the images of an epoch in order, int64 on the CPU, shape ``(N,)``.

    With ``sampling`` each place has any class with equal probability, so that images of large
    classes are left out and those of small ones come several times; else each image comes once.

    Args:
        labels: Class of each image, shape ``(N,)``.
        generator: Source of the draws, on the CPU.
        balance: How classes are balanced.
    """
    if balance != "sampling":
        return torch.randperm(len(labels), generator=generator)
    on_cpu = labels.cpu()
    share = class_weights(on_cpu, int(on_cpu.max()) + 1)[on_cpu].double()
    # torch.multinomial takes at most 2^24 entries; a search in the sums has no such limit.
    sums = share.cumsum(0)
    draws = torch.rand(len(on_cpu), generator=generator, dtype=torch.float64) * sums[-1]
    return torch.searchsorted(sums, draws, right=True).clamp_max(len(on_cpu) - 1)


class WeightAverage:
    """The average of a network's weights, and of its running statistics in the same way.

    In step t, counted from 1, the average moves by ``1 − min(decay, t / (9 + t))`` towards the
    network, so that the random weights of the beginning do not weigh.

    Args:
        net: The network that is trained; the average begins with its weights.
        decay: Share of the average that stays in a step, in (0, 1).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        def move(averaged: Any, current: Any, steps: Any) -> None:
            step: Any = get_ema_multi_avg_fn(decay_at(decay, int(steps)))  # type: ignore[no-untyped-call]
            step(averaged, current, steps)

        self._net = net
        self._average = AveragedModel(net, multi_avg_fn=move, use_buffers=True)

    @property
    def net(self) -> nn.Module:
        """Return a network like the trained one, with the averaged weights."""
        net: nn.Module = self._average.module
        return net

    def update(self) -> None:
        """Add the weights after a step to the average."""
        self._average.update_parameters(self._net)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average as tensors of a checkpoint."""
        return {
            f"{_AVERAGE_PREFIX}{name}": value for name, value in self._average.state_dict().items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the average from a checkpoint."""
        own = {
            n.removeprefix(_AVERAGE_PREFIX): t
            for n, t in tensors.items()
            if n.startswith(_AVERAGE_PREFIX)
        }
        self._average.load_state_dict(own)


def decay_at(decay: float, steps: int) -> float:
    """Return the share of the average that stays in a step, after so many steps before it.

    The first step's weights are taken whole; later ``min(decay, t / (9 + t))`` with
    ``t = steps + 1``, the rule of TensorFlow's ``ExponentialMovingAverage``.
    """
    return min(decay, (1 + steps) / (10 + steps))


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
        return {f"{_BEST_PREFIX}{name}": value for name, value in self._weights.items()}

    def facts(self) -> dict[str, Any]:
        """Return the rest of the state as JSON data of a checkpoint."""
        if self._best is None:
            return {}
        best = {name: getattr(self._best, name) for name in ("epoch", "accuracy", "loss")}
        return {**best, "without_gain": self._without_gain}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take the state from a checkpoint."""
        kept = {
            n.removeprefix(_BEST_PREFIX): t
            for n, t in tensors.items()
            if n.startswith(_BEST_PREFIX)
        }
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
