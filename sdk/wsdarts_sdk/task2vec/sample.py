"""The images that stand for a task, in an order that no label name and no file order changes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_sdk.task2vec.choice import balanced_choice, canonical_labels
from wsdarts_sdk.tasks import ImageTask
from wsdarts_sdk.tasks.identity import class_digests
from wsdarts_sdk.tasks.pixels import Progress


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
