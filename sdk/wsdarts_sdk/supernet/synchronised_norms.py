"""Batch norms over the whole batch, of which each rank has a part.

Statistics, and the sums of their backward pass, are added up over all ranks in float64. The loss
of a rank has to be its part of the batch's loss, so that gradients on all ranks are of one loss.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.distributed import Ranks
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet


class SynchronisedKernels(PortableKernels):
    """The portable kernels, with batch norms over the images of all ranks.

    Args:
        ranks: All of them compute the same network at once.
    """

    name = "synchronised"

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor, int | Tensor]:
        variance, mean, pixels = super()._moments(values)
        mean, square = mean.double(), variance.double() + mean.double().square()
        sums, count = self._batch_sums(torch.stack([mean, square]) * pixels, int(pixels))
        mean, square = sums / count
        return (square - mean.square()).clamp_min(0), mean, count

    def _batch_sums(self, sums: Tensor, pixels: int) -> tuple[Tensor, int | Tensor]:
        flat = torch.cat([sums.double().flatten(), _count(pixels, sums)])
        self._ranks.add_up(flat)
        return flat[:-1].view(sums.shape).to(sums.dtype), flat[-1]


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose training statistics are those of the images of all ranks.

    Made of a batch norm by ``synchronise``; parameters, running statistics and names stay.
    """

    ranks: Ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise a batch ``(B, C, H, W)``; in eval mode as any batch norm."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None  # noqa: S101, PT018
        assert self.momentum is not None and self.num_batches_tracked is not None  # noqa: S101, PT018
        found: tuple[Tensor, ...] = _Normalise.apply(input, self.eps, self.ranks)
        normed, mean, variance, count = found
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        if not self.affine:
            return normed
        return normed * _by_channel(self.weight) + _by_channel(self.bias)


class _Normalise(torch.autograd.Function):
    """Batch norm without parameters over the images of all ranks."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, epsilon: float, ranks: Ranks) -> tuple[Tensor, ...]:
        x, axes = x_BCHW.double(), _axes(x_BCHW)
        channels = x.shape[1]
        pixels = _count(x.numel() // channels, x)
        flat = ranks.add_up(torch.cat([x.sum(axes), x.square().sum(axes), pixels]))
        count = flat[-1]
        mean, square = flat[:channels] / count, flat[channels:-1] / count
        variance = (square - mean.square()).clamp_min(0)
        rstd = (variance + epsilon).rsqrt()
        normed = ((x - _by_channel(mean)) * _by_channel(rstd)).to(x_BCHW.dtype)
        ctx.save_for_backward(normed, rstd, count)
        ctx.ranks = ranks
        ctx.mark_non_differentiable(mean, variance, count)
        return normed, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (of the decorator)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        normed, rstd, count = ctx.saved_tensors
        g, y, axes = gradients[0].double(), normed.double(), _axes(normed)  # pyright: ignore[reportGeneralTypeIssues]
        sums = ctx.ranks.add_up(torch.stack([g.sum(axes), (g * y).sum(axes)])) / count
        found = (g - _by_channel(sums[0]) - y * _by_channel(sums[1])) * _by_channel(rstd)
        return found.to(normed.dtype), None, None


def _count(pixels: int, like: Tensor) -> Tensor:
    return torch.full((1,), pixels, dtype=torch.float64, device=like.device)


def _axes(x: Tensor) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.dim()) if axis != 1)


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def check_synchronised(batch_size: int, ranks: Ranks) -> None:
    """Refuse a batch of which some rank would have no images.

    Raises:
        SettingsError: It is smaller than two images for each rank.
    """
    if batch_size < 2 * ranks.size:
        raise SettingsError(
            "a batch with synchronised norms",
            found=f"{pluralize(batch_size, 'image')} for {ranks.size} ranks",
            expected="at least two images for each",
            hint="start fewer processes, or leave synchronised_norms at false",
        )


def synchronise(net: nn.Module, ranks: Ranks) -> None:
    """Let all batch norms of a network take the statistics of all ranks' images."""
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            synchronised: Any = module
            synchronised.__class__ = SynchronisedBatchNorm
            synchronised.ranks = ranks
    if isinstance(net, Supernet):
        net.use(SynchronisedKernels(ranks))


def unsynchronise(net: nn.Module) -> None:
    """Undo ``synchronise`` for a network of modules, which is saved and exported as it was."""
    for module in net.modules():
        if isinstance(module, SynchronisedBatchNorm):
            plain: Any = module
            del plain.ranks
            plain.__class__ = nn.BatchNorm2d
