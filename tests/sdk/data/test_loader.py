"""Batches: which images, where they lie, and where chance comes from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data import loader as images_module
from wsdarts_sdk.data.augmentation import channel_statistics
from wsdarts_sdk.data.loader import BatchPosition, TrainPart, batches, seed_of, stream
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask


def part_of(task: ImageTask, **changes: object) -> TrainPart:
    fields = {"image_size": 8, "batch_size": 6, "padding": 1, "flip": True}
    return TrainPart.of(task, **(fields | changes))  # type: ignore[arg-type]


def test_images_of_one_batch_are_augmented_differently(digits_task: ImageTask) -> None:
    augmentation = part_of(digits_task).augmentation
    images = torch.from_numpy(np.repeat(digits_task.pixels(8)[:1], 32, axis=0))
    draws = augmentation.draw(torch.zeros(32, dtype=torch.int64), 8, stream("t"))
    found = augmentation.apply(images, draws)
    assert len({image.numpy().tobytes() for image in found}) > 5


def test_halves_are_the_tasks_own(digits_task: ImageTask) -> None:
    part = part_of(digits_task)
    pixels = digits_task.pixels(8)
    for half, of in ((part.weights, Part.WEIGHTS), (part.alpha, Part.ALPHA)):
        indices = digits_task.in_canonical_order(digits_task.indices(of))
        assert sorted(indices) == digits_task.indices(of).tolist()
        every = torch.arange(len(half))
        assert np.array_equal(half.pixels(every).numpy(), pixels[indices])
        assert np.array_equal(half.labels.numpy(), digits_task.canonical_labels[indices])
    seen = np.concatenate([digits_task.indices(Part.WEIGHTS), digits_task.indices(Part.ALPHA)])
    mean, _ = channel_statistics([pixels[seen]])
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


def test_streamed_batches_are_those_that_are_held(
    digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = part_of(digits_task)
    monkeypatch.setattr(images_module, "free_memory", lambda device: 0)
    calls: list[tuple[str, int, int]] = []
    streamed = part_of(digits_task, progress=lambda *call: calls.append(call))
    assert calls == [(f"digits, {streamed.storage}", 1, 1)]  # users are told
    assert (held.weights.streamed, streamed.weights.streamed) == (False, True)
    assert (held.alpha.streamed, streamed.alpha.streamed) == (False, True)
    octets = 3 * 8 * 8 * (len(held.weights) + len(held.alpha))
    assert f"{octets / 1000:.1f} kB " in held.storage
    assert f"{octets / 1000:.1f} kB " in streamed.storage
    assert ("cpu" in held.storage, "cache" in streamed.storage) == (True, True)
    assert torch.equal(held.augmentation.mean, streamed.augmentation.mean)
    assert torch.equal(held.augmentation.std, streamed.augmentation.std)
    for part in (Part.WEIGHTS, Part.ALPHA):
        for step in range(6):
            here, there = (each.batch(part, 1, 2, step) for each in (held, streamed))
            assert torch.equal(here.images, there.images)
            assert torch.equal(here.labels, there.labels)
        order = torch.tensor([4, 0, 4, 7])
        ours, theirs = getattr(held, part).pixels(order), getattr(streamed, part).pixels(order)
        assert torch.equal(ours, theirs)


def test_what_takes_half_of_the_free_memory_is_held(
    digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = 3 * 8 * 8 * len(digits_task.train_indices)
    for free, streamed in ((2 * need, False), (2 * need - 1, True)):
        monkeypatch.setattr(images_module, "free_memory", lambda device, free=free: free)
        assert part_of(digits_task).weights.streamed is streamed


@pytest.mark.parametrize("free", [0, 2**40])
def test_batches_of_several_tasks_come_in_order(
    digits_task: ImageTask,
    fewer_digits_task: ImageTask,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
) -> None:
    monkeypatch.setattr(images_module, "free_memory", lambda device: free)
    tasks = [part_of(digits_task), part_of(fewer_digits_task, batch_size=4, head=1)]
    places = [
        BatchPosition(task=task, part=part, stage=0, epoch=1, step=step)
        for task in tasks
        for step in range(2)
        for part in (Part.ALPHA, Part.WEIGHTS)
    ]
    found = list(batches(places))
    assert [batch.head for batch in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    for batch, place in zip(found, places, strict=True):
        expected = place.task.batch(place.part, 0, 1, place.step)
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.labels, expected.labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("free", [0, 2**40])
def test_batches_on_a_gpu_are_those_of_the_cpu(
    digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(images_module, "free_memory", lambda device: free)
    here, there = (part_of(digits_task, device=torch.device(name)) for name in ("cpu", "cuda"))
    places = [
        BatchPosition(task=there, part=Part.ALPHA, stage=0, epoch=0, step=s) for s in range(4)
    ]
    for step, batch in enumerate(batches(places)):
        expected = here.batch(Part.ALPHA, 0, 0, step)
        assert batch.images.device.type == batch.labels.device.type == "cuda"
        assert torch.equal(batch.labels.cpu(), expected.labels)
        torch.testing.assert_close(batch.images.cpu(), expected.images)


def test_the_memory_format_is_what_was_asked_for(digits_task: ImageTask) -> None:
    part = part_of(digits_task, memory_format=torch.channels_last)
    batch, expected = (each.batch(Part.ALPHA, 0, 0, 1) for each in (part, part_of(digits_task)))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images, expected.images)


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
    with pytest.raises(SettingsError, match=r"alpha half of six .*1 image"):
        part_of(replace(task, parts=lone))


def test_streams_are_named() -> None:
    assert seed_of("a", 1) == seed_of("a", 1) < 2**63
    assert len({seed_of("a", 1), seed_of("a", 2), seed_of("b", 1), seed_of("a", 1, 0)}) == 4
    before = torch.get_rng_state()
    assert torch.equal(torch.rand(3, generator=stream("a")), torch.rand(3, generator=stream("a")))
    assert torch.equal(before, torch.get_rng_state())
