"""Crop, flip, cutout and normalisation: what each does, and where chance comes from."""

import numpy as np
import pytest
import torch

from wsdarts_sdk.data.augmentation import Augmentation, channel_statistics
from wsdarts_sdk.data.loader import stream


def plain(**changes: object) -> Augmentation:
    fields = {"mean": torch.zeros(3), "std": torch.ones(3), "padding": 0, "flip": False}
    return Augmentation(**(fields | changes))  # type: ignore[arg-type]


def numbered(count: int, side: int) -> torch.Tensor:
    """Images whose every pixel has a value of its own from 1 up, the same in all channels."""
    values = torch.arange(1, side * side + 1, dtype=torch.uint8).reshape(side, side, 1)
    return values.expand(count, side, side, 3)


def augmented(augmentation: Augmentation, images: torch.Tensor) -> torch.Tensor:
    every = torch.arange(len(images))
    return augmentation.apply(images, augmentation.draw(every, images.shape[1], stream("t")))


def test_channel_statistics_by_hand() -> None:
    pixels = np.zeros((1, 1, 4, 3), dtype=np.uint8)
    pixels[0, 0, :, 0] = [0, 0, 255, 255]
    pixels[0, 0, :, 1] = 51
    other = np.full((1, 2, 2, 3), 255, dtype=np.uint8)
    mean, std = channel_statistics([pixels, other])
    assert mean.tolist() == pytest.approx([0.75, 0.6, 0.5])
    assert std.tolist() == pytest.approx([np.sqrt(0.75 * 0.25), 0.4, 0.5])
    _, constant = channel_statistics([np.zeros((1, 2, 2, 3), dtype=np.uint8)])
    assert constant.tolist() == pytest.approx([1 / 255] * 3)  # not 0: it divides


def test_normalisation() -> None:
    augmentation = plain(mean=torch.tensor([0.2, 0.4, 0.0]), std=torch.tensor([0.5, 1.0, 2.0]))
    found = augmentation.normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))
    assert found.shape == (1, 3, 2, 2)
    assert found[0, :, 0, 0].tolist() == pytest.approx([1.6, 0.6, 0.5])


def test_crop_shifts_each_image_by_itself_and_pads_with_black() -> None:
    images, padding = numbered(200, 4), 2
    found = (augmented(plain(padding=padding), images)[:, 0] * 255).round().int()
    canvas = torch.zeros(8, 8, dtype=torch.int32)
    canvas[2:6, 2:6] = images[0, :, :, 0].int()
    windows = {
        tuple(canvas[r : r + 4, c : c + 4].flatten().tolist()) for r in range(5) for c in range(5)
    }
    seen = {tuple(image.flatten().tolist()) for image in found}
    assert seen == windows  # all 25 offsets, up to the padding on each side


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = numbered(400, 3)
    found = (augmented(plain(flip=True), images)[:, 0] * 255).round().int()
    upright = images[0, :, :, 0].int()
    mirrored = [torch.equal(image, upright.flip(1)) for image in found]
    assert sum(torch.equal(image, upright) for image in found) + sum(mirrored) == 400
    assert 150 < sum(mirrored) < 250


def test_cutout_erases_a_square_and_is_cut_off_at_the_borders() -> None:
    # Side 4 around a centre (y, x): rows y − 2 … y + 1, cut to the image.
    images = torch.full((300, 8, 8, 3), 255, dtype=torch.uint8)
    found = augmented(plain(cutout=4), images)
    sizes = set()
    for image in found:
        erased = image == 0
        assert torch.equal(erased[0], erased[1])
        assert torch.equal(erased[0], erased[2])
        rows, columns = torch.nonzero(erased[0].any(1))[:, 0], torch.nonzero(erased[0].any(0))[:, 0]
        assert erased[0].sum() == len(rows) * len(columns)  # a rectangle
        for extent in (rows, columns):
            assert extent[-1] - extent[0] + 1 == len(extent)
            cut_off = extent[0] == 0 or extent[-1] == 7
            assert len(extent) == 4 or (cut_off and len(extent) in (2, 3))
        sizes.add((len(rows), len(columns)))
    assert (4, 4) in sizes
    assert (2, 2) in sizes  # a centre in the first row and column: half is outside


def test_cutout_erases_to_the_mean() -> None:
    augmentation = plain(mean=torch.full((3,), 0.5), cutout=16)
    found = augmented(augmentation, torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert (found == 0).any()  # 0 after normalisation, −0.5 where nothing was erased
    assert set(found.unique().tolist()) <= {0.0, -0.5}


def test_draws_by_hand() -> None:
    # In this order from one stream: crops, flips, cutouts. Another order is another search.
    generator, twin = stream("t"), stream("t")
    images = torch.tensor([5, 3, 9])
    drawn = plain(padding=2, flip=True, cutout=4).draw(images, 10, generator)
    crops = torch.randint(0, 5, (2, 3), generator=twin)
    mirrored = torch.rand(3, generator=twin) < 0.5
    centres = torch.rand(2, 3, generator=twin)
    assert drawn.table[0].tolist() == drawn.images.tolist() == [5, 3, 9]
    assert torch.equal(drawn.table[1:3], crops)
    assert drawn.table[3].tolist() == mirrored.int().tolist()
    assert torch.equal(drawn.table[4:6], (centres * 10).floor().long() - 2)
    assert torch.equal(generator.get_state(), twin.get_state())
    assert plain().draw(images, 10, generator).table[1:].count_nonzero() == 0
    assert torch.equal(generator.get_state(), twin.get_state())  # nothing was drawn


def test_each_image_by_itself_is_what_the_batch_says() -> None:
    images = torch.randint(0, 256, (40, 6, 6, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.25, 0.1]), torch.tensor([0.2, 0.3, 0.4])
    augmentation = plain(mean=mean, std=std, padding=1, flip=True, cutout=3)
    draws = augmentation.draw(torch.arange(40), 6, stream("t"))
    found = augmentation.apply(images, draws)
    for image, result, drawn in zip(images, found, draws.table.T.tolist(), strict=True):
        _, top, left, mirrored, erased_top, erased_left = drawn
        canvas = torch.zeros(8, 8, 3, dtype=torch.uint8)
        canvas[1:7, 1:7] = image
        expected = canvas[top : top + 6, left : left + 6]
        expected = expected.flip(1) if mirrored else expected
        expected = ((expected.float() / 255 - mean) / std).permute(2, 0, 1).contiguous()
        rows, columns = (range(max(s, 0), min(s + 3, 6)) for s in (erased_top, erased_left))
        for row in rows:
            expected[:, row, list(columns)] = 0.0
        assert torch.equal(result, expected)


@pytest.mark.parametrize("changes", [{}, {"padding": 2, "flip": True, "cutout": 3}])
def test_channels_last_holds_the_same_values(changes: dict[str, object]) -> None:
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    before = images.clone()
    one, other = (
        augmented(plain(memory_format=form, **changes), images)
        for form in (torch.contiguous_format, torch.channels_last)
    )
    assert torch.equal(images, before)
    assert torch.equal(one, other)
    assert one.is_contiguous()
    assert other.is_contiguous(memory_format=torch.channels_last)
    assert not other.is_contiguous()
