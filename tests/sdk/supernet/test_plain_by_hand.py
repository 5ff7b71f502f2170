"""Mixed operation, two-edge cell and whole supernets in float64, against NumPy, to 1e-10."""

import numpy as np
import pytest
import torch

from reference import by_hand
from reference.mixed import MixedOperation
from reference.network import PlainCell, PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS_CANDIDATES, SearchSpace
from wsdarts_sdk.supernet.network import Supernet

TWO_EDGES = SearchSpace(nodes=1)


def test_mixed_operation_in_numbers() -> None:
    # α = (0, ln 3) on (none, skip): p = (1/4, 3/4), so 2 becomes 0·1/4 + 2·3/4 = 1.5.
    mixed = MixedOperation(("none", "skip_connect"), ("none", "skip_connect"), 2, 1)
    shares = torch.tensor([0.0, np.log(3.0)], dtype=torch.float64).softmax(0)
    found = mixed(torch.full((1, 2, 3, 3), 2.0, dtype=torch.float64), shares)
    assert torch.allclose(found, torch.full_like(found, 1.5), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_operation(stride: int) -> None:
    kept = ["max_pool_3x3", "skip_connect", "dil_conv_5x5"]
    mixed = MixedOperation(DARTS_CANDIDATES, tuple(kept), 4, stride).double()
    weights = by_hand.random_state(mixed, seed=3)
    x = np.random.default_rng(4).normal(size=(2, 4, 6, 6))
    shares = np.random.default_rng(5).dirichlet(np.ones(8))
    found = mixed(torch.from_numpy(x), torch.from_numpy(shares)).detach().numpy()
    columns = [1, 3, 7]  # of max pooling, skip-connect and the wide dilated convolution
    expected = by_hand.mixed(kept, shares[columns], x, stride, weights)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("after_reduction", [False, True])
def test_two_edge_cell(reduction: bool, after_reduction: bool) -> None:
    cell = PlainCell(
        OperationMasks.full(TWO_EDGES),
        inputs=(6, 4),
        channels=4,
        reduction=reduction,
        after_reduction=after_reduction,
    ).double()
    weights = by_hand.random_state(cell, seed=6)
    draws = np.random.default_rng(7)
    side = 12 if after_reduction else 6
    previous = [draws.normal(size=(2, 6, side, side)), draws.normal(size=(2, 4, 6, 6))]
    shares = draws.dirichlet(np.ones(8), size=2)
    found = cell(tuple(map(torch.from_numpy, previous)), torch.from_numpy(shares))
    expected = by_hand.cell(
        previous,
        [list(DARTS_CANDIDATES)] * 2,
        list(shares),
        weights,
        reduction=reduction,
        after_reduction=after_reduction,
    )
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-10)


def test_nodes_sum_their_edges_and_the_cell_concatenates_them() -> None:
    # Two nodes whose edges are all skip-connects (p = 1): node 2 = s0 + s1, node 3 = s0 + s1 +
    # node 2 = 2·(s0 + s1). The cell's inputs s0, s1 are read off its own two preprocessors.
    space = SearchSpace(nodes=2, candidates=("skip_connect",))
    cell = PlainCell(
        OperationMasks.full(space),
        inputs=(3, 3),
        channels=2,
        reduction=False,
        after_reduction=False,
    ).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    total = cell.first(x) + cell.second(x)
    found = cell((x, x), torch.ones(5, 1, dtype=torch.float64))
    assert torch.allclose(found, torch.cat([total, 2 * total], dim=1), atol=1e-10)


@pytest.mark.parametrize("engine", [PlainSupernet, Supernet])
def test_whole_supernet(engine: type[PlainSupernet] | type[Supernet]) -> None:
    # Three cells: normal, reduction, reduction after a reduction; other masks for each kind,
    # so that a swap of α or of masks between the kinds shows.
    normal = np.ones((2, 8), dtype=bool)
    normal[0, [0, 5, 7]] = False
    normal[1, [1, 3]] = False
    reduction = np.zeros((2, 8), dtype=bool)
    reduction[0, [0, 3, 4]] = True
    reduction[1, [2, 6]] = True
    masks = OperationMasks.from_arrays(TWO_EDGES, normal, reduction)
    net = engine(masks, cells=3, channels=4, classes=[5, 3], seed=0).double()
    weights = by_hand.random_state(net, seed=8)
    images = np.random.default_rng(9).normal(size=(4, 3, 8, 8))
    with torch.no_grad():
        found = net(torch.from_numpy(images), head=1).numpy()

    def stem_norm(x: np.ndarray) -> np.ndarray:  # the one norm with scale and shift
        scale = weights["stem.1.weight"].reshape(1, -1, 1, 1)
        return by_hand.norm(x) * scale + weights["stem.1.bias"].reshape(1, -1, 1, 1)

    previous = [stem_norm(by_hand.dense(images, weights["stem.0.weight"], padding=1))] * 2
    for position, kind in enumerate(["normal", "reduction", "reduction"]):
        mask = masks.array(kind)
        shares = [by_hand.softmax(weights[f"alpha.{kind}"][e][mask[e]]) for e in range(2)]
        output = by_hand.cell(
            previous,
            [list(masks.operations(kind, edge)) for edge in range(2)],
            shares,
            by_hand.within(weights, f"cells.{position}."),
            reduction=kind == "reduction",
            after_reduction=position == 2,
        )
        previous = [previous[1], output]
    features = previous[1].mean(axis=(2, 3))
    expected = features @ weights["heads.1.weight"].T + weights["heads.1.bias"]
    np.testing.assert_allclose(found, expected, atol=1e-10)
