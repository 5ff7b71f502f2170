import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsdarts_sdk.data.decoding import CorruptImage, decode, to_rgb


def _bytes(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _pixels(content: bytes, size: int = 8) -> NDArray[np.uint8]:
    found = decode(content, size)
    assert isinstance(found, np.ndarray), found
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8
    return found


def _reason(content: bytes) -> str:
    found = decode(content, 8)
    assert isinstance(found, CorruptImage)
    return found.reason


def _ramp() -> NDArray[np.uint8]:
    """Grey values 0, 4, …, 252 that say where a pixel came from, shape (8, 8)."""
    return (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)


def test_rgb_stays_what_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert (_pixels(_bytes(Image.fromarray(pixels))) == pixels).all()
    np.testing.assert_array_equal(decode(pixels, 8), pixels)


def test_grey_becomes_three_equal_channels() -> None:
    found = _pixels(_bytes(Image.fromarray(_ramp())))
    assert (found == _ramp()[..., None]).all()


def test_bilevel_becomes_black_and_white() -> None:
    found = _pixels(_bytes(Image.fromarray(_ramp()).convert("1", dither=Image.Dither.NONE)))
    assert (found == np.where(_ramp() >= 128, 255, 0)[..., None]).all()


def test_alpha_is_laid_over_white() -> None:
    # 51/255 = 1/5 of red over white: (255, 4/5·255, 4/5·255). Dropping alpha gives pure red,
    # black underneath gives (51, 0, 0).
    found = _pixels(_bytes(Image.new("RGBA", (8, 8), (255, 0, 0, 51))))
    assert found[0, 0].tolist() == [255, 204, 204]


def test_grey_with_alpha_is_laid_over_white() -> None:
    assert _pixels(_bytes(Image.new("LA", (8, 8), (0, 0))))[3, 3].tolist() == [255, 255, 255]


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 10, 200, 30])
    assert _pixels(_bytes(image))[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 10, 200, 30])
    image.putpixel((0, 0), 0)
    found = _pixels(_bytes(image, kind, transparency=1))
    assert found[4, 4].tolist() == [255, 255, 255]
    assert found[0, 0].tolist() == [9, 9, 9]


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    found = _pixels(_bytes(image, transparency=(1, 2, 3)))
    assert found[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bit_grey_drops_the_low_byte(kind: str) -> None:
    # 0x12FF is 0x12; rounding would give 0x13, clipping 255, taking the low byte 255.
    pixels = np.full((8, 8), 0x12FF, dtype=np.uint16)
    assert _pixels(_bytes(Image.fromarray(pixels), kind))[0, 0].tolist() == [0x12] * 3


def test_sixteen_bit_pgm_drops_the_low_byte() -> None:
    content = b"P5 8 8 65535\n" + struct.pack(">64H", *([0xABCD] * 64))
    assert _pixels(content)[0, 0].tolist() == [0xAB] * 3


def _tiff(values: NDArray[Any], sample_format: int, white_is_zero: bool = False) -> bytes:
    """An uncompressed TIFF of one channel, as instruments write it and Pillow does not."""
    height, width = values.shape
    data = values.tobytes()
    start = 8 + 2 + 12 * 10 + 4
    tags = [(256, width), (257, height), (258, 8 * values.dtype.itemsize), (259, 1),
            (262, 0 if white_is_zero else 1), (273, start), (277, 1), (278, height),
            (279, len(data)), (339, sample_format)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_STEPS = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("values", "sample_format", "expected"),
    [
        ((_STEPS * 2000 - 1000).astype("<i2"), _SIGNED, "a signed 16-bit .* -1000 to 1000"),
        ((_STEPS * 1000).astype("<i2"), _SIGNED, "a signed 16-bit .* 0 to 1000"),
        ((_STEPS * 200 - 100).astype("i1"), _SIGNED, "a signed 8-bit .* -100 to 100"),
        ((_STEPS * 4e9).astype("<u4"), _UNSIGNED, "an unsigned 32-bit .* 0 to 4000000000"),
        ((_STEPS * 9 - 9).astype("<i4"), _SIGNED, "a signed 32-bit .* -9 to 0"),
    ],
)
def test_numbers_without_black_and_white_are_refused(
    values: NDArray[Any], sample_format: int, expected: str
) -> None:
    reason = _reason(_tiff(values, sample_format))
    assert re.search(rf"{expected}\b", reason)
    assert "rescale" in reason


@pytest.mark.parametrize("kind", ["<u4", "<i4"])
def test_thirty_two_bit_grey_in_sixteen_bits(kind: str) -> None:
    values = np.full((8, 8), 0x1234).astype(kind)
    sample_format = _UNSIGNED if kind == "<u4" else _SIGNED
    assert _pixels(_tiff(values, sample_format))[0, 0].tolist() == [0x12] * 3
    assert _pixels(_bytes(Image.fromarray(values.astype(np.int32)), "tiff"))[0, 0, 0] == 0x12


@pytest.mark.parametrize(
    ("values", "sample_format"),
    [
        (np.round(_STEPS * 255).astype("u1"), _UNSIGNED),
        (np.round(_STEPS * 65535).astype("<u2"), _UNSIGNED),
        (_STEPS.astype("<f4"), _FLOAT),
    ],
)
def test_where_zero_is_white(values: NDArray[Any], sample_format: int) -> None:
    plain = _pixels(_tiff(values, sample_format)).astype(int)
    turned = _pixels(_tiff(values, sample_format, white_is_zero=True)).astype(int)
    assert turned[0, 0].tolist() == [255] * 3
    assert turned[7, 7].tolist() == [0] * 3
    np.testing.assert_allclose(plain + turned, 255, atol=1)


def test_twelve_bits_have_a_white_of_their_own() -> None:
    # Two numbers in three bytes, high bits first: 4095 and 0.
    content = bytearray(_tiff(np.zeros((8, 12), dtype="u1"), _UNSIGNED))
    content[-96:] = b"\xff\xf0\x00" * 32
    at = content.index(struct.pack("<HHII", 256, 4, 1, 12))
    content[at + 8 : at + 12] = struct.pack("<I", 8)
    at = content.index(struct.pack("<HHII", 258, 4, 1, 8))
    content[at + 8 : at + 12] = struct.pack("<I", 12)
    assert _pixels(bytes(content))[0, :2, 0].tolist() == [255, 0]


def test_floating_point_grey_in_the_unit_interval() -> None:
    pixels = np.full((8, 8), 0.5, dtype=np.float32)
    assert _pixels(_bytes(Image.fromarray(pixels), "tiff"))[0, 0].tolist() == [128] * 3
    reason = _reason(_bytes(Image.fromarray(pixels * 3), "tiff"))
    assert "outside [0, 1]" in reason


def test_cmyk_is_converted() -> None:
    # All cyan, no black: no red, all green and blue.
    found = _pixels(_bytes(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "jpeg", quality=100))
    np.testing.assert_allclose(found[0, 0], [0, 255, 255], atol=2)


def _oriented(tag: int, kind: str, **options: Any) -> NDArray[np.uint8]:
    exif = Image.Exif()
    exif[0x0112] = tag
    return _pixels(_bytes(Image.fromarray(_ramp()), kind, exif=exif, **options))[..., 0]


# What a viewer has to do, in the words of the EXIF standard: where row 0 and column 0 go.
_TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: p.T[:, ::-1],  # the left side is the top: turn clockwise
    7: lambda p: p[::-1, ::-1].T,
    8: lambda p: p.T[::-1],
}


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_exif_orientation_is_applied_once(tag: int, kind: str) -> None:
    assert (_oriented(tag, kind) == _TURNS[tag](_ramp())).all()


