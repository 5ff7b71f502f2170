"""Decoding of images to RGB pixels of a given size, and the files that cache them.

| found | made of it |
|---|---|
| EXIF or TIFF orientation | the image is turned upright |
| grey, bilevel, YCbCr, HSV, CMYK | RGB, as Pillow converts it |
| alpha or a transparent colour (RGBA, LA, PA, palette) | laid over white |
| 16-bit grey (Pillow's modes ``I;16…``, ``I``) | the low byte is dropped |
| signed 8-bit and 16-bit grey | an error |
| 32-bit grey | as 16-bit grey; values outside 0…65535 are an error |
| mode ``F`` (floating-point grey) | values in [0, 1] times 255; others are an error |
| TIFF of integers or floating point where white is 0 | turned, so that black is |
| several frames | the first |

Then the image is squashed to a square, bilinear with Pillow's support for shrinking; or it is
resized so that its shorter side fits, and the middle of the longer one is kept.
The pixels of a task are kept on the disk, in one memory-mapped file for each size.
"""

import functools
import io
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsdarts_registry._files import (
    matching,
    open_regular,
    remove_abandoned,
    status,
    sync_directory,
    temporary_file,
    write_atomically,
)
from wsdarts_registry._memory import shortage, thread_pool
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.progress import Progress

DECODER_VERSION = 2
"""Goes up whenever the same bytes decode to other pixels; part of the cache's file names."""
LARGEST_IMAGE = 100_000_000
"""Pixels of the largest image that is decoded; more may be a decompression bomb."""
_TOO_MANY = f"more than the {LARGEST_IMAGE // 1_000_000} megapixels that are decoded"
# Pillow has no common base for what its decoders raise on malformed bytes.
_DECODER_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
# Formats that start no outside program and hold one picture (EPS would call Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION_TAG = 0x0112
_BITS_TAG, _PHOTOMETRIC_TAG, _SAMPLE_FORMAT_TAG = 258, 262, 339
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Resize = Literal["squash", "crop"]
"""How an image becomes a square: with another aspect, or without the ends of its longer side."""
RESIZES: tuple[Resize, ...] = get_args(Resize)


@dataclass(frozen=True)
class CorruptImage:
    """An image that cannot be read or decoded, and the reason."""

    reason: str


Content = bytes | NDArray[np.uint8]
"""An encoded image (a file's bytes), or RGB pixels of shape ``(height, width, 3)``."""
Read = Callable[[], Content | CorruptImage]
"""Read one image; may be called from another thread."""


def decode(
    content: Content, size: int, resize: Resize = "squash"
) -> NDArray[np.uint8] | CorruptImage:
    """Decode one image and make it a square.

    Args:
        content: An encoded image, or RGB pixels of shape ``(height, width, 3)``.
        size: Pixels along each side of the result.
        resize: How it becomes a square.

    Returns:
        RGB pixels of shape ``(size, size, 3)``, or the reason why there are none.
    """
    if not isinstance(content, bytes):
        return _square(Image.fromarray(content), size, resize)
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            pixels = image.width * image.height
            if pixels <= LARGEST_IMAGE:
                return _square(to_rgb(image), size, resize)
            reason = f"{pixels / 1e6:.1f} megapixels are {_TOO_MANY}"
    except UnidentifiedImageError:
        reason = "not an image in a known format" if content else "the file is empty"
    except Image.DecompressionBombError:
        reason = f"its pixels are {_TOO_MANY}"
    except _DECODER_ERRORS as error:
        return _corrupt(error)
    return CorruptImage(reason)


def to_rgb(image: Image.Image) -> Image.Image:
    """Rotate an image by its orientation and convert it to RGB; see the table above.

    Raises:
        ValueError: Values are outside the range of their type (floating point outside [0, 1],
            integers that are no unsigned 16-bit ones), or Pillow cannot convert the mode.
    """
    layout = _tiff_layout(image)
    image.load()
    signed_bytes = image.mode == "L" and layout.signed
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I") or signed_bytes:
        image = Image.fromarray(_eight_bits(np.asarray(image), layout))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def pillow_pixels(image: Image.Image) -> NDArray[np.uint8] | CorruptImage:
    """Return the RGB pixels of an open image, ``(height, width, 3)``, or why there are none."""
    try:
        return np.asarray(to_rgb(image), dtype=np.uint8)
    except _DECODER_ERRORS as error:
        return _corrupt(error)


