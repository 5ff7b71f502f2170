"""Which images stand for a task."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_sdk.task2vec.embedding import balanced_choice, balanced_order, number_by_appearance

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def test_choice_by_hand() -> None:
    labels = np.array([2, 2, 2, 0, 1, 0, 2])
    # Round 0: positions 0 (class 2), 3 (class 0), 4 (class 1); round 1: 1 and 5; round 2: 2.
    assert balanced_choice(labels, 3).tolist() == [0, 3, 4]
    assert balanced_choice(labels, 4).tolist() == [0, 1, 3, 4]
    assert balanced_choice(labels, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert balanced_choice(labels, 99).tolist() == list(range(7))


def test_order_by_hand() -> None:
    labels = np.array([2, 2, 2, 0, 1, 0, 2])
    assert balanced_order(labels).tolist() == [0, 3, 4, 1, 5, 2, 6]


def test_fewer_images_than_classes() -> None:
    assert balanced_choice(np.array([5, 5, 1, 9, 3]), 2).tolist() == [0, 2]


@given(label_lists, st.integers(1, 50))
def test_choice_is_as_even_as_the_classes_allow(labels: list[int], limit: int) -> None:
    array = np.array(labels)
    chosen = balanced_choice(array, limit)
    assert len(chosen) == min(limit, len(labels))
    counts = {c: int((array[chosen] == c).sum()) for c in set(labels)}
    for c, count in counts.items():
        assert count == labels.count(c) or count >= max(counts.values()) - 1


@given(label_lists, st.integers(1, 50), st.permutations(range(7)))
def test_class_numbers_do_not_matter(labels: list[int], limit: int, numbers: list[int]) -> None:
    array, renumbered = np.array(labels), np.array(numbers)[labels]
    assert balanced_choice(array, limit).tolist() == balanced_choice(renumbered, limit).tolist()
    assert number_by_appearance(array).tolist() == number_by_appearance(renumbered).tolist()


def test_numbers_by_appearance_by_hand() -> None:
    assert number_by_appearance(np.array([7, 2, 7, 0, 2])).tolist() == [0, 1, 0, 2, 1]
