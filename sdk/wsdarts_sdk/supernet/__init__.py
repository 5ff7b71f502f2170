"""The supernet of a search: its plan, its cells, its gradients and its kernels.

May import ``data``. Inside, ``network`` imports ``cell`` and ``kernel_choice``, these
import ``operation_plan``, and all of them ``kernels``. The candidate operations are placed in
``operation_plan``, evaluated in ``cell`` and computed in ``kernels``; those of derived networks
are in ``models.operations``. Public: the names below.
"""

from wsdarts_sdk.supernet._network import Gradients, Supernet, Wanted
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.supernet.kernels import Kernels
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, reduction_positions
from wsdarts_sdk.supernet.skip_dropout import NO_DROPOUT, SkipDropout

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
