"""Augmentation of the images of a batch: crop, flip, cutout and normalisation.

Random numbers are drawn for each image on the CPU, as one small table of integers. The rest is
computed on the device, on the whole batch at once and on uint8 for as long as possible; so the
same seed gives the same batches on every device.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from wsdarts_sdk.data.policies import apply_policy, draw_seed
from wsdarts_sdk.setting_fields import Policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """The images of a batch, and the random draws for each of them.

    Attributes:
        table: int64, shape ``(6, B)``, a single tensor so that one copy takes it to a device:
            the image; row and column of the crop within the padded image; 1 if it is mirrored;
            first row and column of the square that is erased, which may lie outside.
        seed: Seed of the augmentation policy's draws; None without a policy.
        places: Place of each image in its batch; None where these are all of it.
    """

    table: Tensor
    seed: int | None = None
    places: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> "Draws":
        """Return the same draws on a device; from pinned memory, the copy is asynchronous."""
        return replace(self, table=self.table.to(device, non_blocking=True))

    def pinned(self) -> "Draws":
        """Return the same draws in pinned memory."""
        return replace(self, table=self.table.pin_memory())

    def taken(self, places: Sequence[int]) -> "Draws":
        """Return the draws of some images of the batch, by their places."""
        return replace(self, table=self.table[:, list(places)], places=tuple(places))

    @property
    def images(self) -> Tensor:
        """Return the index of each image, shape ``(B,)``."""
        return self.table[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """The augmentation of each image of a batch.

    Attributes:
        mean: Channel means in [0, 1], shape ``(3,)``.
        std: Channel standard deviations, shape ``(3,)``.
        padding: Pixels of black padding before the random crop.
        flip: Whether to mirror half of the images.
        cutout: Side in pixels of the square that is erased; 0 erases nothing.
        policy: Further operations on each image, behind crop and mirroring; None for none.
        memory_format: Memory format of the augmented images.
    """

    mean: Tensor
    std: Tensor
    padding: int
    flip: bool
    cutout: int = 0
    policy: Policy | None = None
    memory_format: torch.memory_format = torch.contiguous_format

    def draw(self, images: Tensor, size: int, generator: Generator) -> Draws:
        """Draw the random numbers of each image of a batch.

        Args:
            images: Index of each image, int64 on the CPU, shape ``(B,)``.
            size: Pixels a side.
            generator: A generator of the CPU.
        """
        count = len(images)
        table = torch.zeros(6, count, dtype=torch.int64)
        table[0] = images
        if self.padding:
            table[1:3] = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator)
        if self.flip:
            table[3] = torch.rand(count, generator=generator) < 0.5
        if self.cutout:
            # A square around a random centre, cut off at the borders (DeVries & Taylor, 2017).
            centres = torch.rand(2, count, generator=generator)
            table[4:6] = (centres * size).floor() - self.cutout // 2
        seed = None if self.policy is None else draw_seed(generator)
        return Draws(table=table, seed=seed)

    def apply(self, pixels_BHWC: Tensor, draws: Draws) -> Tensor:
        """Return augmented and normalised images, shape ``(B, 3, H, W)``.

        Args:
            pixels_BHWC: The images that ``draws`` names, uint8.
            draws: On the same device.
        """
        _, top, left, mirrored, erased_top, erased_left = draws.table
        x = _crop(pixels_BHWC, self.padding, top, left)
        if self.flip:
            x = torch.where(mirrored.bool()[:, None, None, None], x.flip(2), x)
        if self.policy is not None and draws.seed is not None:
            x = apply_policy(x, self.policy, draws.seed, draws.places)
        images = self.normalise(x)
        return _erase(images, self.cutout, erased_top, erased_left) if self.cutout else images

    def normalise(self, pixels_BHWC: Tensor) -> Tensor:
        """Return uint8 pixels as normalised images, shape ``(B, 3, H, W)``."""
        count, height, width, channels = pixels_BHWC.shape
        # A CPU's vector units are faster on one long row of pixels than on three channels.
        x = pixels_BHWC.reshape(count, height, width * channels).to(self.mean.dtype)
        x.div_(255).sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        images = x.view(count, height, width, channels).permute(0, 3, 1, 2)
        return images.contiguous(memory_format=self.memory_format)


def channel_statistics(chunks: Iterable[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel in [0, 1], float32, exact.

    Args:
        chunks: Images, shape ``(n, H, W, 3)`` each.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for pixels in chunks:
        for channel in range(3):
            counts[channel] += np.bincount(pixels[..., channel].reshape(-1), minlength=256)
    share = torch.from_numpy(counts).double()
    share /= share.sum(dim=1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ levels
    variance = (share * (levels - mean[:, None]).square()).sum(dim=1)
    # A constant channel (say, all black) would divide by zero.
    return mean.float(), variance.sqrt().clamp_min(1 / 255).float()


def _crop(pixels: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    count, height, width, _ = pixels.shape
    if not padding:
        return pixels
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view, (B, top, left, 3, H, W)
    which = torch.arange(count, device=pixels.device)
    return windows.permute(0, 1, 2, 4, 5, 3)[which, top, left]


def _erase(images: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    def inside(start: Tensor, extent: int) -> Tensor:
        place = torch.arange(extent, device=images.device)
        return (place >= start[:, None]) & (place < start[:, None] + side)

    _, _, height, width = images.shape
    erased = inside(top, height)[:, :, None] & inside(left, width)[:, None, :]
    return images.masked_fill_(erased[:, None], 0.0)
