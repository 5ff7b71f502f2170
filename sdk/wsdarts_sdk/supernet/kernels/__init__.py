"""Kernels of the supernet: one interface (``base``) and its implementations.

``portable`` is plain torch, ``compiled`` calls ``cpu.cpp``, ``triton`` is for CUDA; ``choice``
decides. May import the plan and the tape of the supernet. Public: the names below.
"""

from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.choice import VARIABLE, Choice, choose_kernels

__all__ = ["VARIABLE", "Choice", "Kernels", "choose_kernels"]
