"""What one half of a step works on, and room for it that stays where it is.

The same functions take either: batches as they are made, or buffers that are filled before
each step, which is what a recorded graph of calls reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from wsdarts_sdk.search.accumulation import Dropout, for_part
from wsdarts_sdk.supernet import Batch, SkipDropout
from wsdarts_sdk.supernet.skip_dropout import DeviceSkipDropout


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """What one half of a step works on.

    Attributes:
        batch: Of the half.
        skip: Its dropout on skip-connects.
    """

    batch: Batch
    skip: Dropout


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticHalf:
    """A half in buffers.

    Attributes:
        half: Over the buffers; its dropout has its own numbers for each part of the batch.
    """

    half: Half

    @classmethod
    def like(cls, half: Half, *, parts: int, cells: int, edges: int) -> Self:
        """Room for halves of the same shapes, task and kind of dropout.

        Args:
            half: One of them, with its numbers on the host.
            parts: In how many parts the batch is computed.
            cells: Of the supernet.
            edges: Of a cell.
        """
        batch, skip = half.batch, half.skip
        if isinstance(skip, SkipDropout) and skip.rate > 0:
            device = batch.images.device
            skip = tuple(DeviceSkipDropout.room(cells, edges, device) for _ in range(parts))
        room = replace(
            batch,
            images=torch.empty_like(batch.images),
            labels=torch.empty_like(batch.labels),
        )
        return cls(half=Half(batch=room, skip=skip))

    def fill(self, half: Half) -> None:
        """Take over a half; nothing waits for the device."""
        self.half.batch.images.copy_(half.batch.images)
        self.half.batch.labels.copy_(half.batch.labels)
        if isinstance(self.half.skip, Sequence) and isinstance(half.skip, SkipDropout):
            for part, room in enumerate(self.half.skip):
                _fill(room, for_part(half.skip, part))


def _fill(room: DeviceSkipDropout, skip: SkipDropout) -> None:
    cells, edges = room.seeds.shape
    source = DeviceSkipDropout.room(cells, edges, torch.device("cpu"))
    source.fill(skip)
    # From pinned memory a GPU copies by itself, and the memory is kept until it has.
    seeds = source.seeds.pin_memory() if room.seeds.device.type == "cuda" else source.seeds
    room.seeds.copy_(seeds, non_blocking=True)
    room.rate.fill_(skip.rate)
