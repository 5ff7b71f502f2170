"""The kernels in plain torch operations: on any device, in any floating dtype.

They run where nothing faster does, and the other kernels are tested against them. Statistics and
their coefficients are kept in float32 at least.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wsdarts_sdk.distributed import Ranks
from wsdarts_sdk.supernet.kernels.base import (
    EPSILON,
    MOMENTUM,
    Convolution,
    Kernels,
    Norm,
    OutputGradient,
    PointwiseConvolution,
    Term,
    kept,
    strided,
)

_PIXELS = (-4, -3, -2)


class PortableKernels(Kernels):
    """Kernels that run on every device."""

    name = "portable"

    def scalars(self, weights: Tensor) -> Sequence[Any]:
        return weights.detach().flatten().unbind(0)

    def convolution_forward(
        self, convolution: Convolution, norm: Norm, *, keep: bool
    ) -> tuple[Tensor | None, Tensor]:
        middle = self._depthwise(convolution)
        result = _multiply(middle, convolution.pointwise)
        self._finish(norm, result)
        return (middle if keep else None), result

    def convolution_backward(
        self,
        convolution: Convolution,
        middle: Tensor | None,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: tuple[Tensor, Tensor] | None,
    ) -> OutputGradient | None:
        outer = self._through_norm(output_gradient, result)
        inner = _multiply(outer, convolution.pointwise.transpose(1, 2))
        if weight_gradients is not None:
            assert middle is not None  # kept where weight gradients are wanted  # noqa: S101
            weight_gradients[1].copy_(outer.flatten(1, 3).mT @ middle.flatten(1, 3))
        to_weights = None if weight_gradients is None else weight_gradients[0]
        sent = self._depthwise_backward(convolution, inner, source_gradient, to_weights)
        if sent is None:
            return None
        norm = convolution.norm
        assert norm is not None  # an own source is a normalised result  # noqa: S101
        self._own_coefficients(sent, convolution.source, norm)
        return OutputGradient(gradients=sent.unbind(0), coefficients=norm.coefficients)

    def _depthwise(self, convolution: Convolution) -> Tensor:
        """Return the depthwise convolutions of all branches, shape ``(M, B, H, W, C)``."""
        weights = convolution.depthwise.flatten(0, 1).unsqueeze(1)
        seen = _side_by_side(_seen(convolution))
        found = F.conv2d(
            _channels(seen),
            weights.to(seen.dtype),
            None,
            convolution.stride,
            _padding(convolution),
            convolution.dilation,
            len(weights),
        )
        return _apart(_images(found), len(convolution.depthwise))

    def _depthwise_backward(
        self,
        convolution: Convolution,
        inner: Tensor,
        source_gradient: Tensor | None,
        weight_gradient: Tensor | None,
    ) -> Tensor | None:
        """Add to a shared source's gradient, or return those of own sources before their norm."""
        weights, seen = convolution.depthwise.flatten(0, 1).unsqueeze(1), _seen(convolution)
        to_source, to_weights, _ = torch.ops.aten.convolution_backward(
            _channels(_side_by_side(inner)),
            _channels(_side_by_side(seen)),
            weights.to(seen.dtype),
            None,
            [convolution.stride] * 2,
            [_padding(convolution)] * 2,
            [convolution.dilation] * 2,
            False,
            [0, 0],
            len(weights),
            [True, weight_gradient is not None, False],
        )
        if weight_gradient is not None:
            weight_gradient.copy_(to_weights.view(weight_gradient.shape))
        sent = _apart(_images(to_source), len(convolution.depthwise)).where(seen > 0, 0)
        if source_gradient is None:
            return sent
        source_gradient += sent.sum(0)
        return None

    def _finish(self, norm: Norm, result: Tensor) -> None:
        """Fill mean and rstd of a result ``(M, B, H, W, C)``; move the running statistics."""
        if not norm.training:
            norm.mean.copy_(norm.running_mean)
            norm.rstd.copy_((norm.running_variance + EPSILON).rsqrt())
            return
        variance, mean, count = self._moments(result.to(sum_dtype(result)))
        norm.mean.copy_(mean)
        norm.rstd.copy_((variance + EPSILON).rsqrt())
        unbiased, dtype = variance * (count / (count - 1)), norm.running_mean.dtype
        norm.running_mean.lerp_(mean.to(dtype), MOMENTUM)
        norm.running_variance.lerp_(unbiased.to(dtype), MOMENTUM)

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor, int | Tensor]:
        """Return variance and mean of the batch, shape ``(M, C)``, and its number of pixels."""
        variance, mean = torch.var_mean(values, dim=_PIXELS, correction=0)
        return variance, mean, values[0].numel() // values.shape[-1]

    def _batch_sums(self, sums: Tensor, pixels: int) -> tuple[Tensor, int | Tensor]:
        """Return sums over the pixels of these images as sums over those of the whole batch."""
        return sums, pixels

    def _through_norm(self, output_gradient: OutputGradient, result: Tensor) -> Tensor:
        """Return the gradient of each branch's result, shape ``(M, B, H, W, C)``."""
        a, b, c = output_gradient.coefficients[:, :, None, None, None].unbind(1)
        found = torch.addcmul(c, result.to(c.dtype), b)
        return found.addcmul_(torch.stack(list(output_gradient.gradients)).to(c.dtype), a).to(
            result.dtype
        )

    def _through_norms(self, output_gradient: OutputGradient, result: Tensor) -> Tensor:
        """Return the gradient of a result that all branches share, shape ``(B, H, W, C)``."""
        shared = result.expand(len(output_gradient.gradients), -1, -1, -1, -1)
        return self._through_norm(output_gradient, shared).sum(0)

    def _own_coefficients(self, gradients: Tensor, source: Tensor, norm: Norm) -> None:
        """Compute the coefficients of a norm whose results have no weights."""
        sums = _sums(gradients, source, norm.mean, norm.rstd)
        whole, pixels = self._batch_sums(sums, _pixels(source))
        ones = torch.ones_like(norm.rstd)
        norm.coefficients.copy_(_coefficients(whole, pixels, norm.mean, norm.rstd, ones))

    def pointwise_forward(self, pointwise: PointwiseConvolution, norm: Norm) -> Tensor:
        parts = [
            _multiply(_seen_pixels(pointwise, offset).expand(len(weights), -1, -1, -1, -1), weights)
            for weights, offset in pointwise.parts
        ]
        result = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        self._finish(norm, result)
        return result

    def pointwise_backward(
        self,
        pointwise: PointwiseConvolution,
        result: Tensor,
        output_gradient: OutputGradient,
        *,
        source_gradient: Tensor | None,
        weight_gradients: Sequence[Tensor] | None,
    ) -> None:
        outer, start = self._through_norm(output_gradient, result), 0
        for index, (weights, offset) in enumerate(pointwise.parts):
            part = outer[..., start : start + weights.shape[1]]
            start += weights.shape[1]
            seen = _seen_pixels(pointwise, offset)
            if weight_gradients is not None:
                weight_gradients[index].copy_(part.flatten(1, 3).mT @ seen.flatten(0, 2))
            if source_gradient is None:
                continue
            sent = _multiply(part, weights.transpose(1, 2)).sum(0).where(seen > 0, 0)
            there = source_gradient[:, offset :: pointwise.stride, offset :: pointwise.stride]
            there += sent[:, : there.shape[1], : there.shape[2]]

    def pooling_forward(self, source: Tensor, kind: str, stride: int, norm: Norm) -> Tensor:
        result = _pool(source, kind, stride)
        self._finish(norm, result.expand(len(norm.mean), -1, -1, -1, -1))
        return result

    def pooling_backward(
        self,
        source: Tensor,
        kind: str,
        stride: int,
        result: Tensor,
        output_gradient: OutputGradient,
        source_gradient: Tensor,
    ) -> None:
        reached = self._through_norms(output_gradient, result)
        with torch.enable_grad():
            leaf = source.detach().requires_grad_()
            pooled = _pool(leaf, kind, stride)
        source_gradient += torch.autograd.grad(pooled, leaf, reached)[0]

    def mix_forward(self, terms: Sequence[Term], result: Tensor) -> None:
        total = torch.zeros_like(result, dtype=sum_dtype(result))
        for term in terms:
            values = _dropped(term, term.values).to(total.dtype)
            if term.mean is None or term.rstd is None:
                total += term.alpha * values
                continue
            scale = term.alpha * term.rstd
            total.addcmul_(values, scale).sub_(term.mean * scale)
        result.copy_(total)

    def mix_backward(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        found: list[Tensor] = []
        normed: list[tuple[Term, Tensor, Tensor]] = []
        for term, place in zip(terms, coefficients, strict=True):
            if place is None or term.mean is None or term.rstd is None:
                values = _dropped(term, term.values)
                found.append((gradient.to(sum_dtype(gradient)) * values).sum())
                continue
            sums = _sums(gradient, term.values, term.mean, term.rstd)
            normed.append((term, place, sums))
            found.append(sums[1].sum())
        if normed:
            whole, pixels = self._batch_sums(
                torch.stack([sums for _, _, sums in normed]), _pixels(gradient)
            )
            for (term, place, _), sums in zip(normed, whole, strict=True):
                mean, rstd = term.mean, term.rstd
                assert mean is not None and rstd is not None  # as above  # noqa: S101, PT018
                alpha = term.alpha * torch.ones_like(rstd)
                place.copy_(_coefficients(sums, pixels, mean, rstd, alpha))
        return torch.stack(found).double()

    def identity_backward(self, term: Term, gradient: Tensor, source_gradient: Tensor) -> None:
        source_gradient += term.alpha * _dropped(term, gradient)


class SynchronisedKernels(PortableKernels):
    """The portable kernels, with batch norms over the whole batch, of which each rank has a part.

    Statistics, and the sums of their backward pass, are added up over all ranks in float64. The
    loss of a rank has to be its part of the batch's loss, so that gradients on all ranks are of one
    loss.

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
        own = torch.full((1,), pixels, dtype=torch.float64, device=sums.device)
        flat = torch.cat([sums.double().flatten(), own])
        self._ranks.add_up(flat)
        return flat[:-1].view(sums.shape).to(sums.dtype), flat[-1]


def _seen(convolution: Convolution) -> Tensor:
    """Return the input of the depthwise convolution, shape ``(M, B, H, W, C)``."""
    source, norm = convolution.source, convolution.norm
    if norm is None:
        return source.relu().expand(len(convolution.depthwise), -1, -1, -1, -1)
    mean, rstd = (t[:, None, None, None] for t in (norm.mean, norm.rstd))
    return ((source - mean) * rstd).relu().to(source.dtype)


def _padding(convolution: Convolution) -> int:
    return convolution.dilation * (convolution.depthwise.shape[-1] - 1) // 2


def _side_by_side(branches: Tensor) -> Tensor:
    """Reshape ``(M, B, H, W, C)`` for one grouped convolution, ``(B, H, W, M · C)``."""
    return branches.permute(1, 2, 3, 0, 4).flatten(3)


def _apart(images: Tensor, branches: int) -> Tensor:
    """Undo ``_side_by_side``; the result is a view."""
    return images.reshape(*images.shape[:-1], branches, -1).permute(3, 0, 1, 2, 4)


def _channels(images: Tensor) -> Tensor:
    """View ``(B, H, W, C)`` as torch's ``(B, C, H, W)`` with channels last in memory."""
    return images.permute(0, 3, 1, 2)


def _images(channels: Tensor) -> Tensor:
    return channels.permute(0, 2, 3, 1)


def _multiply(images: Tensor, weights: Tensor) -> Tensor:
    """Multiply ``(M, B, H, W, I)`` by ``(M, O, I)``: a 1×1 convolution."""
    flat = torch.bmm(images.flatten(1, 3), weights.transpose(1, 2).to(images.dtype))
    return flat.view(*images.shape[:-1], -1)


def _seen_pixels(pointwise: PointwiseConvolution, offset: int) -> Tensor:
    """Return the ReLU of the pixels that one part sees, zeros beyond the border."""
    _, height, width, _ = pointwise.source.shape
    taken = pointwise.source[:, offset :: pointwise.stride, offset :: pointwise.stride].relu()
    rows, columns = strided(height, pointwise.stride), strided(width, pointwise.stride)
    return F.pad(taken, (0, 0, 0, columns - taken.shape[2], 0, rows - taken.shape[1]))


def _pool(source: Tensor, kind: str, stride: int) -> Tensor:
    x = _channels(source)
    if kind == "max":
        return _images(F.max_pool2d(x, 3, stride, 1)).contiguous()
    return _images(F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)).contiguous()


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that sums are kept in."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _pixels(values: Tensor) -> int:
    return values.shape[-4] * values.shape[-3] * values.shape[-2]


def _sums(gradient: Tensor, values: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """Return Σ g and Σ g·ŷ of each channel, shape ``(2, …, C)``."""
    dtype = sum_dtype(gradient)
    g, y = gradient.to(dtype), values.to(dtype)
    total = g.sum(_PIXELS)
    return torch.stack([total, rstd * ((g * y).sum(_PIXELS) - mean * total)])


def _coefficients(
    sums: Tensor, pixels: int | Tensor, mean: Tensor, rstd: Tensor, alpha: Tensor
) -> Tensor:
    """Return a, b and c of ``OutputGradient``, shape ``(…, 3, C)``, from ``_sums``."""
    total, normed = sums
    a = alpha * rstd
    b = -a * rstd * normed / pixels
    return torch.stack([a, b, -a * total / pixels - b * mean], dim=-2)


def _dropped(term: Term, values: Tensor) -> Tensor:
    if isinstance(term.rate, float) and term.rate == 0:
        return values
    stays = kept(term.seed, term.rate, tuple(values.shape), values.device)
    return values.where(stays, 0) / (1 - term.rate)