def test_exif_orientation_of_a_jpeg() -> None:
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 8, 8))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6
    found = _pixels(_bytes(image, "jpeg", exif=exif, quality=100), 16)
    assert found[2].mean() > 250  # turned clockwise, the left half is at the top
    assert found[-3].mean() < 5


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_is_no_reason_to_refuse(exif: bytes) -> None:
    content = _bytes(Image.new("RGB", (8, 8), "white"), "jpeg", exif=exif)
    assert _pixels(content)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    content = _bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    assert _pixels(content)[0, 0].tolist() == [255, 255, 255]


def test_the_squash_is_bilinear_with_support() -> None:
    # 16 columns of 0 and 160 to 8: each output sees 3 or 4 inputs under a triangle of
    # half-width 2, weights 1/8, 3/8, 3/8, 1/8: inside, 160/2 = 80. At the border the
    # triangle is cut: (3, 3, 1)/7, and columns 0, 160, 0 give 160·3/7 = 68.6.
    # Nearest would give 0 or 160, a two-tap bilinear 80 at the border, too.
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:, 1::2] = 160
    found = decode(pixels, 8)
    assert isinstance(found, np.ndarray)
    assert found[4, :, 0].tolist() == [69, 80, 80, 80, 80, 80, 80, 91]


def test_the_aspect_is_squashed_not_cropped() -> None:
    pixels = np.zeros((8, 32, 3), dtype=np.uint8)
    pixels[:, 16:] = 255
    found = decode(pixels, 8)
    assert isinstance(found, np.ndarray)
    assert (found[:, 0] == 0).all()
    assert (found[:, 7] == 255).all()


