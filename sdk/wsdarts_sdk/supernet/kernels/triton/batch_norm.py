"""Triton kernels of a batch norm: its statistics in one pass, and the way back through it.

Means and squared deviations are found chunk by chunk and put together as Chan, Golub and LeVeque
do ("Updating formulae and a pairwise algorithm for computing sample variances", 1979), so nothing
cancels. A chunk is read twice, the second time from a cache.

Needs triton: import it late.
"""

import triton
import triton.language as tl

from wsdarts_sdk.supernet.kernels.triton.blocks import block

_ANY = ["pixels", "span", "chunks", "measured", "count"]


@triton.jit(do_not_specialize=_ANY)
def moments(
    result,
    partial,
    pixels,
    channels,
    span,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Mean and squared deviations of each chunk of each branch: ``(2, M, chunks, C)``."""
    (chunk, c), chunks = block(channels, BLOCK_C), tl.cdiv(pixels, span)
    branch, branches = tl.program_id(1).to(tl.int64), tl.num_programs(1)
    known = c < channels
    first = chunk * span
    last = tl.minimum(first + span, pixels)
    values = result + branch * pixels * channels
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for start in range(first, last, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        inside = (p < last)[:, None] & known[None, :]
        place = values + p[:, None] * channels + c[None, :]
        total += tl.load(place, mask=inside, other=0.0).to(ACC)
    mean = tl.sum(total, axis=0) / (last - first)
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for start in range(first, last, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        inside = (p < last)[:, None] & known[None, :]
        place = values + p[:, None] * channels + c[None, :]
        away = tl.load(place, mask=inside, other=0.0).to(ACC) - mean[None, :]
        total += tl.where(inside, away * away, 0.0)
    place = partial + (branch * chunks + chunk) * channels + c
    tl.store(place, mean, mask=known)
    tl.store(place + branches * chunks * channels, tl.sum(total, axis=0), mask=known)


@triton.jit(do_not_specialize=_ANY)
def finish(
    partial,
    means,
    rstds,
    running_means,
    running_variances,
    pixels,
    channels,
    span,
    chunks,
    measured,
    MOMENTUM: tl.constexpr,
    EPSILON: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Put the chunks of a branch together; write mean and rstd, move the running statistics.

    ``measured`` is the number of branches in ``partial``: 1 where all of them share one result.
    """
    (branch, c) = block(channels, BLOCK_C)
    known = c < channels
    row = partial + tl.minimum(branch, measured - 1) * chunks * channels + c
    further = measured * chunks * channels
    mean = tl.zeros([BLOCK_C], dtype=tl.float64)
    deviation = tl.zeros([BLOCK_C], dtype=tl.float64)
    for chunk in range(chunks):
        before = (chunk * span).to(tl.float64)
        count = tl.minimum(span, pixels - chunk * span).to(tl.float64)
        own = tl.load(row + chunk * channels, mask=known, other=0.0).to(tl.float64)
        away = own - mean
        mean += away * count / (before + count)
        deviation += tl.load(row + further + chunk * channels, mask=known, other=0.0).to(tl.float64)
        deviation += away * away * before * count / (before + count)
    place = branch * channels + c
    kind = means.dtype.element_ty
    variance = deviation / pixels
    tl.store(means + place, mean.to(kind), mask=known)
    tl.store(rstds + place, (1.0 / tl.sqrt(variance + EPSILON)).to(kind), mask=known)
    kind = running_means.dtype.element_ty
    old = tl.load(running_means + place, mask=known, other=0.0).to(tl.float64)
    tl.store(running_means + place, (old + MOMENTUM * (mean - old)).to(kind), mask=known)
    old = tl.load(running_variances + place, mask=known, other=0.0).to(tl.float64)
    unbiased = deviation / (pixels - 1)
    tl.store(running_variances + place, (old + MOMENTUM * (unbiased - old)).to(kind), mask=known)


@triton.jit
def _reached(gradient, values, row, place, there, channels, known, inside, ACC: tl.constexpr):
    """a·g + b·y + c, with the coefficients of a row."""
    a = tl.load(row, mask=known, other=0.0).to(ACC)
    b = tl.load(row + channels, mask=known, other=0.0).to(ACC)
    shift = tl.load(row + 2 * channels, mask=known, other=0.0).to(ACC)
    y = tl.load(values + place, mask=inside, other=0.0).to(ACC)
    g = tl.load(gradient + there, mask=inside, other=0.0).to(ACC)
    return a[None, :] * g + b[None, :] * y + shift[None, :]


@triton.jit(do_not_specialize=_ANY)
def through(
    gradients,
    gradient_pitch,
    coefficients,
    result,
    result_step,
    reached,
    count,
    pixels,
    channels,
    BRANCHES: tl.constexpr,
    SUMMED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write a·g + b·y + c of each branch, or their sum over branches that share y."""
    number, c = block(channels, BLOCK_C)
    p = number.to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    known = c < channels
    inside = (p < pixels)[:, None] & known[None, :]
    place = p[:, None] * channels + c[None, :]
    there = p[:, None] * gradient_pitch + c[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    branch = tl.program_id(1).to(tl.int64)
    for i in tl.static_range(BRANCHES):
        if (i < count) & ((branch == i) | SUMMED):
            row = coefficients + 3 * i * channels + c
            values = result + branch * result_step
            total += _reached(gradients[i], values, row, place, there, channels, known, inside, ACC)
    kind = reached.dtype.element_ty
    tl.store(reached + branch * pixels * channels + place, total.to(kind), mask=inside)


@triton.jit(do_not_specialize=_ANY)
def own_sums(
    gradient,
    values,
    partial,
    pixels,
    channels,
    span,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Σ g and Σ g·y of each chunk of each branch: ``(2, M, chunks, C)``."""
    (chunk, c), chunks = block(channels, BLOCK_C), tl.cdiv(pixels, span)
    branch, branches = tl.program_id(1).to(tl.int64), tl.num_programs(1)
    known = c < channels
    first = chunk * span
    last = tl.minimum(first + span, pixels)
    start_of_branch = branch * pixels * channels
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    product = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for start in range(first, last, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        inside = (p < last)[:, None] & known[None, :]
        place = start_of_branch + p[:, None] * channels + c[None, :]
        g = tl.load(gradient + place, mask=inside, other=0.0).to(ACC)
        total += g
        product += g * tl.load(values + place, mask=inside, other=0.0).to(ACC)
    place = partial + (branch * chunks + chunk) * channels + c
    tl.store(place, tl.sum(total, axis=0), mask=known)
    tl.store(place + branches * chunks * channels, tl.sum(product, axis=0), mask=known)
