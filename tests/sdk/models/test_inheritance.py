"""What a derived network takes over from a supernet."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.inheritance import SupernetWeights, inherit, matched_cells
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

CONVOLUTIONS = (
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def random_genotype(seed: int, space: SearchSpace = DARTS) -> Genotype:
    """Two random inputs for each node, without pooling."""
    draws = np.random.default_rng(seed)

    def cell() -> tuple[tuple[Connection, ...], ...]:
        return tuple(
            tuple(
                Connection(source=int(source), operation=str(draws.choice(CONVOLUTIONS)))
                for source in sorted(draws.choice(node + 2, size=2, replace=False))
            )
            for node in range(space.nodes)
        )

    return Genotype(space=space, normal=cell(), reduction=cell())


def trained_supernet(cells: int = 5, channels: int = 4, seed: int = 0) -> Supernet:
    """A supernet of all operations in float64, with running statistics that are not 0 and 1."""
    net = Supernet(
        OperationMasks.full(DARTS), cells=cells, channels=channels, classes=[3], seed=seed
    ).double()
    net.use(PortableKernels())
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in ("running_mean", "running_variance"):
            buffer = net.get_buffer(name)
            buffer.add_(torch.rand(buffer.shape, generator=draws, dtype=torch.float64))
        for value in (net.stem[1].running_mean, net.stem[1].running_var):
            value.add_(torch.rand(value.shape, generator=draws, dtype=torch.float64))
    return net.eval()


def prefer(net: Supernet, genotype: Genotype) -> None:
    """Give the kept operations a mixture weight of 1, and the other edges' `none` as well."""
    candidates = genotype.space.candidates
    with torch.no_grad():
        for kind in CELL_KINDS:
            net.alpha[kind].fill_(0)
            net.alpha[kind][:, candidates.index("none")] = 1e3
            for node, connections in enumerate(genotype.cell(kind)):
                for connection in connections:
                    edge = genotype.space.edges.index((connection.source, node + 2))
                    net.alpha[kind][edge, candidates.index(connection.operation)] = 2e3


def weights_of(net: Supernet, cells: int = 5, channels: int = 4) -> SupernetWeights:
    tensors = {n: t.detach() for n, t in net.state_dict().items() if "alpha" not in n}
    return SupernetWeights(
        source="run", space=DARTS, cells=cells, channels=channels, tensors=tensors
    )


def derived(genotype: Genotype, cells: int = 5, channels: int = 4) -> DerivedNetwork:
    net = DerivedNetwork(genotype, classes=3, cells=cells, channels=channels, seed=1)
    return net.double().eval()


def features(net: DerivedNetwork, images: Tensor) -> Tensor:
    found: Tensor = net.run_cells(images)[0].mean(dim=(2, 3))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_both_networks_compute_the_same_features(seed: int) -> None:
    genotype = random_genotype(seed)
    supernet = trained_supernet(seed=seed)
    prefer(supernet, genotype)
    net = derived(genotype)
    images = torch.randn(2, 3, 13, 13, dtype=torch.float64)
    expected = supernet.features(images)
    with torch.no_grad():
        before = features(net, images)
        inherit(net, genotype, weights_of(supernet))
        after = features(net, images)
    assert (before - expected).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


