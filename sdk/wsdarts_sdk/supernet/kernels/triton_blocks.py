"""How images are shared out among a GPU's programs: blocks of pixels and channels, and chunks.

Needs triton: import it late.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsdarts_sdk.supernet.kernels.portable import wide

_ELEMENTS = 1024  # of a block: eight for each thread of four warps
# Of a block: few, so that cells of all widths run the same code. Compiling takes its time.
_CHANNELS = 16
# Enough chunks to fill a large GPU; the same on all of them, so that sums are, too.
_CHUNKS = 1024


def pitch(images: Tensor) -> int:
    """Elements from one pixel of ``(…, H, W, C)`` to the next.

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
    """How the pixels and channels of images ``(B, H, W, C)`` are shared out.

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
        """Blocks for images, or for those of one branch of a merged result."""
        channels = images.shape[-1]
        pixels = images.shape[-4:].numel() // channels
        block_c = min(triton.next_power_of_2(channels), _CHANNELS)
        block_p = _ELEMENTS // block_c
        kind = tl.float64 if wide(images) == torch.float64 else tl.float32
        return cls(
            pixels=pixels,
            channels=channels,
            span=_over(_over(pixels, block_p), _CHUNKS) * block_p,
            sizes={"ACC": kind, "BLOCK_P": block_p, "BLOCK_C": block_c},
        )

    @property
    def chunks(self) -> int:
        """Number of chunks of a sum."""
        return _over(self.pixels, self.span)

    @property
    def programs(self) -> int:
        """One for each block of pixels and of channels."""
        return _over(self.pixels, self.sizes["BLOCK_P"]) * self.parts

    @property
    def summing(self) -> int:
        """One for each chunk of pixels and block of channels."""
        return self.chunks * self.parts

    @property
    def parts(self) -> int:
        """Number of blocks of channels."""
        return _over(self.channels, self.sizes["BLOCK_C"])


def _over(count: int, size: int) -> int:
    """⌈count / size⌉."""
    return -(-count // size)


@triton.jit
def block(channels, BLOCK_C: tl.constexpr):
    """Which block of pixels this program has, and its channels.

    The channels of a pixel are neighbours in time as well: they share what memory delivers.
    """
    program, parts = tl.program_id(0), tl.cdiv(channels, BLOCK_C)
    return program // parts, (program % parts) * BLOCK_C + tl.arange(0, BLOCK_C)
