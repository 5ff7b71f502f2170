"""Gradients of a batch that does not fit into memory at once.

The parts' gradients are averaged by their number of images, so the result is that of the whole
batch up to batch norm, whose statistics are each part's own, and the draws of the dropout.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from wsdarts_registry.amounts import size
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.devices import free_memory
from wsdarts_sdk.supernet import STEM_MULTIPLIER, Batch, Gradients, SkipDropout, Supernet, Wanted
from wsdarts_sdk.supernet.memory import elements_per_image
from wsdarts_sdk.supernet.skip_dropout import DeviceSkipDropout

# Of one pass; or with its numbers on the device, then those of each part of the batch.
Dropout = SkipDropout | Sequence[DeviceSkipDropout]

_LEAST = 2  # images in a part: a batch norm needs two
_SHARE = 0.8  # of the free memory: allocators and other processes need some


def needed_memory(net: Supernet, *, image_size: int, batch: int) -> int:
    """Bytes that a step takes at most for a batch, by estimate."""
    elements = elements_per_image(net.plans, STEM_MULTIPLIER * net.channels, image_size)
    return elements * batch * (net.compute_dtype or net.cell_weights.dtype).itemsize


def parts_that_fit(net: Supernet, *, image_size: int, batch: int, free: int | None = None) -> int:
    """In how many parts a batch has to be computed to fit into memory.

    Args:
        net: The supernet, on its device.
        image_size: Rows and columns.
        batch: Images in a batch.
        free: Bytes that can be had; by default what is free on the device now.

    Raises:
        SettingsError: Not even two images fit.
    """
    room = _SHARE * (free_memory(net.cell_weights.device) if free is None else free)
    for parts in range(1, max(batch // _LEAST, 1) + 1):
        if needed_memory(net, image_size=image_size, batch=-(-batch // parts)) <= room:
            return parts
    least = needed_memory(net, image_size=image_size, batch=_LEAST)
    raise SettingsError(
        f"a search step of {_LEAST} images of {image_size} pixels needs {size(least)} and "
        f"{size(int(room))} can be had; use smaller images or fewer channels or cells "
        "(--set search.image_size=…, --set search.channels=…)"
    )


def accumulated(
    net: Supernet, batch: Batch, wanted: Wanted, *, skip: Dropout, parts: int
) -> Gradients:
    """Gradients of the batch's mean cross-entropy, computed in parts."""
    if parts == 1:
        return net.gradients(batch, wanted, skip=_of_part(skip, 0))
    found: list[Gradients] = []
    images, labels = batch.images.tensor_split(parts), batch.labels.tensor_split(parts)
    for number, (some, their) in enumerate(zip(images, labels, strict=True)):
        part = replace(batch, images=some, labels=their)
        own = net.gradients(part, wanted, skip=_of_part(skip, number))
        share = len(their) / len(batch.labels)
        found.append(
            Gradients(
                loss=share * own.loss,
                logits=own.logits,
                alpha=tuple(share * gradient for gradient in own.alpha),
                weights=tuple(None if g is None else share * g for g in own.weights),
            )
        )
        if number:
            found = [_sum(found[0], found[1])]
    return found[0]


def for_part(skip: SkipDropout, number: int) -> SkipDropout:
    """Every part of a batch has draws of its own."""
    return replace(skip, seed=skip.seed + number)


def _of_part(skip: Dropout, number: int) -> SkipDropout | DeviceSkipDropout:
    return for_part(skip, number) if isinstance(skip, SkipDropout) else skip[number]


def _sum(first: Gradients, second: Gradients) -> Gradients:
    return Gradients(
        loss=first.loss + second.loss,
        logits=torch.cat([first.logits, second.logits]),
        alpha=tuple(a + b for a, b in zip(first.alpha, second.alpha, strict=True)),
        weights=tuple(_both(a, b) for a, b in zip(first.weights, second.weights, strict=True)),
    )


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return first if second is None or first is None else first + second
