import hashlib
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.split import PART_CODES, Part, canonical_order, split_parts

Images = list[tuple[int, int]]  # (class, which image content)


def _split(images: Images) -> tuple[NDArray[np.int64], NDArray[np.bytes_], list[Part]]:
    labels = np.array([label for label, _ in images], dtype=np.int64)
    digests = np.array([hashlib.sha256(b"%d" % c).hexdigest().encode() for _, c in images])
    order = canonical_order(labels, digests)
    labels, digests = labels[order], digests[order]
    names = tuple(f"class {i}" for i in range(labels.max() + 1))
    codes = split_parts(labels, digests, names)
    return labels, digests, [list(Part)[code] for code in codes]


def _numbered(sizes: list[int]) -> Images:
    """So many different images in each class, none in two classes."""
    return [(label, 10_000 * label + i) for label, size in enumerate(sizes) for i in range(size)]


def _counts(parts: list[Part]) -> tuple[int, int, int]:
    return parts.count(Part.WEIGHTS), parts.count(Part.ALPHA), parts.count(Part.VALIDATION)


# n: n / 3 to the nearest. Rounding down would give 1 of 5 and 2 of 8, rounding up 2 of 4.
@pytest.mark.parametrize(
    ("size", "validation"), [(3, 1), (4, 1), (5, 2), (6, 2), (7, 2), (8, 3), (120, 40)]
)
def test_a_third_rounded_to_nearest_validates(size: int, validation: int) -> None:
    labels, _, parts = _split(_numbered([size, 30]))
    of_class = [part for label, part in zip(labels, parts, strict=True) if label == 0]
    weights, alpha, found = _counts(of_class)
    assert found == validation
    assert abs(weights - alpha) <= 1
    assert min(weights, alpha) >= 1


def test_odd_images_alternate_between_the_halves() -> None:
    # 40 classes of 5: validation 2, train 3. If the odd one always went to the same half,
    # the halves would have 80 and 40 images.
    assert _counts(_split(_numbered([5] * 40))[2]) == (60, 60, 80)


def test_the_assignment_is_pinned() -> None:
    # Every published figure rests on this assignment, so a change must not go unseen.
    codes = [PART_CODES[part] for part in _split(_numbered([6, 7]))[2]]
    # 0 = weights, 1 = alpha, 2 = validation
    assert codes == [2, 0, 1, 0, 1, 2, 1, 0, 0, 1, 0, 2, 2]


@given(st.lists(st.integers(3, 40), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_laws_of_the_split(sizes: list[int], random: Random) -> None:
    images = _numbered(sizes)
    labels, digests, parts = _split(images)
    assert len(parts) == len(images)
    for label, size in enumerate(sizes):
        of_class = [part for found, part in zip(labels, parts, strict=True) if found == label]
        weights, alpha, validation = _counts(of_class)
        assert validation == round(size / 3)
        assert abs(weights - alpha) <= 1
    weights, alpha, _ = _counts(parts)
    assert abs(weights - alpha) <= 1

    shuffled = list(images)
    random.shuffle(shuffled)
    other_labels, other_digests, other_parts = _split(shuffled)
    assert (labels == other_labels).all()
    assert (digests == other_digests).all()
    assert parts == other_parts


@given(st.integers(3, 12), st.integers(3, 12), st.permutations(range(3)))
def test_renumbering_the_classes_moves_no_image(
    first: int, second: int, numbers: list[int]
) -> None:
    images = _numbered([first, second, 5])
    _, digests, parts = _split(images)
    _, other_digests, other_parts = _split([(numbers[label], c) for label, c in images])
    assert dict(zip(digests.tolist(), parts, strict=True)) == dict(
        zip(other_digests.tolist(), other_parts, strict=True)
    )


@given(st.lists(st.integers(0, 8), max_size=30))
def test_copies_never_straddle_parts(copies: list[int]) -> None:
    images = [*_numbered([9, 6]), *((0, copy) for copy in copies)]
    labels, digests, parts = _split(images)
    found: dict[bytes, set[Part]] = {}
    for digest, part in zip(digests.tolist(), parts, strict=True):
        found.setdefault(digest, set()).add(part)
    assert all(len(parts_of_image) == 1 for parts_of_image in found.values())
    distinct = {d: p for d, p, c in zip(digests.tolist(), parts, labels, strict=True) if c == 0}
    assert list(distinct.values()).count(Part.VALIDATION) == 3


@given(st.sets(st.integers(0, 5), min_size=1))
def test_an_image_with_two_labels_is_never_validated(shared: set[int]) -> None:
    # Class 0 has 6 images more than the shared ones, class 1 has 6 of its own.
    images = [*_numbered([12, 6]), *((1, content) for content in shared)]
    labels, digests, parts = _split(images)
    contents = {hashlib.sha256(b"%d" % content).hexdigest().encode() for content in shared}
    for content in contents:
        found = {p for d, p in zip(digests.tolist(), parts, strict=True) if d == content}
        assert len(found) == 1
        assert found != {Part.VALIDATION}
    own = [p for d, p, c in zip(digests.tolist(), parts, labels, strict=True)
           if c == 1 and d not in contents]  # fmt: skip
    assert _counts(own) == (2, 2, 2)


def test_a_class_of_two_images_is_refused() -> None:
    with pytest.raises(TaskError, match=r"'class 1' .*2 distinct.*at least 3"):
        _split(_numbered([3, 2]))


def test_copies_do_not_make_a_class_large_enough() -> None:
    with pytest.raises(TaskError, match=r"'class 1' .*2 distinct.* \(5 "):
        _split([*_numbered([3, 2]), (1, 10_000), (1, 10_000), (1, 10_001)])


def test_shared_images_do_not_make_a_class_large_enough() -> None:
    with pytest.raises(TaskError, match=r"'class 1' .*2 distinct"):
        _split([*_numbered([5, 2]), (1, 0), (1, 1)])
