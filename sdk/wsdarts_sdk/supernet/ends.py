"""Stem and head on a CPU: the same bits whatever the number of threads.

The kernels of the cells add sums in one order. torch shares some sums out among threads and then
adds up what each found: in the gradient of a convolution's weights, in a batch norm on
channels-last memory, and in a matrix product of few rows. Here a sum runs within an image, a
channel or a row, which one thread does, and over images in their order.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KERNEL, _PADDING = 3, 1
_PRODUCTS = 2**22  # that a head holds at a time


def stem_output(stem: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """Convolution and batch norm of a supernet's stem, with channels last in memory."""
    convolution, norm = stem
    found: Tensor = norm(_Convolution.apply(x_BCHW.contiguous(), convolution.weight))
    return found.contiguous(memory_format=torch.channels_last)


def head_output(head: nn.Linear, pooled_BF: Tensor) -> Tensor:
    """Logits of a head, shape ``(B, classes)``."""
    found: Tensor = _Linear.apply(pooled_BF, head.weight, head.bias)
    return found


class _Convolution(torch.autograd.Function):
    """A 3×3 convolution of images, to which no gradient is sent."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight)
        return F.conv2d(x_BCHW, weight, None, 1, _PADDING)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient_BCHW,), (x_BCHW, weight) = gradients, ctx.saved_tensors
        seen = F.unfold(x_BCHW, _KERNEL, padding=_PADDING)  # (B, 27, H · W)
        of_images = torch.bmm(gradient_BCHW.flatten(2), seen.transpose(1, 2))
        return None, of_images.sum(0).view_as(weight)


class _Linear(torch.autograd.Function):
    """A linear layer by products and sums, a few images at a time."""

    @staticmethod
    def forward(ctx: Any, x_BF: Tensor, weight_OF: Tensor, bias_O: Tensor) -> Tensor:
        ctx.save_for_backward(x_BF, weight_OF)
        found = [(x[:, None] * weight_OF).sum(2) for x in _parts(x_BF, weight_OF)]
        return torch.cat(found) + bias_O

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient_BO,), (x_BF, weight_OF) = gradients, ctx.saved_tensors
        to_x, to_weight = [], torch.zeros_like(weight_OF)
        parts = zip(_parts(gradient_BO, weight_OF), _parts(x_BF, weight_OF), strict=True)
        for gradient, x in parts:
            to_x.append((gradient[:, :, None] * weight_OF).sum(1))
            to_weight += (gradient[:, :, None] * x[:, None]).sum(0)
        return torch.cat(to_x), to_weight, gradient_BO.sum(0)


def _parts(rows: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _PRODUCTS // weight.numel()))
