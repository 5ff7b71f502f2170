"""The supernet's shape: reduction cells, α, masks, parameters, heads, seeds."""

import numpy as np
import pytest
import torch

from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS, SearchSpace
from wsdarts_registry.errors import SettingsError, SpaceError
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.supernet.operation_plan import reduction_positions

TWO_EDGES = SearchSpace(nodes=1)


def supernet(masks: OperationMasks | None = None, *, seed: int = 0) -> Supernet:
    masks = masks or OperationMasks.full(TWO_EDGES)
    return Supernet(masks, cells=3, channels=4, classes=[5], seed=seed)


@pytest.mark.parametrize(
    ("cells", "positions"),
    [(1, {0}), (2, {0, 1}), (3, {1, 2}), (5, {1, 3}), (8, {2, 5}), (11, {3, 7}), (17, {5, 11})],
)
def test_reduction_positions(cells: int, positions: set[int]) -> None:
    assert reduction_positions(cells) == positions


def test_cells_of_the_papers_first_stage() -> None:
    masks = OperationMasks.full(SearchSpace(candidates=("skip_connect",)))
    net = Supernet(masks, cells=5, channels=2, classes=[3], seed=0)
    kinds = [plan.kind for plan in net.plans]
    assert kinds == ["normal", "reduction", "normal", "reduction", "normal"]
    assert [plan.channels for plan in net.plans] == [2, 4, 4, 8, 8]
    halved = [plan.inputs[0].stride == 2 for plan in net.plans]
    assert halved == [False, False, True, False, True]  # the cell after each reduction
    assert {plan.inputs[1].stride for plan in net.plans} == {1}
    assert net.features(torch.randn(2, 3, 16, 16)).shape == (2, 4 * 8)
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 3)


def test_alpha_is_small_and_inside_the_module() -> None:
    net = Supernet(OperationMasks.full(DARTS), cells=1, channels=2, classes=[2], seed=0)
    state = net.state_dict()
    for kind in CELL_KINDS:
        alpha = state[f"alpha.{kind}"]
        assert alpha.shape == (14, 8)
        assert alpha.std().item() == pytest.approx(1e-3, rel=0.3)
        assert alpha.mean().item() == pytest.approx(0, abs=4e-4)
    assert not torch.equal(state["alpha.normal"], state["alpha.reduction"])
    assert "mask_normal" not in state  # masks are kept beside the weights, not among them
    alpha, weights = (
        {id(p) for p in ps} for ps in (net.alpha_parameters(), net.weight_parameters())
    )
    assert alpha.isdisjoint(weights)
    assert alpha | weights == {id(p) for p in net.parameters()}


def test_softmax_runs_over_survivors_only() -> None:
    mask = np.zeros((2, 8), dtype=bool)
    mask[:, [3, 4]] = True
    net = supernet(OperationMasks.from_arrays(TWO_EDGES, mask, np.ones((2, 8), dtype=bool)))
    with torch.no_grad():
        net.alpha["normal"].fill_(50.0)  # the dropped candidates' α must not count
        net.alpha["normal"][:, 3] = 0.0
        net.alpha["normal"][:, 4] = np.log(3.0)
    found = net.probabilities("normal")
    expected = torch.zeros(2, 8)
    expected[:, 3], expected[:, 4] = 0.25, 0.75
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.count_nonzero(net.probabilities("reduction")) == 16


def test_dropped_candidates_get_no_gradient_and_no_parameters() -> None:
    mask = np.zeros((2, 8), dtype=bool)
    mask[0, [0, 4]] = True
    mask[1, [3, 7]] = True
    net = supernet(OperationMasks.from_arrays(TWO_EDGES, mask, mask))
    computed = [{(group.source, group.operation) for group in plan.groups} for plan in net.plans]
    assert computed == [{(0, "sep_conv_3x3"), (1, "skip_connect"), (1, "dil_conv_5x5")}] * 3
    operations = {name.split(".")[5] for name in net.state_dict() if ".edges." in name}
    assert operations == {"sep_conv_3x3", "skip_connect", "dil_conv_5x5"}
    batch = Batch(images=torch.randn(4, 3, 8, 8), labels=torch.arange(4))
    for kind, gradient in zip(CELL_KINDS, net.gradients(batch, "alpha").alpha, strict=True):
        assert torch.isfinite(gradient).all(), kind
        assert torch.equal(gradient != 0, torch.from_numpy(mask))


