"""The initial weights of a supernet's cells."""

from collections.abc import Mapping

from torch import Tensor, nn

from wsdarts_registry.space import DARTS_CANDIDATES


def draw_weights(views: Mapping[str, Tensor]) -> None:
    """Draw the named weights as torch's own layers do, in the order that modules are made in."""
    for name in sorted(views, key=_module_order):
        nn.init.kaiming_uniform_(views[name], a=5**0.5)


def _module_order(name: str) -> tuple[int, int, int, int, str]:
    """Sorts weights as nested modules would be made: first, second, then edge by edge."""
    parts = name.split(".")
    cell = int(parts[1])
    if parts[2] != "edges":
        return (cell, 0, 0, 0, name)
    return (cell, 1, int(parts[3]), DARTS_CANDIDATES.index(parts[5]), name)