@pytest.mark.parametrize("side", [(8, 8), (8, 4000), (4000, 3000)])
def test_sizes_from_8_to_4000(side: tuple[int, int]) -> None:
    found = _pixels(_bytes(Image.new("RGB", side, (10, 20, 30))), 84)
    assert (found == [10, 20, 30]).all()


def test_more_than_100_megapixels_are_refused() -> None:
    content = _bytes(Image.new("1", (10_001, 10_000)))
    with pytest.warns(Image.DecompressionBombWarning):
        reason = _reason(content)
    assert reason.startswith("100.0 megapixels ")


def test_a_decompression_bomb_is_refused_unopened() -> None:
    head = struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [(b"IHDR", head), (b"IDAT", b"")]
    )
    assert "100 megapixels" in _reason(b"\x89PNG\r\n\x1a\n" + chunks)


def test_broken_files_say_why() -> None:
    assert _reason(b"") == "the file is empty"
    assert _reason(b"This is not an image.\n").startswith("not an image")
    whole = _bytes(Image.effect_noise((64, 64), 50), "jpeg")
    assert "truncated" in _reason(whole[: len(whole) // 2])
    png = _bytes(Image.effect_noise((64, 64), 50))
    assert _reason(png[: len(png) // 2])
    flipped = bytearray(png)
    flipped[100] ^= 0xFF
    assert _reason(bytes(flipped))


def test_formats_that_start_programs_are_unknown() -> None:
    content = _bytes(Image.new("RGB", (8, 8)), "eps")
    assert _reason(content).startswith("not an image")


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "tiff", "bmp", "ppm"])
@pytest.mark.filterwarnings("ignore")
def test_cut_and_flipped_files_never_raise(kind: str) -> None:
    content = _bytes(Image.effect_noise((16, 16), 50).convert("RGB"), kind)
    random = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(content[: random.integers(1, len(content) + 1)])
        for place in random.integers(0, len(broken), 3):
            broken[place] = random.integers(0, 256)
        assert isinstance(decode(bytes(broken), 8), np.ndarray | CorruptImage)


def test_to_rgb_of_an_open_image() -> None:
    assert to_rgb(Image.new("L", (3, 2), 7)).getpixel((2, 1)) == (7, 7, 7)


def test_a_lack_of_memory_is_no_corrupt_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(self: Image.Image) -> None:
        raise OSError("out of memory error when reading image file")  # as Pillow says it

    content = _bytes(Image.fromarray(_ramp()))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", without_memory)
    with pytest.raises(OSError, match="out of memory"):
        decode(content, 8)
