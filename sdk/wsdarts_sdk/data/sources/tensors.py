"""Images and labels in memory: NumPy arrays or torch tensors."""

import functools
import math
import reprlib
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Read
from wsdarts_sdk.data.sources.base import ImageSource, checked_labels, named_groups, named_labels

_CHANNELS = (1, 3, 4)
_SHAPES = "(N, C, H, W), (N, H, W, C) or (N, H, W) with C of 1, 3 or 4"
_CHUNK = 256
_FORMS = {"images": f" of shape {_SHAPES}", "labels": ", or a list, with a class id for each image"}


class TensorSource(ImageSource):
    """A copy of images in memory, as 8-bit RGB.

    Args:
        images: uint8, or floating point in [0, 1] (times 255, rounded); ``(N, C, H, W)``,
            ``(N, H, W, C)`` or ``(N, H, W)`` with C = 1 (grey), 3 (RGB) or 4 (RGB and
            alpha, laid over white).
        labels: Integers, bools or strings, shape ``(N,)`` or ``(N, 1)``.
        class_names: Names of the integers from 0, in a list; or a dict from ids to names or
            from names to ids, whose ids need not follow each other. Without them every distinct
            label is a class, in sorted order, named by its text.
        groups: What belongs together, one value for each image, as for the labels.

    Raises:
        TaskError: Another type, shape or range, or a name given twice.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        class_names: Sequence[str] | Mapping[Any, Any] | None,
        *,
        name: str,
        groups: Any = None,
    ) -> None:
        values = _label_list(labels)
        pixels = as_numpy(images, "images")
        if pixels.ndim and len(values) != len(pixels):
            raise TaskError(
                f"{len(pixels)} images of shape {pixels.shape} and {len(values)} labels",
                expected="one label for each image",
            )
        self._pixels = rgb_pixels(pixels)
        if class_names is None:
            names, numbers = named_labels(values, "the labels")
        else:
            names, numbers = _named(values, class_names)
        super().__init__(name=name, class_names=names, labels=numbers, encoded=False)
        if groups is not None:
            self.groups = named_groups(_group_list(groups, len(values)), "the groups")

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images, shape ``(height, width, 3)`` each."""
        for row in rows.tolist():
            yield row, functools.partial(self._pixels.__getitem__, row)

    def describe(self, row: int) -> str:
        """Return the image's index."""
        return f"image {row} of the tensor"


def as_numpy(array: Any, what: str) -> NDArray[Any]:
    """Return a NumPy view or copy of an array or a tensor on any device.

    Args:
        array: What was given.
        what: ``"images"`` or ``"labels"``, for the error.

    Raises:
        TaskError: It is neither.
    """
    if isinstance(array, np.ndarray):
        return array
    torch = sys.modules.get("torch")  # imported if there is a tensor
    if torch is not None and isinstance(array, torch.Tensor):
        try:
            tensor = array.detach().cpu()
            if tensor.is_floating_point():
                tensor = tensor.float()  # NumPy has no bfloat16
            return np.asarray(tensor.numpy())
        except (TypeError, RuntimeError) as error:
            kind = "meta" if array.is_meta else str(array.layout)
            raise TaskError(
                f"the tensor of {what}",
                found=f"of kind {kind}",
                expected="a dense tensor with values, such as tensor.to_dense() of a sparse one",
            ) from error
    raise TaskError(
        f"the array of {what}",
        found=f"of type {type(array).__name__}",
        expected=f"a NumPy array or a torch tensor{_FORMS[what]}",
    )


def _group_list(groups: Any, images: int) -> list[Any]:
    if isinstance(groups, str):
        raise TaskError(
            f"arrays have no column {groups!r}", expected="a list of groups, one for each image"
        )
    values = _label_list(groups)
    if len(values) != images:
        raise TaskError(
            f"{len(values)} groups and {images} images", expected="one group for each image"
        )
    return values


def _label_list(labels: Any) -> list[Any]:
    """Return one plain value for each image; NaN, which stands for a missing one, as None."""
    if hasattr(labels, "to_numpy"):  # a column of pandas or polars
        labels = labels.to_numpy()
    if isinstance(labels, list | tuple | range):
        values = [_scalar(value) for value in labels]
    else:
        array = as_numpy(labels, "labels")
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise TaskError(
                f"the labels have shape {array.shape}",
                expected="(images,) or (images, 1), a class id for each image",
                hint=_hint_for_columns(array),
            )
        values = [_scalar(value) for value in array.tolist()]
    values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    numbers = [value for value in values if isinstance(value, float)]
    if numbers and all(value.is_integer() for value in numbers):
        raise TaskError(
            f"the labels are floating point, such as {numbers[0]}",
            expected="integers or strings",
            hint="convert them: labels.astype(int) of an array, labels.long() of a tensor",
        )
    return values