def _corrupt(error: Exception) -> CorruptImage:
    if shortage(error):
        raise error
    return CorruptImage(" ".join(str(error).split()) or type(error).__name__)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none that can be read.

    Viewers show an image with broken EXIF as it is stored, so it is not corrupt.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The number format of a TIFF, which Pillow ignores.

    Attributes:
        bits: Bits of a number.
        signed: Whether integers have a sign.
        white_is_zero: Whether 0 is white.
    """

    bits: int = 16
    signed: bool = False
    white_is_zero: bool = False


def _tiff_layout(image: Image.Image) -> _Layout:
    tags = getattr(image, "tag_v2", None)
    if tags is None or (image.mode not in ("L", "F") and not image.mode.startswith("I")):
        return _Layout()

    def first(tag: int, default: int) -> int:
        found = tags.get(tag, default)
        found = found[0] if isinstance(found, tuple) and found else found
        return found if isinstance(found, int) else default

    return _Layout(
        bits=first(_BITS_TAG, 1),
        signed=first(_SAMPLE_FORMAT_TAG, 1) == 2,
        white_is_zero=first(_PHOTOMETRIC_TAG, 1) == 0,
    )


def _eight_bits(grey: NDArray[np.generic], layout: _Layout) -> NDArray[np.uint8]:
    """Return one-channel pixels of any type as 8-bit grey.

    Raises:
        ValueError: A value is out of range.
    """
    if grey.dtype.kind == "f":
        shares = grey.astype(np.float64)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError("a floating-point image has values outside [0, 1]")
        return np.round((1 - shares if layout.white_is_zero else shares) * 255).astype(np.uint8)
    values = grey.astype(np.int64)
    if layout.signed and layout.bits == 8:  # Pillow reads these as unsigned
        values = (values + 128) % 256 - 128
    elif layout.bits == 32 and not layout.signed:  # and these as signed
        values %= 2**32
    low, high = int(values.min()), int(values.max())
    if (layout.signed and layout.bits < 32) or low < 0 or high > 65535:
        # Units as of a CT or of heights: which values are black and white is not in the file.
        kind = f"{'a signed' if layout.signed else 'an unsigned'} {layout.bits}-bit image"
        raise ValueError(
            f"{kind} has values from {low} to {high} and no agreed black and white; rescale the "
            "range that matters to 0 to 255 and save it as unsigned 8-bit"
        )
    # Of 12 bits, which Pillow unpacks into 16, white is 4095.
    white, drop = (4095, 4) if layout.bits == 12 else (65535, 8)
    values = white - values if layout.white_is_zero else values
    return np.right_shift(values, drop).astype(np.uint8)


def _square(image: Image.Image, size: int, resize: Resize) -> NDArray[np.uint8]:
    box = _middle(image.width, image.height, size) if resize == "crop" else None
    square = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(square, dtype=np.uint8)


def _middle(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """Return the part of an image that resizing its shorter side and a centre crop leave.

    As torchvision's ``Resize(size)`` and ``CenterCrop(size)`` do it, pixel by pixel, without the
    long image between them.
    """
    shorter = min(width, height)
    sides = []
    for side in (width, height):
        resized = int(size * side / shorter)
        start = round((resized - size) / 2)
        scale = side / resized
        sides.append((start * scale, (start + size) * scale))
    (left, right), (top, bottom) = sides
    return left, top, min(right, width), min(bottom, height)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow has; AVIF is not in every build."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


Pixels = NDArray[np.uint8]
_Result = TypeVar("_Result")
_CHUNK = 16
_SURELY_LOCKED = 3600.0  # seconds; earlier versions of this library took no lock


def open_pixels(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Map a file of pixels, read-only; None where it is missing, cut short or of another shape.

    Args:
        path: The file, as ``write_pixels`` wrote it.
        shape: ``(images, size, size, 3)``.

    Raises:
        TaskError: The cache cannot be read.
    """
    header = _header(shape)
    try:
        with open_regular(path) as file:
            whole = os.fstat(file.fileno()).st_size == len(header) + int(np.prod(shape))
            if not whole or file.read(len(header)) != header:
                return None
            return np.memmap(file, dtype=np.uint8, mode="r", offset=len(header), shape=shape)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable_cache(path, error) from error


