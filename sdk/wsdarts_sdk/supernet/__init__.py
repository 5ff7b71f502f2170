"""The supernet of a search: its plan, its cells and what they run on."""

from wsdarts_sdk.supernet.kernels import Kernels, choose_kernels
from wsdarts_sdk.supernet.network import (
    STEM_MULTIPLIER,
    Batch,
    Gradients,
    Supernet,
    Wanted,
    reduction_positions,
)
from wsdarts_sdk.supernet.skip_dropout import NO_DROPOUT, SkipDropout

__all__ = [
    "NO_DROPOUT",
    "STEM_MULTIPLIER",
    "Batch",
    "Gradients",
    "Kernels",
    "SkipDropout",
    "Supernet",
    "Wanted",
    "choose_kernels",
    "reduction_positions",
]
