"""Triton kernels of batch norms and of a node's sum of branches, forward and backward.

Every image tensor is seen as pixels × channels, a pixel ``pitch`` elements after the one before.
Terms are tuples of pointers, so a node of thirty branches is one launch. Sums of many pixels are
taken in two stages, chunk by chunk in a fixed order: the same numbers every time, without atomics.

Means and squared deviations are merged as Chan, Golub and LeVeque do ("Updating formulae and a
pairwise algorithm for computing sample variances", 1979), so nothing cancels. A chunk is read
twice, the second time from a cache.

Needs triton: import it late.
"""

import triton
import triton.language as tl

from wsdarts_sdk.supernet.kernels._triton_depthwise import block
from wsdarts_sdk.supernet.kernels.base import FIRST, SECOND, STEP, signed

_STEP = tl.constexpr(signed(STEP))
_FIRST = tl.constexpr(signed(FIRST))
_SECOND = tl.constexpr(signed(SECOND))
_LOW_34 = tl.constexpr((1 << 34) - 1)
_LOW_37 = tl.constexpr((1 << 37) - 1)
_LOW_33 = tl.constexpr((1 << 33) - 1)
_LOW_53 = tl.constexpr((1 << 53) - 1)
_UNIT = tl.constexpr(2.0**53)
# Where a scalar lies and how large a number is must not make a kernel another one.
_MIX_NUMBERS = ["means", "rstds", "alphas", "source_alphas", "seeds", "rates", "found"]
_MIX_NUMBERS += ["places", "normed", "identities", "pixels", "span", "total_step"]


@triton.jit
def _kept(numbers, seed, threshold):
    """Return the elements that an identity keeps: the draws of ``base.kept``."""
    z = numbers * _STEP + seed
    z = (z ^ ((z >> 30) & _LOW_34)) * _FIRST
    z = (z ^ ((z >> 27) & _LOW_37)) * _SECOND
    z = z ^ ((z >> 31) & _LOW_33)
    return ((z >> 11) & _LOW_53) >= threshold


@triton.jit
def _dropped(values, p, c, channels, seed, rate, ON_DEVICE: tl.constexpr, ACC: tl.constexpr):
    """Return an identity's output. A rate is float64 on the device, on the host in 2⁻⁵³."""
    if ON_DEVICE:
        word = tl.load(seed)
        threshold = tl.ceil(tl.load(rate) * _UNIT).to(tl.int64)
    else:
        word = seed.to(tl.int64)
        threshold = rate.to(tl.int64)
    stays = _kept(p[:, None] * channels + c[None, :], word, threshold)
    scale = (1.0 / (1.0 - threshold.to(tl.float64) / _UNIT)).to(ACC)
    return tl.where(stays, values, 0.0) * scale


