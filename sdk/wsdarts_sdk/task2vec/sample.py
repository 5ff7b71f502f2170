"""The images that stand for a task, in an order that no label name and no file order changes.

Which images stand for a task, and how its classes are numbered.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.data.identity import class_digests
from wsdarts_sdk.data.pixels import Progress


def balanced_choice(labels: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Choose at most ``limit`` positions, as evenly over the classes as they allow.

    The first image of every class is taken, then the second of every class, and so on; what
    is left of the limit in the last round goes to the images that stand first. So the choice
    depends on the order of the images (which a task keeps canonical) and on which of them
    share a class, but not on how the classes are numbered.

    Args:
        labels: One class an image, shape ``(images,)``, in canonical order.
        limit: How many to choose, at least 1. It may be below the number of classes.

    Returns:
        Positions in ``labels``, ascending, shape ``(min(limit, images),)``.
    """
    return np.sort(balanced_order(labels)[:limit])


def balanced_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order positions so that every first part is as evenly over the classes as can be.

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


def canonical_labels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
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
        """Choose at most so many images of the train part, as evenly as its classes allow.

        Images go by their digests, so which ones are chosen is random in effect, but the same
        on every machine, whatever the order of the files and the names of the classes. No
        image of the validation part has any influence.
        """
        train = task.train_indices
        digests, labels = task.image_digests[train], task.labels[train]
        # An image may stand in two classes; then the class with the lower digest goes first.
        order = np.lexsort((class_digests(labels, digests)[labels], digests))
        chosen = order[balanced_choice(labels[order], images)]
        return cls(indices=train[chosen], labels=canonical_labels(labels[chosen]))

    def __len__(self) -> int:
        """How many images."""
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
