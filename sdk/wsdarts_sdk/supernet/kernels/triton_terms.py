"""Terms of a node as Triton kernels take them: tuples of pointers, filled up to a round length.

Kernels are compiled for a length, so that nodes of almost any number of branches share them.

Needs triton: import it late.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import Term
from wsdarts_sdk.supernet.kernels.portable import wide
from wsdarts_sdk.supernet.kernels.triton_blocks import pitch
from wsdarts_sdk.supernet.skip_dropout import signed

# The longest is what fits into one launch: with four pointers each, any driver's parameters.
LENGTHS = (1, 8, 16, 40)


def filled(found: Sequence[Any], otherwise: Any = None) -> tuple[Any, ...]:
    """A tuple of a round length, its first repeated; kernels do not look at the rest.

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
        """Take terms apart; ``like`` is on their device and fills what would be empty."""
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
                filled([t.values for t in normed], like),
                filled([pitch(t.values) for t in normed], 0),
                filled([t.mean for t in normed], like),
                filled([t.rstd for t in normed], like),
                filled([alphas[id(t)] for t in normed], like),
            ),
            identities=(
                filled([t.values for t in plain], like),
                filled([pitch(t.values) for t in plain], 0),
                filled([alphas[id(t)] for t in plain], like),
            ),
            draws=_draws(plain, drops=drops, on_device=on_device),
            kinds={
                "NORMED": len(filled(normed)) if normed else 0,
                "IDENTITIES": len(filled(plain)) if plain else 0,
                "DROPS": drops,
                "ON_DEVICE": on_device,
            },
        )


def _draws(
    plain: Sequence[Term], *, drops: bool, on_device: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Seeds, and rates: on the host in units of 2⁻⁵³, the draws' own, rounded up."""
    if not drops:
        zeros = filled([0 for _ in plain], 0)
        return zeros, zeros
    if on_device:
        return filled([t.seed for t in plain]), filled([t.rate for t in plain])
    return (
        filled([signed(int(t.seed)) for t in plain]),
        filled([math.ceil(float(t.rate) * 2**53) for t in plain]),
    )


def _scalar(alpha: Any, like: Tensor) -> Tensor:
    if isinstance(alpha, Tensor):
        return alpha
    return torch.full((), alpha, dtype=wide(like), device=like.device)
