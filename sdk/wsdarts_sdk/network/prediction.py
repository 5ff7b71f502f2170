"""What a trained model says of images: files, folders, or images in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsdarts_registry.errors import ArtifactError, SettingsError, TaskError
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.tasks.decoding import Undecodable, decode, to_rgb
from wsdarts_sdk.tasks.identity import Content
from wsdarts_sdk.tasks.pixels import Pixels, in_threads
from wsdarts_sdk.tasks.sources.base import Read
from wsdarts_sdk.tasks.sources.folder import image_files, read_file

if TYPE_CHECKING:
    from wsdarts_sdk.network.classifier import Classifier

AnyImage = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A file or folder, an encoded image, a Pillow image, or RGB pixels ``(height, width, 3)``."""
_MOST_PIXELS = 2**26


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        image: Path of the file, or ``image N`` for the Nth of those given in memory, from 0.
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
    model: "Classifier",
    images: AnyImage | Iterable[AnyImage],
    *,
    top_k: int = 5,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Iterator[Prediction]:
    """Predict batch by batch, in the order given; files of a folder come sorted.

    Images are decoded, turned upright and squashed as those were that the model was trained on.
    One that does not decode gets a ``Prediction`` with its problem.

    Args:
        model: The trained model; it is in eval mode while this runs.
        images: One image or several, in any of the forms of ``AnyImage``.
        top_k: How many classes to name; all where there are fewer.
        batch_size: Images that go through the network together; fewer where they are so large
            that a batch would take more than about a gigabyte.
        progress: Told how many images are decoded.

    Raises:
        TaskError: A folder has no images or cannot be listed, or pixels have another form.
        ArtifactError: The model computes numbers that are not finite.
        SettingsError: ``top_k`` or ``batch_size`` is below 1.
    """
    if min(top_k, batch_size) < 1:
        raise SettingsError(
            f"top_k is {top_k} and batch_size {batch_size}; expected at least 1 of each"
        )
    names, decoded = decoded_images(images, model.image_size, progress)
    training = model.training
    model.eval()
    try:
        fit = max(1, _MOST_PIXELS // model.image_size**2)
        for batch in _batches(decoded, min(batch_size, fit)):
            yield from _predicted(model, names, batch, top_k)
    finally:
        model.train(training)


def decoded_images(
    images: AnyImage | Iterable[AnyImage], size: int, progress: Progress = silent
) -> tuple[list[str], Iterator[tuple[int, Pixels | Undecodable]]]:
    """Names of all images; and each of them decoded and squashed, with its place, in order.

    Raises:
        TaskError: A folder has no images or cannot be listed, or pixels have another form.
    """
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
        images = [images]
    named = _named(images)
    return [name for name, _ in named], in_threads(
        partial(_decoded, size=size),
        enumerate(read for _, read in named),
        what="reading images",
        total=len(named),
        progress=progress,
    )


def as_input(pixels_BHWC: Pixels) -> Tensor:
    """uint8 pixels as the images in [0, 1] that a classifier takes, shape ``(B, 3, H, W)``."""
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255


def _named(images: Iterable[AnyImage]) -> list[tuple[str, Read]]:
    """Names of all images, and how to read them."""
    found: list[tuple[str, Read]] = []
    for number, image in enumerate(images):
        if not isinstance(image, str | Path):
            content = image if isinstance(image, bytes) else _pixels(image, number)
            found.append((f"image {number}", partial(_given, content)))
            continue
        path = Path(image).expanduser()
        files = image_files(path) if path.is_dir() else [path]
        if not files:
            raise TaskError(f"the folder {path} has no images; name files, or another folder")
        found += [(str(file), partial(read_file, file)) for file in files]
    return found


def _given(content: Content) -> Content:
    return content


def _pixels(image: Image.Image | NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    pixels: NDArray[Any] = np.asarray(to_rgb(image) if isinstance(image, Image.Image) else image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise TaskError(
            f"image {number} has shape {pixels.shape} and type {pixels.dtype}; expected RGB "
            "pixels (height, width, 3) of type uint8"
        )
    return pixels


def _decoded(row: int, read: Read, *, size: int) -> Pixels | Undecodable:
    del row
    content = read()
    return content if isinstance(content, Undecodable) else decode(content, size)


def _batches(
    decoded: Iterable[tuple[int, Pixels | Undecodable]], size: int
) -> Iterator[list[tuple[int, Pixels | Undecodable]]]:
    batch: list[tuple[int, Pixels | Undecodable]] = []
    for item in decoded:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.no_grad()
def _predicted(
    model: "Classifier",
    names: Sequence[str],
    batch: Sequence[tuple[int, Pixels | Undecodable]],
    top_k: int,
) -> list[Prediction]:
    good = [pixels for _, pixels in batch if not isinstance(pixels, Undecodable)]
    rows: Iterator[tuple[list[float], list[int]]] = iter(())
    if good:
        best = _probabilities(model, np.stack(good)).topk(min(top_k, len(model.class_names)))
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    found = []
    for row, pixels in batch:
        if isinstance(pixels, Undecodable):
            found.append(Prediction(image=names[row], classes=(), problem=pixels.reason))
            continue
        values, classes = next(rows)
        chosen = tuple((model.class_names[c], p) for c, p in zip(classes, values, strict=True))
        found.append(Prediction(image=names[row], classes=chosen))
    return found


def _probabilities(model: "Classifier", pixels_BHWC: Pixels) -> Tensor:
    logits: Tensor = model(as_input(pixels_BHWC).to(model.mean.device))
    if not bool(logits.isfinite().all()):
        raise ArtifactError(
            "the model computes numbers that are not finite; train it again, with a lower "
            "learning rate"
        )
    return logits.double().softmax(dim=1)
