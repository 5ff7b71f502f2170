"""The halves follow from the train part alone, whatever is held out and whatever it is called."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.split import (
    GIVEN_CODES,
    PART_CODES,
    GivenPart,
    Part,
    canonical_order,
    split_parts,
)

Images = list[tuple[int, bytes]]  # class and digest
Split = dict[tuple[int, bytes], Part]
_TRAIN = (Part.WEIGHTS, Part.ALPHA)


def _digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).hexdigest().encode()


def _split(images: Images, given: list[GivenPart] | None = None) -> Split:
    labels = np.array([label for label, _ in images], dtype=np.int64)
    digests = np.array([digest for _, digest in images], dtype="S64")
    codes = None if given is None else np.array([GIVEN_CODES[p] for p in given], dtype=np.int8)
    order = canonical_order(labels, digests, codes)
    labels, digests = labels[order], digests[order]
    codes = None if codes is None else codes[order]
    names = tuple(f"class {i}" for i in range(labels.max() + 1))
    found = split_parts(labels, digests, names, codes)
    parts = [tuple(Part)[code] for code in found]
    return dict(zip(zip(labels.tolist(), digests.tolist(), strict=True), parts, strict=True))


def _train(split: Split) -> Split:
    return {image: part for image, part in split.items() if part in _TRAIN}


def _replaced(images: Images, split: Split, which: int) -> Images:
    """One image of the validation third replaced by another one that stays there."""
    third = sorted(image for image, part in split.items() if part is Part.VALIDATION)
    old = third[which % len(third)]
    kept = [image for image in images if image != old]
    for number in itertools.count(10**9 + 1000 * which):
        changed = [*kept, (old[0], _digest(number))]
        if _train(_split(changed)).keys() == _train(split).keys():
            return changed
    raise AssertionError


def _numbered(sizes: list[int], start: int = 0) -> Images:
    return [(c, _digest(1000 * c + start + i)) for c, size in enumerate(sizes) for i in range(size)]


@given(st.lists(st.integers(3, 9), min_size=2, max_size=12), st.integers(0, 1000))
def test_another_validation_image_moves_no_train_image(sizes: list[int], which: int) -> None:
    images = _numbered(sizes)
    before = _split(images)
    assert _train(_split(_replaced(images, before, which))) == _train(before)


def test_the_odd_image_does_not_follow_the_validation_third() -> None:
    # Forty classes of 5: validation 2, train 3, so every class has an odd image. A rule by
    # digests of whole classes moves one in most of these replacements.
    images = _numbered([5] * 40)
    before = _split(images)
    for which in range(12):
        assert _train(_split(_replaced(images, before, which))) == _train(before)


@given(
    st.lists(st.integers(2, 7), min_size=2, max_size=8),
    st.lists(st.integers(1, 5), min_size=8, max_size=8),
    st.lists(st.integers(1, 3), min_size=8, max_size=8),
    st.booleans(),
    st.permutations(range(8)),
)
def test_a_given_split_is_halved_by_its_train_part_alone(
    train: list[int],
    validation: list[int],
    test: list[int],
    with_test: bool,
    numbers: list[int],
) -> None:
    held = [_numbered([1] * len(train), 500)]
    held.append(_numbered(validation[: len(train)], 600))
    tested = _numbered(test[: len(train)], 700) if with_test else []
    images = _numbered(train)
    first = _split(
        images + held[0],
        [GivenPart.TRAIN] * len(images) + [GivenPart.VALIDATION] * len(held[0]),
    )
    # Other images are held out, the files come in another order, the classes have other names.
    rank = {c: place for place, c in enumerate(n for n in numbers if n < len(train))}
    second = _split(
        [(rank[c], digest) for c, digest in reversed(tested + held[1] + images)],
        [GivenPart.TRAIN] * len(images)
        + [GivenPart.VALIDATION] * len(held[1])
        + [GivenPart.TEST] * len(tested),
    )
    halves = {digest: part for (_, digest), part in _train(first).items()}
    assert {digest: part for (_, digest), part in _train(second).items()} == halves
    counts = [list(second.values()).count(part) for part in Part]
    assert counts[0] + counts[1] == len(images)
    assert abs(counts[0] - counts[1]) <= 1  # the odd images are balanced
    assert counts[2:] == [len(held[1]), len(tested)]


@pytest.mark.parametrize(("train", "validation", "least"), [(1, 2, 2), (2, 0, 1)])
def test_a_class_that_is_too_small_in_a_part(train: int, validation: int, least: int) -> None:
    sizes = [(3, 2), (train, validation)]
    images = [(c, _digest(100 * c + i)) for c, pair in enumerate(sizes) for i in range(sum(pair))]
    parts = [
        part
        for first, second in sizes
        for part in [GivenPart.TRAIN] * first + [GivenPart.VALIDATION] * second
    ]
    with pytest.raises(TaskError, match=rf"'class 1' has {least - 1} distinct.*at least {least}"):
        _split(images, parts)


def test_codes_of_parts_are_those_that_runs_have_on_disk() -> None:
    assert [PART_CODES[part] for part in Part] == [0, 1, 2, 3]
    assert [str(part) for part in Part] == ["weights", "alpha", "validation", "test"]
