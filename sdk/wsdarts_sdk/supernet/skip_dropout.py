"""Operation dropout on skip-connects, with draws that every engine and device share.

Source: Chen et al., "Progressive DARTS", 2019, arXiv:1904.12760, section 3.3. Whether an
element is dropped is a function of its number and a seed (splitmix64, Steele et al., "Fast
splittable pseudorandom number generators", 2014), so a backward pass draws again instead of
keeping masks, and evaluating the supernet twice evaluates one function twice.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_WORD = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipDropout:
    """Dropout of one forward pass.

    Attributes:
        rate: Probability that an entry of an identity's output is zeroed, in [0, 1).
        seed: Seed of the pass; every edge of every cell draws from its own.
        first: Place in the batch of the first image of the pass, which is a part of the batch
            where several ranks share it.
    """

    rate: float = 0.0
    seed: int = 0
    first: int = 0

    def edge_seed(self, cell: int, edge: int, elements: int = 0) -> int:
        """Return the 64-bit seed of one edge of one cell.

        Args:
            cell: Index of the cell.
            edge: Index of the edge.
            elements: Numbers of an image on that edge, so that each image has the draws of its
                place in the batch.
        """
        seed = _mix((_mix((self.seed + STEP) & _WORD) + cell * 4096 + edge) & _WORD)
        return (seed + self.first * elements * STEP) & _WORD


NO_DROPOUT = SkipDropout()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSkipDropout:
    """The same dropout with its numbers in a device's memory, for the replay of a graph.

    Attributes:
        rate: Float64, shape ``()``.
        seeds: 64-bit words of each edge of each cell, shape ``(cells, edges)``.
    """

    rate: Tensor
    seeds: Tensor

    @classmethod
    def allocate(cls, cells: int, edges: int, device: torch.device) -> Self:
        """Allocate memory for the numbers of a network."""
        return cls(
            rate=torch.zeros((), dtype=torch.float64, device=device),
            seeds=torch.zeros(cells, edges, dtype=torch.int64, device=device),
        )

    def fill(self, skip: SkipDropout) -> None:
        """Copy the numbers of one pass."""
        cells, edges = self.seeds.shape
        words = [
            [signed(skip.edge_seed(cell, edge)) for edge in range(edges)] for cell in range(cells)
        ]
        self.seeds.copy_(torch.tensor(words))
        self.rate.fill_(skip.rate)

    def edge_seed(self, cell: int, edge: int, elements: int = 0) -> Tensor:
        """Return the 64-bit seed of one edge of one cell, as a view."""
        del elements  # graphs are replayed by the only rank, whose first image is the batch's
        return self.seeds[cell, edge]


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * FIRST) & _WORD
    z = ((z ^ (z >> 27)) * SECOND) & _WORD
    return z ^ (z >> 31)


def kept(
    seed: int | Tensor, rate: float | Tensor, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Return a bool tensor of the elements that stay, numbered in the order of the shape."""
    count = torch.Size(shape).numel()
    first = seed if isinstance(seed, Tensor) else signed(seed)
    z = torch.arange(count, device=device) * signed(STEP) + first
    z = (z ^ _shifted(z, 30)) * signed(FIRST)
    z = (z ^ _shifted(z, 27)) * signed(SECOND)
    z = z ^ _shifted(z, 31)
    draws = _shifted(z, 11).double() * 2.0**-53
    return draws.ge(rate).view(shape)


def word(seed: int | Tensor, device: torch.device) -> Tensor:
    """Return a seed as a 64-bit word in the device's memory, shape ``()``."""
    return seed if isinstance(seed, Tensor) else torch.tensor(signed(seed)).to(device)


def signed(word: int) -> int:
    """Return the int64 with the bits of an unsigned word: torch multiplies modulo 2⁶⁴."""
    return word - (1 << 64) if word >> 63 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Return the logical shift to the right of an int64 tensor."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
