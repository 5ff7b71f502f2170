"""Batches of a task's train part, each a function of its position in the search and the seed.

Only the two halves of the train part are taken out of the task's pixels, ordered by digests, so no
batch depends on held-out images or on names. Images that fit are held on the device as uint8;
others stay in the task's memory-mapped file and are prefetched, and the batches are the same.

Every random draw comes from a stream named by its purpose and position (stage, epoch, step), so a
resumed search needs no stored generator state.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsdarts_registry._format import pluralize, size
from wsdarts_registry._memory import check_threads
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.augmentation import Augmentation, Draws, channel_statistics
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import free_memory
from wsdarts_sdk.distributed import BatchShare
from wsdarts_sdk.progress import Progress

_CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The part of a batch that the CPU makes; in pinned memory if the device is a GPU.

    Attributes:
        draws: The random draws.
        source: Indices into held images, int64 of shape ``(B,)``, or pixels that were read, uint8
            of shape ``(B, size, size, 3)``.
    """

    draws: Draws
    source: Tensor


class Images(ABC):
    """Labelled square images.

    Attributes:
        labels: Class of each image, int64 on the device of the batches, shape ``(N,)``.
        size: Pixels a side.
        streamed: Whether each batch has to be read from the disk, so that prefetching pays.
    """

    labels: Tensor
    size: int
    streamed: bool

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def prepare(
        self,
        images: Tensor,
        augmentation: Augmentation,
        generator: torch.Generator,
        places: Sequence[int] | None = None,
    ) -> Prepared:
        """Draw a batch and read its images, on the CPU and in any thread.

        Args:
            images: Index of each image, int64 on the CPU, shape ``(B,)``.
            augmentation: Augmentation of the images.
            generator: Source of the random numbers.
            places: Which of them to read, with the draws that they have in the whole batch; all
                by default.
        """
        draws = augmentation.draw(images, self.size, generator)
        if places is not None:
            draws = draws.taken(places)
        source = self._read(draws.images)
        return Prepared(draws=draws.pinned() if self._pinned else draws, source=source)

    def finish(self, prepared: Prepared, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Return augmented images, shape ``(B, 3, size, size)``, and their labels, on the device.

        Does not wait for the device.
        """
        device = self.labels.device
        if not len(prepared.source):  # of a rank without images
            empty = torch.empty(0, 3, self.size, self.size, device=device)
            return empty, self.labels.new_empty(0)
        draws = prepared.draws.to(device)
        pixels = self._take(prepared.source.to(device, non_blocking=True))
        return augmentation.apply(pixels, draws), self.labels.index_select(0, draws.images)

    def pixels(self, images: Tensor) -> Tensor:
        """Return the uint8 pixels of some images on the device, shape ``(n, size, size, 3)``.

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
        """Return ``Prepared.source`` of these images."""

    @abstractmethod
    def _take(self, source: Tensor) -> Tensor:
        """Return the pixels, from ``Prepared.source`` on the device."""


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
    """Images that are copied from the cache batch by batch.

    Args:
        cache: All pixels of the task, memory-mapped, shape ``(M, size, size, 3)``.
        indices: Index in the cache of each image, shape ``(N,)``.
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
        indices: The images, shape ``(N,)``.
        device: Device of the batches.
        held: Whether to hold the pixels on the device.
    """
    own_labels = torch.from_numpy(labels[indices]).to(device)
    if held:
        pixels = np.take(cache, indices, axis=0)
        return HeldImages(torch.from_numpy(pixels).to(device), own_labels)
    return StreamedImages(cache, indices, own_labels)


def fits(cache: NDArray[np.uint8], count: int, device: torch.device) -> bool:
    """Return whether so many images take at most half of the free memory of the device.

    The network needs the rest.
    """
    octets: int = count * cache[0].nbytes
    return 2 * octets <= free_memory(device)


def in_chunks(cache: NDArray[np.uint8], indices: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of some images a few at a time."""
    for start in range(0, len(indices), _CHUNK):
        yield np.take(cache, indices[start : start + _CHUNK], axis=0)


_Result = TypeVar("_Result")
_DEPTH = 2  # results under way or waiting: one is in use while two are made


def prefetch(
    jobs: Iterable[Callable[[], _Result]], *, threaded: bool = True
) -> Generator[_Result, None, None]:
    """Run jobs on a thread ahead of use and yield their results in order.

    At most two results wait. An error of a job is raised where its result would be. Closing the
    generator, or an error, ends the thread.

    Args:
        jobs: Must not depend on when they run.
        threaded: If false, each job runs when its result is asked for.
    """
    if not threaded:
        yield from (job() for job in jobs)
        return
    pending: deque[Future[_Result]] = deque()
    check_threads(1)
    thread = ThreadPoolExecutor(1, thread_name_prefix="wsdarts-prefetch")
    try:
        for job in jobs:
            pending.append(thread.submit(job))
            if len(pending) > _DEPTH:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


Name = str | int


def seed_of(*name: Name) -> int:
    """Return a 63-bit seed for the stream of that name."""
    text = "/".join(str(part) for part in name)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedDraws:
    """Draws for each image of a batch, of which a rank has a part.

    Attributes:
        generator: Of the CPU, at the same place on all ranks.
        share: The images of this rank.
    """

    generator: torch.Generator
    share: BatchShare


def draw_kept(
    draws: torch.Generator | SharedDraws, images: int, keep: float, dtype: torch.dtype
) -> Tensor:
    """Return 1 for each image that is kept, with probability ``keep``, else 0.

    Args:
        draws: Source of the draws.
        images: How many images there are here.
        keep: Probability.
        dtype: Of the result.

    Returns:
        On the CPU, shape ``(images,)``.
    """
    if isinstance(draws, torch.Generator):
        return torch.empty(images, dtype=dtype).bernoulli_(keep, generator=draws)
    share = draws.share
    whole = torch.empty(share.whole, dtype=dtype).bernoulli_(keep, generator=draws.generator)
    return whole[share.start : share.stop]


def stream(*name: Name) -> torch.Generator:
    """Return a CPU generator at the start of the stream of that name."""
    return torch.Generator().manual_seed(seed_of(*name))


_MIN_BATCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch of one task.

    Attributes:
        images: Normalised images, shape ``(B, 3, H, W)``.
        labels: Class indices, shape ``(B,)``.
        head: Index of the supernet's head (classifier) of the task.
        share: Which images of a batch these are, where several ranks share it; else None.
    """

    images: Tensor
    labels: Tensor
    head: int = 0
    share: BatchShare | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainPart:
    """The two halves of one task's train part, with their batches.

    Attributes:
        name: The task's name.
        classes: Number of classes.
        weights: The half that trains the supernet's weights.
        alpha: The half that trains α.
        augmentation: Augmentation of the batches.
        batch_size: Images in a batch, at most the size of the smaller half.
        head: Index of the supernet's head of the task.
        seed: Seed of order and augmentation.
        share: Which images of a batch this rank computes, where several share it; else None.
    """

    name: str
    classes: int
    weights: Images
    alpha: Images
    augmentation: Augmentation
    batch_size: int
    head: int
    seed: int
    share: BatchShare | None = None

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
        memory_format: torch.memory_format = torch.contiguous_format,
        progress: Progress | None = None,
    ) -> Self:
        """Take the train part of a task to a device, or stream it from the cache.

        Args:
            task: The dataset.
            image_size: Pixels a side.
            batch_size: Images in a batch, if there are as many.
            padding: Pixels of black padding before the random crop.
            flip: Whether to mirror half of the images.
            head: Index of the supernet's head of the task.
            seed: Seed of order and augmentation.
            device: Device of the batches; the CPU by default.
            memory_format: Of the batches' images.
            progress: Called while images are decoded, and if they do not fit into memory.

        Raises:
            SettingsError: A half has a single image, too few for a batch norm.
        """
        device = device or torch.device("cpu")
        _check_halves(task)
        cache = task.pixels(image_size, progress=progress)
        held = fits(cache, len(task.train_indices), device)
        weights, alpha = (
            place_images(
                cache,
                task.canonical_labels,
                task.in_canonical_order(task.indices(part)),
                device=device,
                held=held,
            )
            for part in (Part.WEIGHTS, Part.ALPHA)
        )
        mean, std = channel_statistics(in_chunks(cache, task.train_indices))
        part = cls(
            name=task.name,
            classes=task.classes,
            weights=weights,
            alpha=alpha,
            augmentation=Augmentation(
                mean=mean.to(device),
                std=std.to(device),
                padding=padding,
                flip=flip,
                memory_format=memory_format,
            ),
            batch_size=min(batch_size, len(weights), len(alpha)),
            head=head,
            seed=seed,
        )
        if progress is not None and not held:
            progress(f"{task.name}, {part.storage}", 1, 1)
        return part

    @property
    def storage(self) -> str:
        """Return text that says where the images are."""
        octets = 3 * self.weights.size**2 * (len(self.weights) + len(self.alpha))
        if self.weights.streamed:
            return f"{size(octets)} of images streamed from the cache"
        return f"{size(octets)} of images held on {self.weights.labels.device}"

    @property
    def images(self) -> int:
        """Return the number of images of a batch that are computed here."""
        return self.batch_size if self.share is None else len(self.share)

    def steps(self, limit: int | None) -> int:
        """Return the number of full batches of the weights half in an epoch, at most ``limit``.

        The public code runs the last, smaller batch, too; here its images, which differ from
        epoch to epoch, are left to the next.
        """
        full = len(self.weights) // self.batch_size
        return full if limit is None else min(full, limit)

    def batch(self, part: Part, stage: int, epoch: int, step: int) -> Batch:
        """Return the batch at one position of the search, a function of position and seed alone.

        A half that is shorter than the epoch starts over in a new order.
        """
        return self.finish(part, self.prepare(part, stage, epoch, step))

    def prepare(self, part: Part, stage: int, epoch: int, step: int) -> Prepared:
        """Prepare a batch on the CPU, in any thread."""
        half = self._half(part)
        full = len(half) // self.batch_size
        where = (self.seed, self.head, str(part), stage, epoch)
        order = _order(len(half), "order", *where, step // full)
        start = (step % full) * self.batch_size
        chosen = order[start : start + self.batch_size]
        places = None if self.share is None else range(self.share.start, self.share.stop)
        draws = stream("augmentation", *where, step)
        return half.prepare(chosen, self.augmentation, draws, places)

    def finish(self, part: Part, prepared: Prepared) -> Batch:
        """Queue the device's work for a batch; it may not be done when this returns."""
        images, labels = self._half(part).finish(prepared, self.augmentation)
        return Batch(images=images, labels=labels, head=self.head, share=self.share)

    def _half(self, part: Part) -> Images:
        return self.weights if part is Part.WEIGHTS else self.alpha


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPosition:
    """The position of a batch in a search.

    Attributes:
        task: The task of the batch.
        part: The half of its train part.
        stage: Index of the stage.
        epoch: Index of the epoch within the stage.
        step: Index of the step within the epoch.
    """

    task: TrainPart
    part: Part
    stage: int
    epoch: int
    step: int

    def prepare(self) -> Prepared:
        """Prepare the batch on the CPU."""
        return self.task.prepare(self.part, self.stage, self.epoch, self.step)


def batches(positions: Sequence[BatchPosition]) -> Generator[Batch, None, None]:
    """Yield the batches at these positions in order, prefetched if images are streamed.

    The batches are those of ``TrainPart.batch``. Held images gain nothing from a thread: on the
    CPU it would take its time from the search, and a GPU gets the work for a batch while it is
    still busy with the step before. Close the generator when the rest is not needed.
    """
    streamed = any(position.task.weights.streamed for position in positions)
    jobs = (position.prepare for position in positions)
    with closing(prefetch(jobs, threaded=streamed)) as prepared:
        for position, each in zip(positions, prepared, strict=True):
            yield position.task.finish(position.part, each)


@lru_cache(maxsize=8)  # the orders of a few halves: a step needs a slice of them
def _order(length: int, *name: Name) -> Tensor:
    return torch.randperm(length, generator=stream(*name))


def _check_halves(task: ImageTask) -> None:
    for part in (Part.WEIGHTS, Part.ALPHA):
        found = len(task.indices(part))
        if found < _MIN_BATCH:
            raise SettingsError(
                f"the {part} half of {task.name} has {pluralize(found, 'image')}",
                expected=f"at least {_MIN_BATCH}",
                hint="add images",
            )
