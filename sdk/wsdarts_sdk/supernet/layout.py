"""Where each weight of a supernet lies in one flat vector.

The engine keeps all weights of its cells in one vector, and the branches that it computes
together next to each other. On disk and in tests a supernet has one tensor for each weight of
each operation, under the names that the plain network of modules would give them. Both are the
same memory: every named tensor is a contiguous run of the vector, so a weight, its gradient and
its momentum are all read and written through views.

The initial weights of a supernet's cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from wsdarts_registry.architecture.space import DARTS_CANDIDATES


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A contiguous run of a vector, seen as a tensor."""

    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    def of(self, vector: Tensor) -> Tensor:
        """The view of this run."""
        return vector[self.start : self.start + self.size].view(self.shape)


@dataclass(kw_only=True)
class Layout:
    """Named runs, one after the other.

    Attributes:
        size: Length of the vector so far.
        runs: The run of each name.
    """

    size: int = 0
    runs: dict[str, Run] = field(default_factory=dict)

    def merge(self, names: list[str], shape: tuple[int, ...]) -> Run:
        """Place tensors of one shape next to each other; their common run has an axis more."""
        merged = Run(start=self.size, shape=(len(names), *shape))
        for name in names:
            run = Run(start=self.size, shape=shape)
            self.runs[name] = run
            self.size += run.size
        return merged

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Every name's view of a vector: of weights, of gradients, of momentum."""
        return {name: run.of(vector) for name, run in self.runs.items()}


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
