"""Operation masks: laws, the drop of the weakest with ties, unions, data that is no mask."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.error_fields import assert_fields
from tests.reference.pdarts import drop_weakest
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS, SearchSpace
from wsdarts_registry.errors import SpaceError

FOUR = SearchSpace(nodes=1, candidates=("a", "b", "c", "d"))


@st.composite
def masks(draw: st.DrawFn, space: SearchSpace | None = None) -> OperationMasks:
    """Masks of a small search space with at least one operation on each edge."""
    chosen = space or SearchSpace(
        nodes=draw(st.integers(1, 3)),
        candidates=tuple("abcdef"[: draw(st.integers(1, 6))]),
    )
    row = st.lists(st.booleans(), min_size=len(chosen.candidates), max_size=len(chosen.candidates))
    cell = st.lists(row.filter(any), min_size=len(chosen.edges), max_size=len(chosen.edges))
    arrays = [np.array(draw(cell), dtype=bool) for _ in CELL_KINDS]
    return OperationMasks.from_arrays(chosen, *arrays)


def finite(shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """α with many ties."""
    return hnp.arrays(np.float64, shape, elements=st.sampled_from([-1.0, 0.0, -0.0, 0.5, 2.0]))


@given(masks())
def test_json_law(found: OperationMasks) -> None:
    assert OperationMasks.from_json(found.to_json()) == found
    assert OperationMasks.from_json(json.loads(json.dumps(found.to_json()))) == found


@given(masks())
def test_arrays_and_names_agree(found: OperationMasks) -> None:
    again = OperationMasks.from_arrays(found.space, *(found.array(kind) for kind in CELL_KINDS))
    assert again == found
    for kind in CELL_KINDS:
        for edge, row in enumerate(found.array(kind)):
            names = found.operations(kind, edge)
            assert names == tuple(np.array(found.space.candidates)[row])
    assert found.widest == max(found.array(kind).sum(axis=1).max() for kind in CELL_KINDS)


def test_keep_strongest_by_hand() -> None:
    alpha = np.array([[0.3, -2.0, 0.1, 0.2], [0.0, 0.0, 0.0, 1.0]])
    found = OperationMasks.full(FOUR).keep_strongest(alpha, -alpha, keep=2)
    assert [found.operations("normal", edge) for edge in range(2)] == [("a", "d"), ("c", "d")]
    # −α: edge 0 is (−0.3, 2, −0.1, −0.2), edge 1 (0, 0, 0, −1): of the ties the earlier ones go.
    assert [found.operations("reduction", edge) for edge in range(2)] == [("b", "c"), ("b", "c")]


def test_ties_drop_the_earlier_candidate() -> None:
    level = np.zeros(FOUR.shape)
    found = OperationMasks.full(FOUR)
    for keep, names in ((3, ("b", "c", "d")), (2, ("c", "d")), (1, ("d",))):
        found = found.keep_strongest(level, level, keep)
        assert found.operations("normal", 0) == names


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=8, max_size=8), st.integers(1, 8))
def test_ties_are_decided_as_in_the_public_code(drawn: list[float], keep: int) -> None:
    alpha = np.array([drawn] * 14)
    found = OperationMasks.full(DARTS).keep_strongest(alpha, alpha, keep)
    assert np.flatnonzero(found.array("normal")[3]).tolist() == drop_weakest(drawn, keep)


def test_a_dropped_operation_never_comes_back() -> None:
    first = np.array([[True, True, False, False]] * 2)
    start = OperationMasks.from_arrays(FOUR, first, first)
    alpha = np.array([[0.0, 1.0, 9.0, 9.0]] * 2)  # strong α where nothing is left
    assert start.keep_strongest(alpha, alpha, 3) == start
    assert start.keep_strongest(alpha, alpha, 1).operations("normal", 0) == ("b",)


def test_the_papers_stages() -> None:
    draws = np.random.default_rng(0)
    found = OperationMasks.full(DARTS)
    for keep in (5, 3):
        before = found
        found = found.keep_strongest(draws.normal(size=(14, 8)), draws.normal(size=(14, 8)), keep)
        for kind in CELL_KINDS:
            assert found.array(kind).sum(axis=1).tolist() == [keep] * 14
            assert (found.array(kind) <= before.array(kind)).all()


@given(st.data(), masks(), st.integers(1, 6))
def test_keep_strongest_laws(data: st.DataObject, start: OperationMasks, keep: int) -> None:
    normal, reduction = (data.draw(finite(start.space.shape)) for _ in CELL_KINDS)
    found = start.keep_strongest(normal, reduction, keep)
    for kind, alpha in zip(CELL_KINDS, (normal, reduction), strict=True):
        before, after = start.array(kind), found.array(kind)
        assert (after <= before).all()
        assert (after.sum(axis=1) == np.minimum(before.sum(axis=1), keep)).all()
        for edge in range(len(alpha)):
            lost = alpha[edge][before[edge] & ~after[edge]]
            assert not lost.size or lost.max() <= alpha[edge][after[edge]].min()
    assert found.keep_strongest(normal, reduction, keep) == found
    # A shift of α on an edge shifts nothing, as with the softmax.
    assert start.keep_strongest(normal + 3, reduction - 1, keep) == found


@pytest.mark.parametrize(
    ("alpha", "keep", "what", "expected"),
    [
        (np.zeros((2, 3)), 2, ("α", "normal cell", "(2, 3)"), "(2, 4)"),
        (np.full((2, 4), np.nan), 2, ("α", "normal cell", "(2, 4)"), ("finite", "(2, 4)")),
        (np.full((2, 4), np.inf), 2, ("α", "normal cell", "(2, 4)"), ("finite", "(2, 4)")),
        (np.zeros((2, 4)), 0, "keep 0 operations", "at least 1"),
    ],
)
def test_keep_strongest_refuses(
    alpha: np.ndarray, keep: int, what: object, expected: object
) -> None:
    with pytest.raises(SpaceError) as caught:
        OperationMasks.full(FOUR).keep_strongest(alpha, alpha, keep)
    assert_fields(caught.value, what=what, expected=expected)


@given(masks(FOUR), masks(FOUR), masks(FOUR))
def test_union_laws(a: OperationMasks, b: OperationMasks, c: OperationMasks) -> None:
    assert a.union(b) == b.union(a)
    assert a.union(a) == a
    assert a.union(b).union(c) == a.union(b.union(c))
    assert a.union(OperationMasks.full(FOUR)) == OperationMasks.full(FOUR)
    for kind in CELL_KINDS:
        assert (a.union(b).array(kind) == (a.array(kind) | b.array(kind))).all()


def test_union_of_different_spaces_is_refused() -> None:
    with pytest.raises(SpaceError, match="different search spaces"):
        OperationMasks.full(FOUR).union(OperationMasks.full(DARTS))


def test_wrong_shapes_and_empty_edges_are_refused() -> None:
    ones = np.ones((2, 4), dtype=bool)
    with pytest.raises(SpaceError, match=r"\(3, 4\); expected \(2, 4\)"):
        OperationMasks.from_arrays(FOUR, np.ones((3, 4), dtype=bool), ones)
    with pytest.raises(SpaceError, match=r"a mask has shape \(2, 5\)"):
        OperationMasks.from_arrays(FOUR, ones, np.ones((2, 5), dtype=bool))
    with pytest.raises(SpaceError, match=r"a mask has shape \(4,\)"):
        OperationMasks.from_arrays(FOUR, np.ones(4, dtype=bool), ones)
    empty = ones.copy()
    empty[1] = False
    with pytest.raises(SpaceError, match=r"edge \(1, 2\) of the reduction"):
        OperationMasks.from_arrays(FOUR, ones, empty)


@pytest.mark.parametrize(
    "change",
    [
        {"normal": None},
        {"normal": "ab"},
        {"normal": [["a"], "b"]},
        {"normal": [["a"]]},
        {"normal": [["a"], []]},
        {"normal": [["a"], ["x"]]},
        {"normal": [["a"], [1]]},
        {"normal": [["a"], [["a"]]]},
        {"space": {"nodes": 2, "candidates": ["a"]}},
        {"space": None},
        {"more": 1},
    ],
)
def test_no_masks(change: dict[str, Any]) -> None:
    data = OperationMasks.full(FOUR).to_json() | change
    with pytest.raises(SpaceError):
        OperationMasks.from_json(data)


@pytest.mark.parametrize("data", [None, [], {}, {"normal": [], "reduction": []}])
def test_nothing_like_masks(data: Any) -> None:
    with pytest.raises(SpaceError, match="masks in JSON"):
        OperationMasks.from_json(data)
