"""Digests and split of a task, both functions of the content of its images alone.

**Digest.** A task is a partition of image contents into classes, and nothing else. So its digest
does not change with the order of the files, the names of folders and classes, or the machine. Where
images come with a split of their own, the partition is one into classes and parts.

**Split.** First the held-out part is taken away. Within a class the distinct images are sorted
by a salted digest; the first third of them, rounded to the nearest whole number and at least 1,
is for validation. Where the images come with a split of their own, that is kept instead: its
``validation`` and ``test`` are held out.

Then the train part that is left is halved, into ``weights`` and ``alpha``, as a function of the
train part alone: nothing that is held out can move an image between the halves. Where a class
has an odd number of train images, the odd one goes to ``weights`` in every second such class (in
the order of digests of the classes' train images), so that the two halves of the task are equal,
too. Copies of an image within a class stay together. An image that stands in several classes
cannot be validated fairly; it is in the train part of all of them, in the same half, and
does not count for the third.

Where images come in groups that belong together, both steps keep these together; ``groups`` has
the rule.
"""

import enum
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data._groups import group_keys, group_sizes, halved_groups, held_out_groups
from wsdarts_sdk.data.decoding import Content


def image_digest(content: Content) -> bytes:
    """Return the digest of one image, 64 hexadecimal digits in ASCII.

    Args:
        content: Encoded bytes or pixels; the two never have equal digests.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest().encode()
    state = hashlib.sha256(f"pixels {'x'.join(map(str, content.shape))}\n".encode())
    state.update(np.ascontiguousarray(content).data)
    return state.hexdigest().encode()


def list_digest(digests: NDArray[np.bytes_]) -> str:
    """Return the SHA-256, in hexadecimal, of digests one a line, in the order given."""
    return hashlib.sha256(b"".join(digest + b"\n" for digest in digests.tolist())).hexdigest()


def class_digests(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    given: Sequence[str] | None = None,
    groups: NDArray[np.bytes_] | None = None,
) -> NDArray[np.bytes_]:
    """Return a digest for each class: that of its sorted image digests, copies included.

    Args:
        labels: Class of each image, shape ``(images,)``, non-decreasing, without gaps from 0.
        digests: Digest of each image, shape ``(images,)``, sorted within each class.
        given: Name of each image's part in a given split, which is then written behind its
            digest; equal images sorted by it.
        groups: Key of each image's group, which is written behind the digest of an image that
            is in a group with others.
    """
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    lines = digests
    if given is not None:
        named = zip(digests.tolist(), given, strict=True)
        lines = np.array([digest + b" " + part.encode() for digest, part in named])
    if groups is not None:
        keyed = zip(lines.tolist(), digests.tolist(), groups.tolist(), strict=True)
        lines = np.array([line if k == digest else line + b" in " + k for line, digest, k in keyed])
    classes = np.split(lines, starts[1:])
    return np.array([list_digest(each).encode() for each in classes if len(each)], dtype="S64")


def task_digest(classes: NDArray[np.bytes_]) -> str:
    """Return ``"sha256:…"`` of the sorted class digests: equal tasks, equal digests."""
    return f"sha256:{list_digest(np.sort(classes))}"


def canonical_order(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    given: NDArray[np.int8] | None = None,
) -> NDArray[np.int64]:
    """Return the indices that sort images by class, digest and given part, shape ``(images,)``."""
    keys = (digests, labels) if given is None else (given, digests, labels)
    return np.lexsort(keys).astype(np.int64)


SPLIT_RULE = 2
"""Version of the split, raised whenever the same images are split otherwise; a run records it.

Rule 1, of which runs have no record, ordered the classes with an odd image by digests that
covered the validation third, too.
"""
_SALT = b"wsdarts-hub split 1"
_SMALLEST_CLASS = 3


class Part(enum.StrEnum):
    """A part of the split; ``weights`` and ``alpha`` together are the train part."""

    WEIGHTS = "weights"
    ALPHA = "alpha"
    VALIDATION = "validation"
    TEST = "test"


class GivenPart(enum.StrEnum):
    """A part of a given split, which the images come with; ``test`` only beside ``validation``."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


