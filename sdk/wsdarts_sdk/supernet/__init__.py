"""The supernet of a search: its plan, its cells and what they run on."""

from wsdarts_sdk.supernet.gradients import Batch, Gradients, Wanted
from wsdarts_sdk.supernet.kernels import Kernels, choose_kernels
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.supernet.planning import STEM_MULTIPLIER, reduction_positions
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
