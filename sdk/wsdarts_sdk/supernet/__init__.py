"""The supernet of a search: its plan, its cells, its gradients and its kernels.

May import ``data``. Inside, ``_network`` imports ``_cell`` and ``kernel_choice``, these
import ``operation_plan``, and all of them ``kernels``. The candidate operations are placed in
``operation_plan``, evaluated in ``_cell`` and computed in ``kernels``; those of derived networks
are in ``models._operations``. Public: the names below.
"""

from wsdarts_sdk.supernet._network import Gradients, Supernet, Wanted
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, Kernels, SkipDropout
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, reduction_positions

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