PART_CODES = {part: code for code, part in enumerate(Part)}
GIVEN_CODES = {part: code for code, part in enumerate(GivenPart)}
_LEAST_GIVEN = {GivenPart.TRAIN: 2, GivenPart.VALIDATION: 1, GivenPart.TEST: 1}
# Names of the parts as folders, files and splits of datasets.
_NAMES = {
    GivenPart.TRAIN: ("train", "training"),
    GivenPart.VALIDATION: ("val", "valid", "validation", "dev", "eval", "evaluation"),
    GivenPart.TEST: ("test", "testing"),
}
_PART_OF_NAME = {name: part for part, names in _NAMES.items() for name in names}


def part_named(name: str) -> GivenPart | None:
    """Return the part that a folder, file or split of this name holds; None if none."""
    return _PART_OF_NAME.get(name.lower())


def with_validation(parts: Sequence[GivenPart]) -> tuple[GivenPart, ...]:
    """Return the parts, a ``test`` without ``validation`` renamed to ``validation``."""
    if GivenPart.VALIDATION in parts:
        return tuple(parts)
    alone = {GivenPart.TEST: GivenPart.VALIDATION}
    return tuple(alone.get(part, part) for part in parts)


def parts_of_splits(names: Sequence[str], where: str) -> tuple[GivenPart, ...] | None:
    """Return the part that each split of a dataset is, by its name.

    Args:
        names: Names of the splits.
        where: Name of the dataset, for the error.

    Returns:
        One part for each; None where none is named as train or none as held out.

    Raises:
        TaskError: Both are, but a split is named as no part, or two as the same.
    """
    parts = [part_named(name) for name in names]
    if not has_train_and_held_out(parts):
        return None
    known = [part for part in parts if part is not None]
    unclear = [
        name
        for name, part in zip(names, parts, strict=True)
        if part is None or parts.count(part) > 1
    ]
    if unclear:
        train = names[parts.index(GivenPart.TRAIN)]
        raise TaskError(
            f"the splits {', '.join(names)} of {where} have no clear part for "
            f"{' and '.join(map(repr, unclear))}",
            expected="train, validation and test, each at most once",
            hint=f"name those to join and split here, such as --split {train} (split=…)",
        )
    return with_validation(known)


def codes_of_values(values: Sequence[object], where: str) -> NDArray[np.int8]:
    """Return the position in ``GivenPart`` of each image, from a column that names the parts.

    Raises:
        TaskError: A value names no part, or none is named train or none is held out.
    """
    known = {value: part_named(str(value)) for value in dict.fromkeys(values)}
    unknown = next((value for value, part in known.items() if part is None), None)
    if None in known.values():
        raise TaskError(
            f"row {list(values).index(unknown)} of {where}",
            found="empty" if unknown is None else repr(unknown),
            expected="train, validation or test (or val, valid, dev, eval)",
        )
    if not has_train_and_held_out([*known.values()]):
        raise TaskError(
            f"{where} has {' and '.join(map(repr, known))} alone",
            expected="images of train, and of validation or test",
        )
    parts = [part for part in known.values() if part is not None]
    codes = {v: GIVEN_CODES[p] for v, p in zip(known, with_validation(parts), strict=True)}
    return np.array([codes[value] for value in values], dtype=np.int8)


def has_train_and_held_out(parts: Sequence[GivenPart | None]) -> bool:
    """Return whether parts include one to train on and one that is held out."""
    return GivenPart.TRAIN in parts and bool({GivenPart.VALIDATION, GivenPart.TEST} & {*parts})


def given_codes(parts: Sequence[GivenPart], sizes: Sequence[int]) -> NDArray[np.int8]:
    """Return the position in ``GivenPart`` of each image, from parts and their images in number."""
    return np.repeat(np.array([GIVEN_CODES[part] for part in parts], dtype=np.int8), sizes)