def test_all_but_classifier_and_scales_are_taken() -> None:
    genotype = random_genotype(0)
    net = derived(genotype)
    found = inherit(net, genotype, weights_of(trained_supernet()))
    fresh = {name for name in found.fresh if not name.endswith("num_batches_tracked")}
    scales = {name for name in fresh if not name.startswith("classifier.")}
    norms = {n for n, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    cells = {f"{n}.{part}" for n in norms if n.startswith("cells.") for part in ("weight", "bias")}
    assert scales == cells  # the stem's norm has a scale in the supernet, too
    assert {"classifier.weight", "classifier.bias"} <= fresh
    assert "stem.0.weight" in found.taken
    assert "stem.1.weight" in found.taken
    assert set(found.taken) | set(found.fresh) == set(net.state_dict())


def test_share_of_the_weights_by_hand() -> None:
    genotype = random_genotype(0)
    net = derived(genotype)
    found = inherit(net, genotype, weights_of(trained_supernet()))
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    taken = sum(size for name, size in sizes.items() if name in found.taken)
    assert found.weights == pytest.approx(taken / sum(sizes.values()), rel=1e-12)
    assert 0.5 < found.weights < 1


@pytest.mark.parametrize(
    ("cells", "supernet", "expected"),
    [
        (5, 5, (0, 1, 2, 3, 4)),
        # Blocks of 8 cells: 0-1, reduction 2, 3-4, reduction 5, 6-7; of 5: 0, 1, 2, 3, 4.
        (8, 5, (0, 0, 1, 2, 2, 3, 4, 4)),
        # Of 20: 0-5, 6, 7-12, 13, 14-19; of 17: 0-4, 5, 6-10, 11, 12-16.
        (20, 17, (0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 15, 16, 16)),
        (5, 8, (0, 2, 3, 5, 6)),
        (3, 2, (None, 0, 1)),  # two cells are two reductions
    ],
)
def test_cells_are_matched_block_by_block(
    cells: int, supernet: int, expected: tuple[int | None, ...]
) -> None:
    assert matched_cells(cells, supernet) == expected


def test_a_deeper_network_repeats_the_last_cell_of_a_block() -> None:
    genotype = random_genotype(1)
    supernet = trained_supernet(cells=8)
    net = derived(genotype, cells=11)  # blocks of 3, 1, 3, 1, 3 cells for 2, 1, 2, 1, 2
    found = inherit(net, genotype, weights_of(supernet, cells=8))
    tensors = supernet.state_dict()
    ours = net.state_dict()
    for place, source in ((1, 1), (2, 1), (3, 2), (6, 4), (10, 7)):
        torch.testing.assert_close(
            ours[f"cells.{place}.second.1.weight"],
            tensors[f"cells.{source}.second.1.weight"],
            rtol=0,
            atol=0,
        )
    # The first input of cell 2 has the width of a cell, that of the supernet's cell 1 the stem's.
    assert "cells.2.first.1.weight" in found.fresh
    assert "cells.1.first.1.weight" in found.taken


def test_operations_that_were_pruned_begin_fresh() -> None:
    genotype = random_genotype(2)
    supernet = trained_supernet()
    weights = weights_of(supernet)
    node, number, connection = next(
        (node, number, connection)
        for node, connections in enumerate(genotype.normal)
        for number, connection in enumerate(connections)
        if connection.operation != "skip_connect"  # which has no weights with stride 1
    )
    edge = genotype.space.edges.index((connection.source, node + 2))
    gone = f"cells.0.edges.{edge}.operations.{connection.operation}."
    tensors = {n: t for n, t in weights.tensors.items() if not n.startswith(gone)}
    assert len(tensors) < len(weights.tensors)
    part = SupernetWeights(source="run", space=DARTS, cells=5, channels=4, tensors=tensors)
    found = inherit(derived(genotype), genotype, part)
    place = f"cells.0.nodes.{node}.{number}."
    assert any(name.startswith(place) for name in found.fresh)
    assert not any(name.startswith(place) for name in found.taken)


def test_another_width_is_refused() -> None:
    genotype = random_genotype(0)
    with pytest.raises(SettingsError) as refused:
        inherit(derived(genotype, channels=8), genotype, weights_of(trained_supernet()))
    assert (refused.value.what, refused.value.found) == ("channels", "8")
    assert refused.value.expected.startswith("4")


def test_another_space_is_refused() -> None:
    space = SearchSpace(nodes=2)
    genotype = random_genotype(0, space)
    with pytest.raises(SettingsError) as refused:
        inherit(derived(genotype), genotype, weights_of(trained_supernet()))
    assert str(space) in refused.value.expected


def test_another_stem_is_refused() -> None:
    genotype = random_genotype(0)
    net = DerivedNetwork(genotype, classes=3, cells=5, channels=4, stem="imagenet")
    with pytest.raises(SettingsError) as refused:
        inherit(net, genotype, weights_of(trained_supernet()))
    assert (refused.value.what, refused.value.found) == ("stem", "imagenet")


def test_nothing_in_common_is_refused() -> None:
    genotype = random_genotype(0)
    weights = weights_of(trained_supernet())
    tensors = {n: t for n, t in weights.tensors.items() if ".operations." not in n}
    part = SupernetWeights(source="zoo@1", space=DARTS, cells=5, channels=4, tensors=tensors)
    with pytest.raises(SettingsError) as refused:
        inherit(derived(genotype), genotype, part)
    assert "zoo@1" in refused.value.what
    assert "random" in refused.value.hint
