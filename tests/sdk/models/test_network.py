"""The derived network: its shape, its parameters by hand, drop path, auxiliary tower."""

import pytest
import torch
from torch import nn

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import stream
from wsdarts_sdk.models.network import (
    AuxiliaryHead,
    DerivedCell,
    DerivedNetwork,
    FactorizedReduce,
    drop_path,
)

# DARTS_V2, as its authors print it.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def connection(source: int, operation: str) -> Connection:
    return Connection(source=source, operation=operation)


def test_twenty_cells_of_darts() -> None:
    net = DerivedNetwork(Genotype.from_darts(DARTS_V2), classes=10, auxiliary=True)
    reductions = [i for i, c in enumerate(net.cells) if c.first.__class__ is FactorizedReduce]
    assert len(net.cells) == 20
    assert reductions == [7, 14]  # the cells after the reduction cells 6 and 13
    strides = [i for i, c in enumerate(net.cells) if any(op_strides(c))]
    assert strides == [6, 13]
    features, below = net.run_cells(torch.randn(2, 3, 16, 16))
    assert features.shape == (2, 4 * 64, 4, 4)
    assert net.auxiliary_position == 13
    assert below.shape == (2, 4 * 64, 4, 4)
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 10)


def op_strides(cell: nn.Module) -> list[bool]:
    return [
        getattr(module, "stride", 1) in (2, (2, 2)) and not isinstance(module, nn.Conv2d)
        for node in cell.nodes
        for operation in node
        for module in operation.modules()
    ]


def test_number_of_parameters_of_darts_v2() -> None:
    # The authors' code counts 3.35 M for 36 channels, 20 cells and 10 classes.
    net = DerivedNetwork(Genotype.from_darts(DARTS_V2), classes=10, channels=36)
    assert count(net) == 3_349_342


def test_number_of_parameters_by_hand(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4)
    # Here norms have scale and shift, 2·C each. Channels 4, 8, 16; two nodes, so the cells put
    # out 8, 16 and 32; the stem 12.
    stem = 3 * 12 * 9 + 2 * 12
    normal = (
        2 * (12 * 4 + 8)  # preprocessing of both inputs
        + 2 * (4 * 9 + 4 * 4 + 8)  # sep_conv_3x3, two halves; the identity has none
        + (4 * 25 + 4 * 4 + 8)  # dil_conv_5x5
    )
    first = (12 * 8 + 16) + (8 * 8 + 16) + (8 * 8 + 16) + (8 * 9 + 8 * 8 + 16)
    second = (8 * 16 + 32) + (16 * 16 + 32) + (16 * 16 + 32) + (16 * 9 + 16 * 16 + 32)
    head = 32 * 5 + 5
    assert count(net) == stem + normal + first + second + head


def test_the_stem_for_large_images_by_hand(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=1, channels=4, stem="imagenet")
    # 3 → 2 → 4 channels at half and a quarter of the size, then 4 → 4 at an eighth.
    first, second = 3 * 2 * 9 + 2 * 2 + 2 * 4 * 9 + 2 * 4, 4 * 4 * 9 + 2 * 4
    assert count(net.stem) == first
    assert net.second_stem is not None
    assert count(net.second_stem) == second
    assert isinstance(net.cells[0].first, FactorizedReduce)  # the first input is twice as large
    assert [tuple(s.shape[1:]) for s in net.run_stem(torch.randn(2, 3, 42, 42))] == [
        (4, 11, 11),
        (4, 6, 6),
    ]
    # A lone cell is a reduction cell.
    assert net.run_cells(torch.randn(2, 3, 42, 42))[0].shape == (2, 16, 3, 3)


def test_derived_cell_in_numbers() -> None:
    # Nodes of two identities each: node 2 = s₀ + s₁, node 3 = s₁ + node 2.
    skip = "skip_connect"
    skips = (
        (connection(0, skip), connection(1, skip)),
        (connection(1, skip), connection(2, skip)),
    )
    space = SearchSpace(nodes=2)
    cell = DerivedCell(
        Genotype(space=space, normal=skips, reduction=skips),
        inputs=(2, 2),
        channels=2,
        reduction=False,
        after_reduction=False,
    )
    cell.first, cell.second = nn.Identity(), nn.Identity()
    a, b = torch.full((1, 2, 3, 3), 5.0), torch.full((1, 2, 3, 3), 7.0)
    found = cell((a, b), 0.0, None)
    assert found[0, :, 0, 0].tolist() == [12, 12, 19, 19]


def test_pooling_without_norm_and_convolutions_with_affine_norm(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)
    pool = net.cells[1].nodes[0][0]
    assert [type(module) for module in pool] == [nn.MaxPool2d]


@pytest.mark.parametrize("size", [(7, 7), (9, 5), (8, 8), (13, 13)])
def test_odd_sizes(size: tuple[int, int], genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=4, channels=3, auxiliary=True)
    logits, auxiliary = net.forward_training(torch.randn(2, 3, *size), rate=0.1, draws=stream("t"))
    assert auxiliary is not None
    assert logits.shape == auxiliary.shape == (2, 5)


