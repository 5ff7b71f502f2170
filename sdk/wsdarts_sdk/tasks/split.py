"""The split of a task: from the content of its images alone, the same everywhere.

Within a class the distinct images are sorted by a salted digest. The first third of them,
rounded to the nearest whole number and at least 1, is for validation, the rest is the train
part, in two halves: ``weights`` and ``alpha``. Where a train part is odd, the odd image goes
to ``weights`` in every second such class (in the order of the class digests), so that the
two halves of the task are equal, too.

Copies of an image within a class stay together. An image that stands in several classes
cannot be validated fairly; it is in the train part of all of them, in the same half, and
does not count for the third.
"""

import enum
import hashlib

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError

_SALT = b"wsdarts-hub split 1"
_SMALLEST_CLASS = 3


class Part(enum.StrEnum):
    """A part of the split; ``weights`` and ``alpha`` together are the train part."""

    WEIGHTS = "weights"
    ALPHA = "alpha"
    VALIDATION = "validation"


PART_CODES = {part: code for code, part in enumerate(Part)}


def split_parts(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    classes: NDArray[np.bytes_],
    class_names: tuple[str, ...],
) -> NDArray[np.int8]:
    """Assign every image to a part.

    Args:
        labels: Class of each image, shape ``(images,)``, non-decreasing.
        digests: Digest of each image, shape ``(images,)``, sorted within each class.
        classes: Digest of each class, shape ``(classes,)``.
        class_names: Names of the classes, for the error.

    Returns:
        The position in ``Part`` of each image's part, shape ``(images,)``.

    Raises:
        TaskError: A class has fewer than three distinct images of its own.
    """
    first = _first_copies(labels, digests)
    distinct, counts = np.unique(digests[first], return_counts=True)
    shared = dict.fromkeys(distinct[counts > 1].tolist())
    own = [[] for _ in class_names]  # type: list[list[bytes]]
    for label, digest in zip(labels[first].tolist(), digests[first].tolist(), strict=True):
        if digest not in shared:
            own[label].append(digest)
    _check_sizes(own, labels, class_names)
    part_of = {digest: _salted(digest)[0] % 2 for digest in shared}
    extra_to_weights = True
    for label in np.argsort(classes, kind="stable").tolist():
        ranked = sorted(own[label], key=_salted)
        validation = (len(ranked) + 1) // 3  # n / 3 to the nearest; never a tie
        train = len(ranked) - validation
        weights = train // 2
        if train % 2:
            weights += extra_to_weights
            extra_to_weights = not extra_to_weights
        bounds = (validation, validation + weights)
        for rank, digest in enumerate(ranked):
            part_of[digest] = (
                PART_CODES[Part.VALIDATION]
                if rank < bounds[0]
                else PART_CODES[Part.WEIGHTS if rank < bounds[1] else Part.ALPHA]
            )
    return np.array([part_of[digest] for digest in digests.tolist()], dtype=np.int8)


def _first_copies(labels: NDArray[np.int64], digests: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Mark the first copy of each image in each class."""
    first = np.ones(len(labels), dtype=np.bool_)
    first[1:] = (labels[1:] != labels[:-1]) | (digests[1:] != digests[:-1])
    return first


def _check_sizes(
    own: list[list[bytes]], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> None:
    for label, images in enumerate(own):
        if len(images) < _SMALLEST_CLASS:
            total = int(np.count_nonzero(labels == label))
            raise TaskError(
                f"class {class_names[label]!r} has {len(images)} distinct images of its own "
                f"({total} with copies and images that stand in other classes, too); the split "
                f"needs at least {_SMALLEST_CLASS}. Add images to the class, or leave it out"
            )


def _salted(digest: bytes) -> bytes:
    return hashlib.sha256(digest + _SALT).digest()
