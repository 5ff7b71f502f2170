"""Triton kernels of the depthwise convolution with what stands before it: norm and ReLU.

Channels are last in memory, so a tap is a shifted copy of the same rows of channels and comes
from a cache. What the convolution sees is never written down. Branches of a group share their
source, or each has its own, which a norm precedes.

Needs triton: import it late.
"""

import triton
import triton.language as tl

_ANY = ["pixels", "span", "branches", "height", "width", "rows", "columns", "stride", "dilation"]


@triton.jit
def block(channels, BLOCK_C: tl.constexpr):
    """Return the number of this program's block of pixels, and its channels.

    The channels of a pixel are neighbours in time as well: they share what memory delivers.
    """
    program, parts = tl.program_id(0), tl.cdiv(channels, BLOCK_C)
    return program // parts, (program % parts) * BLOCK_C + tl.arange(0, BLOCK_C)


@triton.jit
def _seen(values, mean, rstd, NORMED: tl.constexpr):
    """Return norm, where there is one, and ReLU; NaN stays NaN."""
    if NORMED:
        values = (values - mean[None, :]) * rstd[None, :]
    return tl.where(values < 0, 0.0, values)


@triton.jit
def _statistics(means, rstds, place, known, NORMED: tl.constexpr, ACC: tl.constexpr):
    """Load mean and rstd of a branch's own source; nothing where it has none."""
    if NORMED:
        mean = tl.load(means + place, mask=known, other=0.0).to(ACC)
        rstd = tl.load(rstds + place, mask=known, other=0.0).to(ACC)
    else:
        mean = tl.zeros(place.shape, dtype=ACC)
        rstd = tl.zeros(place.shape, dtype=ACC)
    return mean, rstd


