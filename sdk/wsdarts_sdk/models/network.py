"""The derived network: a genotype's cells stacked, as DARTS evaluates them, and its size.

The size is counted by running a copy of the network on one image. (torch's ``meta`` device would
compute nothing, and takes ten times as long: its operations are written in Python.)

Source: Liu et al., "DARTS", 2019, arXiv:1806.09055, section 3.2 and its public code
(NetworkCIFAR, NetworkImageNet); drop path from Larsson et al., "FractalNet", 2017,
arXiv:1605.07648.
"""

import copy
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from wsdarts_registry._format import count as in_words
from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import ExportError, SettingsError
from wsdarts_sdk.data.loader import SharedDraws, draw_kept
from wsdarts_sdk.models._operations import FactorizedReduce, ReluConvNorm, build_operation
from wsdarts_sdk.models.settings import Cells
from wsdarts_sdk.setting_fields import Channels, Classes, Seed, check_value
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, reduction_positions

_AUXILIARY_WIDTHS = (128, 768)
Stem = Literal["cifar", "imagenet"]


PathDraws = Generator | SharedDraws  # of drop path: for a batch, or a rank's part of one


def drop_path(x_BCHW: Tensor, rate: float, draws: PathDraws | None) -> Tensor:
    """Drop whole images of a path with probability ``rate``; scale the rest by 1/(1 − rate)."""
    if draws is None or rate <= 0:
        return x_BCHW
    kept = draw_kept(draws, len(x_BCHW), 1 - rate, x_BCHW.dtype)[:, None, None, None]
    return x_BCHW * kept.to(x_BCHW.device) / (1 - rate)


class DerivedCell(nn.Module):
    """One cell of a genotype."""

    def __init__(
        self,
        genotype: Genotype,
        *,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        cell = genotype.cell("reduction" if reduction else "normal")
        self.first: nn.Module
        if after_reduction:
            self.first = FactorizedReduce(inputs[0], channels, affine=True)
        else:
            self.first = ReluConvNorm(inputs[0], channels, affine=True)
        self.second = ReluConvNorm(inputs[1], channels, affine=True)
        self.sources = [[connection.source for connection in node] for node in cell]
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                build_operation(
                    connection.operation,
                    channels,
                    stride=2 if reduction and connection.source < 2 else 1,
                    affine=True,
                )
                for connection in node
            )
            for node in cell
        )

    def forward(
        self, previous: tuple[Tensor, Tensor], rate: float, draws: PathDraws | None
    ) -> Tensor:
        """Concatenate the intermediate nodes, shape ``(B, nodes · channels, H, W)``."""
        states = [self.first(previous[0]), self.second(previous[1])]
        for sources, operations in zip(self.sources, self.nodes, strict=True):
            parts = []
            for source, operation in zip(sources, operations, strict=True):  # type: ignore[call-overload]
                y = operation(states[source])
                # An identity is the path that keeps the node alive: it is never dropped.
                kept = isinstance(operation, nn.Identity)
                parts.append(y if kept else drop_path(y, rate, draws))
            states.append(sum(parts[1:], start=parts[0]))
        return torch.cat(states[2:], dim=1)


