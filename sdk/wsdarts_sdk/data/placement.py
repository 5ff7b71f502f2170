"""Where the images of a search lie: on the device, or streamed from the cache.

What fits is held on the device as uint8. What does not stays in the task's memory-mapped file,
and only the images of a batch are copied. The batches are the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from wsdarts_sdk.data.augmentation import Augmentation, Draws
from wsdarts_sdk.devices import free_memory

_CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A batch as far as the CPU makes it; in pinned memory if the device is a GPU.

    Attributes:
        draws: What chance drew.
        source: Where the pixels come from: indices into images that are held, int64 of shape
            ``(B,)``, or pixels that were read, uint8 of shape ``(B, size, size, 3)``.
    """

    draws: Draws
    source: Tensor


class Images(ABC):
    """Labelled square images.

    Attributes:
        labels: Class of each image, int64 on the device of the batches, shape ``(N,)``.
        size: Pixels a side.
        streamed: Whether each batch has to be read first, so that it pays to be early.
    """

    labels: Tensor
    size: int
    streamed: bool

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def prepare(self, images: Tensor, augmentation: Augmentation, generator: Generator) -> Prepared:
        """Draw a batch and read what has to be read; all of it on the CPU, in any thread.

        Args:
            images: Index of each image, int64 on the CPU, shape ``(B,)``.
            augmentation: What will be done to them.
            generator: Where chance comes from.
        """
        draws = augmentation.draw(images, self.size, generator)
        if self._pinned:
            draws = Draws(table=draws.table.pin_memory())
        return Prepared(draws=draws, source=self._read(images))

    def finish(self, prepared: Prepared, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Augmented images, shape ``(B, 3, size, size)``, and their labels, on the device.

        Nothing here waits for the device.
        """
        device = self.labels.device
        draws = prepared.draws.to(device)
        pixels = self._take(prepared.source.to(device, non_blocking=True))
        return augmentation.apply(pixels, draws), self.labels.index_select(0, draws.images)

    def pixels(self, images: Tensor) -> Tensor:
        """The uint8 pixels of some images on the device, shape ``(n, size, size, 3)``.

        Args:
            images: Their indices, int64 on the CPU, shape ``(n,)``.
        """
        return self._take(self._read(images).to(self.labels.device))

    @property
    def _pinned(self) -> bool:
        # From pinned memory a GPU copies by itself, while the CPU goes on.
        return self.labels.device.type == "cuda"

    @abstractmethod
    def _read(self, images: Tensor) -> Tensor:
        """``Prepared.source`` of these images."""

    @abstractmethod
    def _take(self, source: Tensor) -> Tensor:
        """The pixels, from ``Prepared.source`` on the device."""


class HeldImages(Images):
    """Images on the device.

    Args:
        pixels: uint8, shape ``(N, size, size, 3)``.
        labels: On the same device.
    """

    streamed = False

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.labels, self.size = labels, pixels.shape[1]
        self._pixels = pixels

    def _read(self, images: Tensor) -> Tensor:
        return images.pin_memory() if self._pinned else images

    def _take(self, source: Tensor) -> Tensor:
        return self._pixels.index_select(0, source)


class StreamedImages(Images):
    """Images of which each batch is copied from the cache.

    Args:
        cache: All pixels of the task, memory-mapped, shape ``(M, size, size, 3)``.
        indices: Which of them these images are, shape ``(N,)``.
        labels: On the device.
    """

    streamed = True

    def __init__(
        self, cache: NDArray[np.uint8], indices: NDArray[np.int64], labels: Tensor
    ) -> None:
        self.labels, self.size = labels, cache.shape[1]
        self._cache, self._indices = cache, indices

    def _read(self, images: Tensor) -> Tensor:
        shape = (len(images), *self._cache.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        rows = self._indices[images.numpy()]
        # In mode "clip" NumPy writes straight into the tensor, without a buffer of its own.
        np.take(self._cache, rows, axis=0, out=pixels.numpy(), mode="clip")
        return pixels

    def _take(self, source: Tensor) -> Tensor:
        return source


def place_images(
    cache: NDArray[np.uint8],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    *,
    device: torch.device,
    held: bool,
) -> Images:
    """Put some images of a task on a device, or leave them in the cache.

    Args:
        cache: All pixels of the task, shape ``(M, size, size, 3)``.
        labels: Label of each image of the task, shape ``(M,)``.
        indices: Which images, shape ``(N,)``.
        device: Where batches are needed.
        held: Whether to hold the pixels on the device.
    """
    own_labels = torch.from_numpy(labels[indices]).to(device)
    if held:
        pixels = np.take(cache, indices, axis=0)
        return HeldImages(torch.from_numpy(pixels).to(device), own_labels)
    return StreamedImages(cache, indices, own_labels)


def fits(cache: NDArray[np.uint8], count: int, device: torch.device) -> bool:
    """Whether so many images take at most half of the memory that the device has free.

    The rest is for the network, whose needs are larger.
    """
    octets: int = count * cache[0].nbytes
    return 2 * octets <= free_memory(device)


def in_chunks(cache: NDArray[np.uint8], indices: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of some images a few at a time, for what has to see them all."""
    for start in range(0, len(indices), _CHUNK):
        yield np.take(cache, indices[start : start + _CHUNK], axis=0)