@triton.jit(do_not_specialize=_MIX_NUMBERS, do_not_specialize_on_alignment=_MIX_NUMBERS)
def mix(
    values,
    pitches,
    means,
    rstds,
    alphas,
    sources,
    source_pitches,
    source_alphas,
    seeds,
    rates,
    carried,
    carried_pitch,
    result,
    result_pitch,
    normed,
    identities,
    pixels,
    channels,
    NORMED: tl.constexpr,
    IDENTITIES: tl.constexpr,
    CARRIED: tl.constexpr,
    DROPS: tl.constexpr,
    ON_DEVICE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write Σ α · (y − mean) · rstd over normed terms and Σ α · dropped(x) over identities."""
    number, c = block(channels, BLOCK_C)
    p = number.to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    known = c < channels
    inside = (p < pixels)[:, None] & known[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    if CARRIED:
        total += tl.load(carried + p[:, None] * carried_pitch + c[None, :], mask=inside, other=0.0)
    for i in tl.static_range(NORMED):
        counts = known & (i < normed)
        scale = tl.load(alphas[i]).to(ACC) * tl.load(rstds[i] + c, mask=counts, other=0.0).to(ACC)
        mean = tl.load(means[i] + c, mask=counts, other=0.0).to(ACC)
        place = values[i] + p[:, None] * pitches[i] + c[None, :]
        y = tl.load(place, mask=inside & (i < normed), other=0.0).to(ACC)
        total += (y - mean[None, :]) * scale[None, :]
    for i in tl.static_range(IDENTITIES):
        if i < identities:
            place = sources[i] + p[:, None] * source_pitches[i] + c[None, :]
            x = tl.load(place, mask=inside, other=0.0).to(ACC)
            if DROPS:
                x = _dropped(x, p, c, channels, seeds[i], rates[i], ON_DEVICE, ACC)
            total += x * tl.load(source_alphas[i]).to(ACC)
    place = result + p[:, None] * result_pitch + c[None, :]
    tl.store(place, total.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=_MIX_NUMBERS, do_not_specialize_on_alignment=_MIX_NUMBERS)
def mix_sums(
    gradient,
    gradient_pitch,
    values,
    pitches,
    sources,
    source_pitches,
    seeds,
    rates,
    partial,
    normed,
    identities,
    pixels,
    channels,
    span,
    NORMED: tl.constexpr,
    IDENTITIES: tl.constexpr,
    DROPS: tl.constexpr,
    ON_DEVICE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write a chunk's part of a sum, ``(1 + terms, chunks, C)``: Σ g, then Σ g·y of each term."""
    chunk, c = block(channels, BLOCK_C)
    term = tl.program_id(1)
    own, pitch, seed, rate = values[0], pitches[0], seeds[0], rates[0]
    for i in tl.static_range(NORMED):
        own = tl.where(term == 1 + i, values[i], own)
        pitch = tl.where(term == 1 + i, pitches[i], pitch)
    for i in tl.static_range(IDENTITIES):
        this = (term == 1 + normed + i) & (i < identities)
        own, pitch = tl.where(this, sources[i], own), tl.where(this, source_pitches[i], pitch)
        seed, rate = tl.where(this, seeds[i], seed), tl.where(this, rates[i], rate)
    first = chunk * span
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=ACC)
    for start in range(first, tl.minimum(first + span, pixels), BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        inside = (p < pixels)[:, None] & (c < channels)[None, :]
        place = gradient + p[:, None] * gradient_pitch + c[None, :]
        g = tl.load(place, mask=inside, other=0.0).to(ACC)
        place = own + p[:, None] * pitch + c[None, :]
        y = tl.load(place, mask=inside & (term > 0), other=1.0).to(ACC)
        if DROPS:  # known when it is compiled  # noqa: SIM102
            if term > normed:
                y = _dropped(y, p, c, channels, seed, rate, ON_DEVICE, ACC)
        total += g * y
    place = partial + (term * tl.cdiv(pixels, span) + chunk) * channels + c
    tl.store(place, tl.sum(total, axis=0), mask=c < channels)


@triton.jit(do_not_specialize=_MIX_NUMBERS, do_not_specialize_on_alignment=_MIX_NUMBERS)
def coefficients(
    totals,
    products,
    means,
    rstds,
    alphas,
    places,
    found,
    total_step,
    pixels,
    channels,
    TERMS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write a, b and c of ``OutputGradient`` and Σ g·ŷ of a term, from float64 sums."""
    term = tl.program_id(0)
    own_mean, own_rstd, own_alpha, to = means[0], rstds[0], alphas[0], places[0]
    for i in tl.static_range(TERMS):
        own_mean = tl.where(term == i, means[i], own_mean)
        own_rstd = tl.where(term == i, rstds[i], own_rstd)
        own_alpha = tl.where(term == i, alphas[i], own_alpha)
        to = tl.where(term == i, places[i], to)
    alpha = tl.load(own_alpha).to(tl.float64)
    kind = to.dtype.element_ty
    whole = tl.zeros([BLOCK_C], dtype=tl.float64)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        known = c < channels
        total = tl.load(totals + term * total_step + c, mask=known, other=0.0)
        product = tl.load(products + term * channels + c, mask=known, other=0.0)
        mean = tl.load(own_mean + c, mask=known, other=0.0).to(tl.float64)
        rstd = tl.load(own_rstd + c, mask=known, other=0.0).to(tl.float64)
        normed = rstd * (product - mean * total)
        a = alpha * rstd
        b = -a * rstd * normed / pixels
        tl.store(to + c, a.to(kind), mask=known)
        tl.store(to + channels + c, b.to(kind), mask=known)
        shift = -a * total / pixels - b * mean
        tl.store(to + 2 * channels + c, shift.to(kind), mask=known)
        whole += normed
    tl.store(found + term, tl.sum(whole, axis=0))


@triton.jit(do_not_specialize=_MIX_NUMBERS, do_not_specialize_on_alignment=_MIX_NUMBERS)
def identity(
    gradient,
    gradient_pitch,
    alphas,
    seeds,
    rates,
    source_gradient,
    source_pitch,
    pixels,
    channels,
    DROPS: tl.constexpr,
    ON_DEVICE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Add α · dropped(g) to a source's gradient."""
    number, c = block(channels, BLOCK_C)
    p = number.to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = (p < pixels)[:, None] & (c < channels)[None, :]
    place = gradient + p[:, None] * gradient_pitch + c[None, :]
    g = tl.load(place, mask=inside, other=0.0).to(ACC)
    if DROPS:
        g = _dropped(g, p, c, channels, seeds[0], rates[0], ON_DEVICE, ACC)
    place = source_gradient + p[:, None] * source_pitch + c[None, :]
    there = tl.load(place, mask=inside, other=0.0).to(ACC) + g * tl.load(alphas[0]).to(ACC)
    tl.store(place, there.to(source_gradient.dtype.element_ty), mask=inside)


_NORM_NUMBERS = ["pixels", "span", "chunks", "measured", "count"]


@triton.jit(do_not_specialize=_NORM_NUMBERS)
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
    """Write mean and squared deviations of each chunk of each branch, ``(2, M, chunks, C)``."""
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


@triton.jit(do_not_specialize=_NORM_NUMBERS)
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
    """Merge the chunks of a branch; write mean and rstd, update the running statistics.

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
    """Return a·g + b·y + c, with the coefficients of a row."""
    a = tl.load(row, mask=known, other=0.0).to(ACC)
    b = tl.load(row + channels, mask=known, other=0.0).to(ACC)
    shift = tl.load(row + 2 * channels, mask=known, other=0.0).to(ACC)
    y = tl.load(values + place, mask=inside, other=0.0).to(ACC)
    g = tl.load(gradient + there, mask=inside, other=0.0).to(ACC)
    return a[None, :] * g + b[None, :] * y + shift[None, :]


@triton.jit(do_not_specialize=_NORM_NUMBERS)
def norm_backward(
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


@triton.jit(do_not_specialize=_NORM_NUMBERS)
def gradient_sums(
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
    """Write Σ g and Σ g·y of each chunk of each branch, ``(2, M, chunks, C)``."""
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