def in_train_part(parts: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Mark the images of the train part, shape ``(images,)``."""
    return np.isin(parts, [PART_CODES[Part.WEIGHTS], PART_CODES[Part.ALPHA]])


def given_parts(parts: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the parts without the halves: position in ``GivenPart``, shape ``(images,)``."""
    code_of = {Part.VALIDATION: GivenPart.VALIDATION, Part.TEST: GivenPart.TEST}
    table = [GIVEN_CODES[code_of.get(part, GivenPart.TRAIN)] for part in Part]
    return np.array(table, dtype=np.int8)[parts]


def keys_of_groups(
    names: Sequence[object], digests: NDArray[np.bytes_]
) -> NDArray[np.bytes_] | None:
    """Return the key of each image's group, shape ``(images,)``; None if none has two images."""
    keys = group_keys(names, digests, list_digest)
    return None if (keys == digests).all() else keys


def split_parts(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    class_names: tuple[str, ...],
    given: NDArray[np.int8] | None = None,
    groups: NDArray[np.bytes_] | None = None,
) -> NDArray[np.int8]:
    """Assign every image to a part.

    Args:
        labels: Class of each image, shape ``(images,)``, non-decreasing.
        digests: Digest of each image, shape ``(images,)``, sorted within each class.
        class_names: Names of the classes, for the error.
        given: Position in ``GivenPart`` of each image's part, shape ``(images,)``; None where
            the images come with no split.
        groups: Key of each image's group, shape ``(images,)``, of ``keys_of_groups``.

    Returns:
        The position in ``Part`` of each image's part, shape ``(images,)``.

    Raises:
        TaskError: A class has fewer than three distinct images of its own; of a given split,
            fewer than two to train on, or none in a part that is held out; fewer than three
            groups, or none that can be held out.
    """
    if given is None:
        held_out = _validation_third(labels, digests, class_names, groups)
        parts = np.where(held_out, PART_CODES[Part.VALIDATION], PART_CODES[Part.WEIGHTS])
    else:
        _check_given(labels, digests, given, class_names)
        table = {
            GivenPart.TRAIN: Part.WEIGHTS,
            GivenPart.VALIDATION: Part.VALIDATION,
            GivenPart.TEST: Part.TEST,
        }
        parts = np.array([PART_CODES[table[part]] for part in GivenPart])[given]
    train = in_train_part(parts.astype(np.int8))
    own_keys = None if groups is None else keys_of_groups(groups[train].tolist(), digests[train])
    parts[train] = halves(labels[train], digests[train], own_keys)
    return parts.astype(np.int8)


def halves(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    groups: NDArray[np.bytes_] | None = None,
) -> NDArray[np.int8]:
    """Assign every image of a train part to a half.

    Args:
        labels: Class of each image of the train part, shape ``(images,)``, non-decreasing.
        digests: Digest of each, shape ``(images,)``, sorted within each class.
        groups: Key of each one's group, shape ``(images,)``.

    Returns:
        The position in ``Part`` of each image's half, shape ``(images,)``.
    """
    if groups is not None:
        first = halved_groups(group_sizes(labels, digests, groups), rank=_salted)
        codes = PART_CODES[Part.WEIGHTS], PART_CODES[Part.ALPHA]
        return np.where(np.isin(groups, list(first)), *codes).astype(np.int8)
    present, labels = np.unique(labels, return_inverse=True)
    own, shared = _own_and_shared(labels, digests, len(present))
    part_of = {digest: _salted(digest)[0] % 2 for digest in shared}
    extra_to_weights = True
    for label in np.argsort(class_digests(labels, digests), kind="stable").tolist():
        ranked = sorted(own[label], key=_salted)
        weights = len(ranked) // 2
        if len(ranked) % 2:
            weights += extra_to_weights
            extra_to_weights = not extra_to_weights
        for rank, digest in enumerate(ranked):
            part_of[digest] = PART_CODES[Part.WEIGHTS if rank < weights else Part.ALPHA]
    return np.array([part_of[digest] for digest in digests.tolist()], dtype=np.int8)


STOPPING_SHARE = 0.1
"""Share of the train part that chooses among the epochs of a training, by default."""


def stopping_images(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    groups: NDArray[np.bytes_] | None = None,
    share: float = STOPPING_SHARE,
) -> NDArray[np.bool_]:
    """Mark a share of each class of a train part, as a function of the train part alone.

    Rounded to the nearest whole number and at least 1. A class keeps at least one image, or
    group of images, to train on. Copies and groups stay together; images of several classes are
    not taken.

    Args:
        labels: Class of each image of the train part, shape ``(images,)``, non-decreasing.
        digests: Digest of each, shape ``(images,)``, sorted within each class.
        groups: Key of each one's group, shape ``(images,)``.
        share: Share of each class, in (0, 1).
    """
    keys = digests if groups is None else keys_of_groups(groups.tolist(), digests)
    keys = digests if keys is None else keys
    own, shared = _own_and_shared(labels, digests, int(labels[-1]) + 1)
    targets = {c: max(1, round(share * len(images))) for c, images in enumerate(own) if images}
    taken = held_out_groups(
        group_sizes(labels, digests, keys),
        targets,
        free=_free(keys, digests, shared),
        left=1,
        rank=lambda key: _salted(key + b" stopping"),
    )
    return np.isin(keys, list(taken))


def _free(
    groups: NDArray[np.bytes_], digests: NDArray[np.bytes_], shared: set[bytes]
) -> set[bytes]:
    """Return the groups without an image that stands in several classes."""
    bound = set(groups[np.isin(digests, list(shared))].tolist()) if shared else set()
    return set(groups.tolist()) - bound


def _validation_third(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    class_names: tuple[str, ...],
    groups: NDArray[np.bytes_] | None,
) -> NDArray[np.bool_]:
    """Mark the images of the validation third."""
    own, shared = _own_and_shared(labels, digests, len(class_names))
    _check_sizes(own, labels, class_names)
    if groups is not None:
        _check_groups(labels, groups, class_names)
        taken = held_out_groups(
            group_sizes(labels, digests, groups),
            {label: (len(images) + 1) // 3 for label, images in enumerate(own)},
            free=_free(groups, digests, shared),
            left=2,
            rank=_salted,
        )
        held_out = np.isin(groups, list(taken))
        _check_held_out(labels, held_out, class_names)
        return held_out
    third: set[bytes] = set()
    for images in own:
        size = (len(images) + 1) // 3  # n / 3 to the nearest; never a tie
        third.update(sorted(images, key=_salted)[:size])
    return np.array([digest in third for digest in digests.tolist()], dtype=np.bool_)


def _own_and_shared(
    labels: NDArray[np.int64], digests: NDArray[np.bytes_], classes: int
) -> tuple[list[list[bytes]], set[bytes]]:
    """Return the distinct images that stand in one class alone, by class, and the others."""
    first = _first_copies(labels, digests)
    distinct, counts = np.unique(digests[first], return_counts=True)
    shared = set(distinct[counts > 1].tolist())
    own: list[list[bytes]] = [[] for _ in range(classes)]
    for label, digest in zip(labels[first].tolist(), digests[first].tolist(), strict=True):
        if digest not in shared:
            own[label].append(digest)
    return own, shared


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
                f"class {class_names[label]!r} has {pluralize(len(images), 'distinct image')} "
                f"of its own ({total} with copies and images of other classes, too)",
                expected=f"at least {_SMALLEST_CLASS}",
                hint="add images to the class, or leave it out",
            )


def _check_groups(
    labels: NDArray[np.int64], groups: NDArray[np.bytes_], class_names: tuple[str, ...]
) -> None:
    for label, name in enumerate(class_names):
        found = len(np.unique(groups[labels == label]))
        if found < _SMALLEST_CLASS:
            raise TaskError(
                f"class {name!r} has {pluralize(found, 'group')} of images",
                expected=f"at least {_SMALLEST_CLASS}, one for each part of the split",
                hint="add images of other groups, or give a split of your own",
            )


def _check_held_out(
    labels: NDArray[np.int64], held_out: NDArray[np.bool_], class_names: tuple[str, ...]
) -> None:
    for label, name in enumerate(class_names):
        if not held_out[labels == label].any():
            raise TaskError(
                f"no group of class {name!r} can be held out without another class having fewer "
                "than two groups to train on",
                hint="add images of other groups, or give a split of your own",
            )


def _check_given(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    given: NDArray[np.int8],
    class_names: tuple[str, ...],
) -> None:
    for part in GivenPart:
        inside = given == GIVEN_CODES[part]
        if part is GivenPart.TEST and not inside.any():
            continue
        for label, name in enumerate(class_names):
            found = len(np.unique(digests[inside & (labels == label)]))
            if found < _LEAST_GIVEN[part]:
                raise TaskError(
                    f"class {name!r} has {pluralize(found, 'distinct image')} in the part {part} "
                    "of the given split",
                    expected=f"at least {_LEAST_GIVEN[part]}",
                    hint="add images to the class there, or leave it out of all parts",
                )


def _salted(digest: bytes) -> bytes:
    return hashlib.sha256(digest + _SALT).digest()
