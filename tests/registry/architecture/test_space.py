"""Search spaces: edges by hand, the JSON law, and data that is no search space."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.error_fields import assert_fields
from wsdarts_registry.architecture.search_space import DARTS, DARTS_CANDIDATES, SearchSpace
from wsdarts_registry.errors import SpaceError

spaces = st.builds(
    SearchSpace,
    nodes=st.integers(1, 8),
    candidates=st.lists(st.text(max_size=12), min_size=1, max_size=9, unique=True).map(tuple),
)


def test_darts() -> None:
    assert DARTS.shape == (14, 8)
    assert DARTS.edges[:6] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4))
    assert DARTS.edges[-1] == (4, 5)
    assert list(DARTS.incoming(2)) == [0, 1]
    assert list(DARTS.incoming(5)) == [9, 10, 11, 12, 13]
    assert DARTS.candidates == DARTS_CANDIDATES
    assert DARTS.candidate_index("skip_connect") == 3


@given(st.integers(1, 64))
def test_incoming_edges_end_where_they_should(nodes: int) -> None:
    space = SearchSpace(nodes=nodes)
    assert len(space.edges) == nodes * (nodes + 3) // 2
    listed = []
    for target in range(2, 2 + nodes):
        ends = [space.edges[edge] for edge in space.incoming(target)]
        assert ends == [(source, target) for source in range(target)]
        listed += space.incoming(target)
    assert listed == list(range(len(space.edges)))


@given(spaces)
def test_json_law(space: SearchSpace) -> None:
    assert SearchSpace.from_json(space.to_json()) == space
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space
    assert hash(SearchSpace.from_json(space.to_json())) == hash(space)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"nodes": 0}, {"what": "0 nodes", "expected": "1 to 64"}),
        ({"nodes": 65}, {"what": "65 nodes", "expected": "1 to 64"}),
        ({"candidates": ()}, {"what": "no candidate operations"}),
        ({"candidates": ("a", "b", "a")}, {"what": ("named twice", "a, b, a")}),
    ],
)
def test_refused(values: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SpaceError) as caught:
        SearchSpace(**values)
    assert_fields(caught.value, **fields)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "darts",
        {},
        {"nodes": 4},
        {"nodes": "4", "candidates": ["a"]},
        {"nodes": True, "candidates": ["a"]},
        {"nodes": 1.0, "candidates": ["a"]},
        {"nodes": 1, "candidates": "ab"},
        {"nodes": 1, "candidates": ["a", 1]},
        {"nodes": 1, "candidates": ["a"], "more": 1},
    ],
)
def test_no_search_space(data: Any) -> None:
    with pytest.raises(SpaceError, match="keys 'nodes'"):
        SearchSpace.from_json(data)


def test_an_unknown_candidate_is_named() -> None:
    with pytest.raises(SpaceError, match=r"'conv' .*of a, b"):
        SearchSpace(candidates=("a", "b")).candidate_index("conv")
