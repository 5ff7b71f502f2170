"""The supernet of a search: candidate operations, mixed operations, cells, network."""

from wsdarts_sdk.supernet.mixed import NO_DROPOUT, MixedOperation, SkipDropout
from wsdarts_sdk.supernet.network import Supernet, SupernetCell, reduction_positions
from wsdarts_sdk.supernet.operations import build_operation

__all__ = [
    "NO_DROPOUT",
    "MixedOperation",
    "SkipDropout",
    "Supernet",
    "SupernetCell",
    "build_operation",
    "reduction_positions",
]
