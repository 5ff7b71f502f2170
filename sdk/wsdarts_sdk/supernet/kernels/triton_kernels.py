"""The kernels of a GPU: portable ones, with what its bandwidth limits written in Triton.

Sums are kept in float32, of float64 in float64. α, its weights and all coefficients stay on the
device, and nothing waits for it, so a step can be captured in a CUDA graph.

A launch takes blocks of pixels and channels, and a node's terms as tuples of pointers. Tuples are
padded to a round length: kernels are compiled for a length, so that nodes of almost any number of
branches share them.

Needs triton: import it late.
"""

# Triton's own types speak of the function, not of its launch on a grid.
# pyright: reportCallIssue=false, reportArgumentType=false

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import JITFunction

from wsdarts_sdk.supernet.kernels import _triton_depthwise as triton_depthwise
from wsdarts_sdk.supernet.kernels import _triton_norm_and_mix as triton_norm_and_mix
from wsdarts_sdk.supernet.kernels.base import (
    EPSILON,
    MOMENTUM,
    Convolution,
    Norm,
    OutputGradient,
    Term,
    signed,
    strided,
)
from wsdarts_sdk.supernet.kernels.portable import PortableKernels, sum_dtype

# The longest is what fits into one launch: with four pointers each, any driver's parameters.
_LENGTHS = (1, 8, 16, 40)
_TERMS = _LENGTHS[-1]  # of one launch
_CHANNELS = 64  # that one program takes at once, where it takes all of them
_ELEMENTS = 1024  # of a block: eight for each thread of four warps
# Of a block: few, so that cells of all widths run the same code. Compiling takes its time.
_BLOCK_CHANNELS = 16
# Enough chunks to fill a large GPU; the same on all of them, so that sums are, too.
_CHUNKS = 1024


def pitch(images: Tensor) -> int:
    """Return the number of elements from one pixel of ``(…, H, W, C)`` to the next.

    Raises:
        ValueError: The pixels are not evenly spaced, or their channels not adjacent.
    """
    found = images.stride(-2)
    step, even = found, images.stride(-1) == 1 or images.shape[-1] == 1
    for extent, stride in zip(images.shape[-2:-5:-1], images.stride()[-2:-5:-1], strict=True):
        even = even and (stride == step or extent == 1)
        step *= extent
    if not even:
        raise ValueError(
            f"the kernels take images with channels last in memory; found strides "
            f"{images.stride()} of shape {tuple(images.shape)}"
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """Blocks of the pixels and channels of images ``(B, H, W, C)``.

    Attributes:
        pixels: B · H · W.
        channels: C.
        span: Pixels of a chunk of a sum.
        sizes: The keywords of a kernel that name its block and the dtype of its sums.
    """

    pixels: int
    channels: int
    span: int
    sizes: dict[str, Any]

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Return the blocks of images, or of those of one branch of a merged result."""
        channels = images.shape[-1]
        pixels = images.shape[-4:].numel() // channels
        block_c = min(triton.next_power_of_2(channels), _BLOCK_CHANNELS)
        block_p = _ELEMENTS // block_c
        kind = tl.float64 if sum_dtype(images) == torch.float64 else tl.float32
        return cls(
            pixels=pixels,
            channels=channels,
            span=_ceil_divide(_ceil_divide(pixels, block_p), _CHUNKS) * block_p,
            sizes={"ACC": kind, "BLOCK_P": block_p, "BLOCK_C": block_c},
        )

    @property
    def chunks(self) -> int:
        """Number of chunks of a sum."""
        return _ceil_divide(self.pixels, self.span)

    @property
    def programs(self) -> int:
        """One for each block of pixels and of channels."""
        return _ceil_divide(self.pixels, self.sizes["BLOCK_P"]) * self.parts

    @property
    def summing(self) -> int:
        """One for each chunk of pixels and block of channels."""
        return self.chunks * self.parts

    @property
    def parts(self) -> int:
        """Number of blocks of channels."""
        return _ceil_divide(self.channels, self.sizes["BLOCK_C"])


def _ceil_divide(count: int, size: int) -> int:
    """Return ⌈count / size⌉."""
    return -(-count // size)


def padded(found: Sequence[Any], otherwise: Any = None) -> tuple[Any, ...]:
    """Return a tuple of a round length, its first repeated; kernels ignore the padding.

    Args:
        found: Its entries.
        otherwise: What stands for them where there are none.
    """
    if not found:
        return (otherwise,)
    room = next(length for length in _LENGTHS if length >= len(found))
    return (*found, *(found[0] for _ in range(room - len(found))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Terms of a node, those with a norm before the identities.

    Attributes:
        order: Where each of the terms given stands among these.
        counts: How many have a norm, and how many are identities.
        normed: Values, pitches, means, rstds and α of terms with a norm.
        identities: Values, pitches and α of identities.
        draws: Seeds and rates of the identities' dropout.
        kinds: The keywords of a kernel that tell the tuples' lengths and how identities drop.
    """

    order: tuple[int, ...]
    counts: tuple[int, int]
    normed: tuple[tuple[Any, ...], ...]
    identities: tuple[tuple[Any, ...], ...]
    draws: tuple[tuple[Any, ...], ...]
    kinds: dict[str, Any]

    @classmethod
    def of(cls, terms: Sequence[Term], like: Tensor) -> Self:
        """Sort terms; ``like`` is on their device and fills tuples that would be empty."""
        normed = [t for t in terms if t.mean is not None]
        plain = [t for t in terms if t.mean is None]
        standing = {id(term): place for place, term in enumerate((*normed, *plain))}
        drops = any(isinstance(t.rate, Tensor) or t.rate > 0 for t in plain)
        on_device = drops and isinstance(plain[0].rate, Tensor)
        alphas = {id(t): _scalar(t.alpha, like) for t in terms}
        return cls(
            order=tuple(standing[id(term)] for term in terms),
            counts=(len(normed), len(plain)),
            normed=(
                padded([t.values for t in normed], like),
                padded([pitch(t.values) for t in normed], 0),
                padded([t.mean for t in normed], like),
                padded([t.rstd for t in normed], like),
                padded([alphas[id(t)] for t in normed], like),
            ),
            identities=(
                padded([t.values for t in plain], like),
                padded([pitch(t.values) for t in plain], 0),
                padded([alphas[id(t)] for t in plain], like),
            ),
            draws=_draws(plain, drops=drops, on_device=on_device),
            kinds={
                "NORMED": len(padded(normed)) if normed else 0,
                "IDENTITIES": len(padded(plain)) if plain else 0,
                "DROPS": drops,
                "ON_DEVICE": on_device,
            },
        )


def _draws(
    plain: Sequence[Term], *, drops: bool, on_device: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return seeds, and rates: on the host in units of 2⁻⁵³, rounded up."""
    if not drops:
        zeros = padded([0 for _ in plain], 0)
        return zeros, zeros
    if on_device:
        return padded([t.seed for t in plain]), padded([t.rate for t in plain])
    return (
        padded([signed(int(t.seed)) for t in plain]),
        padded([math.ceil(float(t.rate) * 2**53) for t in plain]),
    )


def _scalar(alpha: Any, like: Tensor) -> Tensor:
    if isinstance(alpha, Tensor):
        return alpha
    return torch.full((), alpha, dtype=sum_dtype(like), device=like.device)


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