def test_seed(genotype: Genotype) -> None:
    before = torch.get_rng_state()
    states = [
        DerivedNetwork(genotype, classes=5, cells=3, channels=4, seed=seed).state_dict()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["stem.0.weight"], states[2]["stem.0.weight"])


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    x = torch.rand(2000, 2, 3, 3) + 1
    found = drop_path(x, 0.3, stream("t"))
    kept = (found != 0).flatten(1)
    assert torch.equal(kept.all(1), kept.any(1))  # all of an image or nothing
    assert torch.allclose(found[kept.all(1)], x[kept.all(1)] / 0.7)
    assert kept.all(1).float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert found.mean().item() == pytest.approx(x.mean().item(), rel=0.05)


def test_drop_path_of_rate_zero_or_in_eval_is_nothing(genotype: Genotype) -> None:
    x = torch.randn(4, 3, 8, 8)
    assert drop_path(x, 0.0, stream("t")) is x
    assert drop_path(x, 0.5, None) is x
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4).eval()
    assert torch.equal(net(x), net(x))


def test_drop_path_spares_identities_and_draws_for_each_path() -> None:
    space = SearchSpace(nodes=1)
    skip, pool = "skip_connect", "max_pool_3x3"
    ones = torch.ones(400, 1, 2, 2)

    def output(first: str, second: str) -> torch.Tensor:
        nodes = ((connection(0, first), connection(1, second)),)
        cell = DerivedCell(
            Genotype(space=space, normal=nodes, reduction=nodes),
            inputs=(1, 1),
            channels=2,
            reduction=False,
            after_reduction=False,
        )
        cell.first, cell.second = nn.Identity(), nn.Identity()
        return cell((ones, ones), 0.5, stream("t"))[:, 0, 0, 0]

    assert output(skip, skip).unique().tolist() == [2]
    assert output(skip, pool).unique().tolist() == [1, 3]  # the identity always comes through
    shares = [(output(pool, pool) == value).float().mean().item() for value in (0, 2, 4)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.08)


def test_auxiliary_tower_pools_8x8_as_darts() -> None:
    tower = AuxiliaryHead(6, 4).eval()
    x = torch.randn(2, 6, 8, 8)
    pooled = nn.AvgPool2d(5, stride=3, padding=0, count_include_pad=False)(x.relu())
    expected = tower.classify(tower.gather(tower.project(pooled)).flatten(1))
    assert pooled.shape == (2, 6, 2, 2)
    assert torch.equal(tower(x), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3), (3, 3), (7, 7), (14, 14), (21, 21)])
def test_auxiliary_tower_of_other_sizes(size: tuple[int, int]) -> None:
    tower = AuxiliaryHead(6, 4).eval()
    assert tower(torch.randn(2, 6, *size)).shape == (2, 4)
    # A constant map stays constant, whatever the windows.
    flat, square = torch.ones(1, 6, *size), torch.ones(1, 6, 8, 8)
    assert torch.allclose(tower(flat), tower(square), atol=1e-5)


def test_auxiliary_tower_stands_behind_the_second_reduction(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=6, channels=4, auxiliary=True)
    seen = []
    net.cells[4].register_forward_hook(lambda module, inputs, output: seen.append(output))
    _, below = net.run_cells(torch.randn(2, 3, 8, 8))
    assert below is seen[0]
    assert net.auxiliary is not None
    assert net.auxiliary.project[0].in_channels == below.shape[1]
    plain = DerivedNetwork(genotype, classes=5, cells=6, channels=4)
    assert plain.auxiliary is None
    assert plain.forward_training(torch.randn(2, 3, 8, 8), rate=0.0, draws=stream("t"))[1] is None


@pytest.mark.parametrize(("cells", "channels", "classes"), [(0, 4, 2), (1, 1, 2), (1, 4, 0)])
def test_impossible_numbers_are_refused(
    cells: int, channels: int, classes: int, genotype: Genotype
) -> None:
    with pytest.raises(SettingsError) as caught:
        DerivedNetwork(genotype, classes=classes, cells=cells, channels=channels)
    wrong = (caught.value.what, caught.value.found)
    assert wrong in {("cells", "0"), ("channels", "1"), ("classes", "0")}


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_other_numbers_of_nodes(nodes: int) -> None:
    cell = tuple(
        (connection(node, "sep_conv_3x3"), connection(node + 1, "skip_connect"))
        for node in range(nodes)
    )
    found = Genotype(space=SearchSpace(nodes=nodes), normal=cell, reduction=cell)
    net = DerivedNetwork(found, classes=2, cells=3, channels=2)
    assert net.classifier.in_features == nodes * 8
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 2)


def test_darts_space_is_the_default_of_darts_text() -> None:
    assert Genotype.from_darts(DARTS_V2).space == DARTS
