"""One search step by different engines, all with the same masks, sizes and optimisers.

The public engine is P-DARTS' own ``model_search.Network``, imported from a directory with its
code (github chenxin061/pdarts), which is not part of this project.
"""

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.network import Supernet

STAGES = {1: (5, 8), 2: (11, 5), 3: (17, 3)}
CHANNELS, CLASSES, CLIP = 16, 100, 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a step is measured at.

    Attributes:
        stage: 1, 2 or 3, with the cells and operations of the paper.
        size: Rows and columns of an image.
        batch: Images in a batch, of either half.
    """

    stage: int
    size: int
    batch: int

    def images(self) -> tuple[Tensor, Tensor]:
        """Random images, float32, and labels."""
        draws = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=draws)
        return images, torch.randint(0, CLASSES, (self.batch,), generator=draws)

    def masks(self) -> OperationMasks:
        """As many operations on each edge as the stage keeps, chosen at random once and for all."""
        draws, kept = random.Random(self.stage), STAGES[self.stage][1]  # noqa: S311
        shape = DARTS.shape
        arrays = []
        for _ in range(2):
            array = np.zeros(shape, dtype=bool)
            for row in array:
                row[draws.sample(range(shape[1]), kept)] = True
            arrays.append(array)
        return OperationMasks.from_arrays(DARTS, normal=arrays[0], reduction=arrays[1])


class Step(ABC):
    """A step of one engine: for α and the weights, or for the weights alone."""

    def __init__(self, weights: list[nn.Parameter], alpha: list[nn.Parameter]) -> None:
        self.weights, self.alpha = weights, alpha
        self.sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(alpha, 6e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def full(self) -> None:
        """α on one batch, then the weights on another."""
        self.alpha_step()
        self.weights_only()

    @abstractmethod
    def alpha_step(self) -> None:
        """Move α."""

    @abstractmethod
    def weights_only(self) -> None:
        """Move the weights: a step of the first epochs."""

    def move(self, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
        """Clip and step."""
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()


class Recorded(Step):
    """A network of modules under autograd, stepped as the public code does it.

    Both passes backpropagate to everything, and what is not wanted is thrown away.
    """

    def __init__(
        self, net: nn.Module, alpha: list[nn.Parameter], images: Tensor, labels: Tensor
    ) -> None:
        known = {id(parameter) for parameter in alpha}
        super().__init__([p for p in net.parameters() if id(p) not in known], alpha)
        self.net, self.images, self.labels = net, images, labels

    def loss(self) -> Tensor:
        """Mean cross-entropy of the batch."""
        return F.cross_entropy(self.net(self.images), self.labels)

    def alpha_step(self) -> None:
        """Backpropagate to everything, move α."""
        self.adam.zero_grad()
        self.loss().backward()
        self.move(self.adam, self.alpha)

    def weights_only(self) -> None:
        """Backpropagate to everything, move the weights."""
        self.sgd.zero_grad()
        self.loss().backward()
        self.move(self.sgd, self.weights)


class Lean(Recorded):
    """The same network with channels last, and only the gradients that each step needs."""

    def __init__(
        self, net: nn.Module, alpha: list[nn.Parameter], images: Tensor, labels: Tensor
    ) -> None:
        net = net.to(memory_format=torch.channels_last)
        super().__init__(net, alpha, images.contiguous(memory_format=torch.channels_last), labels)

    def alpha_step(self) -> None:
        """Backpropagate to α alone."""
        self._freeze(self.weights)
        for place, found in zip(
            self.alpha, torch.autograd.grad(self.loss(), self.alpha), strict=True
        ):
            place.grad = found
        self._freeze(self.weights, frozen=False)
        self.move(self.adam, self.alpha)

    def weights_only(self) -> None:
        """Backpropagate to the weights alone."""
        self._freeze(self.alpha)
        super().weights_only()
        self._freeze(self.alpha, frozen=False)

    @staticmethod
    def _freeze(parameters: list[nn.Parameter], *, frozen: bool = True) -> None:
        for parameter in parameters:
            parameter.requires_grad_(not frozen)


class Ours(Step):
    """This project's engine."""

    def __init__(self, setting: Setting) -> None:
        cells = STAGES[setting.stage][0]
        self.net = Supernet(
            setting.masks(), cells=cells, channels=CHANNELS, classes=[CLASSES], seed=0
        )
        super().__init__(self.net.weight_parameters(), self.net.alpha_parameters())
        images, labels = setting.images()
        self.batch = Batch(images=images, labels=labels)

    def alpha_step(self) -> None:
        """Move α by the engine's gradients."""
        found = self.net.gradients(self.batch, "alpha").alpha
        for place, gradient in zip(self.alpha, found, strict=True):
            place.grad = gradient
        self.move(self.adam, self.alpha)

    def weights_only(self) -> None:
        """Move the weights by the engine's gradients."""
        found = self.net.gradients(self.batch, "weights").weights
        for place, gradient in zip(self.weights, found, strict=True):
            place.grad = gradient
        self.move(self.sgd, self.weights)


def public_network(directory: Path | None, setting: Setting) -> tuple[nn.Module, list[Any]]:
    """The public network, or without a directory this project's plain one, and its α."""
    cells, masks = STAGES[setting.stage][0], setting.masks()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the public code draws α from it)
    if directory is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
        plain = import_module("reference.network").PlainSupernet
        net = plain(masks, cells=cells, channels=CHANNELS, classes=[CLASSES], seed=0)
        return net, net.alpha_parameters()
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    net = import_module("model_search").Network(
        CHANNELS,
        CLASSES,
        cells,
        nn.CrossEntropyLoss(),
        switches_normal=masks.array("normal").tolist(),
        switches_reduce=masks.array("reduction").tolist(),
    )
    return net, net.arch_parameters()


def engines(directory: Path | None, setting: Setting) -> dict[str, Callable[[], Step]]:
    """What makes each engine's step."""

    def recorded(kind: type[Recorded]) -> Step:
        net, alpha = public_network(directory, setting)
        return kind(net, alpha, *setting.images())

    return {
        "public": lambda: recorded(Recorded),
        "public, channels last, lean": lambda: recorded(Lean),
        "wsdarts-hub": lambda: Ours(setting),
    }


class Calls(TorchDispatchMode):
    """Counts calls that compute or allocate: aten calls without views, and kernels of our own."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))

    def watch(self, step: Step) -> None:
        """Count the compiled kernels that a step calls, too."""
        if not isinstance(step, Ours) or not isinstance(step.net.kernels, CompiledKernels):
            return
        calls = step.net.kernels.calls
        for name, function in calls.items():
            calls[name] = self._counted(function)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            self.count += 1
            return function(*arguments)

        return called
