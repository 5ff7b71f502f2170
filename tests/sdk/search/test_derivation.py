"""From α to a genotype, on hand-made α: discretisation, ties, skip-connect refinement."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference import pdarts
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_registry.errors import SpaceError
from wsdarts_sdk.search.derivation import derive_genotype, masked_softmax, ranked_candidates

Array = NDArray[np.float64]
THREE = ("none", "skip_connect", "sep_conv_3x3")
TWO_NODES = SearchSpace(nodes=2, candidates=THREE)


def from_shares(rows: list[list[float]]) -> Array:
    """α whose softmax is these shares."""
    shares = np.array(rows)
    assert np.allclose(shares.sum(axis=1), 1)
    return np.log(np.maximum(shares, 1e-30))


def cell(
    alpha: Array, space: SearchSpace, masks: OperationMasks | None = None, m: int | None = None
) -> list[list[tuple[str, int]]]:
    """The derived normal cell as (operation, source) pairs for each node."""
    masks = masks or OperationMasks.full(space)
    found = derive_genotype(masks, {"normal": alpha, "reduction": alpha}, skip_connects=m)
    return [[(c.operation, c.source) for c in node] for node in found.normal]


def test_two_strongest_inputs_by_their_best_operation() -> None:
    alpha = from_shares(
        [
            [0.1, 0.3, 0.6],  # (0, 2)
            [0.1, 0.7, 0.2],  # (1, 2)
            [0.2, 0.4, 0.4],  # (0, 3)  best 0.4: out
            [0.1, 0.45, 0.45],  # (1, 3)  0.45, equal: the later candidate
            [0.0, 0.5, 0.5],  # (2, 3)
        ]
    )
    assert cell(alpha, TWO_NODES) == [
        [("sep_conv_3x3", 0), ("skip_connect", 1)],
        [("sep_conv_3x3", 1), ("sep_conv_3x3", 2)],
    ]


def test_none_cannot_win_but_its_share_counts() -> None:
    # On edge (0, 3) `none` takes 0.9, so that its best operation has 0.06: the edge is weaker
    # than both others. A softmax without `none` would make it the strongest (0.6).
    alpha = from_shares(
        [
            [0.8, 0.1, 0.1],
            [0.8, 0.1, 0.1],
            [0.9, 0.04, 0.06],
            [0.1, 0.46, 0.44],
            [0.1, 0.44, 0.46],
        ]
    )
    assert cell(alpha, TWO_NODES)[1] == [("skip_connect", 1), ("sep_conv_3x3", 2)]


def test_of_equals_the_later_edge_and_candidate_win() -> None:
    # As in P-DARTS' code, by hand: sorted upwards by 1/3, 1/3, 1/3 the edges stay 0, 1, 2, and the
    # last two are kept; of two equal operations the first minimum goes.
    assert cell(np.zeros((5, 3)), TWO_NODES) == [
        [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)],
        [("sep_conv_3x3", 1), ("sep_conv_3x3", 2)],
    ]


SHARES = st.sampled_from([0.0, 1.0, 2.0])


@given(st.lists(SHARES, min_size=14 * 8, max_size=14 * 8), st.sampled_from([None, 8, 4, 2, 1]))
def test_ties_are_decided_as_in_the_public_code(drawn: list[float], m: int | None) -> None:
    alpha = np.array(drawn).reshape(14, 8)  # all eight, so that a refined cell is never out of them
    masks = OperationMasks.full(DARTS)
    shares = masked_softmax(alpha, masks.array("normal"))
    expected = pdarts.derive(shares, m, none=0, skip=DARTS.candidate_index("skip_connect"))
    found = cell(alpha, DARTS, m=m)
    assert [
        [place, DARTS.candidate_index(operation), source]
        for place, node in enumerate(found)
        for operation, source in node
    ] == expected


def test_dropped_candidates_cannot_win() -> None:
    mask = np.ones((5, 3), dtype=bool)
    mask[:, 1] = False
    masks = OperationMasks.from_arrays(TWO_NODES, mask, mask)
    alpha = np.zeros((5, 3))
    alpha[:, 1] = 100  # α of a dropped candidate is without meaning
    assert cell(alpha, TWO_NODES, masks)[0] == [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)]


def test_cells_are_derived_from_their_own_alpha() -> None:
    normal, reduction = np.zeros((5, 3)), np.zeros((5, 3))
    normal[:, 1], reduction[:, 2] = 1, 1
    found = derive_genotype(
        OperationMasks.full(TWO_NODES), {"normal": normal, "reduction": reduction}
    )
    assert (found.count("skip_connect"), found.count("skip_connect", "reduction")) == (4, 0)
    assert found.count("sep_conv_3x3", "reduction") == 4


def test_shares_that_underflow_can_still_be_chosen() -> None:
    alpha = np.zeros((5, 3))
    alpha[:, 0] = 2000  # softmax: 1, 0, 0
    assert cell(alpha, TWO_NODES)[0] == [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)]


# Skip-connects win everywhere; their shares are 0.60, 0.61, … by edge, so each node first takes
# its last two edges. (0, 2) is edge 0, (1, 2) 1, (0, 3) 2, (1, 3) 3, (2, 3) 4.
RISING = [[0.0, 0.6 + i / 100, 0.4 - i / 100] for i in range(5)]


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        (None, [["skip@0", "skip@1"], ["skip@1", "skip@2"]]),
        (4, [["skip@0", "skip@1"], ["skip@1", "skip@2"]]),
        # The weakest, (0, 2), becomes a convolution of 0.40: node 2 has no other input.
        (3, [["sep@0", "skip@1"], ["skip@1", "skip@2"]]),
        (2, [["sep@0", "sep@1"], ["skip@1", "skip@2"]]),
        # Striking out (1, 3) lets in (0, 3), a skip-connect of 0.62, which goes next; then the
        # best second input is the convolution on (0, 3), 0.38.
        (1, [["sep@0", "sep@1"], ["sep@0", "skip@2"]]),
        (0, [["sep@0", "sep@1"], ["sep@0", "sep@1"]]),
    ],
)
def test_refinement(m: int | None, expected: list[list[str]]) -> None:
    found = cell(from_shares(RISING), TWO_NODES, m=m)
    short = [[f"{name.split('_')[0]}@{source}" for name, source in node] for node in found]
    assert short == expected


def test_refinement_leaves_the_reduction_cell_alone() -> None:
    alpha = {kind: from_shares(RISING) for kind in ("normal", "reduction")}
    found = derive_genotype(OperationMasks.full(TWO_NODES), alpha, skip_connects=0)
    assert (found.count("skip_connect"), found.count("skip_connect", "reduction")) == (0, 4)


def test_of_equally_weak_skip_connects_the_earlier_goes_first() -> None:
    # Struck out in this order: (0, 2), (1, 2), then (1, 3), whose place (0, 3) takes, and that.
    alpha = from_shares([[0.0, 0.6, 0.4]] * 5)
    skips = [("skip_connect", 1), ("skip_connect", 2)]
    assert cell(alpha, TWO_NODES, m=3) == [[("sep_conv_3x3", 0), ("skip_connect", 1)], skips]
    assert cell(alpha, TWO_NODES, m=2) == [[("sep_conv_3x3", 0), ("sep_conv_3x3", 1)], skips]
    assert cell(alpha, TWO_NODES, m=1)[1] == [("sep_conv_3x3", 1), ("skip_connect", 2)]


def test_a_skip_connect_that_its_node_needs_is_spared() -> None:
    # Node 2 has a single operation on each edge: one of them is a skip-connect for good.
    mask = np.ones((5, 3), dtype=bool)
    mask[0] = [False, True, False]
    mask[1] = [True, False, True]
    masks = OperationMasks.from_arrays(TWO_NODES, mask, mask)
    found = cell(from_shares(RISING), TWO_NODES, masks, m=0)
    assert found == [
        [("skip_connect", 0), ("sep_conv_3x3", 1)],
        [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)],
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("m", range(9))
def test_refinement_holds_m_on_random_alpha(seed: int, m: int) -> None:
    draws = np.random.default_rng(seed)
    alpha = {kind: draws.normal(size=DARTS.shape) for kind in ("normal", "reduction")}
    alpha["normal"][:, 3] += 2
    masks = OperationMasks.full(DARTS)
    plain = derive_genotype(masks, alpha)
    found = derive_genotype(masks, alpha, skip_connects=m)
    assert found.count("skip_connect") <= m
    assert found.reduction == plain.reduction
    if plain.count("skip_connect") <= m:
        assert found == plain
    again = derive_genotype(masks, alpha, skip_connects=m)
    assert found == again  # α is not changed on the way


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("candidates", [("skip_connect",), ("sep_conv_5x5", "none"), THREE])
def test_other_search_spaces(nodes: int, candidates: tuple[str, ...]) -> None:
    space = SearchSpace(nodes=nodes, candidates=candidates)
    alpha = np.random.default_rng(1).normal(size=space.shape)
    found = derive_genotype(
        OperationMasks.full(space), {"normal": alpha, "reduction": alpha}, skip_connects=1
    )
    assert [len(node) for node in found.normal] == [2] * nodes
    assert found.count("none") == found.count("none", "reduction") == 0
    assert Genotype.from_darts(found.to_darts(), space) == found


def test_nothing_but_none_is_an_error() -> None:
    mask = np.ones((5, 3), dtype=bool)
    mask[1] = [True, False, False]
    masks = OperationMasks.from_arrays(TWO_NODES, mask, mask)
    with pytest.raises(SpaceError, match="node 2 has 1 incoming"):
        cell(np.zeros((5, 3)), TWO_NODES, masks)


def test_masked_softmax() -> None:
    mask = np.array([[True, False, True]])
    found = masked_softmax(np.array([[0.0, 50.0, np.log(3.0)]]), mask)
    assert found.tolist() == [pytest.approx([0.25, 0.0, 0.75])]


def test_ranked_candidates() -> None:
    mask = np.ones((5, 3), dtype=bool)
    mask[0] = [False, True, True]
    masks = OperationMasks.from_arrays(TWO_NODES, mask, mask)
    alpha = {kind: np.zeros((5, 3)) for kind in ("normal", "reduction")}
    alpha["normal"][0] = [9.0, 0.0, np.log(3.0)]
    ranked = ranked_candidates(masks, alpha)
    assert ranked["normal"][0] == [
        ("sep_conv_3x3", pytest.approx(0.75)),
        ("skip_connect", pytest.approx(0.25)),
    ]
    # Of equals the later comes first; `none` is a candidate like any other here.
    assert [name for name, _ in ranked["reduction"][1]] == list(THREE)[::-1]
    assert [share for _, share in ranked["reduction"][1]] == pytest.approx([1 / 3] * 3)
