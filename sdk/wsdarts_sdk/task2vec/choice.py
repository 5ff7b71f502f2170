"""Which images stand for a task, and how its classes are numbered."""

import numpy as np
from numpy.typing import NDArray


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
