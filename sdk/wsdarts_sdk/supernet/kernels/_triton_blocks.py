"""Blocks of pixels and channels for a GPU's programs, and a node's terms as tuples of pointers.

Tuples are padded to a round length: kernels are compiled for a length, so that nodes of almost any
number of branches share them.

Needs triton: import it late.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import Term, signed
from wsdarts_sdk.supernet.kernels.portable import sum_dtype

_ELEMENTS = 1024  # of a block: eight for each thread of four warps
# Of a block: few, so that cells of all widths run the same code. Compiling takes its time.
_CHANNELS = 16
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
        block_c = min(triton.next_power_of_2(channels), _CHANNELS)
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


@triton.jit
def block(channels, BLOCK_C: tl.constexpr):
    """Return the number of this program's block of pixels, and its channels.

    The channels of a pixel are neighbours in time as well: they share what memory delivers.
    """
    program, parts = tl.program_id(0), tl.cdiv(channels, BLOCK_C)
    return program // parts, (program % parts) * BLOCK_C + tl.arange(0, BLOCK_C)


# The longest is what fits into one launch: with four pointers each, any driver's parameters.
LENGTHS = (1, 8, 16, 40)


def padded(found: Sequence[Any], otherwise: Any = None) -> tuple[Any, ...]:
    """Return a tuple of a round length, its first repeated; kernels ignore the padding.

    Args:
        found: Its entries.
        otherwise: What stands for them where there are none.
    """
    if not found:
        return (otherwise,)
    room = next(length for length in LENGTHS if length >= len(found))
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
