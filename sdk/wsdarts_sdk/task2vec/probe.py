"""Probes: the fixed networks under Task2Vec.

A probe maps pixels to pooled features. Its weights, its architecture and its preprocessing
together decide every number of an embedding, so the digest covers all three.
"""

import hashlib
import json
from dataclasses import dataclass
from math import inf
from typing import Self

import torch
from torch import Tensor, nn

from wsdarts_registry.errors import ProbeError

MINIMUM_SIZE = 8
_MAXIMUM_SIZE = 2048
Option = str | int | float | bool | list[int]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The preprocessing of images for a network.

    Images are squashed (bilinear) to ``size`` × ``size``; then ``(pixel / 255 - mean) / std``.

    Attributes:
        size: Height and width of the input in pixels.
        mean: Mean of the red, green and blue channel, in units of the full range.
        std: Standard deviation of the three channels, in the same units.

    Raises:
        ProbeError: The size is below 8 or above 2048 pixels, or a standard deviation is not
            positive.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.size < MINIMUM_SIZE:
            raise ProbeError(
                "the input size",
                found=f"{self.size} pixels",
                expected=f"at least {MINIMUM_SIZE}, and for most networks 32 or more",
            )
        if self.size > _MAXIMUM_SIZE:
            raise ProbeError(
                "the input size", found=f"{self.size} pixels", expected=f"at most {_MAXIMUM_SIZE}"
            )
        # Written so that NaN fails: every comparison with NaN is false.
        if not all(abs(m) < inf for m in self.mean) or not all(0 < s < inf for s in self.std):
            raise ProbeError(
                f"mean is {self.mean} and std {self.std}",
                expected="three finite numbers each, those of std positive",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A frozen backbone in eval mode, without its classifier. Made by ``load_probe``.

    Attributes:
        name: Short name for display and file names; the digest identifies the probe.
        model: A timm network without classifier; no parameter requires a gradient.
        preprocessing: Preprocessing of its input.
        digest: ``"sha256:…"`` of architecture, weights and preprocessing, not of their file.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    digest: str

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        name: str,
        architecture: str,
        options: dict[str, Option],
        preprocessing: Preprocessing,
    ) -> Self:
        """Make a probe of a network without classifier: freeze it and check that it fits.

        Raises:
            ProbeError: It has no convolution, no pooled features, or refuses that input size.
        """
        model.eval().requires_grad_(False)
        digest = _digest(model, architecture, options, preprocessing)
        probe = cls(name=name, model=model, preprocessing=preprocessing, digest=digest)
        probe.check(preprocessing.size)
        return probe

    @property
    def filters(self) -> int:
        """Return the number of convolution filters, which is the width of embeddings."""
        return sum(conv.out_channels for conv in convolutions(self.model).values())

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.model.parameters()).device

    def features(self, pixels_BCHW: Tensor) -> Tensor:
        """Map RGB pixels in 0 … 255 to pooled features, shape ``(images, features)``."""
        mean = pixels_BCHW.new_tensor(self.preprocessing.mean)[:, None, None]
        std = pixels_BCHW.new_tensor(self.preprocessing.std)[:, None, None]
        maps = self.model.forward_features((pixels_BCHW / 255 - mean) / std)  # type: ignore[operator]
        features: Tensor = self.model.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features

    def check(self, size: int) -> int:
        """Return the number of features after one image of that size went through.

        Raises:
            ProbeError: The network has no convolution or no pooled features, or the input
                size does not fit it.
        """
        if not convolutions(self.model):
            raise ProbeError(
                f"probe {self.name} has no 2-d convolution",
                expected="a convolutional network such as timm:resnet34.tv_in1k",
            )
        if not (hasattr(self.model, "forward_features") and hasattr(self.model, "forward_head")):
            raise ProbeError(
                f"probe {self.name} has no pooled classifier (forward_features and forward_head)",
                expected="a timm classification network",
            )
        image = torch.zeros(1, 3, size, size, device=self.device)
        try:
            with torch.no_grad():
                shape = tuple(self.features(image).shape)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ProbeError(
                f"probe {self.name} does not take images of {size}×{size} pixels "
                f"({first_line(error)})",
                expected=f"about {self.preprocessing.size}",
                hint="choose a larger size",
            ) from error
        if len(shape) != 2:
            raise ProbeError(
                f"probe {self.name} gives features of shape {shape}",
                expected="one pooled vector for each image",
                hint="choose a network with a global pooling",
            )
        return shape[1]


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the 2-d convolutions of a network by name, in the order of an embedding's entries."""
    modules = network.named_modules()
    return {name: module for name, module in modules if isinstance(module, nn.Conv2d)}


def _digest(
    model: nn.Module,
    architecture: str,
    options: dict[str, Option],
    preprocessing: Preprocessing,
) -> str:
    weights = []
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # counts training batches; changes no output
            continue
        content = tensor.detach().cpu().contiguous().numpy()
        checksum = hashlib.sha256(content.tobytes()).hexdigest()
        weights.append([name, str(content.dtype), list(content.shape), checksum])
    document = {
        # Architecture and options too: the padding of a convolution, say, is not in its weights.
        "architecture": architecture.partition(".")[0],
        "options": options,
        "preprocessing": {
            "resize": "bilinear squash",
            "size": preprocessing.size,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
        },
        "weights": weights,
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = str(error).splitlines()
    return lines[0].strip() if lines else type(error).__name__
