"""Augmentation by torchvision: policies on single images, mixup and CutMix on batches.

torchvision draws from torch's global generator. It gets a seed from the batch's own generator for
as long as a transform runs, and its state back afterwards: batches stay a function of their
position and the seed, and the draws of the program around them stay what they were.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from wsdarts_sdk.setting_fields import Policy

_LARGEST_SEED = 2**62


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
