"""The supernet of a search: its plan, its cells, its gradients and its kernels.

May import ``data`` for batches. Public: the names below.
"""

from wsdarts_sdk.supernet.kernels import Kernels, choose_kernels
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.supernet.plan import STEM_MULTIPLIER, reduction_positions
from wsdarts_sdk.supernet.skip_dropout import NO_DROPOUT, SkipDropout
from wsdarts_sdk.supernet.tape import Gradients, Wanted

__all__ = [
    "NO_DROPOUT",
    "STEM_MULTIPLIER",
    "Gradients",
    "Kernels",
    "SkipDropout",
    "Supernet",
    "Wanted",
    "choose_kernels",
    "reduction_positions",
]
