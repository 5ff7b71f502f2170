"""The images that stand for a task, in an order that no label name and no file order changes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.task2vec.choice import balanced_choice, canonical_labels
from wsdarts_sdk.tasks import ImageTask
from wsdarts_sdk.tasks.decoding import Undecodable, decode
from wsdarts_sdk.tasks.identity import class_digests, image_digest
from wsdarts_sdk.tasks.pixels import Progress, in_threads
from wsdarts_sdk.tasks.sources.base import Read


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

    @property
    def classes(self) -> int:
        """The number of classes among the chosen images."""
        return int(self.labels.max()) + 1

    def pixels(self, task: ImageTask, size: int, progress: Progress | None) -> Tensor:
        """Decode the chosen images only: at the size of a probe a whole task is large.

        Returns:
            uint8, RGB, shape ``(images, 3, size, size)``.

        Raises:
            TaskError: An image has changed since the task was loaded.
        """
        rows = task.images.rows[self.indices]
        digests = task.image_digests[self.indices]
        position_of = {int(row): position for position, row in enumerate(rows)}

        def work(row: int, read: Read) -> NDArray[np.uint8] | Undecodable:
            content = read()
            if isinstance(content, Undecodable):
                return content
            if image_digest(content) != digests[position_of[row]]:
                return Undecodable("it has changed since the task was loaded (load it again)")
            return decode(content, size)

        pixels_NHWC = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        source = task.images.source
        for row, result in in_threads(
            work,
            source.images(np.sort(rows)),
            what="decoding images",
            total=len(rows),
            progress=progress,
        ):
            if isinstance(result, Undecodable):
                raise TaskError(
                    f"{source.describe(row)} cannot be decoded: {result.reason}; repair it, or "
                    "leave such images out with --skip-corrupt (skip_corrupt=True)"
                )
            pixels_NHWC[position_of[row]] = result
        return torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous()
