import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from wsdarts_registry.embedding.distance import scan, symmetric_distance
from wsdarts_registry.errors import EmbeddingError

_VALUES = st.just(0.0) | st.floats(2.0**-20, 2.0**20, width=32)


def _plain(query: NDArray[np.float64], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cos of the two vectors of quotients, in float64, entries that are 0 in both left out."""
    found = []
    for row in rows.astype(np.float64):
        present = query + row > 0
        a, b = query[present], row[present]
        u, v = a / (a + b), b / (a + b)
        found.append(1 - u @ v / np.sqrt((u @ u) * (v @ v)))
    return np.array(found)


def _not_zero(values: NDArray[np.float32]) -> bool:
    return bool(values.any(axis=1).all())


@st.composite
def _embeddings(draw: st.DrawFn) -> NDArray[np.float32]:
    """Rows of few different values at widths around those of a block of filters."""
    width = draw(st.sampled_from([1, 2, 7, 1023, 1024, 1025, 2500]))
    few = draw(arrays(np.float32, (4, min(width, 7)), elements=_VALUES).filter(_not_zero))
    return np.tile(few, (1, -(-width // few.shape[1])))[:, :width]


def test_by_hand() -> None:
    # u = (1/2, 3/4, 0/0 -> none, 0), v = (1/2, 1/4, none, 1): u·v = 7/16, u·u = 13/16, v·v = 21/16.
    # D is 3: counting the filter that is 0 in both would make v·v 37/16, and leaving out the one
    # that is 0 in the query alone, 5/16.
    found = scan(np.array([1.0, 3, 0, 0]), np.array([[1, 1, 0, 5]], dtype=np.float32))
    np.testing.assert_allclose(found, [1 - 7 / (13 * 21) ** 0.5], atol=1e-7)


@given(_embeddings())
def test_agrees_with_the_plain_formula(values: NDArray[np.float32]) -> None:
    query = values[0].astype(np.float64)
    found = scan(query, values)
    np.testing.assert_allclose(found, _plain(query, values), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, symmetric_distance(query, values), rtol=0, atol=1e-6)


@given(_embeddings(), st.integers(-60, 60))
def test_rows_of_another_scale_agree(values: NDArray[np.float32], power: int) -> None:
    query = values[0].astype(np.float64)
    scaled = values * np.float32(2.0**power)
    np.testing.assert_allclose(
        scan(query, scaled), symmetric_distance(query, scaled), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_many_rows_of_many_scales_in_any_order(threads: int) -> None:
    random = np.random.default_rng(0)
    values = random.gamma(0.3, size=(300, 1500)) * np.exp(3 * random.normal(size=(300, 1)))
    values[:, ::9] = 0
    values[::4, ::7] = 0
    rows = values.astype(np.float32)
    query = np.where(np.arange(1500) % 11 == 0, 0.0, values[17])
    found = scan(query, rows, threads=threads)
    np.testing.assert_allclose(found, symmetric_distance(query, rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-60, 1e40, 1e120])
def test_what_float32_cannot_hold_is_exact(scale: float) -> None:
    rows = np.random.default_rng(0).gamma(1.0, size=(3, 50)).astype(np.float32)
    query = rows[0].astype(np.float64) * scale
    np.testing.assert_array_equal(scan(query, rows), symmetric_distance(query, rows))


def test_a_row_far_below_the_query_is_exact() -> None:
    # f/(q+f) is about 1e-30, whose square is 0 in float32.
    rows = np.array([[1e-30, 2e-30], [1, 1]], dtype=np.float32)
    found = scan(np.array([1.0, 1.0]), rows)
    assert found[0] == pytest.approx(1 - 3 / 10**0.5, abs=1e-7)
    assert found[1] == 0


def test_rows_that_are_not_valid_are_refused() -> None:
    rows = np.array([[1, 1], [0, 0]], dtype=np.float32)
    with pytest.raises(EmbeddingError, match=r"keys holds .*zeros"):
        scan(np.ones(2), rows)
    with pytest.raises(EmbeddingError, match=r"query holds .*zeros"):
        scan(np.zeros(2), rows[:1])
    with pytest.raises(EmbeddingError, match=r"query holds .*negative"):
        scan(np.array([1.0, np.nan]), rows[:1])
    with pytest.raises(EmbeddingError, match=r"\(3,\) .*\(2, 2\)"):
        scan(np.ones(3), rows)


def test_no_rows_have_no_distances() -> None:
    assert scan(np.ones(3), np.empty((0, 3), dtype=np.float32)).shape == (0,)
