"""Groups of images stay together in every split; the rule is worked out by hand in small cases."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data._groups import halved_groups, held_out_groups
from wsdarts_sdk.data.split import (
    Part,
    class_digests,
    keys_of_groups,
    list_digest,
    split_parts,
    stopping_images,
)

Image = tuple[int, int, str]  # class, content, group


def _plain(key: bytes) -> bytes:
    return key


def _sizes(**groups: dict[int, int]) -> dict[bytes, dict[int, int]]:
    return {name.encode(): sizes for name, sizes in groups.items()}


def _parts_of(images: Sequence[Image]) -> dict[tuple[int, int], Part]:
    """Return the part of each image, by class and content."""
    rows = [(label, _digest(content), group, content) for label, content, group in images]
    rows.sort(key=lambda row: row[:2])
    labels = np.array([row[0] for row in rows], dtype=np.int64)
    digests = np.array([row[1] for row in rows])
    keys = keys_of_groups([row[2] for row in rows], digests)
    names = tuple(f"class {label}" for label in range(labels.max() + 1))
    codes = split_parts(labels, digests, names, groups=keys)
    pairs = zip(rows, codes.tolist(), strict=True)
    return {(row[0], row[3]): tuple(Part)[code] for row, code in pairs}


def _digest(content: int) -> bytes:
    return hashlib.sha256(b"%d" % content).hexdigest().encode()


def test_no_class_exceeds_its_target_where_it_can_be_met() -> None:
    # Of 12 images 4. Largest first would take a, with 6; small ones alone meet the target: b (3),
    # then c or d would be one too many (5 > 4), then e (1).
    sizes = _sizes(a={0: 6}, b={0: 3}, c={0: 2}, e={0: 1})
    found = held_out_groups(sizes, {0: 4}, free={*sizes}, left=2, rank=_plain)
    assert found == {b"b", b"e"}


def test_a_group_that_is_too_large_is_taken_where_that_is_nearer() -> None:
    # Target 4 of 12: none of 3 × 4 exceeds it; of 9 = 3 × 3 with target 2 each does by one, which
    # is nearer (1) than none (2).
    for size, target in ((4, 4), (3, 2)):
        sizes = _sizes(a={0: size}, b={0: size}, c={0: size})
        found = held_out_groups(sizes, {0: target}, free={*sizes}, left=2, rank=_plain)
        assert found == {b"a"}


def test_every_class_is_held_out_although_that_is_farther_from_the_targets() -> None:
    # Groups of 9 with target 3: one held out is 6 too many, none only 3 too few.
    sizes = _sizes(a={0: 9}, b={0: 9}, c={0: 9})
    found = held_out_groups(sizes, {0: 3}, free={*sizes}, left=2, rank=_plain)
    assert found == {b"a"}


def test_two_groups_of_each_class_are_left() -> None:
    # d would fit both targets, but class 1 has three groups, and a is larger.
    sizes = _sizes(a={1: 2}, b={1: 9}, c={1: 9}, d={0: 1}, e={0: 1}, f={0: 1})
    found = held_out_groups(sizes, {0: 2, 1: 6}, free={*sizes}, left=2, rank=_plain)
    assert found == {b"a", b"d"}


def test_groups_that_are_bound_stay() -> None:
    sizes = _sizes(a={0: 1}, b={0: 1}, c={0: 1})
    found = held_out_groups(sizes, {0: 1}, free={b"b", b"c"}, left=2, rank=_plain)
    assert found == {b"b"}


def test_halves_are_even_by_class() -> None:
    # a (5) first; then b (4) and c (3) to the other; d has class 1 and joins where there is less.
    sizes = _sizes(a={0: 5}, b={0: 4}, c={0: 1}, d={1: 1}, e={1: 1})
    assert halved_groups(sizes, rank=_plain) == {b"a", b"d"}


def test_a_class_is_in_both_halves_where_it_can_be() -> None:
    # Dealt by size: a (class 0: 5) to the first half, b (class 0: 3; class 1: 1) to the second,
    # c (class 0: 1; class 1: 1) to the second, with class 1 there alone: one of them moves.
    sizes = _sizes(a={0: 5}, b={0: 3, 1: 1}, c={0: 1, 1: 1})
    first = halved_groups(sizes, rank=_plain)
    for half in (first, {*sizes} - first):
        assert {label for key in half for label in sizes[key]} == {0, 1}


def test_the_names_of_groups_do_not_count() -> None:
    images = [(n % 2, n, f"patient {n // 6}") for n in range(60)]
    renamed = [(label, n, group[::-1]) for label, n, group in images]
    assert _parts_of(images) == _parts_of(renamed)


def test_groups_of_one_image_change_nothing() -> None:
    digests = np.array([_digest(n) for n in range(9)])
    assert keys_of_groups(range(9), digests) is None


def test_copies_make_one_group_of_two() -> None:
    digests = np.array([_digest(n) for n in (0, 1, 1, 2, 3)])
    keys = keys_of_groups(["a", "a", "b", "b", "c"], digests)
    assert keys is not None
    joined = list_digest(np.sort(digests[[0, 1, 3]])).encode()
    assert keys.tolist() == [joined] * 4 + [_digest(3)]


def test_the_digest_covers_what_belongs_together() -> None:
    digests = np.array(sorted(_digest(n) for n in range(4)))
    labels = np.array([0, 0, 0, 0])
    keys = keys_of_groups(["x", "x", "y", "z"], digests)
    assert keys is not None
    pair = list_digest(digests[:2]).encode()
    lines = [digests[0] + b" in " + pair, digests[1] + b" in " + pair, *digests[2:].tolist()]
    found = class_digests(labels, digests, groups=keys)
    assert found.tolist() == [list_digest(np.array(lines)).encode()]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_class_has_to_have_three_groups(groups: int) -> None:
    images = [(n % 2, n, f"patient {n // 2 % groups if n % 2 else n}") for n in range(24)]
    with pytest.raises(TaskError) as caught:
        _parts_of(images)
    assert "'class 1'" in caught.value.what
    assert caught.value.expected.startswith("at least 3")


def test_three_groups_of_all_classes_are_the_least() -> None:
    found = _parts_of([(n % 2, n, f"patient {n % 3}") for n in range(24)])
    assert {found[n % 2, n] for n in range(0, 24, 3)} == {found[0, 0]}
    assert Counter(found.values()) == {Part.WEIGHTS: 8, Part.ALPHA: 8, Part.VALIDATION: 8}


def test_what_stops_a_training_is_a_share_of_each_class() -> None:
    labels = np.repeat([0, 1], [30, 4])
    digests = np.array(sorted(map(_digest, range(30))) + sorted(map(_digest, range(30, 34))))
    chosen = stopping_images(labels, digests)
    # A tenth of 30, and at least one of 4.
    assert [int(chosen[labels == label].sum()) for label in (0, 1)] == [3, 1]
    assert stopping_images(labels, digests, share=0.25).sum() == 8 + 1  # 7.5 to the even number


@st.composite
def _grouped(draw: st.DrawFn) -> list[Image]:
    """Images of three classes in 8 to 16 groups of any size, with a few copies elsewhere."""
    number = draw(st.integers(8, 16))
    of_group = [draw(st.sets(st.integers(0, 2), min_size=1)) for _ in range(number - 4)]
    of_group += [{0, 1, 2}] * 4
    images = [
        (label, 100 * group + 10 * label + n, f"group {group}")
        for group, labels in enumerate(of_group)
        for label in labels
        for n in range(draw(st.integers(1, 5)))
    ]
    copies = draw(st.lists(st.sampled_from(images), max_size=2))
    return images + [
        (draw(st.sampled_from([label, 0])), content, f"group {draw(st.integers(0, number - 1))}")
        for label, content, _ in copies
    ]


@settings(max_examples=50)
@given(_grouped(), st.randoms(use_true_random=False))
def test_laws_of_grouped_splits(images: list[Image], random: Random) -> None:
    found = _parts_of(images)
    parts_of_group: dict[str, set[Part]] = {}
    for label, content, group in images:
        parts_of_group.setdefault(group, set()).add(found[label, content])
    assert all(len(parts) == 1 for parts in parts_of_group.values())
    for label in range(3):
        parts = {part for (of, _), part in found.items() if of == label}
        assert Part.VALIDATION in parts
        assert parts & {Part.WEIGHTS, Part.ALPHA}
    assert set(found.values()) == {Part.WEIGHTS, Part.ALPHA, Part.VALIDATION}
    shuffled = list(images)
    random.shuffle(shuffled)
    assert _parts_of(shuffled) == found


@given(st.lists(st.integers(1, 6), min_size=6, max_size=14), st.integers(0, 1000))
def test_halves_follow_from_the_train_part_alone(sizes: list[int], other: int) -> None:
    groups = [f"group {n}" for n, size in enumerate(sizes) for _ in range(size)]
    images = [(n % 2, n, group) for n, group in enumerate(groups)]
    try:
        found = _parts_of(images)
    except TaskError:
        assume(False)
    held_out = {n for (_, n), part in found.items() if part is Part.VALIDATION}
    labels, digests, keys = [], [], []
    for label, n, group in sorted(images, key=lambda each: (each[0], _digest(each[1]))):
        content = n if n not in held_out else 10_000 + 100 * other + n
        labels.append(label)
        digests.append(_digest(content))
        keys.append(group)
    order = np.lexsort((np.array(digests), np.array(labels)))
    label_array, digest_array = np.array(labels)[order], np.array(digests)[order]
    given_parts = np.array([1 if images_held else 0 for images_held in _held(order, images, found)])
    codes = split_parts(
        label_array,
        digest_array,
        ("a", "b"),
        given_parts.astype(np.int8),
        keys_of_groups([keys[row] for row in order], digest_array),
    )
    ordered = sorted(images, key=lambda each: (each[0], _digest(each[1])))
    for row, code in zip(order.tolist(), codes.tolist(), strict=True):
        label, n, _ = ordered[row]
        assert tuple(Part)[code] is found[label, n]


def _held(
    order: np.ndarray, images: Sequence[Image], found: dict[tuple[int, int], Part]
) -> list[bool]:
    ordered = sorted(images, key=lambda each: (each[0], _digest(each[1])))
    return [found[ordered[row][0], ordered[row][1]] is Part.VALIDATION for row in order.tolist()]
