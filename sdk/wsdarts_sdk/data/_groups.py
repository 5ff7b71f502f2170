"""Groups of images that a split keeps together, such as the photographs of one patient.

A group is known by its key, which depends on the content of its images alone: the digest of the
image where there is one only, else the SHA-256 of the sorted image digests. So neither the names of
the groups nor the order of the images matters. Groups that have a copy of one image are one group.

**Held-out groups.** Each class has a target: a third of its images. Groups are taken, large ones
first and equal ones in salted order, as long as no class exceeds its target. Then, small ones
first, those that bring the classes nearer to their targets, as the sum of the differences in
images. Then what it takes for every class to be held out at all. Of every class two groups are left
to train on. Groups of one image each are split as images without groups are.

**Halves.** Train groups are dealt, large ones first, to the half that lacks more images of their
classes. Then groups are moved, as long as a class is in one half only and can be in both.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

Sizes = Mapping[bytes, Mapping[int, int]]
"""Number of distinct images by class, for the key of each group."""
_Rank = Callable[[bytes], bytes]


def group_keys(
    names: Sequence[object], digests: NDArray[np.bytes_], digest_of: Callable[..., str]
) -> NDArray[np.bytes_]:
    """Return the key of each image's group, shape ``(images,)``.

    Args:
        names: Group of each image: equal names, one group.
        digests: Digest of each image, shape ``(images,)``.
        digest_of: Returns the digest of an array of digests.
    """
    parent: dict[object, object] = {name: name for name in names}

    def root(name: object) -> object:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    first: dict[bytes, object] = {}
    for name, digest in zip(names, digests.tolist(), strict=True):
        parent[root(name)] = root(first.setdefault(digest, name))
    roots = [root(name) for name in names]
    members: dict[object, set[bytes]] = {}
    for name, digest in zip(roots, digests.tolist(), strict=True):
        members.setdefault(name, set()).add(digest)
    keys = {
        name: digest_of(np.array(sorted(found))).encode() if len(found) > 1 else next(iter(found))
        for name, found in members.items()
    }
    return np.array([keys[name] for name in roots], dtype="S64")


def group_sizes(
    labels: NDArray[np.int64], digests: NDArray[np.bytes_], groups: NDArray[np.bytes_]
) -> dict[bytes, Counter[int]]:
    """Return the number of distinct images of each class in each group."""
    sizes: dict[bytes, Counter[int]] = {}
    images = zip(labels.tolist(), digests.tolist(), groups.tolist(), strict=True)
    for label, _, group in set(images):
        sizes.setdefault(group, Counter())[label] += 1
    return sizes


def held_out_groups(
    sizes: Sizes, targets: Mapping[int, int], *, free: Set[bytes], left: int, rank: _Rank
) -> set[bytes]:
    """Return the groups to hold out, as the module says.

    Args:
        sizes: All groups.
        targets: How many images of each class are to be held out.
        free: Keys of the groups that may be.
        left: Number of groups of each class that are left to train on.
        rank: Returns what orders groups of equal size.
    """
    remaining = Counter(label for classes in sizes.values() for label in classes)
    held: Counter[int] = Counter()
    taken: set[bytes] = set()

    def take(key: bytes) -> None:
        taken.add(key)
        held.update(sizes[key])
        remaining.subtract(list(sizes[key]))

    def is_spare(key: bytes) -> bool:
        return key not in taken and all(remaining[label] > left for label in sizes[key])

    def excess(key: bytes) -> int:
        return sum(
            abs(held[label] + size - targets[label]) - abs(held[label] - targets[label])
            for label, size in sizes[key].items()
        )

    ordered = sorted(free, key=lambda key: (-sum(sizes[key].values()), rank(key)))
    for key in ordered:
        fits = all(held[label] + size <= targets[label] for label, size in sizes[key].items())
        if fits and is_spare(key):
            take(key)
    for key in sorted(ordered, key=lambda key: (sum(sizes[key].values()), rank(key))):
        if is_spare(key) and excess(key) < 0:
            take(key)
    while lacking := {label for label in targets if not held[label]}:
        helpful = [key for key in ordered if is_spare(key) and lacking & {*sizes[key]}]
        if not helpful:
            break
        take(min(helpful, key=lambda k: (-len(lacking & {*sizes[k]}), excess(k), rank(k))))
    return taken


def halved_groups(sizes: Sizes, *, rank: _Rank) -> set[bytes]:
    """Return the groups of the first half, as the module says.

    Args:
        sizes: All groups of the train part.
        rank: Returns what orders groups of equal size.
    """
    more: Counter[int] = Counter()  # images in the first half less those in the second
    first: set[bytes] = set()

    def change(key: bytes, sign: int) -> tuple[int, int]:
        by_class = sum(abs(more[c] + sign * size) - abs(more[c]) for c, size in sizes[key].items())
        return by_class, sign * more.total()

    for key in sorted(sizes, key=lambda key: (-sum(sizes[key].values()), rank(key))):
        if change(key, 1) <= change(key, -1):
            first.add(key)
            more.update(sizes[key])
        else:
            more.subtract(sizes[key])
    _fill_halves(sizes, first, rank)
    return first


def _fill_halves(sizes: Sizes, first: set[bytes], rank: _Rank) -> None:
    """Move groups until each class is in both halves, as far as that can be."""
    groups = {True: Counter[int](), False: Counter[int]()}
    for key, classes in sizes.items():
        groups[key in first].update(list(classes))
    every = {label for classes in sizes.values() for label in classes}
    for half in (True, False):
        while lacking := {label for label in every if not groups[half][label]}:
            movable = [
                key
                for key, classes in sizes.items()
                if (key in first) != half
                and lacking & {*classes}
                and all(groups[not half][label] > 1 for label in classes)
            ]
            if not movable:
                break
            key = min(movable, key=lambda k: (-len(lacking & {*sizes[k]}), len(sizes[k]), rank(k)))
            first.symmetric_difference_update({key})
            groups[half].update(list(sizes[key]))
            groups[not half].subtract(list(sizes[key]))
