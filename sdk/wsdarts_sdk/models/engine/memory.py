"""Memory of a step: an arena, and what lies in it.

A tensor is in planes, images × rows × columns × channels each: one for each node of a cell.
"""

from dataclasses import dataclass

from wsdarts_sdk.models.engine import calls
from wsdarts_sdk.supernet.kernels.base import strided

ALIGNED = 64  # bytes: a line of the cache


class Arena:
    """Places in one piece of memory, handed out and taken back while a program is built.

    Args:
        base: Address of the memory; 0 where only its size is to be found.
    """

    def __init__(self, base: int) -> None:
        self.base, self.size = base, 0
        self._free: list[tuple[int, int]] = []  # start and end, sorted
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> int:
        """Return the address of that many bytes: the first gap that is large enough."""
        size = -(-size // ALIGNED) * ALIGNED
        for place, (start, end) in enumerate(self._free):
            if end - start >= size:
                self._free[place : place + 1] = [(start + size, end)] if end - start > size else []
                break
        else:
            start = self.size
            if self._free and self._free[-1][1] == self.size:
                start = self._free.pop()[0]
            self.size = start + size
        self._taken[start] = size
        return self.base + start

    def give_back(self, address: int) -> None:
        """Take back what begins at an address."""
        start = address - self.base
        found = sorted([*self._free, (start, start + self._taken.pop(start))])
        merged = [found[0]]
        for gap in found[1:]:
            if gap[0] == merged[-1][1]:
                merged[-1] = (merged[-1][0], gap[1])
            else:
                merged.append(gap)
        self._free = merged


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Shape of a tensor, without its images."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.height * self.width

    def over(self, stride: int, channels: int) -> "Extent":
        """Return the extent of what an operation makes of it."""
        return Extent(
            height=strided(self.height, stride),
            width=strided(self.width, stride),
            channels=channels,
        )


@dataclass(kw_only=True, slots=True)
class Place:
    """Where the gradient of a tensor is collected; its first writer does not add.

    Attributes:
        address: Of its first number.
        width: Channels of a plane.
        plane: Numbers of a plane.
        written: Whether something has been written there.
    """

    address: int
    width: int
    plane: int
    written: bool = False

    def target(self) -> calls.Target:
        """Return where the next writer writes or adds."""
        found = calls.Target(
            gradient=self.address,
            pitch=self.width,
            add=self.written,
            width=self.width,
            plane=self.plane,
        )
        self.written = True
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """A tensor in memory, with the batch norm that its readers apply.

    Attributes:
        address: Of its first number.
        width: Channels of a plane.
        plane: Numbers of a plane.
        extent: With the channels of all planes.
        norm: The batch norm; None where the values are as they are.
    """

    address: int
    width: int
    plane: int
    extent: Extent
    norm: calls.Norm | None = None

    def source(self) -> calls.Source:
        """Return how a kernel reads it."""
        norm = self.norm
        return calls.Source(
            values=self.address,
            pitch=self.width,
            scale=None if norm is None else norm.scale,
            shift=None if norm is None else norm.shift,
            width=self.width,
            plane=self.plane,
        )
