"""How large a network is: parameters, and multiply-adds for one image.

A copy of the network is run on one image and each layer's output is seen. (torch's ``meta``
device would compute nothing, and takes ten times as long: its operations are written in Python.)
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wsdarts_registry._format import count as in_words
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.network import DerivedNetwork


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a network is.

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
    sizes: list[int] = []
    copied = copy.deepcopy(network).cpu().eval()
    for module in copied.modules():
        if isinstance(module, nn.Conv2d):
            per_position = module.weight[0].numel()
            module.register_forward_hook(partial(_add, sizes, per_position))
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(partial(_add, sizes, module.in_features))
    try:
        with torch.no_grad():
            copied(torch.zeros(1, 3, image_size, image_size))
    except RuntimeError as error:
        raise SettingsError(
            (
                f"images of {image_size} pixels a side do not go through the network "
                f"({' '.join(str(error).split())[:200]})"
            ),
            hint="name another size",
        ) from error
    parameters = sum(
        p.numel() for n, p in copied.named_parameters() if "auxiliary" not in n.split(".")
    )
    return Size(parameters=parameters, multiply_adds=sum(sizes), image_size=image_size)


def final_sizes(genotype: Genotype) -> dict[str, int]:
    """Parameters and multiply-adds of a genotype's final network, by name of the metric.

    It is the network of the papers' final evaluation (20 cells of 16 channels), for small and for
    large images, without its last layer: how many classes that has depends on the task, and so
    the sizes of artifacts can be compared.
    """
    network = DerivedNetwork(genotype, classes=1)
    network.classifier = nn.Identity()  # type: ignore[assignment]
    small = count(network, 32)
    return {
        "final_parameters": small.parameters,
        "final_multiply_adds_32": small.multiply_adds,
        # Without the last layer all that it computes are maps, each 7 times as wide and high.
        "final_multiply_adds_224": 49 * small.multiply_adds,
    }


def _add(sizes: list[int], each: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Note what a layer does: for each number that it puts out, as many products."""
    del module, inputs
    sizes.append(each * output.numel())
