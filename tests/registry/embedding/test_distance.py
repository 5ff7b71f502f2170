import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.error_fields import assert_fields
from wsdarts_registry.embedding.distance import distance_matrix, symmetric_distance
from wsdarts_registry.errors import EmbeddingError

_FLOATS = st.just(0.0) | st.floats(1e-150, 1e150)


def _rows(count: int, width: int) -> st.SearchStrategy[NDArray[np.float64]]:
    rows = arrays(np.float64, (count, width), elements=_FLOATS)
    return rows.filter(lambda values: bool(values.any(axis=1).all()))


def _one(a: list[float], b: list[float]) -> float:
    return float(symmetric_distance(np.array(a), np.array([b]))[0])


def test_distance_by_hand() -> None:
    # a/(a+b) = (1/2, 0, 0/0 -> 0), b/(a+b) = (1/2, 1, 0): cos = 1/sqrt(5).
    # Plain cosine of (a, b) would give 1/sqrt(2), so this pins the denominators.
    found = symmetric_distance(np.array([1.0, 0, 0]), np.array([[1.0, 1, 0]]))
    np.testing.assert_allclose(found, [1 - 5**-0.5], rtol=1e-12)


def test_distance_by_hand_of_two_positive_tasks() -> None:
    # a = (1, 3), b = (1, 1): a/(a+b) = (1/2, 3/4), b/(a+b) = (1/2, 1/4).
    # cos = (1/4 + 3/16) / (sqrt(13)/4 · sqrt(5)/4) = 7/sqrt(65).
    assert _one([1, 3], [1, 1]) == pytest.approx(1 - 7 / math.sqrt(65), rel=1e-12)


def test_entries_that_are_zero_in_both_drop_out() -> None:
    assert _one([1, 0, 3, 0], [1, 0, 1, 0]) == _one([1, 3], [1, 1])


def test_disjoint_tasks_are_as_far_as_can_be() -> None:
    assert _one([1, 0, 2], [0, 5, 0]) == pytest.approx(1, abs=1e-15)


def test_tiny_distances_keep_their_digits() -> None:
    # With b = a·(1 + e·s): a/(a+b) ~ 1/2 - e·s/4, so d ~ Var(log a/b)/2 = e²/2.
    # 1 - cos in float64 would be 0 or a multiple of 1.1e-16 here.
    signs = np.tile([1.0, -1.0], 500)
    a = np.linspace(0.5, 2.0, 1000)
    for e in (1e-4, 1e-6, 1e-9):
        assert _one(list(a), list(a * (1 + e * signs))) == pytest.approx(e**2 / 2, rel=1e-3)


def test_scales_that_differ_hugely_keep_their_digits() -> None:
    # a/(a+b) ~ 1e-20·(1, 2) and b/(a+b) ~ (1, 1): cos = 3/sqrt(10).
    assert _one([1e-20, 2e-20], [1, 1]) == pytest.approx(1 - 3 / math.sqrt(10), rel=1e-12)


def test_more_rows_than_a_chunk_holds() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=(9, 70_000))
    found = symmetric_distance(values[0], values)
    for row in range(9):
        assert found[row] == symmetric_distance(values[0], values[row : row + 1])[0]


@given(_rows(3, 5))
def test_laws(values: NDArray[np.float64]) -> None:
    matrix = distance_matrix(values)
    assert (matrix >= 0).all()
    assert (matrix <= 1).all()
    assert (np.diag(matrix) == 0).all()
    assert (
        symmetric_distance(values[1], values[:1])[0] == symmetric_distance(values[0], values[1:])[0]
    )
    for row in range(3):
        np.testing.assert_array_equal(symmetric_distance(values[row], values), matrix[row])


@given(
    arrays(np.float64, (2, 6), elements=st.floats(1e-100, 1e100)),
    st.integers(-50, 50),
)
def test_a_common_scale_does_not_matter(values: NDArray[np.float64], power: int) -> None:
    plain = symmetric_distance(values[0], values)
    np.testing.assert_array_equal(
        symmetric_distance(values[0] * 2.0**power, values * 2.0**power), plain
    )
    np.testing.assert_allclose(
        symmetric_distance(values[0] * 3, values * 3), plain, rtol=1e-9, atol=1e-15
    )


def test_proportional_tasks_are_at_distance_zero() -> None:
    a = np.random.default_rng(1).gamma(1.0, size=200)
    assert symmetric_distance(a, 7.3 * a[None])[0] < 1e-30


@pytest.mark.parametrize(
    ("query", "keys", "what", "expected"),
    [
        (np.ones(3), np.ones((2, 4)), ("(3,)", "(2, 4)"), ("(filters,)", "(tasks, filters)")),
        (np.ones(3), np.ones(3), ("(3,)", "(3,)"), ("(filters,)", "(tasks, filters)")),
        (np.array([1.0, np.nan]), np.ones((1, 2)), ("query", "negative", "finite"), ">= 0"),
        (np.ones(2), np.array([[1.0, np.inf]]), ("keys", "negative", "finite"), ">= 0"),
        (np.ones(2), np.array([[1.0, -1.0]]), ("keys", "negative", "finite"), ">= 0"),
        (np.ones(2), np.array([[1.0, 1.0], [0.0, 0.0]]), ("keys", "zeros"), "one positive"),
        (np.zeros(2), np.ones((1, 2)), ("query", "zeros"), "one positive"),
    ],
)
def test_bad_input(
    query: NDArray[np.float64],
    keys: NDArray[np.float64],
    what: tuple[str, ...],
    expected: object,
) -> None:
    with pytest.raises(EmbeddingError) as caught:
        symmetric_distance(query, keys)
    assert_fields(caught.value, what=what, expected=expected)


def test_no_keys_have_no_distances() -> None:
    assert symmetric_distance(np.ones(3), np.empty((0, 3))).shape == (0,)


def test_values_too_small_for_a_ratio_count_as_zero() -> None:
    assert _one([1e-320, 1, 3], [5, 1, 1]) == _one([0, 1, 3], [5, 1, 1])
