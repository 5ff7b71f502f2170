"""From an encoded image to RGB pixels of a given size.

| found | made of it |
|---|---|
| EXIF or TIFF orientation | the image is turned upright |
| grey, bilevel, YCbCr, HSV, CMYK | RGB, as Pillow converts it |
| alpha or a transparent colour (RGBA, LA, PA, palette) | laid over white |
| 16-bit grey (Pillow's modes ``I;16…``) | the low byte is dropped |
| mode ``I`` (32-bit grey) | clipped to 0…65535, then as 16-bit grey |
| mode ``F`` (floating-point grey) | values in [0, 1] times 255; others are an error |
| several frames | the first |

Then the image is squashed to a square, bilinear with Pillow's support for shrinking.
"""

import functools
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsdarts_sdk.tasks.identity import Content

DECODER_VERSION = 1
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
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Undecodable:
    """Why an image cannot be used."""

    reason: str


def decode(content: Content, size: int) -> NDArray[np.uint8] | Undecodable:
    """Decode one image and squash it to a square.

    Args:
        content: An encoded image, or RGB pixels of shape ``(height, width, 3)``.
        size: Pixels along each side of the result.

    Returns:
        RGB pixels of shape ``(size, size, 3)``, or the reason why there are none.
    """
    if not isinstance(content, bytes):
        return _squash(Image.fromarray(content), size)
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            pixels = image.width * image.height
            if pixels <= LARGEST_IMAGE:
                return _squash(to_rgb(image), size)
            reason = f"{pixels / 1e6:.1f} megapixels are {_TOO_MANY}"
    except UnidentifiedImageError:
        reason = "not an image in a known format" if content else "the file is empty"
    except Image.DecompressionBombError:
        reason = f"its pixels are {_TOO_MANY}"
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    return Undecodable(reason)


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image upright and convert it to RGB, as the table at the top of this module says.

    Raises:
        ValueError: A floating-point image has values outside [0, 1], or Pillow has no
            conversion from the image's mode.
    """
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def pillow_pixels(image: Image.Image) -> NDArray[np.uint8] | Undecodable:
    """Return the RGB pixels of an open image, ``(height, width, 3)``, or why there are none."""
    try:
        return np.asarray(to_rgb(image), dtype=np.uint8)
    except _DECODER_ERRORS as error:
        return Undecodable(" ".join(str(error).split()) or type(error).__name__)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none that can be read.

    Viewers show an image with broken EXIF as it is stored, so it is not corrupt.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _eight_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    if grey.dtype.kind == "f":
        values = grey.astype(np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a floating-point image has values outside [0, 1]")
        return np.round(values * 255).astype(np.uint8)
    return (np.clip(grey.astype(np.int64), 0, 65535) >> 8).astype(np.uint8)


def _squash(image: Image.Image, size: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this Pillow has; AVIF is not in every build."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
