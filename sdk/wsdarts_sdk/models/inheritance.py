"""Inheritance: a derived network that begins with the weights of a trained supernet.

The stem, the convolutions of the cells' inputs and the operations that a genotype keeps exist in
both networks under the same shapes, so their weights and running statistics are copied. What a
supernet does not have begins as in an untrained network: scale and shift of the norms (1 and 0,
with which they are the supernet's norms), the auxiliary tower, and the classifier, but for the same
task.

A derived network may be deeper than the supernet. Cells are matched block by block, where a block
is what lies between two reduction cells; where a block is longer its last cell is repeated.

With mixture weights of 1 on the kept operations and 0 elsewhere both networks compute the same
features, but for pooling, which a norm follows in the supernet alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.network import DerivedNetwork, Stem
from wsdarts_sdk.supernet.operation_plan import reduction_positions

_INPUTS = ("first", "second")


@dataclass(frozen=True, kw_only=True)
class SupernetWeights:
    """Weights of a trained supernet, to inherit from.

    Attributes:
        source: What they are of, for errors and reports: a run, or an artifact's reference.
        space: Search space of the supernet.
        cells: Number of its cells.
        channels: Channels of its first cell.
        tensors: Weights and running statistics by the names of the supernet's ``state_dict``;
            perhaps ``classifier.weight`` and ``classifier.bias``, of the head for the same task.
    """

    source: str
    space: SearchSpace
    cells: int
    channels: int
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """Record of the tensors of a derived network that came from a supernet.

    Attributes:
        source: Whose weights they are.
        taken: Names of the derived network's tensors that were copied.
        fresh: Names of its other tensors, which begin untrained.
        weights: Share of the derived network's parameters that were copied, without the
            auxiliary tower.
    """

    source: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    weights: float


@torch.no_grad()
def inherit(net: DerivedNetwork, genotype: Genotype, supernet: SupernetWeights) -> Inherited:
    """Copy a supernet's weights into the network of a genotype, in place, and note whose they are.

    Args:
        net: The network of that genotype.
        genotype: Its cells.
        supernet: The weights.

    Raises:
        SettingsError: The search spaces, the channels or the stems differ, or the supernet
            has not a single operation that the genotype keeps.
    """
    check_inheritable(genotype, supernet, channels=net.config["channels"], stem=net.config["stem"])
    places = net.state_dict()
    taken = []
    for name, source in _pairs(net, genotype, supernet):
        value = supernet.tensors.get(source)
        if value is not None and value.shape == places[name].shape:
            places[name].copy_(value)
            taken.append(name)
    if not any(".nodes." in name for name in taken):
        raise SettingsError(
            f"{supernet.source} has no weights of an operation that this genotype keeps",
            hint="train it from random weights (training.weights=random)",
        )
    known = set(taken)
    counted = {
        name: parameter.numel()
        for name, parameter in net.named_parameters()
        if not name.startswith("auxiliary.")
    }
    copied = sum(size for name, size in counted.items() if name in known)
    share = copied / sum(counted.values())
    net.inherited = {"source": supernet.source, "share": share}
    return Inherited(
        source=supernet.source,
        taken=tuple(taken),
        fresh=tuple(name for name in places if name not in known),
        weights=share,
    )


def check_inheritable(
    genotype: Genotype, supernet: SupernetWeights, *, channels: int, stem: Stem = "cifar"
) -> None:
    """Refuse a supernet whose weights fit no network of a genotype with that many channels.

    Raises:
        SettingsError: The search spaces, the channels or the stems differ.
    """
    if genotype.space != supernet.space:
        raise SettingsError(
            f"the search space of {supernet.source}",
            found=supernet.space,
            expected=f"that of the genotype, {genotype.space}",
        )
    if stem != "cifar":
        raise SettingsError(
            "stem",
            found=stem,
            expected="cifar, the stem of a supernet, to inherit its weights",
        )
    if channels != supernet.channels:
        raise SettingsError(
            "channels",
            found=channels,
            expected=f"{supernet.channels}, as in {supernet.source}, to inherit its weights",
            hint=f"set training.channels={supernet.channels}, or training.weights=random",
        )


def matched_cells(cells: int, supernet_cells: int) -> tuple[int | None, ...]:
    """Return for each cell of a derived network the cell of a supernet that it takes over.

    A cell without a counterpart, which only networks of fewer than three cells have, is None.

    >>> matched_cells(8, 5)
    (0, 0, 1, 2, 2, 3, 4, 4)

    Args:
        cells: Number of cells of the derived network.
        supernet_cells: Number of cells of the supernet.
    """
    theirs = _blocks(supernet_cells)
    matched: dict[int, int | None] = {}
    for block, places in _blocks(cells).items():
        sources = theirs.get(block)
        for number, place in enumerate(places):
            matched[place] = None if not sources else sources[min(number, len(sources) - 1)]
    return tuple(matched[place] for place in range(cells))


def _blocks(cells: int) -> dict[tuple[int, bool], list[int]]:
    """Positions of the cells of each block, by the reductions so far and whether it is one."""
    reductions = reduction_positions(cells)
    blocks: dict[tuple[int, bool], list[int]] = {}
    for place in range(cells):
        before = sum(reduction <= place for reduction in reductions)
        blocks.setdefault((before, place in reductions), []).append(place)
    return blocks


def _pairs(
    net: DerivedNetwork, genotype: Genotype, supernet: SupernetWeights
) -> Iterator[tuple[str, str]]:
    """Yield the names of a tensor in the derived network and in the supernet."""
    tensors = [n for n in net.state_dict() if not n.endswith("num_batches_tracked")]
    for name in tensors:
        if name.startswith(("stem.", "classifier.")):
            yield name, name
    matched = matched_cells(len(net.cells), supernet.cells)
    for place, source in enumerate(matched):
        if source is None:
            continue
        kind = "reduction" if place in reduction_positions(len(net.cells)) else "normal"
        for ours, theirs in _modules(genotype, kind):
            prefix = f"cells.{place}.{ours}."
            for name in tensors:
                if name.startswith(prefix):
                    yield name, f"cells.{source}.{theirs}.{name.removeprefix(prefix)}"


def _modules(genotype: Genotype, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the names of a cell's modules in a derived cell and in a supernet's."""
    yield from zip(_INPUTS, _INPUTS, strict=True)
    edges = {edge: number for number, edge in enumerate(genotype.space.edges)}
    for node, connections in enumerate(genotype.cell(kind)):
        for number, connection in enumerate(connections):
            edge = edges[connection.source, node + 2]
            yield f"nodes.{node}.{number}", f"edges.{edge}.operations.{connection.operation}"
