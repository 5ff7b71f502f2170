"""The public Monte-Carlo estimate of Task2Vec's Fisher information, as a baseline.

It is that of the authors' own code (github awslabs/aws-cv-task2vec), imported from a directory with
it, which is not part of this project; or the plain one of ``tests/reference``.
"""

import sys
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from wsdarts_sdk.task2vec.probe import Head, Probe, convolutions

BATCH, DRAWS = 64, 10_000  # what the public code takes unless told otherwise
Estimate = Callable[[int, int], NDArray[np.float64]]
# What the public code needs to run with today's torch on a CPU: nothing. What is set otherwise:
CHANGES = [
    "batch norm is in eval mode: its constructor puts the network into train mode",
    "the network is this probe with this head, in place of its ResNet with a head of its own",
    "images are in memory as tensors, so no worker processes decode them",
    "of its values those of convolutions are taken, and not those of batch norm",
]


class Classifier(nn.Module):
    """A probe with its head as a layer, all of whose weights require gradients."""

    def __init__(self, probe: Probe, head: Head) -> None:
        super().__init__()
        self._probe = deepcopy(probe)
        self.backbone = self._probe.model.requires_grad_(True)
        self.fc = nn.Linear(head.weight.shape[1], head.weight.shape[0]).to(probe.device)
        with torch.no_grad():
            self.fc.weight.copy_(head.weight)
            self.fc.bias.copy_(head.bias)
        self.eval()

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Logits, shape ``(images, classes)``."""
        logits: Tensor = self.fc(self._probe.features(pixels_BCHW))
        return logits


def baseline(
    directory: Path | None, network: Classifier, pixels: Tensor, labels: Tensor
) -> Estimate:
    """What estimates the Fisher information by so many draws, with a seed.

    Args:
        directory: The public code; None for the plain one.
        network: In eval mode; channels last or not.
        pixels: Numbers 0 … 255, shape ``(images, 3, size, size)``.
        labels: Shape ``(images,)``.

    Returns:
        Its values are those of the convolutions' filters, times the batch: see ``CHANGES``.
    """
    if directory is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
        plain = import_module("reference.monte_carlo").monte_carlo_fisher
        return lambda draws, seed: BATCH * plain(network, pixels, labels, draws=draws, seed=seed)
    public = _public(directory)
    module = _adapted(public, network)
    data = TensorDataset(pixels.float(), labels)

    def estimate(draws: int, seed: int) -> NDArray[np.float64]:
        torch.manual_seed(seed)
        task2vec = public.Task2Vec(module, loader_opts={"num_samples": draws})
        module.eval()
        task2vec.montecarlo_fisher(data)
        values: NDArray[np.float64] = task2vec.extract_embedding(module).hessian.astype(np.float64)
        return BATCH * values[_of_convolutions(module)]

    return estimate


def _public(directory: Path) -> Any:
    """Its module of the name ``task2vec``."""
    sys.path.insert(0, str(directory))  # for this import alone: it has a module named datasets
    try:
        return import_module("task2vec")
    finally:
        sys.path.remove(str(directory))


def _adapted(public: Any, network: Classifier) -> nn.Module:
    class Adapted(public.ProbeNetwork):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        @property
        def classifier(self) -> nn.Module:
            return network.fc

        def forward(self, x: Tensor, start_from: int = 0) -> Tensor:
            assert start_from == 0
            return network(x)

    return Adapted()


def _of_convolutions(module: Any) -> NDArray[np.bool_]:
    """Which of the public code's values belong to convolutions."""
    of_convolutions = set(convolutions(module).values())
    return np.concatenate(
        [
            np.full(len(layer.weight), layer in of_convolutions)
            for layer in module.modules()
            if layer is not module.classifier
            and hasattr(getattr(layer, "weight", None), "grad2_acc")
        ]
    )
