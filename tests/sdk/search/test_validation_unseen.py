"""No search and no selection sees the validation third: other images there change nothing.

The split follows from the images' content, so they cannot simply be exchanged in the source;
the decoded pixels in the cache can: the second task reads its own copy, where every image of
the validation third has been overwritten. Counts and labels stay the same.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.runs.checkpoints import MemoryJournal
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings

Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]
Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
Two = tuple[ImageTask, ImageTask]
_SMALL = TrainingSettings(
    cells=3, channels=4, image_size=8, epochs=2, batch_size=8, cutout=2, drop_path=0.2
)


@pytest.fixture(scope="module")
def tasks(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Two:
    """A task, and the same with another validation third."""
    found = []
    for name in ("own", "other"):
        cache: Path = tmp_path_factory.mktemp(name)
        found.append(ImageTask.load(digits, name="digits", cache_dir=cache))
        found[-1].pixels(8)
    task, other = found
    (file,) = cache.rglob("*-8px*.npy")
    pixels = np.load(file, mmap_mode="r+")
    validation = other.indices(Part.VALIDATION)
    pixels[validation] = np.random.default_rng(0).integers(0, 256, (len(validation), 8, 8, 3))
    pixels.flush()
    changed = (task.pixels(8) != other.pixels(8)).any(axis=(1, 2, 3))
    assert np.array_equal(np.flatnonzero(changed), validation)
    assert len(validation) > 15
    return task, other


def test_batches(tasks: Two, make_part: MakePart, make_settings: Make) -> None:
    settings = make_settings()
    here, there = (make_part(task, settings) for task in tasks)
    assert torch.equal(here.augmentation.mean, there.augmentation.mean)
    assert torch.equal(here.augmentation.std, there.augmentation.std)
    for part in (Part.WEIGHTS, Part.ALPHA):
        for step in range(3):
            a, b = (each.batch(part, 0, 1, step) for each in (here, there))
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)


def test_search(tasks: Two, make_part: MakePart, make_settings: Make) -> None:
    settings = make_settings()
    here, there = (search([make_part(task, settings)], settings) for task in tasks)
    assert here.genotype == there.genotype
    assert here.stage_masks == there.stage_masks
    assert all(np.array_equal(here.alpha[kind], there.alpha[kind]) for kind in CELL_KINDS)
    assert all(torch.equal(value, there.weights[name]) for name, value in here.weights.items())
    assert [without_time(row) for row in here.rows] == [without_time(row) for row in there.rows]


def test_selection_and_final_training(tasks: Two, make_part: MakePart, make_settings: Make) -> None:
    settings = make_settings()
    genotype = search([make_part(tasks[0], settings)], settings).genotype
    here, there = (train_network(genotype, task, _SMALL, selection=True) for task in tasks)
    assert here.held_out == there.held_out == "alpha"
    assert (here.accuracy, here.loss, here.images) == (there.accuracy, there.loss, there.images)
    assert [without_time(row) for row in here.rows] == [without_time(row) for row in there.rows]

    journals = [MemoryJournal(), MemoryJournal()]
    finals = [
        train_network(genotype, task, _SMALL, journal=journal)
        for task, journal in zip(tasks, journals, strict=True)
    ]
    # The training itself does not see it, either: only the one evaluation at the end does.
    for a, b in zip(finals[0].rows, finals[1].rows, strict=True):
        assert without_time(a) == without_time(b)
    state, other = (final.model.state_dict() for final in finals)
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    assert finals[0].held_out == "validation"
    assert finals[0].images == len(tasks[0].indices(Part.VALIDATION))
    assert finals[0].loss != finals[1].loss


def without_time(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in ("seconds", "peak_memory")}
