"""Triton kernels of a node's sum: its branches with their norms and α, and the way back.

Every image tensor is seen as pixels × channels, a pixel ``pitch`` elements after the one before.
Terms are tuples of pointers, so a node of thirty branches is one launch. Sums of many pixels are
taken in two stages, chunk by chunk in a fixed order: the same numbers every time, without atomics.

Needs triton: import it late.
"""

import triton
import triton.language as tl

from wsdarts_sdk.supernet.kernels.triton.blocks import block
from wsdarts_sdk.supernet.skip_dropout import FIRST, SECOND, STEP, signed

_STEP = tl.constexpr(signed(STEP))
_FIRST = tl.constexpr(signed(FIRST))
_SECOND = tl.constexpr(signed(SECOND))
_LOW_34 = tl.constexpr((1 << 34) - 1)
_LOW_37 = tl.constexpr((1 << 37) - 1)
_LOW_33 = tl.constexpr((1 << 33) - 1)
_LOW_53 = tl.constexpr((1 << 53) - 1)
_UNIT = tl.constexpr(2.0**53)

# Where a scalar lies and how large a number is must not make a kernel another one.
_ANY = ["means", "rstds", "alphas", "source_alphas", "seeds", "rates", "found"]
_ANY += ["places", "normed", "identities", "pixels", "span", "total_step"]


@triton.jit
def _kept(numbers, seed, threshold):
    """Which elements an identity keeps: the draws of ``skip_dropout.kept``."""
    z = numbers * _STEP + seed
    z = (z ^ ((z >> 30) & _LOW_34)) * _FIRST
    z = (z ^ ((z >> 27) & _LOW_37)) * _SECOND
    z = z ^ ((z >> 31) & _LOW_33)
    return ((z >> 11) & _LOW_53) >= threshold


@triton.jit
def _dropped(values, p, c, channels, seed, rate, ON_DEVICE: tl.constexpr, ACC: tl.constexpr):
    """An identity's output. A rate is float64 on the device, or of the host, in units of 2⁻⁵³."""
    if ON_DEVICE:
        word = tl.load(seed)
        threshold = tl.ceil(tl.load(rate) * _UNIT).to(tl.int64)
    else:
        word = seed.to(tl.int64)
        threshold = rate.to(tl.int64)
    stays = _kept(p[:, None] * channels + c[None, :], word, threshold)
    scale = (1.0 / (1.0 - threshold.to(tl.float64) / _UNIT)).to(ACC)
    return tl.where(stays, values, 0.0) * scale


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=_ANY)
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


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=_ANY)
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
    """A chunk's part of one sum, ``(1 + terms, chunks, C)``: Σ g, then Σ g·y of each term."""
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


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=_ANY)
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
    """a, b and c of ``Upstream`` and Σ g·ŷ of one term, from float64 sums over all pixels."""
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


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=_ANY)
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
