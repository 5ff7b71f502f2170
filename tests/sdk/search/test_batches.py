"""Batches: which images, how they are augmented and normalised, and where chance comes from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.search.batches import Augmentation, TrainPart, channel_statistics
from wsdarts_sdk.search.randomness import seed_of, stream
from wsdarts_sdk.tasks import ImageTask, Part


def part_of(task: ImageTask, **changes: object) -> TrainPart:
    fields = {"image_size": 8, "batch_size": 6, "padding": 1, "flip": True}
    return TrainPart.of(task, **(fields | changes))  # type: ignore[arg-type]


def plain(**changes: object) -> Augmentation:
    fields = {"mean": torch.zeros(3), "std": torch.ones(3), "padding": 0, "flip": False}
    return Augmentation(**(fields | changes))  # type: ignore[arg-type]


def numbered(count: int, side: int) -> torch.Tensor:
    """Images whose every pixel has a value of its own from 1 up, the same in all channels."""
    values = torch.arange(1, side * side + 1, dtype=torch.uint8).reshape(side, side, 1)
    return values.expand(count, side, side, 3)


def test_channel_statistics_by_hand() -> None:
    pixels = torch.zeros(1, 1, 4, 3, dtype=torch.uint8)
    pixels[0, 0, :, 0] = torch.tensor([0, 0, 255, 255])
    pixels[0, 0, :, 1] = 51
    other = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    mean, std = channel_statistics([pixels, other])
    assert mean.tolist() == pytest.approx([0.75, 0.6, 0.5])
    assert std.tolist() == pytest.approx([np.sqrt(0.75 * 0.25), 0.4, 0.5])
    _, constant = channel_statistics([torch.zeros(1, 2, 2, 3, dtype=torch.uint8)])
    assert constant.tolist() == pytest.approx([1 / 255] * 3)  # not 0: it divides


def test_normalisation() -> None:
    augmentation = plain(mean=torch.tensor([0.2, 0.4, 0.0]), std=torch.tensor([0.5, 1.0, 2.0]))
    found = augmentation.normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))
    assert found.shape == (1, 3, 2, 2)
    assert found[0, :, 0, 0].tolist() == pytest.approx([1.6, 0.6, 0.5])


def test_crop_shifts_each_image_by_itself_and_pads_with_black() -> None:
    images, padding = numbered(200, 4), 2
    found = (plain(padding=padding).apply(images, stream("t"))[:, 0] * 255).round().int()
    canvas = torch.zeros(8, 8, dtype=torch.int32)
    canvas[2:6, 2:6] = images[0, :, :, 0].int()
    windows = {
        tuple(canvas[r : r + 4, c : c + 4].flatten().tolist()) for r in range(5) for c in range(5)
    }
    seen = {tuple(image.flatten().tolist()) for image in found}
    assert seen == windows  # all 25 offsets, up to the padding on each side


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = numbered(400, 3)
    found = (plain(flip=True).apply(images, stream("t"))[:, 0] * 255).round().int()
    upright = images[0, :, :, 0].int()
    mirrored = [torch.equal(image, upright.flip(1)) for image in found]
    assert sum(torch.equal(image, upright) for image in found) + sum(mirrored) == 400
    assert 150 < sum(mirrored) < 250


def test_cutout_erases_a_square_and_is_cut_off_at_the_borders() -> None:
    # Side 4 around a centre (y, x): rows y − 2 … y + 1, cut to the image.
    images = torch.full((300, 8, 8, 3), 255, dtype=torch.uint8)
    found = plain(cutout=4).apply(images, stream("t"))
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
    found = augmentation.apply(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), stream("t"))
    assert (found == 0).any()  # 0 after normalisation, −0.5 where nothing was erased
    assert set(found.unique().tolist()) <= {0.0, -0.5}


def test_images_of_one_batch_are_augmented_differently(digits_task: ImageTask) -> None:
    augmentation = part_of(digits_task).augmentation
    images = torch.from_numpy(np.repeat(digits_task.pixels(8)[:1], 32, axis=0))
    found = augmentation.apply(images, stream("t"))
    assert len({image.numpy().tobytes() for image in found}) > 5


def test_halves_are_the_tasks_own(digits_task: ImageTask) -> None:
    part = part_of(digits_task)
    pixels = digits_task.pixels(8)
    for half, of in ((part.weights, Part.WEIGHTS), (part.alpha, Part.ALPHA)):
        indices = digits_task.indices(of)
        assert np.array_equal(half.pixels.numpy(), pixels[indices])
        assert np.array_equal(half.labels.numpy(), digits_task.labels[indices])
    seen = np.concatenate([digits_task.indices(Part.WEIGHTS), digits_task.indices(Part.ALPHA)])
    mean, _ = channel_statistics([torch.from_numpy(pixels[seen])])
    assert torch.equal(part.augmentation.mean, mean)  # of the train part, nothing else


def test_an_epoch_sees_every_image_at_most_once(digits_task: ImageTask) -> None:
    part = part_of(digits_task, padding=0, flip=False)
    assert part.steps(None) == len(part.weights) // 6
    assert part.steps(1) == 1
    seen = torch.cat([part.batch(Part.WEIGHTS, 0, 3, s).images for s in range(part.steps(None))])
    assert len({image.numpy().tobytes() for image in seen}) == len(seen)


def test_a_shorter_half_starts_over_in_a_new_order(digits_task: ImageTask) -> None:
    part = part_of(digits_task, padding=0, flip=False)
    full = len(part.alpha) // 6
    batches = [part.batch(Part.ALPHA, 0, 0, step) for step in range(2 * full)]
    labels = [batch.images.numpy().tobytes() for batch in batches]
    assert len(set(labels)) == 2 * full


def test_a_batch_is_a_function_of_its_place(digits_task: ImageTask) -> None:
    part, again, other = (part_of(digits_task, seed=seed) for seed in (0, 0, 1))
    here = part.batch(Part.WEIGHTS, 1, 2, 3)
    part.batch(Part.WEIGHTS, 0, 0, 0)  # what was drawn in between does not count
    assert torch.equal(here.images, again.batch(Part.WEIGHTS, 1, 2, 3).images)
    elsewhere = [
        other.batch(Part.WEIGHTS, 1, 2, 3),
        part.batch(Part.WEIGHTS, 0, 2, 3),
        part.batch(Part.WEIGHTS, 1, 1, 3),
        part.batch(Part.WEIGHTS, 1, 2, 2),
        part.batch(Part.ALPHA, 1, 2, 3),
        part_of(digits_task, head=1).batch(Part.WEIGHTS, 1, 2, 3),
    ]
    assert not any(torch.equal(here.images, batch.images) for batch in elsewhere)


def test_batch_size_is_at_most_the_smaller_half(fewer_digits_task: ImageTask) -> None:
    part = part_of(fewer_digits_task, batch_size=1000)
    assert part.batch_size == min(len(part.weights), len(part.alpha))
    assert part.steps(None) == 1
    assert len(part.batch(Part.ALPHA, 0, 0, 0).labels) == part.batch_size


def test_a_half_of_one_image_is_refused() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1])  # each class: one to validate, one for each half
    task = ImageTask.load((images, labels), name="six")
    assert len(part_of(task).weights) == 2
    lone = np.zeros_like(task.parts)
    lone[0] = 1  # a single image in the alpha half
    with pytest.raises(SettingsError, match="the alpha half of six has 1 images; a search needs"):
        part_of(replace(task, parts=lone))


def test_streams_are_named() -> None:
    assert seed_of("a", 1) == seed_of("a", 1) < 2**63
    assert len({seed_of("a", 1), seed_of("a", 2), seed_of("b", 1), seed_of("a", 1, 0)}) == 4
    before = torch.get_rng_state()
    assert torch.equal(torch.rand(3, generator=stream("a")), torch.rand(3, generator=stream("a")))
    assert torch.equal(before, torch.get_rng_state())
