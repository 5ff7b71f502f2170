"""Predictions of a trained model for files, folders, or images in memory."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from wsdarts_registry._arguments import check_whole
from wsdarts_registry._files import exists, expanded, is_directory
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import ArtifactError, FileAccessError, SettingsError, TaskError
from wsdarts_sdk.data.decoding import (
    Content,
    CorruptImage,
    Pixels,
    Read,
    Resize,
    decode,
    in_threads,
    pillow_pixels,
)
from wsdarts_sdk.data.sources.folder import read_file
from wsdarts_sdk.data.sources.listing import by_suffix, list_images
from wsdarts_sdk.data.sources.tensors import as_numpy, rgb_pixels
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.facts import ModelFacts
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.progress import Progress, silent

AnyImage = str | Path | bytes | bytearray | BinaryIO | Image.Image | NDArray[Any] | Tensor
"""A file or folder; an encoded image as bytes or as a file opened as binary; a Pillow image; or
pixels as for ``TensorSource``: one image ``(H, W, C)``, ``(C, H, W)`` or ``(H, W)``, or several."""


_ONE_IMAGE = (str, Path, bytes, bytearray, memoryview, Image.Image, np.ndarray, Tensor)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_EXPECTED = (
    "paths of files or folders, encoded images (bytes, or files opened with 'rb'), Pillow "
    "images, or pixels as NumPy arrays or torch tensors"
)
_MOST_PIXELS = 2**26


class TrainedModel(nn.Module):
    """The parts of a ``Classifier`` that predictions and exports need."""

    mean: Tensor
    std: Tensor
    network: DerivedNetwork
    image_size: int
    resize: Resize
    class_names: tuple[str, ...]
    facts: ModelFacts | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's prediction for one image.

    Attributes:
        image: Path of the file, ``image N`` for the Nth that was given, from 0, or ``image N.M``
            for the Mth in the Nth array, where that holds several.
        classes: The most probable classes with their probabilities, most probable first.
        problem: Why the image cannot be used, in which case there are no classes; else None.
    """

    image: str
    classes: tuple[tuple[str, float], ...]
    problem: str | None = None

    @property
    def name(self) -> str | None:
        """The most probable class."""
        return self.classes[0][0] if self.classes else None


