"""The candidate operations as torch modules, as DARTS defines them.

A derived network is built of them by ``build_operation``; the supernet computes the same operations
in groups. The map of the code in CONTRIBUTING.md lists every place of a new candidate.

Shape legend of this package: B images, C channels, H rows, W columns. With stride 2 every
operation returns ``ceil(H / 2) × ceil(W / 2)``, for odd sizes too.

Source: Liu et al., "DARTS", 2019, arXiv:1806.09055, section 3.1 and its public code.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry.errors import SpaceError


class Zero(nn.Module):
    """``none``: no connection, an output of zeros."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return zeros of the strided shape."""
        return x_BCHW[:, :, :: self.stride, :: self.stride].mul(0.0)


class StridedPointwise(nn.Conv2d):
    """A 1×1 convolution of every second row and column.

    The pixels are taken out before the convolution. With a stride in the convolution, oneDNN's
    gradient of the weights is wrong or corrupts memory on processors with AVX2 alone, for fewer
    than eight input channels with channels last
    (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as nn.Conv2d names it
        """Halve rows and columns."""
        return F.conv2d(input[:, :, ::2, ::2], self.weight)


class FactorizedReduce(nn.Module):
    """``skip_connect`` with stride 2: two 1×1 convolutions on the even and on the odd pixels."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        super().__init__()
        self.even = StridedPointwise(inputs, outputs // 2)
        self.odd = StridedPointwise(inputs, outputs - outputs // 2)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Halve rows and columns."""
        x = x_BCHW.relu()
        # With an odd size the shifted lattice is one short; the public code fails there.
        shifted = F.pad(x[:, :, 1:, 1:], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        joined: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return joined


class ReluConvNorm(nn.Sequential):
    """ReLU, a 1×1 convolution and batch norm: the preprocessing of a cell's inputs."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class Pooling(nn.Sequential):
    """3×3 pooling; in a search a batch norm without affine parameters follows."""

    def __init__(self, channels: int, stride: int, *, kind: str, affine: bool) -> None:
        pool: nn.Module
        if kind == "max":
            pool = nn.MaxPool2d(3, stride=stride, padding=1)
        else:
            pool = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
        # The derived network pools without a norm (DARTS, P-DARTS): affine tells the two apart.
        norm = [] if affine else [nn.BatchNorm2d(channels, affine=False)]
        super().__init__(pool, *norm)


class DilatedConv(nn.Sequential):
    """ReLU, depthwise convolution with dilation 2, pointwise convolution, batch norm."""

    def __init__(self, channels: int, stride: int, *, kernel: int, affine: bool) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(
                channels,
                channels,
                kernel,
                stride=stride,
                padding=kernel - 1,
                dilation=2,
                groups=channels,
                bias=False,
            ),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


class SeparableConv(nn.Sequential):
    """Twice: ReLU, depthwise convolution, pointwise convolution, batch norm."""

    def __init__(self, channels: int, stride: int, *, kernel: int, affine: bool) -> None:
        def half(step: int) -> list[nn.Module]:
            return [
                nn.ReLU(),
                nn.Conv2d(
                    channels,
                    channels,
                    kernel,
                    stride=step,
                    padding=kernel // 2,
                    groups=channels,
                    bias=False,
                ),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels, affine=affine),
            ]

        super().__init__(*half(stride), *half(1))


def build_operation(name: str, channels: int, stride: int, *, affine: bool) -> nn.Module:
    """Build the candidate operation of that name.

    Args:
        name: One of the DARTS candidates.
        channels: Channels of input and output.
        stride: 1, or 2 on the edges from a reduction cell's inputs.
        affine: Whether batch norms learn scale and shift: not in a search, yes in the
            derived network.

    Raises:
        SpaceError: No operation has that name.
    """
    match name:
        case "none":
            return Zero(stride)
        case "max_pool_3x3" | "avg_pool_3x3":
            return Pooling(channels, stride, kind=name[:3], affine=affine)
        case "skip_connect" if stride == 1:
            return nn.Identity()
        case "skip_connect":
            return FactorizedReduce(channels, channels, affine=affine)
        case "sep_conv_3x3" | "sep_conv_5x5":
            return SeparableConv(channels, stride, kernel=int(name[-1]), affine=affine)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return DilatedConv(channels, stride, kernel=int(name[-1]), affine=affine)
    raise SpaceError(
        "the operation",
        found=repr(name),
        expected=(
            "one of none, max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, "
            "dil_conv_3x3, dil_conv_5x5"
        ),
    )
