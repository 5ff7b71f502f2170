"""Kernels of the supernet: an interface and its implementations."""

from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.choice import VARIABLE, Choice, choose_kernels

__all__ = ["VARIABLE", "Choice", "Kernels", "choose_kernels"]