def predict(
    model: TrainedModel,
    images: AnyImage | Iterable[AnyImage],
    *,
    top_k: int = 5,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Iterator[Prediction]:
    """Yield predictions in the order given; files of a folder come sorted.

    Images are decoded, turned upright and made squares as those were that the model was trained on.
    One that does not decode gets a ``Prediction`` with its problem.

    Args:
        model: The trained model; it is in eval mode while this runs.
        images: One image or pluralize, in any of the forms of ``AnyImage``.
        top_k: How many classes to name; all where there are fewer.
        batch_size: Images that go through the network together; fewer where they are so large
            that a batch would take more than about a gigabyte.
        progress: Told how many images are decoded.

    Raises:
        TaskError: A folder has no images or cannot be listed, or pixels have another form.
        ArtifactError: The model computes numbers that are not finite.
        SettingsError: ``top_k`` or ``batch_size`` is below 1.
    """
    for name, number in (("top_k", top_k), ("batch_size", batch_size)):
        check_whole(number, name)
        if number < 1:
            raise SettingsError(name, found=number, expected="at least 1")
    names, decoded = decoded_images(images, model.image_size, progress, resize=model.resize)
    training = model.training
    model.eval()
    try:
        fit = max(1, _MOST_PIXELS // model.image_size**2)
        for batch in _batches(decoded, min(batch_size, fit)):
            yield from _predicted(model, names, batch, top_k)
    finally:
        model.train(training)


def decoded_images(
    images: AnyImage | Iterable[AnyImage],
    size: int,
    progress: Progress = silent,
    *,
    resize: Resize = "squash",
) -> tuple[list[str], Iterator[tuple[int, Pixels | CorruptImage]]]:
    """Return the names of all images, and each of them decoded to a square, in order.

    Raises:
        TaskError: A folder has no images or cannot be listed, or pixels have another form.
    """
    named = _named(_listed(images), progress)
    return [name for name, _ in named], in_threads(
        partial(_decoded, size=size, resize=resize),
        enumerate(read for _, read in named),
        what="reading images",
        total=len(named),
        progress=progress,
    )


def as_input(pixels_BHWC: Pixels) -> Tensor:
    """Return uint8 pixels as images in [0, 1] for a classifier, shape ``(B, 3, H, W)``."""
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255


def _listed(images: AnyImage | Iterable[AnyImage]) -> Iterable[AnyImage]:
    """Return one image as a list of it: iterating over an open file would yield its lines."""
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        return list(as_numpy(images, "images"))
    if isinstance(images, _ONE_IMAGE) or _is_open_file(images):
        return [cast("AnyImage", images)]
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise TaskError(
            f"images of type {type(images).__name__} cannot be read", expected=_EXPECTED
        )
    return cast("Iterable[AnyImage]", images)


def _is_open_file(image: Any) -> bool:
    return hasattr(image, "read") and not isinstance(image, ImageTask)


def _named(images: Iterable[AnyImage], progress: Progress) -> list[tuple[str, Read]]:
    """Return the names of all images, and how to read them."""
    found: list[tuple[str, Read]] = []
    for number, image in enumerate(images):
        if isinstance(image, str | Path):
            found += _files(image, progress)
        elif isinstance(image, np.ndarray | Tensor):
            pixels = _pixels(as_numpy(image, "images"), number)
            places = [f"image {number}"]
            if image.ndim == 4:
                places = [f"image {number}.{place}" for place in range(len(pixels))]
            found += zip(places, (partial(_given, each) for each in pixels), strict=True)
        else:
            found.append((_name(image, number), partial(_given, _in_memory(image, number))))
    return found


def _files(image: str | Path, progress: Progress) -> list[tuple[str, Read]]:
    if _ADDRESS.match(str(image)):
        return _unusable(image, "it is an address, and nothing is fetched; download it first")
    path = expanded(image)
    try:
        if not exists(path):
            return _unusable(path, f"it cannot be read ({os.strerror(errno.ENOENT)})")
        files = _files_in(path, progress) if is_directory(path) else [path]
    except FileAccessError as error:
        return _unusable(path, str(error))
    return [(str(file), partial(read_file, file)) for file in files]


def _files_in(folder: Path, progress: Progress) -> list[Path]:
    """Return the images in a folder, and report how many other files are skipped.

    Raises:
        TaskError: There are none, or the folder cannot be listed.
    """
    listing = list_images(folder)
    others = by_suffix(listing.passed_over)
    if not listing.files:
        found = f" that are read, but {others}" if others else ""
        raise TaskError(
            f"the folder {folder} has no images{found}", hint="name files, or another folder"
        )
    if others:
        total = pluralize(listing.passed_over.total(), "image")
        progress(f"passed over {total} in {folder}: {others}", 1, 1)
    return listing.files


def _unusable(path: str | Path, reason: str) -> list[tuple[str, Read]]:
    return [(str(path), partial(_given, CorruptImage(reason)))]


def _name(image: Any, number: int) -> str:
    """Return the name of an open file; the number of anything else."""
    name = getattr(image, "name", None)
    return name if _is_open_file(image) and isinstance(name, str) else f"image {number}"


def _in_memory(image: Any, number: int) -> Content | CorruptImage:
    if isinstance(image, Image.Image):
        return pillow_pixels(image)
    if _is_open_file(image):
        return _read_whole(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    raise TaskError(f"image {number} is of type {type(image).__name__}", expected=_EXPECTED)


def _read_whole(file: Any) -> Content | CorruptImage:
    """Return the content of an open file from its beginning, as Pillow reads it."""
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (AttributeError, OSError, ValueError) as error:
        return CorruptImage(f"it cannot be read ({error})")
    if not isinstance(content, bytes):
        return CorruptImage("it was opened as text; open it with open(path, 'rb')")
    return content


def _given(content: Content | CorruptImage) -> Content | CorruptImage:
    return content


def _pixels(array: NDArray[Any], number: int) -> NDArray[np.uint8]:
    """Return RGB pixels of shape ``(N, H, W, 3)`` of one image or of several."""
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8 and array.size:
        return array[np.newaxis]  # documented as this, even where it is only 3 pixels high
    try:
        return rgb_pixels(array if array.ndim == 4 else array[np.newaxis])
    except TaskError as error:
        raise TaskError(f"image {number} has shape {array.shape}: {error}") from error


def _decoded(row: int, read: Read, *, size: int, resize: Resize) -> Pixels | CorruptImage:
    del row
    content = read()
    return content if isinstance(content, CorruptImage) else decode(content, size, resize)


def _batches(
    decoded: Iterable[tuple[int, Pixels | CorruptImage]], size: int
) -> Iterator[list[tuple[int, Pixels | CorruptImage]]]:
    batch: list[tuple[int, Pixels | CorruptImage]] = []
    for item in decoded:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.no_grad()
def _predicted(
    model: TrainedModel,
    names: Sequence[str],
    batch: Sequence[tuple[int, Pixels | CorruptImage]],
    top_k: int,
) -> list[Prediction]:
    good = [pixels for _, pixels in batch if not isinstance(pixels, CorruptImage)]
    rows: Iterator[tuple[list[float], list[int]]] = iter(())
    if good:
        best = _probabilities(model, np.stack(good)).topk(min(top_k, len(model.class_names)))
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    found = []
    for row, pixels in batch:
        if isinstance(pixels, CorruptImage):
            found.append(Prediction(image=names[row], classes=(), problem=pixels.reason))
            continue
        values, classes = next(rows)
        chosen = tuple((model.class_names[c], p) for c, p in zip(classes, values, strict=True))
        found.append(Prediction(image=names[row], classes=chosen))
    return found


def _probabilities(model: TrainedModel, pixels_BHWC: Pixels) -> Tensor:
    logits: Tensor = model(as_input(pixels_BHWC).to(model.mean.device))
    if not bool(logits.isfinite().all()):
        raise ArtifactError(
            "the model computes numbers that are not finite",
            hint="train it again, with a lower learning rate",
        )
    return logits.double().softmax(dim=1)