def write_pixels(
    path: Path, shape: tuple[int, ...], images: Iterable[tuple[int, Pixels | CorruptImage]]
) -> dict[int, CorruptImage]:
    """Write a file of pixels atomically.

    Args:
        path: The ``.npy`` file; an existing one is replaced.
        shape: ``(images, size, size, 3)``.
        images: Every position once, with its pixels of shape ``(size, size, 3)``.

    Returns:
        The images that do not decode, by position. If there are any, no file is written.

    Raises:
        TaskError: The cache cannot be written.
    """
    header = _header(shape)
    row = int(np.prod(shape[1:]))
    failed: dict[int, CorruptImage] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with temporary_file(path) as (file, temporary):
            file.write(header)
            for position, pixels in images:
                if isinstance(pixels, CorruptImage):
                    failed[position] = pixels
                elif not failed:
                    file.seek(len(header) + position * row)
                    file.write(pixels.tobytes())
            file.flush()
            os.fsync(file.fileno())
            if not failed:
                temporary.replace(path)
        if not failed:
            sync_directory(path.parent)
    except OSError as error:
        raise unusable_cache(path, error) from error
    return failed


def write_cached(path: Path, content: bytes) -> None:
    """Write a file of the cache atomically.

    Raises:
        TaskError: The cache cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise unusable_cache(path, error) from error


def unusable_cache(path: Path, error: OSError) -> TaskError:
    """Return the error for a cache file that cannot be written or read."""
    return TaskError(
        f"the cache file {path} cannot be used ({error.strerror or error})",
        expected="a writable directory with enough free space",
        hint="free some space, or name another directory in WSDARTS_HUB_CACHE",
    )


def in_threads(
    work: Callable[[int, Read], _Result],
    items: Iterable[tuple[int, Read]],
    *,
    what: str,
    total: int,
    progress: Progress | None,
) -> Iterator[tuple[int, _Result]]:
    """Process many images with a thread for each core, and yield results in order.

    Only a few chunks are under way at any time, so the images need not fit into memory.
    Threads, because Pillow decodes and resizes without Python's lock: on two cores, photographs of
    500 × 500 came out 2.0 times as fast as one by one (1.7 times with two processes), and
    images of 84 × 84, where Python's own share is large, 1.1 times with either.
    """
    workers = _cores()
    pending: deque[Future[list[tuple[int, _Result]]]] = deque()
    done = 0

    def chunk(part: list[tuple[int, Read]]) -> list[tuple[int, _Result]]:
        return [(row, work(row, read)) for row, read in part]

    with thread_pool(workers, "wsdarts-images") as pool:
        chunks = _chunks(items)
        exhausted = False
        while pending or not exhausted:
            while not exhausted and len(pending) < 2 * workers:
                part = next(chunks, None)
                if part is None:
                    exhausted = True
                else:
                    pending.append(pool.submit(chunk, part))
            if pending:
                results = pending.popleft().result()
                yield from results
                done += len(results)
                if progress is not None:
                    progress(what, done, total)


def _chunks(items: Iterable[tuple[int, Read]]) -> Iterator[list[tuple[int, Read]]]:
    part: list[tuple[int, Read]] = []
    for item in items:
        part.append(item)
        if len(part) == _CHUNK:
            yield part
            part = []
    if part:
        yield part


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _remove_abandoned(directory: Path) -> None:
    """Remove temporary files of processes that were killed, whose locks are free."""
    for file in matching(directory, ".*.tmp"):
        found = status(file)  # None where another process was faster
        if found is not None and time.time() - found.st_mtime > _SURELY_LOCKED:
            remove_abandoned(file)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
