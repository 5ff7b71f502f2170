"""The kernels of a GPU: portable ones, with what its bandwidth limits written in Triton.

Sums are kept in float32, of float64 in float64. α, its weights and all coefficients stay on the
device, and nothing waits for it, so a step can be captured in a CUDA graph.

Needs triton: import it late.
"""

# Triton's own types speak of the function, not of its launch on a grid.
# pyright: reportCallIssue=false, reportArgumentType=false

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from triton.runtime import JITFunction

from wsdarts_sdk.supernet.kernels import _triton_depthwise as triton_depthwise
from wsdarts_sdk.supernet.kernels import _triton_norm_and_mix as triton_norm_and_mix
from wsdarts_sdk.supernet.kernels._triton_blocks import LENGTHS, Blocks, Terms, padded, pitch
from wsdarts_sdk.supernet.kernels.base import (
    EPSILON,
    MOMENTUM,
    Convolution,
    Norm,
    OutputGradient,
    Term,
    strided,
)
from wsdarts_sdk.supernet.kernels.portable import PortableKernels, sum_dtype

_TERMS = LENGTHS[-1]  # of one launch
_CHANNELS = 64  # that one program takes at once, where it takes all of them


def interpreted() -> bool:
    """Return whether ``TRITON_INTERPRET`` has the kernels run in Python, on any device."""
    return not isinstance(triton_norm_and_mix.mix, JITFunction)


