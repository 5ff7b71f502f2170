"""Batches of a task's train part: crop, flip and normalise, drawn for each image.

The validation third has no way in here: only the two halves of the train part are copied out
of the task's pixels.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.search.gradients import Batch
from wsdarts_sdk.search.randomness import stream
from wsdarts_sdk.tasks import ImageTask, Part

_MIN_BATCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Labelled uint8 images on a device.

    Attributes:
        pixels: Shape ``(N, H, W, 3)``, uint8.
        labels: Shape ``(N,)``, int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done to each image of a batch.

    Attributes:
        mean: Channel means in [0, 1], shape ``(3,)``.
        std: Channel standard deviations, shape ``(3,)``.
        padding: Pixels of black padding before the random crop.
        flip: Whether to mirror half of the images.
        cutout: Side in pixels of the square that is erased; 0 erases nothing.
    """

    mean: Tensor
    std: Tensor
    padding: int
    flip: bool
    cutout: int = 0

    def normalise(self, pixels_BHWC: Tensor) -> Tensor:
        """uint8 pixels as normalised images, shape ``(B, 3, H, W)``."""
        x = pixels_BHWC.to(self.mean.dtype).div(255).sub(self.mean).div(self.std)
        return x.permute(0, 3, 1, 2).contiguous()

    def apply(self, pixels_BHWC: Tensor, draws: Generator) -> Tensor:
        """Augmented and normalised images, shape ``(B, 3, H, W)``."""
        x = _crop(pixels_BHWC, self.padding, draws)
        if self.flip:
            mirrored = torch.rand(len(x), generator=draws).lt(0.5).to(x.device)
            x = torch.where(mirrored[:, None, None, None], x.flip(2), x)
        images = self.normalise(x)
        return _cut_out(images, self.cutout, draws) if self.cutout else images


def _crop(pixels: Tensor, padding: int, draws: Generator) -> Tensor:
    count, height, width, _ = pixels.shape
    if not padding:
        return pixels
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    offsets = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=draws).to(pixels.device)
    rows = offsets[0] + torch.arange(height, device=pixels.device)
    columns = offsets[1] + torch.arange(width, device=pixels.device)
    which = torch.arange(count, device=pixels.device)
    return padded[which[:, None, None], rows[:, :, None], columns[:, None, :]]


def _cut_out(images: Tensor, side: int, draws: Generator) -> Tensor:
    """Erase a square around a random centre, cut off at the borders (DeVries & Taylor, 2017)."""
    count, _, height, width = images.shape
    centres = torch.rand(2, count, 1, generator=draws).to(images.device)

    def inside(centre: Tensor, extent: int) -> Tensor:
        start = (centre * extent).floor() - side // 2
        place = torch.arange(extent, device=images.device)
        return (place >= start) & (place < start + side)

    erased = inside(centres[0], height)[:, :, None] & inside(centres[1], width)[:, None, :]
    return images.masked_fill(erased[:, None], 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainPart:
    """The two halves of one task's train part, ready to be drawn from.

    Attributes:
        name: The task's name.
        classes: Number of classes.
        weights: The half that trains the supernet's weights.
        alpha: The half that trains α.
        augmentation: How batches are made.
        batch_size: Images in a batch, at most the size of the smaller half.
        head: Which of the supernet's heads belongs to the task.
        seed: Seed of order and augmentation.
    """

    name: str
    classes: int
    weights: Images
    alpha: Images
    augmentation: Augmentation
    batch_size: int
    head: int
    seed: int

    @classmethod
    def of(
        cls,
        task: ImageTask,
        *,
        image_size: int,
        batch_size: int,
        padding: int,
        flip: bool,
        head: int = 0,
        seed: int = 0,
        device: torch.device | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Copy the train part of a task to a device.

        Raises:
            SettingsError: A half has a single image, too few for a batch norm.
        """
        pixels = task.pixels(image_size, progress=progress)
        weights = _copy_half(task, Part.WEIGHTS, pixels, device)
        alpha = _copy_half(task, Part.ALPHA, pixels, device)
        mean, std = channel_statistics([weights.pixels, alpha.pixels])
        return cls(
            name=task.name,
            classes=task.classes,
            weights=weights,
            alpha=alpha,
            augmentation=Augmentation(mean=mean, std=std, padding=padding, flip=flip),
            batch_size=min(batch_size, len(weights), len(alpha)),
            head=head,
            seed=seed,
        )

    def steps(self, limit: int | None) -> int:
        """Full batches of the weights half in an epoch, at most ``limit``.

        The public code runs the last, smaller batch, too; here its images, which are others
        in every epoch, wait for the next.
        """
        full = len(self.weights) // self.batch_size
        return full if limit is None else min(full, limit)

    def batch(self, part: Part, stage: int, epoch: int, step: int) -> Batch:
        """The batch at one place of the search; a function of that place and the seed alone.

        A half that is shorter than the epoch starts over in a new order.
        """
        half = self.weights if part is Part.WEIGHTS else self.alpha
        full = len(half) // self.batch_size
        where = (self.seed, self.head, str(part), stage, epoch)
        order = torch.randperm(len(half), generator=stream("order", *where, step // full))
        start = (step % full) * self.batch_size
        chosen = order[start : start + self.batch_size].to(half.labels.device)
        draws = stream("augmentation", *where, step)
        return Batch(
            images=self.augmentation.apply(half.pixels[chosen], draws),
            labels=half.labels[chosen],
            head=self.head,
        )


def _copy_half(
    task: ImageTask, part: Part, pixels: NDArray[np.uint8], device: torch.device | None
) -> Images:
    indices = task.indices(part)
    if len(indices) < _MIN_BATCH:
        raise SettingsError(
            f"the {part} half of {task.name} has {len(indices)} images; a search needs at least "
            f"{_MIN_BATCH}: add images"
        )
    return Images(
        pixels=torch.from_numpy(pixels[indices]).to(device),
        labels=torch.from_numpy(task.labels[indices]).to(device),
    )


def channel_statistics(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in [0, 1], float32, exact over all pixels."""
    counts = torch.zeros(3, 256, dtype=torch.float64)
    for pixels in parts:
        for channel in range(3):
            values = pixels[..., channel].reshape(-1).cpu().int()
            counts[channel] += torch.bincount(values, minlength=256)
    share = counts / counts.sum(dim=1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ levels
    variance = (share * (levels - mean[:, None]).square()).sum(dim=1)
    device = parts[0].device
    # A constant channel (say, all black) would divide by zero.
    std = variance.sqrt().clamp_min(1 / 255)
    return mean.float().to(device), std.float().to(device)
