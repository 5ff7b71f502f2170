"""Operation dropout on skip-connects: what drops, how it scales, where its draws come from."""

import pytest
import torch
from torch import Tensor, nn

from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.space import SearchSpace
from wsdarts_sdk.supernet import MixedOperation, SkipDropout, Supernet, SupernetCell

SKIP = ("skip_connect",)


def drawn(rate: float, seed: int, x: Tensor) -> Tensor:
    """The output of one edge that is nothing but a skip-connect."""
    mixed = MixedOperation(SKIP, SKIP, x.shape[1], 1)
    skip = SkipDropout(rate=rate, seed=seed)
    return mixed(x, torch.ones(1), skip.rate, skip.draws())


def test_identity_drops_entries_and_scales_the_rest() -> None:
    x = torch.rand(8, 4, 16, 16) + 1
    found = drawn(0.25, 1, x)
    kept = found != 0
    assert torch.allclose(found[kept], x[kept] / 0.75)  # not x, not x · 0.75
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)  # of entries, not images
    assert found.mean().item() == pytest.approx(x.mean().item(), rel=0.02)


def test_rate_zero_is_the_identity_and_draws_nothing() -> None:
    x = torch.randn(2, 2, 4, 4)
    assert torch.equal(drawn(0.0, 1, x), x)
    assert SkipDropout(rate=0.0, seed=1).draws() is None


def test_the_same_seed_draws_the_same() -> None:
    x = torch.ones(4, 4, 8, 8)
    assert torch.equal(drawn(0.5, 7, x), drawn(0.5, 7, x))
    assert not torch.equal(drawn(0.5, 7, x), drawn(0.5, 8, x))


def test_stride_two_skip_connect_never_drops() -> None:
    mixed = MixedOperation(SKIP, SKIP, 4, 2)
    x, skip = torch.randn(3, 4, 8, 8), SkipDropout(rate=0.9, seed=0)
    assert torch.equal(
        mixed(x, torch.ones(1), skip.rate, skip.draws()), mixed(x, torch.ones(1), 0.0, None)
    )


def test_other_operations_never_drop() -> None:
    candidates = ("none", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
    mixed = MixedOperation(candidates, candidates, 4, 1)
    x, skip, weights = torch.randn(3, 4, 8, 8), SkipDropout(rate=0.9), torch.full((5,), 0.2)
    assert torch.equal(mixed(x, weights, skip.rate, skip.draws()), mixed(x, weights, 0.0, None))


def test_each_edge_draws_for_itself() -> None:
    # One node, two skip-connects from the same ones: if both edges dropped the same entries,
    # the sum would only hold 0 and 2/(1 - p); an entry of 1/(1 - p) shows a draw of its own.
    space = SearchSpace(nodes=1, candidates=SKIP)
    cell = SupernetCell(
        OperationMasks.full(space),
        inputs=(2, 2),
        channels=2,
        reduction=False,
        after_reduction=False,
    )
    cell.first, cell.second = nn.Identity(), nn.Identity()
    ones, skip = torch.ones(4, 2, 8, 8), SkipDropout(rate=0.5, seed=3)
    found = cell((ones, ones), torch.ones(2, 1), skip.rate, skip.draws())
    shares = [(found == value).float().mean().item() for value in (0.0, 2.0, 4.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.06)


def test_each_cell_draws_for_itself() -> None:
    net = Supernet(
        OperationMasks.full(SearchSpace(nodes=1, candidates=SKIP)),
        cells=5,
        channels=2,
        classes=[2],
        seed=0,
    )
    seen = []

    def keep(module: nn.Module, inputs: tuple[Tensor], found: Tensor) -> None:
        seen.append((found != 0)[:, :4, :2, :2])

    for position in (2, 4):  # normal cells of the same and of twice the size
        net.cells[position].edges[0].register_forward_hook(keep)
    net(torch.randn(16, 3, 8, 8), skip=SkipDropout(rate=0.5, seed=0))
    assert not torch.equal(*seen)


def test_no_dropout_in_eval_mode() -> None:
    space = SearchSpace(nodes=2, candidates=("skip_connect", "sep_conv_3x3"))
    net = Supernet(OperationMasks.full(space), cells=3, channels=2, classes=[2], seed=0)
    x, skip = torch.randn(4, 3, 8, 8), SkipDropout(rate=0.9, seed=1)
    assert not torch.equal(net(x, skip=skip), net(x))
    net.eval()
    assert torch.equal(net(x, skip=skip), net(x))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    drawn(0.5, 1, torch.ones(2, 2, 4, 4))
    assert torch.equal(before, torch.get_rng_state())