@triton.jit(do_not_specialize=_ANY)
def forward(
    source,
    source_step,
    source_pitch,
    means,
    rstds,
    weights,
    result,
    pixels,
    channels,
    height,
    width,
    rows,
    columns,
    stride,
    dilation,
    KERNEL: tl.constexpr,
    NORMED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the depthwise convolution of one branch, ``(B, rows, columns, C)``."""
    number, c = block(channels, BLOCK_C)
    p = number * BLOCK_P + tl.arange(0, BLOCK_P)
    branch = tl.program_id(1).to(tl.int64)
    known, inside = c < channels, p < pixels
    column, row, image = p % columns, (p // columns) % rows, (p // columns) // rows
    mean, rstd = _statistics(means, rstds, branch * channels + c, known, NORMED, ACC)
    own = source + branch * source_step + c[None, :]
    taps = weights + (branch * channels + c) * KERNEL * KERNEL
    before = dilation * (KERNEL // 2)
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for i in range(KERNEL):
        h = row * stride - before + i * dilation
        for j in tl.static_range(KERNEL):
            w = column * stride - before + j * dilation
            there = inside & (h >= 0) & (h < height) & (w >= 0) & (w < width)
            there = there[:, None] & known[None, :]
            place = ((image * height + h).to(tl.int64) * width + w) * source_pitch
            x = tl.load(own + place[:, None], mask=there, other=0.0).to(ACC)
            weight = tl.load(taps + i * KERNEL + j, mask=known, other=0.0).to(ACC)
            x = tl.where(there, _seen(x, mean, rstd, NORMED), 0.0)
            total += x * weight[None, :]
    place = (branch * pixels + p.to(tl.int64)) * channels
    kind = result.dtype.element_ty
    tl.store(
        result + place[:, None] + c[None, :],
        total.to(kind),
        mask=inside[:, None] & known[None, :],
    )


@triton.jit(do_not_specialize=_ANY)
def to_source(
    gradient,
    source,
    source_step,
    source_pitch,
    means,
    rstds,
    weights,
    result,
    result_pitch,
    pixels,
    channels,
    branches,
    height,
    width,
    rows,
    columns,
    dilation,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    NORMED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Add the gradients of all branches to a shared source's, or write that of one's own source.

    ``pixels`` are the source's. An own source's gradient is the one before ReLU and norm: after
    the norm, that is, not yet through it.
    """
    number, c = block(channels, BLOCK_C)
    p = number * BLOCK_P + tl.arange(0, BLOCK_P)
    first = tl.program_id(1).to(tl.int64)
    known = c < channels
    inside = (p < pixels)[:, None] & known[None, :]
    column, row, image = p % width, (p // width) % height, (p // width) // height
    before = dilation * (KERNEL // 2)
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for further in range(branches):
        branch = first + further
        own = gradient + branch * (pixels // (height * width)) * rows * columns * channels
        taps = weights + (branch * channels + c) * KERNEL * KERNEL
        for i in range(KERNEL):
            h = row + before - i * dilation
            for j in tl.static_range(KERNEL):
                w = column + before - j * dilation
                there = (h >= 0) & (w >= 0) & (h % STRIDE == 0) & (w % STRIDE == 0)
                there = there & (h // STRIDE < rows) & (w // STRIDE < columns)
                there = there[:, None] & inside
                place = (image * rows + h // STRIDE).to(tl.int64) * columns + w // STRIDE
                place = place[:, None] * channels + c[None, :]
                g = tl.load(own + place, mask=there, other=0.0).to(ACC)
                weight = tl.load(taps + i * KERNEL + j, mask=known, other=0.0).to(ACC)
                total += g * weight[None, :]
    p = p.to(tl.int64)
    mean, rstd = _statistics(means, rstds, first * channels + c, known, NORMED, ACC)
    place = source + first * source_step + p[:, None] * source_pitch + c[None, :]
    seen = _seen(tl.load(place, mask=inside, other=0.0).to(ACC), mean, rstd, NORMED)
    total = tl.where(seen > 0, total, 0.0)
    place = result + first * pixels * channels + p[:, None] * result_pitch + c[None, :]
    if not NORMED:
        total += tl.load(place, mask=inside, other=0.0).to(ACC)
    tl.store(place, total.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=_ANY)
def to_weights(
    gradient,
    source,
    source_step,
    source_pitch,
    means,
    rstds,
    partial,
    pixels,
    channels,
    span,
    height,
    width,
    rows,
    columns,
    stride,
    dilation,
    KERNEL: tl.constexpr,
    NORMED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write a chunk's part of the weight gradient of a branch: ``(M, chunks, K · K, C)``."""
    (chunk, c), chunks = block(channels, BLOCK_C), tl.cdiv(pixels, span)
    branch = tl.program_id(1).to(tl.int64)
    known = c < channels
    first = chunk * span
    last = tl.minimum(first + span, pixels)
    mean, rstd = _statistics(means, rstds, branch * channels + c, known, NORMED, ACC)
    own = source + branch * source_step + c[None, :]
    reaching = gradient + branch * pixels * channels + c[None, :]
    before = dilation * (KERNEL // 2)
    for tap in range(KERNEL * KERNEL):
        down, right = (tap // KERNEL) * dilation - before, (tap % KERNEL) * dilation - before
        total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
        for start in range(first, last, BLOCK_P):
            p = start + tl.arange(0, BLOCK_P)
            h, w = ((p // columns) % rows) * stride + down, (p % columns) * stride + right
            there = (p < last) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
            there = there[:, None] & known[None, :]
            image = (p // columns) // rows
            place = ((image * height + h).to(tl.int64) * width + w) * source_pitch
            x = tl.load(own + place[:, None], mask=there, other=0.0).to(ACC)
            place = p.to(tl.int64) * channels
            g = tl.load(reaching + place[:, None], mask=there, other=0.0).to(ACC)
            total += tl.where(there, _seen(x, mean, rstd, NORMED) * g, 0.0)
        place = ((branch * chunks + chunk) * KERNEL * KERNEL + tap) * channels + c
        tl.store(partial + place, tl.sum(total, axis=0), mask=known)