class TritonKernels(PortableKernels):
    """Kernels for CUDA, of any floating dtype.

    A step of the supernet moves far more than it computes: norms, α, ReLU and dropout are parts
    of the sums and convolutions that need them, and statistics are one pass.
    """

    name = "triton"

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        if device.type != "cuda" and not interpreted():
            raise TypeError(f"these kernels are for CUDA; found {dtype} on {device}")

    def mix_forward(self, terms: Sequence[Term], result: Tensor) -> None:
        blocks, carried = Blocks.of(result), result
        starts = range(0, max(len(terms), 1), _TERMS)
        for first in starts:
            some = Terms.of(terms[first : first + _TERMS], result)
            last = first == starts[-1]
            place = result if last else torch.empty_like(result, dtype=sum_dtype(result))
            with _on(result):
                triton_norm_and_mix.mix[(blocks.programs,)](
                    *some.normed,
                    *some.identities,
                    *some.draws,
                    carried,
                    pitch(carried),
                    place,
                    pitch(place),
                    *some.counts,
                    blocks.pixels,
                    blocks.channels,
                    CARRIED=first > 0,
                    **some.kinds,
                    **blocks.sizes,
                )
            carried = place

    def mix_backward(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        found = [
            self._mix_backward_once(
                terms[first : first + _TERMS], gradient, coefficients[first : first + _TERMS]
            )
            for first in range(0, len(terms), _TERMS)
        ]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _mix_backward_once(
        self, terms: Sequence[Term], gradient: Tensor, coefficients: Sequence[Tensor | None]
    ) -> Tensor:
        """Run ``mix_backward`` on as many terms as one launch takes."""
        some, blocks = Terms.of(terms, gradient), Blocks.of(gradient)
        partial = torch.empty(
            1 + len(terms),
            blocks.chunks,
            blocks.channels,
            dtype=sum_dtype(gradient),
            device=gradient.device,
        )
        with _on(gradient):
            triton_norm_and_mix.mix_sums[(blocks.summing, 1 + len(terms))](
                gradient,
                pitch(gradient),
                *some.normed[:2],
                *some.identities[:2],
                *some.draws,
                partial,
                *some.counts,
                blocks.pixels,
                blocks.channels,
                blocks.span,
                **some.kinds,
                **blocks.sizes,
            )
        sums = partial.sum(1, dtype=torch.float64)
        found = sums[1:].sum(1)  # of identities; the others' are written over
        places = [place for place in coefficients if place is not None]
        _, _, means, rstds, alphas = some.normed
        _coefficients(sums[0], 0, sums[1:], (means, rstds, alphas), places, found, blocks.pixels)
        if some.order == tuple(range(len(terms))):
            return found
        return torch.stack([found[place] for place in some.order])

    def identity_backward(self, term: Term, gradient: Tensor, source_gradient: Tensor) -> None:
        some, blocks = Terms.of([term], gradient), Blocks.of(gradient)
        with _on(gradient):
            triton_norm_and_mix.identity[(blocks.programs,)](
                gradient,
                pitch(gradient),
                some.identities[2],
                *some.draws,
                source_gradient,
                pitch(source_gradient),
                blocks.pixels,
                blocks.channels,
                DROPS=some.kinds["DROPS"],
                ON_DEVICE=some.kinds["ON_DEVICE"],
                **blocks.sizes,
            )

    def _finish(self, norm: Norm, result: Tensor) -> None:
        if not norm.training:
            super()._finish(norm, result)
            return
        blocks = Blocks.of(result)
        measured = 1 if result.stride(0) == 0 else len(result)
        partial = _partial(2, measured, blocks, result)
        with _on(result):
            triton_norm_and_mix.moments[(blocks.summing, measured)](
                result, partial, blocks.pixels, blocks.channels, blocks.span, **blocks.sizes
            )
            triton_norm_and_mix.finish[(len(norm.mean) * blocks.parts,)](
                partial,
                norm.mean,
                norm.rstd,
                norm.running_mean,
                norm.running_variance,
                blocks.pixels,
                blocks.channels,
                blocks.span,
                blocks.chunks,
                measured,
                MOMENTUM=MOMENTUM,
                EPSILON=EPSILON,
                BLOCK_C=blocks.sizes["BLOCK_C"],
            )

    def _through_norm(self, output_gradient: OutputGradient, result: Tensor) -> Tensor:
        if len(output_gradient.gradients) > _TERMS:
            return super()._through_norm(output_gradient, result)
        reached = torch.empty_like(result)
        self._through(output_gradient, result, reached, summed=False)
        return reached

    def _through_norms(self, output_gradient: OutputGradient, result: Tensor) -> Tensor:
        if len(output_gradient.gradients) > _TERMS:
            return super()._through_norms(output_gradient, result)
        reached = torch.empty_like(result)
        self._through(output_gradient, result, reached, summed=True)
        return reached

    def _through(
        self, output_gradient: OutputGradient, result: Tensor, reached: Tensor, *, summed: bool
    ) -> None:
        blocks, count = Blocks.of(result), len(output_gradient.gradients)
        gradients = padded(output_gradient.gradients)
        with _on(result):
            triton_norm_and_mix.norm_backward[(blocks.programs, 1 if summed else count)](
                gradients,
                pitch(gradients[0]),
                output_gradient.coefficients,
                result,
                0 if summed else result.stride(0),
                reached,
                count,
                blocks.pixels,
                blocks.channels,
                BRANCHES=len(gradients),
                SUMMED=summed,
                **blocks.sizes,
            )

    def _own_coefficients(self, gradients: Tensor, source: Tensor, norm: Norm) -> None:
        blocks, branches = Blocks.of(source), len(source)
        partial = _partial(2, branches, blocks, source)
        with _on(source):
            triton_norm_and_mix.gradient_sums[(blocks.summing, branches)](
                gradients,
                source,
                partial,
                blocks.pixels,
                blocks.channels,
                blocks.span,
                **blocks.sizes,
            )
        totals, products = partial.sum(2, dtype=torch.float64)
        one = torch.ones((), dtype=norm.rstd.dtype, device=source.device)
        norms = (norm.mean.unbind(0), norm.rstd.unbind(0), (one,) * branches)
        places = norm.coefficients.unbind(0)
        found = torch.empty(branches, dtype=torch.float64, device=source.device)
        _coefficients(totals, blocks.channels, products, norms, places, found, blocks.pixels)

    def _depthwise(self, convolution: Convolution) -> Tensor:
        source, weights = convolution.source, convolution.depthwise
        images, height, width, channels = source.shape[-4:]
        rows, columns = strided(height, convolution.stride), strided(width, convolution.stride)
        result = torch.empty(
            len(weights), images, rows, columns, channels, dtype=source.dtype, device=source.device
        )
        blocks = Blocks.of(result)
        with _on(source):
            triton_depthwise.forward[(blocks.programs, len(weights))](
                *_source(convolution),
                weights,
                result,
                blocks.pixels,
                channels,
                height,
                width,
                rows,
                columns,
                convolution.stride,
                convolution.dilation,
                KERNEL=weights.shape[-1],
                NORMED=convolution.norm is not None,
                **blocks.sizes,
            )
        return result

    def _depthwise_backward(
        self,
        convolution: Convolution,
        inner: Tensor,
        source_gradient: Tensor | None,
        weight_gradient: Tensor | None,
    ) -> Tensor | None:
        if weight_gradient is not None:
            self._depthwise_weights(convolution, inner, weight_gradient)
        source, branches = convolution.source, len(convolution.depthwise)
        own = source_gradient is None
        sent = torch.empty_like(source) if source_gradient is None else source_gradient
        blocks = Blocks.of(source)
        with _on(source):
            triton_depthwise.to_source[(blocks.programs, branches if own else 1)](
                inner,
                *_source(convolution),
                convolution.depthwise,
                sent,
                pitch(sent),
                blocks.pixels,
                blocks.channels,
                1 if own else branches,
                *source.shape[-3:-1],
                *inner.shape[-3:-1],
                convolution.dilation,
                KERNEL=convolution.depthwise.shape[-1],
                STRIDE=convolution.stride,
                NORMED=own,
                **blocks.sizes,
            )
        return sent if own else None

    def _depthwise_weights(self, convolution: Convolution, inner: Tensor, place: Tensor) -> None:
        blocks, (branches, channels, kernel, _) = Blocks.of(inner), place.shape
        shape = (branches, blocks.chunks, kernel * kernel, channels)
        partial = torch.empty(shape, dtype=sum_dtype(inner), device=inner.device)
        with _on(inner):
            triton_depthwise.to_weights[(blocks.summing, branches)](
                inner,
                *_source(convolution),
                partial,
                blocks.pixels,
                channels,
                blocks.span,
                *convolution.source.shape[-3:-1],
                *inner.shape[-3:-1],
                convolution.stride,
                convolution.dilation,
                KERNEL=kernel,
                NORMED=convolution.norm is not None,
                **blocks.sizes,
            )
        place.flatten(2).copy_(partial.sum(1).transpose(1, 2))


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    """Make a tensor's device current: Triton launches there, wherever its arguments are."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _partial(kinds: int, branches: int, blocks: Blocks, like: Tensor) -> Tensor:
    """Allocate memory for a sum's chunks."""
    shape = (kinds, branches, blocks.chunks, blocks.channels)
    return torch.empty(shape, dtype=sum_dtype(like), device=like.device)


def _coefficients(
    totals: Tensor,
    total_step: int,
    products: Tensor,
    norms: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
    places: Sequence[Tensor],
    found: Tensor,
    pixels: int,
) -> None:
    """Fill the places ``(3, C)`` and Σ g·ŷ of the first terms from Σ g and Σ g·y."""
    channels = products.shape[-1]
    for first in range(0, len(places), _TERMS):
        some = slice(first, first + _TERMS)
        means, rstds, alphas, into = (padded(kind[some]) for kind in (*norms, places))
        with _on(found):
            triton_norm_and_mix.coefficients[(len(places[some]),)](
                totals if total_step == 0 else totals[some],
                products[some],
                means,
                rstds,
                alphas,
                into,
                found[some],
                total_step,
                pixels,
                channels,
                TERMS=len(means),
                BLOCK_C=_CHANNELS,
            )


def _source(convolution: Convolution) -> tuple[Tensor | int, ...]:
    """Return a convolution's source with its strides, and its norm's mean and rstd."""
    source, norm = convolution.source, convolution.norm
    step = 0 if norm is None else source.stride(0)
    means, rstds = (source, source) if norm is None else (norm.mean, norm.rstd)
    return source, step, pitch(source), means, rstds
