"""Augmentation of the images of a batch: crop, flip, cutout and normalisation; policies, mixing.

Random numbers are drawn for each image on the CPU, as one small table of integers. The rest is
computed on the device, on the whole batch at once and on uint8 for as long as possible; so the
same seed gives the same batches on every device.

Policies on single images, mixup and CutMix are torchvision's, which draws from torch's global
generator. It gets a seed from the batch's own generator for as long as a transform runs, and its
state back afterwards: batches stay a function of their position and the seed, and the draws of the
program around them stay what they were.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from wsdarts_sdk.setting_fields import Policy

_LARGEST_SEED = 2**62


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


def draw_seed(generator: Generator) -> int:
    """Return a seed that is drawn from a generator of the CPU."""
    return int(torch.randint(_LARGEST_SEED, (), generator=generator))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU within a block."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the generators of all devices, which are not put back.
        torch.default_generator.manual_seed(seed)
        yield


def apply_policy(
    pixels_BHWC: Tensor, policy: Policy, seed: int, places: Sequence[int] | None = None
) -> Tensor:
    """Return images that were each changed by operations of their own.

    Args:
        pixels_BHWC: uint8.
        policy: ``randaugment``: two operations of middle strength (Cubuk et al., arXiv:1909.13719);
            ``trivialaugment``: one of any strength (Müller & Hutter, arXiv:2103.10158). Neither
            mirrors. What is turned or moved in from outside is black.
        seed: Seed of the draws.
        places: Place of each image in its batch, where these are not all of it: it gets the
            draws that it has there.

    Returns:
        uint8, of the same shape.
    """
    from torchvision.transforms import v2  # noqa: PLC0415 - half a second, for those who use it

    transform = v2.RandAugment() if policy == "randaugment" else v2.TrivialAugmentWide()
    images = pixels_BHWC.permute(0, 3, 1, 2)
    with seeded(seed):
        if places is None:
            changed = [transform(image) for image in images]
        else:  # draws come one after the other: those of other images are drawn, too
            at = {place: index for index, place in enumerate(places)}
            tiny = torch.zeros(3, 2, 2, dtype=torch.uint8)
            found = {
                place: transform(images[at[place]] if place in at else tiny)
                for place in range(max(places) + 1)
            }
            changed = [found[place] for place in places]
    return torch.stack(changed).permute(0, 2, 3, 1).contiguous()


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixing:
    """Mixup or CutMix of a batch; with both, one of them at random for each batch.

    Attributes:
        mixup: α of mixup's Beta distribution (Zhang et al., arXiv:1710.09412); 0 for none.
        cutmix: The same for CutMix (Yun et al., arXiv:1905.04899).
        classes: Number of classes.
    """

    mixup: float
    cutmix: float
    classes: int

    @property
    def mixes(self) -> bool:
        """Whether images are mixed at all."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(
        self, images_BCHW: Tensor, labels: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return mixed images and their targets: labels as they are, or shares of classes.

        Args:
            images_BCHW: Normalised.
            labels: Class indices, shape ``(B,)``.
            generator: Source of the draws, on the CPU; without mixing nothing is drawn.

        Returns:
            Images of the same shape, and targets of shape ``(B,)``, or ``(B, classes)`` if mixed.
        """
        if not self.mixes:
            return images_BCHW, labels
        from torchvision.transforms import v2  # noqa: PLC0415

        with seeded(draw_seed(generator)):
            coin = bool(torch.rand(()) < 0.5) if self.mixup and self.cutmix else self.mixup > 0
            transform = (
                v2.MixUp(alpha=self.mixup, num_classes=self.classes)
                if coin
                else v2.CutMix(alpha=self.cutmix, num_classes=self.classes)
            )
            images, targets = transform(images_BCHW, labels)
        layout = torch.channels_last
        if images_BCHW.is_contiguous(memory_format=layout):
            images = images.contiguous(memory_format=layout)
        return images, targets