def _scalar(value: Any) -> Any:
    """Return a NumPy scalar, an array or tensor of one value, or a list of one as that value."""
    if hasattr(value, "item") and getattr(value, "size", None) is not None:
        several = value.numel() if callable(value.size) else value.size
        return value.item() if several == 1 else value
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _hint_for_columns(array: NDArray[Any]) -> str:
    """Return how to get one class id for each image of labels with several columns."""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        return ""
    if ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
        return "one-hot labels become ids by labels.argmax(1)"
    return "several labels for one image are no classification task: choose one column"


def _named(
    values: Sequence[Any], class_names: Sequence[str] | Mapping[Any, Any]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the class names in the order of their ids, and the label of each image."""
    ids, names = _ids_and_names(class_names)
    if {type(value) for value in values} == {bool}:
        values = [int(value) for value in values]
    if any(isinstance(value, str) for value in values):
        raise TaskError(
            "the labels are strings and class_names are given, too",
            expected="integer labels with class_names",
            hint="leave class_names out: strings name their classes themselves",
        )
    if ids == tuple(range(len(ids))):
        return names, checked_labels(values, names, "the labels")
    positions = {number: position for position, number in enumerate(ids)}
    for row, value in enumerate(values):
        if value is not None and (type(value) is not int or value not in positions):
            raise TaskError(
                f"row {row} of the labels",
                found=repr(value),
                expected=f"an id of class_names: {', '.join(map(str, ids[:20]))}",
            )
    found = [None if value is None else positions[value] for value in values]
    return names, checked_labels(found, names, "the labels")


def _ids_and_names(class_names: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return class ids, increasing, and the name of each, in Unicode's composed form."""
    if isinstance(class_names, Mapping):
        pairs = _pairs(class_names)
    elif isinstance(class_names, str | bytes | Set) or not hasattr(class_names, "__iter__"):
        raise _invalid_names(class_names)
    else:
        pairs = list(enumerate(_scalar(name) for name in class_names))
    for number, name in pairs:
        if number < 0 or isinstance(name, bool) or not isinstance(name, str | int):
            raise _invalid_names(class_names)
    pairs.sort(key=lambda pair: pair[0])
    ids = tuple(number for number, _ in pairs)
    if len(set(ids)) < len(ids):
        raise TaskError("class_names gives one id two names", expected="one name for each class id")
    return ids, tuple(unicodedata.normalize("NFC", str(name)) for _, name in pairs)


def _pairs(class_names: Mapping[Any, Any]) -> list[tuple[int, Any]]:
    """Return (id, name) of a dict from ids to names or from names to ids."""
    items = [(_scalar(key), _scalar(value)) for key, value in class_names.items()]
    keys, values = {type(key) for key, _ in items}, {type(value) for _, value in items}
    if keys == {str} and values == {int}:  # as torchvision's class_to_idx
        return [(number, name) for name, number in items]
    if keys == {int} and values == {str}:
        return items
    # Keys of JSON are text always.
    if keys == values == {str} and all(key.isascii() and key.isdigit() for key, _ in items):
        return [(int(key), name) for key, name in items]
    raise _invalid_names(class_names)


def _invalid_names(class_names: Any) -> TaskError:
    return TaskError(
        "class_names",
        found=reprlib.repr(class_names),
        expected=(
            "a list of names by class id, such as ['cat', 'dog'], or a dict such as {0: 'cat', "
            "1: 'dog'} or {'cat': 0, 'dog': 1}"
        ),
    )


def rgb_pixels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 8-bit RGB of shape ``(N, H, W, 3)``, converted some images at a time.

    Raises:
        TaskError: The images are of another type, shape or range than ``TensorSource`` reads.
    """
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
            f"images of shape {pixels.shape} may have their channels first or last",
            expected=f"{_SHAPES}, with one reading only",
            hint="pass images of more than 4 pixels a side",
        )
    if not (first or last) or 0 in pixels.shape[1:]:
        raise TaskError(f"images have shape {pixels.shape}", expected=_SHAPES)
    return np.moveaxis(pixels, 1, -1) if first else pixels


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise TaskError(
            "the type of the images",
            found=pixels.dtype,
            expected="uint8, or floating point in [0, 1]",
        )
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise TaskError(
            f"floating-point images have values from {pixels.min():g} to {pixels.max():g}",
            expected="[0, 1]",
            hint="divide by 255, or undo their normalisation",
        )
    return np.round(pixels.astype(np.float64) * 255).astype(np.uint8)


def _without_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend images with alpha with white; grey stays one channel and broadcasts to RGB."""
    if pixels.shape[-1] != 4:
        return pixels
    colour, alpha = pixels[..., :3].astype(np.int32), pixels[..., 3:].astype(np.int32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