class AuxiliaryHead(nn.Module):
    """The auxiliary tower: a second classifier at two thirds of the depth.

    For 8×8 maps the pooling is DARTS' (5×5, stride 3); other sizes are pooled to 2×2 with
    windows in the same proportion.
    """

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        narrow, wide = _AUXILIARY_WIDTHS
        self.project = nn.Sequential(
            nn.Conv2d(inputs, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.gather = nn.Sequential(
            nn.Conv2d(narrow, wide, 2, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
        )
        self.classify = nn.Linear(wide, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape ``(B, classes)``."""
        x = x_BCHW.relu()
        rows, columns = x.shape[2:]
        if min(rows, columns) < 2:
            x = F.interpolate(x, size=(2, 2))
        else:
            stride = (max(1, 3 * rows // 8), max(1, 3 * columns // 8))
            kernel = (rows - stride[0], columns - stride[1])
            x = F.avg_pool2d(x, kernel, stride, count_include_pad=False)
        logits: Tensor = self.classify(self.gather(self.project(x)).flatten(1))
        return logits


class DerivedNetwork(nn.Module):
    """A classifier made of a genotype's cells.

    Args:
        genotype: The two cells.
        classes: Number of classes.
        cells: Number of cells; 20 in the papers.
        channels: Channels of the first cell; doubled by each reduction cell.
        stem: ``"cifar"`` hands the cells the full resolution; ``"imagenet"`` an eighth of it,
            for large images.
        auxiliary: Whether to build the auxiliary tower, used in training only.
        seed: Seed of the initial weights.

    Attributes:
        config: What it was built with, as JSON data.
        inherited: Whose weights it began with, as JSON data: ``source``, and their ``share`` of
            its parameters; None where all of them were random.
        image_size: Pixels a side of the images that its genotype was searched on; None where that
            is not known. The network takes images of other sizes, too.

    Raises:
        SettingsError: Fewer than one cell, two channels or one class, or more than can be
            computed; or another stem.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        classes: int,
        cells: int = 20,
        channels: int = 16,
        stem: Stem = "cifar",
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if stem not in get_args(Stem):
            raise SettingsError("stem", found=repr(stem), expected=" or ".join(get_args(Stem)))
        cells, channels, classes, seed = map(_plain, (cells, channels, classes, seed))
        check_value("cells", cells, Cells)
        check_value("channels", channels, Channels)
        check_value("classes", classes, Classes)
        check_value("seed", seed, Seed)
        self.config: dict[str, Any] = {
            "genotype": genotype.to_json(),
            "classes": classes,
            "cells": cells,
            "channels": channels,
            "stem": stem,
        }
        self.inherited: dict[str, Any] | None = None
        self.image_size: int | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(genotype, classes, cells, channels, auxiliary=auxiliary)

    def __prepare_scriptable__(self) -> "DerivedNetwork":
        """Refuse ``torch.jit.script``, which asks every module for this."""
        raise not_scriptable()

    def _build(
        self, genotype: Genotype, classes: int, cells: int, channels: int, *, auxiliary: bool
    ) -> None:
        kind: Stem = self.config["stem"]
        self.stem, self.second_stem = _stems(kind, channels)
        self.cells = nn.ModuleList()
        self.auxiliary_position = 2 * cells // 3
        self.auxiliary: AuxiliaryHead | None = None
        inputs = (stem_channels(kind, channels), stem_channels(kind, channels))
        # The second half of ImageNet's stem halves the maps, as a reduction cell does.
        after_reduction = self.second_stem is not None
        for position in range(cells):
            reduction = position in reduction_positions(cells)
            channels *= 2 if reduction else 1
            cell = DerivedCell(
                genotype,
                inputs=inputs,
                channels=channels,
                reduction=reduction,
                after_reduction=after_reduction,
            )
            self.cells.append(cell)
            inputs = (inputs[1], genotype.space.nodes * channels)
            after_reduction = reduction
            if auxiliary and position == self.auxiliary_position:
                self.auxiliary = AuxiliaryHead(inputs[1], classes)
        self.classifier = nn.Linear(inputs[1], classes)

    def run_stem(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the first cell."""
        first = self.stem(x_BCHW)
        return first, first if self.second_stem is None else self.second_stem(first)

    def run_cells(
        self, x_BCHW: Tensor, rate: float = 0.0, draws: PathDraws | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the output of the last cell and of the cell below the auxiliary tower."""
        previous = self.run_stem(x_BCHW)
        below = previous[1]
        for position, cell in enumerate(self.cells):
            previous = (previous[1], cell(previous, rate, draws))
            if position == self.auxiliary_position:
                below = previous[1]
        return previous[1], below

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape ``(B, classes)``, without drop path and auxiliary tower."""
        logits: Tensor = self.classifier(self.run_cells(x_BCHW)[0].mean(dim=(2, 3)))
        return logits

    def forward_training(
        self, x_BCHW: Tensor, *, rate: float, draws: PathDraws
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits and the auxiliary tower's logits, with drop path."""
        last, below = self.run_cells(x_BCHW, rate, draws)
        logits = self.classifier(last.mean(dim=(2, 3)))
        return logits, None if self.auxiliary is None else self.auxiliary(below)


def _plain(number: int) -> int:
    """Return a whole number of NumPy or torch, such as ``labels.max() + 1``, as Python's."""
    whole = hasattr(number, "__index__") and not isinstance(number, bool)
    return operator.index(number) if whole else number


def not_scriptable() -> ExportError:
    """Return the error for ``torch.jit.script``, with alternatives."""
    return ExportError(
        "torch.jit.script (scriptable=True) cannot compile the network of a genotype, whose cells "
        "differ from genotype to genotype",
        hint="use torch.jit.trace, torch.export or torch.compile, or write ONNX (save_onnx)",
    )


def stem_channels(kind: Stem, channels: int) -> int:
    """Return the output channels of a stem, for that many channels of the first cell."""
    return STEM_MULTIPLIER * channels if kind == "cifar" else channels


def _stems(kind: Stem, channels: int) -> tuple[nn.Sequential, nn.Sequential | None]:
    """Return the stem, and for ImageNet the second stem, which takes the first one's output."""
    if kind == "cifar":
        width = stem_channels(kind, channels)
        conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width)), None

    def halve(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(outputs)]

    first = [*halve(3, channels // 2), nn.ReLU(), *halve(channels // 2, channels)]
    return nn.Sequential(*first), nn.Sequential(nn.ReLU(), *halve(channels, channels))


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters and multiply-adds of a network.

    Attributes:
        parameters: Weights that training changes, without the auxiliary tower.
        multiply_adds: Multiplications of convolutions and linear layers for one image, each with
            its addition, as papers on architecture search count them; norms, pooling and
            additions of maps are left out.
        image_size: Pixels a side of that image.
    """

    parameters: int
    multiply_adds: int
    image_size: int

    def __str__(self) -> str:
        return (
            f"{in_words(self.parameters)} parameters, {in_words(self.multiply_adds)} "
            f"multiply-adds at {self.image_size}×{self.image_size}"
        )


def count(network: nn.Module, image_size: int) -> Size:
    """Count a network's parameters and its multiply-adds for one image.

    Args:
        network: Takes images of shape ``(1, 3, image_size, image_size)``; it is left as it is.
        image_size: Pixels a side.

    Raises:
        SettingsError: Images of that size do not go through the network.
    """
    return _counted(copy.deepcopy(network).cpu(), image_size)


def _counted(network: nn.Module, image_size: int) -> Size:
    """Count a network on the CPU that nobody uses afterwards."""
    sizes: list[int] = []
    for module in network.eval().modules():
        if isinstance(module, nn.Conv2d):
            per_position = module.weight[0].numel()
            module.register_forward_hook(partial(_add, sizes, per_position))
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(partial(_add, sizes, module.in_features))
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, image_size, image_size))
    except RuntimeError as error:
        raise SettingsError(
            (
                f"images of {image_size} pixels a side do not go through the network "
                f"({' '.join(str(error).split())[:200]})"
            ),
            hint="name another size",
        ) from error
    parameters = sum(
        p.numel() for n, p in network.named_parameters() if "auxiliary" not in n.split(".")
    )
    return Size(parameters=parameters, multiply_adds=sum(sizes), image_size=image_size)


@dataclass(frozen=True, kw_only=True)
class OperationSizes:
    """Parameters and multiply-adds of all networks of one shape, which are sums over operations.

    Attributes:
        plain: Size of a network with one operation everywhere.
        added: Parameters and multiply-adds that an operation adds in the place of that one, by
            kind of cell, whether its source is an input of the cell, and name.
    """

    plain: Size
    added: Mapping[tuple[str, bool, str], tuple[int, int]]

    def of(self, genotype: Genotype) -> Size:
        """Return the size of a genotype's network, as ``count`` finds it."""
        parameters, multiply_adds = self.plain.parameters, self.plain.multiply_adds
        for kind in CELL_KINDS:
            for connection in (each for node in genotype.cell(kind) for each in node):
                more = self.added[kind, connection.source < 2, connection.operation]
                parameters, multiply_adds = parameters + more[0], multiply_adds + more[1]
        return replace(self.plain, parameters=parameters, multiply_adds=multiply_adds)


def operation_sizes(
    space: SearchSpace, *, classes: int, cells: int, channels: int, image_size: int
) -> OperationSizes:
    """Count what each operation of a search space adds to networks with two inputs for each node.

    Args:
        space: The search space.
        classes: Number of classes.
        cells: Number of cells.
        channels: Channels of the first cell.
        image_size: Pixels a side of an image.
    """
    operations = [name for name in space.candidates if name != "none"]
    plain = _nodes(space, operations[0], operations[0])

    def size(**changed: Cell) -> Size:
        cells_of = {kind: changed.get(kind, plain) for kind in CELL_KINDS}
        network = DerivedNetwork(
            Genotype(space=space, **cells_of), classes=classes, cells=cells, channels=channels
        )
        return _counted(network, image_size)

    reference, added = size(), {}
    for operation in operations:
        for kind, inner in (("normal", False), ("reduction", False), ("reduction", True)):
            if inner and space.nodes == 1:
                continue
            found = size(**{kind: _nodes(space, operations[0], operation, inner=inner)})
            added[kind, not inner, operation] = (
                found.parameters - reference.parameters,
                found.multiply_adds - reference.multiply_adds,
            )
        # In a normal cell all maps have one size.
        added["normal", False, operation] = added["normal", True, operation]
    return OperationSizes(plain=reference, added=added)


def _nodes(space: SearchSpace, plain: str, operation: str, *, inner: bool = False) -> Cell:
    """Return nodes on both inputs of a cell with one operation changed: on an input, or inner."""
    first, second = (Connection(source=source, operation=plain) for source in (0, 1))
    nodes = [(first, second)] * space.nodes
    if inner:
        nodes[1] = (first, Connection(source=2, operation=operation))
    else:
        nodes[0] = (Connection(source=0, operation=operation), second)
    return tuple(nodes)


def final_sizes(genotype: Genotype) -> dict[str, int]:
    """Return parameters and multiply-adds of a genotype's final network, by metric.

    It is the network of the papers' final evaluation (20 cells of 16 channels), for small and for
    large images, without its last layer: how many classes that has depends on the task, and so
    the sizes of artifacts can be compared.
    """
    network = DerivedNetwork(genotype, classes=1)
    network.classifier = nn.Identity()  # type: ignore[assignment]
    small = _counted(network, 32)
    return {
        "final_parameters": small.parameters,
        "final_multiply_adds_32": small.multiply_adds,
        # Without the last layer all that it computes are maps, each 7 times as wide and high.
        "final_multiply_adds_224": 49 * small.multiply_adds,
    }


def _add(sizes: list[int], each: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Record the multiply-adds of a layer: ``each`` for every element of its output."""
    del module, inputs
    sizes.append(each * output.numel())
