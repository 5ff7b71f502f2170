"""Operation dropout on skip-connects: what drops, how it scales, where its draws come from."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference.mixed import MixedOperation
from reference.network import PlainCell, PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.supernet.kernels.base import Kernels, SkipDropout, Term, kept
from wsdarts_sdk.supernet.network import Supernet

SKIP = ("skip_connect",)


def drawn(rate: float, seed: int, x: Tensor) -> Tensor:
    """The output of one edge that is nothing but a skip-connect."""
    return MixedOperation(SKIP, SKIP, x.shape[1], 1)(x, torch.ones(1), rate, seed)


def test_identity_drops_entries_and_scales_the_rest() -> None:
    x = torch.rand(8, 4, 16, 16) + 1
    found = drawn(0.25, 1, x)
    stays = found != 0
    assert torch.allclose(found[stays], x[stays] / 0.75)  # not x, not x · 0.75
    assert stays.float().mean().item() == pytest.approx(0.75, abs=0.02)  # of entries, not images
    assert found.mean().item() == pytest.approx(x.mean().item(), rel=0.02)


def test_rate_zero_is_the_identity() -> None:
    x = torch.randn(2, 2, 4, 4)
    assert torch.equal(drawn(0.0, 1, x), x)


def test_the_same_seed_draws_the_same() -> None:
    x = torch.ones(4, 4, 8, 8)
    assert torch.equal(drawn(0.5, 7, x), drawn(0.5, 7, x))
    assert not torch.equal(drawn(0.5, 7, x), drawn(0.5, 8, x))


def test_stride_two_skip_connect_never_drops() -> None:
    mixed = MixedOperation(SKIP, SKIP, 4, 2)
    x = torch.randn(3, 4, 8, 8)
    assert torch.equal(mixed(x, torch.ones(1), 0.9, 0), mixed(x, torch.ones(1)))


def test_other_operations_never_drop() -> None:
    candidates = ("none", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
    mixed = MixedOperation(candidates, candidates, 4, 1)
    x, weights = torch.randn(3, 4, 8, 8), torch.full((5,), 0.2)
    assert torch.equal(mixed(x, weights, 0.9, 0), mixed(x, weights))


def test_each_edge_draws_for_itself() -> None:
    # One node, two skip-connects from the same ones: if both edges dropped the same entries,
    # the sum would only hold 0 and 2/(1 - p); an entry of 1/(1 - p) shows a draw of its own.
    space = SearchSpace(nodes=1, candidates=SKIP)
    cell = PlainCell(
        OperationMasks.full(space),
        inputs=(2, 2),
        channels=2,
        reduction=False,
        after_reduction=False,
    )
    cell.first, cell.second = nn.Identity(), nn.Identity()
    ones, skip = torch.ones(4, 2, 8, 8), SkipDropout(rate=0.5, seed=3)
    found = cell((ones, ones), torch.ones(2, 1), skip)
    shares = [(found == value).float().mean().item() for value in (0.0, 2.0, 4.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.06)


def test_each_cell_draws_for_itself() -> None:
    net = PlainSupernet(
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


@pytest.mark.parametrize("engine", [PlainSupernet, Supernet])
def test_no_dropout_in_eval_mode(engine: type[PlainSupernet] | type[Supernet]) -> None:
    space = SearchSpace(nodes=2, candidates=("skip_connect", "sep_conv_3x3"))
    net = engine(OperationMasks.full(space), cells=3, channels=2, classes=[2], seed=0)
    x, skip = torch.randn(4, 3, 8, 8), SkipDropout(rate=0.9, seed=1)
    assert not torch.equal(net(x, skip=skip), net(x))
    net.eval()
    assert torch.equal(net(x, skip=skip), net(x))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    drawn(0.5, 1, torch.ones(2, 2, 4, 4))
    assert torch.equal(before, torch.get_rng_state())


def splitmix64(state: int) -> int:
    """One output of splitmix64, from the paper's own listing, in Python's integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def test_the_generator_is_splitmix64() -> None:
    # Known outputs of the generator for the seed 1234567, of its public reference code.
    golden, state = 0x9E3779B97F4A7C15, 1234567
    found = [splitmix64((state + i * golden) % 2**64) for i in range(2)]
    assert found == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize("seed", [0, 3, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
def test_draws_of_every_engine(
    seed: int, rate: float, make_kernels: Callable[[torch.dtype], Kernels]
) -> None:
    # Element i of (B, H, W, C) is output i of the generator, its upper 53 bits as a fraction.
    golden = 0x9E3779B97F4A7C15
    fractions = [
        (splitmix64((seed + (i - 1) * golden) % 2**64) >> 11) / 2**53 for i in range(2 * 3 * 4 * 5)
    ]
    wanted = torch.tensor([fraction >= rate for fraction in fractions]).view(2, 3, 4, 5)
    assert torch.equal(kept(seed, rate, (2, 3, 4, 5), torch.device("cpu")), wanted)
    kernels = make_kernels(torch.float64)
    kernels.scalars(torch.ones(1, dtype=torch.float64))  # what a pass begins with
    found = torch.empty(2, 3, 4, 5, dtype=torch.float64)
    ones = torch.ones_like(found)
    kernels.mix_forward([Term(values=ones, alpha=0.5, seed=seed, rate=rate)], found)
    np.testing.assert_allclose(found, wanted.double() * 0.5 / (1 - rate), rtol=1e-12)


def test_edges_and_cells_and_seeds_have_their_own_draws() -> None:
    seeds = {
        SkipDropout(rate=0.5, seed=seed).edge_seed(cell, edge)
        for seed in range(20)
        for cell in range(20)
        for edge in range(14)
    }
    assert len(seeds) == 20 * 20 * 14
    # Not merely different: a seed that is another one plus a step would be the same row, shifted.
    a, b = (SkipDropout(rate=0.5, seed=1).edge_seed(0, edge) for edge in (0, 1))
    first, second = (kept(s, 0.5, (4096,), torch.device("cpu")).double() for s in (a, b))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06  # 4096 fair coins: sigma is 1/64