def test_number_of_parameters_by_hand() -> None:
    # Channels 4, 8, 16 in the three cells (normal, reduction, reduction), stem 12, one node.
    stem = 3 * 12 * 9 + 2 * 12
    # An edge: sep 3, sep 5, dil 3, dil 5 and, with stride 2, the skip-connect.
    cells = [
        (12 * 4 + 12 * 4) + 2 * (104 + 232 + 52 + 116),
        (12 * 8 + 4 * 8) + 2 * (272 + 528 + 136 + 264 + 8 * 8),
        (4 * 16 + 8 * 16) + 2 * (800 + 1312 + 400 + 656 + 16 * 16),
    ]
    head, alpha = 16 * 5 + 5, 2 * 2 * 8
    total = sum(parameter.numel() for parameter in supernet().parameters())
    assert total == stem + sum(cells) + head + alpha


def test_seed() -> None:
    first, again, other = supernet().state_dict(), supernet().state_dict(), supernet(seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("stem.0.weight", "heads.0.weight", "alpha.normal", "alpha.reduction"):
        assert not torch.equal(first[name], other.state_dict()[name])


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    supernet()
    assert torch.equal(before, torch.get_rng_state())


def test_each_task_has_a_head_on_shared_features() -> None:
    masks = OperationMasks.full(TWO_EDGES)
    net = Supernet(masks, cells=1, channels=2, classes=[2, 7], seed=0).eval()
    x = torch.randn(3, 3, 8, 8)
    assert net(x, head=0).shape == (3, 2)
    # Not to the bit: the head sums its products in an order of its own, see ``_Linear``.
    torch.testing.assert_close(net(x, head=1), net.heads[1](net.features(x)))


def test_the_same_weights_as_the_plain_network_for_a_seed() -> None:
    # Drawn in the order in which modules are made, so a seed means the same to both.
    for masks in (OperationMasks.full(DARTS), OperationMasks.full(TWO_EDGES)):
        net = Supernet(masks, cells=4, channels=3, classes=[4, 2], seed=7).state_dict()
        plain = PlainSupernet(masks, cells=4, channels=3, classes=[4, 2], seed=7).state_dict()
        assert all(torch.equal(value, plain[name]) for name, value in net.items())
        assert {name for name in plain.keys() - net.keys() if "num_batches" not in name} == set()


@pytest.mark.parametrize(("cells", "channels", "classes"), [(0, 4, [2]), (1, 1, [2]), (1, 4, [])])
def test_impossible_numbers_are_refused(cells: int, channels: int, classes: list[int]) -> None:
    found = f"{cells} cells, {channels} channels and {len(classes)} tasks"
    with pytest.raises(SettingsError, match=found):
        Supernet(
            OperationMasks.full(TWO_EDGES), cells=cells, channels=channels, classes=classes, seed=0
        )


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize(
    "candidates", [("skip_connect",), ("none", "sep_conv_3x3"), ("avg_pool_3x3", "dil_conv_3x3")]
)
def test_other_search_spaces(nodes: int, candidates: tuple[str, ...]) -> None:
    space = SearchSpace(nodes=nodes, candidates=candidates)
    net = Supernet(OperationMasks.full(space), cells=3, channels=3, classes=[2], seed=0)
    assert net.probabilities("normal").shape == (nodes * (nodes + 3) // 2, len(candidates))
    assert net(torch.randn(2, 3, 9, 9)).shape == (2, 2)  # odd channels and odd sizes, too


def test_an_unknown_operation_is_refused() -> None:
    masks = OperationMasks.full(SearchSpace(nodes=1, candidates=("none", "conv_7x7")))
    with pytest.raises(SpaceError, match="one of avg_pool_3x3") as caught:
        supernet(masks)
    assert caught.value.found == "'conv_7x7'"
