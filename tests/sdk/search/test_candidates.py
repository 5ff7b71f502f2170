"""Candidates drawn from α: the rules they keep, and how often each is drawn."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS, SearchSpace
from wsdarts_sdk.search.derivation import derive_genotype, draw_candidates, log_probability

Array = NDArray[np.float64]
SPACE = SearchSpace(nodes=2, candidates=("none", "skip_connect", "sep_conv_3x3"))


def alpha_of(space: SearchSpace, seed: int = 0, scale: float = 1.0) -> dict[str, Array]:
    draws = np.random.default_rng(seed)
    return {kind: scale * draws.normal(size=space.shape) for kind in CELL_KINDS}


def test_rules_of_the_draws() -> None:
    draws = np.random.default_rng(1)
    masks = OperationMasks.full(DARTS).keep_strongest(
        draws.random(DARTS.shape), draws.random(DARTS.shape), 3
    )
    alpha = alpha_of(DARTS)
    found = draw_candidates(masks, alpha, 30, skip_connects=1, seed=3)
    own = derive_genotype(masks, alpha, skip_connects=1)
    assert len(found) == len(set(found)) == 30
    assert found[0] == own
    most = max(1, own.count("skip_connect"))
    edges = {edge: number for number, edge in enumerate(DARTS.edges)}
    for genotype in found:
        assert genotype.count("skip_connect") <= most
        for kind in CELL_KINDS:
            mask = masks.array(kind)
            for target, node in enumerate(genotype.cell(kind), start=2):
                assert len(node) == 2
                for connection in node:
                    assert connection.operation != "none"
                    column = DARTS.candidate_index(connection.operation)
                    assert mask[edges[connection.source, target], column]


def test_the_seed_decides() -> None:
    masks, alpha = OperationMasks.full(DARTS), alpha_of(DARTS)
    assert draw_candidates(masks, alpha, 5, seed=1) == draw_candidates(masks, alpha, 5, seed=1)
    assert draw_candidates(masks, alpha, 5, seed=1)[1:] != draw_candidates(masks, alpha, 5)[1:]
    # More candidates are these and further ones.
    assert draw_candidates(masks, alpha, 9, seed=1)[:5] == draw_candidates(masks, alpha, 5, seed=1)


def test_fewer_where_the_masks_leave_no_more() -> None:
    one = SearchSpace(nodes=1, candidates=("none", "sep_conv_3x3"))
    found = draw_candidates(OperationMasks.full(one), alpha_of(one), 7)
    assert len(found) == 1


def test_candidates_that_do_not_fit_are_passed_over() -> None:
    masks, alpha = OperationMasks.full(SPACE), alpha_of(SPACE)
    own = derive_genotype(masks, alpha)
    found = draw_candidates(masks, alpha, 6, fits=lambda genotype: genotype != own)
    assert own not in found
    assert len(found) == 6
    assert draw_candidates(masks, alpha, 3, fits=lambda genotype: False) == ()


def all_genotypes() -> list[Genotype]:
    """Every genotype of one node with two inputs, and so both of its edges."""
    space = SearchSpace(nodes=1, candidates=SPACE.candidates)
    cells = [
        [[[first, 0], [second, 1]]]
        for first, second in product(("skip_connect", "sep_conv_3x3"), repeat=2)
    ]
    return [
        Genotype.from_json(
            {"format": 1, "space": space.to_json(), "normal": normal, "reduction": reduction}
        )
        for normal, reduction in product(cells, cells)
    ]


def test_probabilities_sum_to_one_and_are_those_of_the_softmax() -> None:
    space = SearchSpace(nodes=1, candidates=SPACE.candidates)
    masks, alpha = OperationMasks.full(space), alpha_of(space)
    logs = [log_probability(masks, alpha, genotype) for genotype in all_genotypes()]
    assert math.fsum(map(math.exp, logs)) == pytest.approx(1)
    # With one node both edges are taken, and the operations are drawn without `none`.
    powers = np.exp(np.stack([alpha[kind][:, 1:] for kind in CELL_KINDS]))
    shares = powers / powers.sum(axis=2, keepdims=True)
    first = all_genotypes()[0]  # skip-connects alone
    assert log_probability(masks, alpha, first) == pytest.approx(np.log(shares[:, :, 0]).sum())


def test_edges_by_hand() -> None:
    # Node 3 has three edges, whose shares without `none` are 1/2, 1/4 and 1/4 of what they are
    # together: edges 0 and 1 are drawn with 1/2 · (1/4)/(1/2) + 1/4 · (1/2)/(3/4) = 5/12. The
    # plain product of the shares, 1/8 or twice that, is what this pins against.
    candidates = ("none", "sep_conv_3x3")
    space = SearchSpace(nodes=2, candidates=candidates)
    share = np.array([0.5, 0.5, 0.8, 0.4, 0.4])  # of sep_conv_3x3; the rest is `none`
    alpha = {kind: np.log(np.stack([1 - share, share], axis=1)) for kind in CELL_KINDS}
    pairs = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    genotype = Genotype.from_json(
        {"format": 1, "space": space.to_json(), "normal": [pairs] * 2, "reduction": [pairs] * 2}
    )
    found = log_probability(OperationMasks.full(space), alpha, genotype)
    assert math.exp(found) == pytest.approx((5 / 12) ** 2)


def test_draws_have_these_probabilities() -> None:
    space = SearchSpace(nodes=1, candidates=SPACE.candidates)
    masks, alpha = OperationMasks.full(space), alpha_of(space)
    own = derive_genotype(masks, alpha)
    drawn = Counter(
        draw_candidates(masks, alpha, 2, seed=seed, fits=lambda g: g != own)[0]
        for seed in range(2000)
    )
    rest = [genotype for genotype in all_genotypes() if genotype != own]
    shares = np.exp([log_probability(masks, alpha, genotype) for genotype in rest])
    expected = 2000 * shares / shares.sum()
    counted = np.array([drawn[genotype] for genotype in rest])
    # Six deviations: all draws follow from their seeds, so this passes always or never.
    assert (np.abs(counted - expected) <= 6 * np.sqrt(expected) + 1).all()


def test_a_decided_alpha_still_gives_candidates() -> None:
    masks = OperationMasks.full(DARTS)
    found = draw_candidates(masks, alpha_of(DARTS, scale=1000), 2)
    assert len(found) >= 1
    assert math.isfinite(log_probability(masks, alpha_of(DARTS, scale=1000), found[-1]))
