"""Images and labels that are in memory already: NumPy arrays or torch tensors."""

import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.tasks.sources.base import ImageSource, Read, checked_labels, named_labels

_CHANNELS = (1, 3, 4)
_SHAPES = "(N, C, H, W), (N, H, W, C) or (N, H, W) with C of 1, 3 or 4"
_CHUNK = 256


class TensorSource(ImageSource):
    """A copy of images in memory, as 8-bit RGB.

    Args:
        images: uint8, or floating point in [0, 1] (times 255, rounded); ``(N, C, H, W)``,
            ``(N, H, W, C)`` or ``(N, H, W)`` with C = 1 (grey), 3 (RGB) or 4 (RGB and
            alpha, laid over white).
        labels: Integers (or strings), shape ``(N,)``.
        class_names: Names of the integers from 0; without them every distinct label is a
            class, in sorted order, named by its text.

    Raises:
        TaskError: Another type, shape or range.
    """

    def __init__(
        self, images: Any, labels: Any, class_names: Sequence[str] | None, *, name: str
    ) -> None:
        values = _label_list(labels)
        pixels = _numpy(images)
        if pixels.ndim and len(values) != len(pixels):
            raise TaskError(
                f"{len(pixels)} images of shape {pixels.shape} and {len(values)} labels; "
                "expected one label for each image"
            )
        self._pixels = _rgb(pixels)
        if class_names is None:
            names, numbers = named_labels(values, "the labels")
        else:
            names = tuple(str(class_name) for class_name in class_names)
            numbers = checked_labels(values, names, "the labels")
        super().__init__(name=name, class_names=names, labels=numbers, encoded=False)

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images, shape ``(height, width, 3)`` each."""
        for row in rows.tolist():
            yield row, functools.partial(self._pixels.__getitem__, row)

    def describe(self, row: int) -> str:
        """Return the image's index."""
        return f"image {row} of the tensor"


def _numpy(array: Any) -> NDArray[Any]:
    """Return a NumPy view or copy of an array or a tensor on any device."""
    if isinstance(array, np.ndarray):
        return array
    torch = sys.modules.get("torch")  # who has a tensor has imported torch
    if torch is not None and isinstance(array, torch.Tensor):
        tensor = array.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()  # NumPy has no bfloat16
        return np.asarray(tensor.numpy())
    raise TaskError(
        f"images of type {type(array).__name__} cannot be read; expected a NumPy array or a "
        f"torch tensor of shape {_SHAPES}"
    )


def _label_list(labels: Any) -> list[Any]:
    if isinstance(labels, list | tuple):
        values = [value.item() if isinstance(value, np.generic) else value for value in labels]
    else:
        array = _numpy(labels)
        if array.ndim != 1:
            raise TaskError(
                f"labels have shape {array.shape}; expected (images,), one class id for each "
                "image (for one-hot labels: labels.argmax(1))"
            )
        values = array.tolist()
    return values


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 8-bit RGB of shape ``(N, H, W, 3)``, converted some images at a time."""
    channels_last = _channels_last(pixels)
    result = np.empty((*channels_last.shape[:3], 3), dtype=np.uint8)
    for start in range(0, len(result), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        result[chunk] = _without_alpha(_eight_bits(channels_last[chunk]))
    return result


def _channels_last(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
        first, last = False, True
    elif pixels.ndim == 4:
        first, last = pixels.shape[1] in _CHANNELS, pixels.shape[3] in _CHANNELS
    else:
        first = last = False
    if first and last:
        raise TaskError(
            f"images of shape {pixels.shape} may have their channels first or last; expected "
            f"{_SHAPES}, with one reading only. Pass images of more than 4 pixels a side"
        )
    if not (first or last) or 0 in pixels.shape[1:]:
        raise TaskError(f"images have shape {pixels.shape}; expected {_SHAPES}. Reshape them so")
    return np.moveaxis(pixels, 1, -1) if first else pixels


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise TaskError(
            f"images are of type {pixels.dtype}; expected uint8, or floating point in [0, 1]. "
            "Convert them"
        )
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise TaskError(
            f"floating-point images have values from {pixels.min():g} to {pixels.max():g}; "
            "expected [0, 1]. Divide by 255, or undo their normalisation"
        )
    return np.round(pixels.astype(np.float64) * 255).astype(np.uint8)


def _without_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images with alpha over white; grey stays one channel and broadcasts to RGB."""
    if pixels.shape[-1] != 4:
        return pixels
    colour, alpha = pixels[..., :3].astype(np.int32), pixels[..., 3:].astype(np.int32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
