from pathlib import Path

import numpy as np
import pytest

from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask


def test_textures_as_a_folder(shared_data: Path) -> None:
    task = ImageTask.load(shared_data / "dtd_10")
    assert task.classes == 10
    assert "cobwebbed" in task.class_names
    assert np.bincount(task.labels).tolist() == [120] * 10
    assert [len(task.indices(part)) for part in Part] == [400, 400, 400, 0]
    assert task.digest == (
        "sha256:2c7423298638d19af3d57e680b593bae6a423762dfd05b3142446af813bd4d7f"
    )
    pixels = task.pixels(84)
    assert pixels.shape == (1200, 84, 84, 3)
    assert 90 < pixels.mean() < 150


def test_flowers_as_parquet_load_the_same_the_second_time(shared_data: Path) -> None:
    task = ImageTask.load(shared_data / "flowers102.parquet")
    again = ImageTask.load(shared_data / "flowers102.parquet")
    pixels = again.pixels(84)
    assert len(task) == 8189
    assert task.classes == 102
    assert task.class_names[0] == "pink primrose"
    assert pixels.shape == (8189, 84, 84, 3)
    assert again.digest == task.digest
    validation = len(task.indices(Part.VALIDATION))
    assert abs(validation - 8189 / 3) < 102 / 2
    assert abs(len(task.indices(Part.WEIGHTS)) - len(task.indices(Part.ALPHA))) <= 1


@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [
        ("aircraft_edges", 100, 10_000),
        ("bird_groups", 29, 790),
        ("cifar10_1000", 10, 10_000),
        ("tiny_imagenet_100", 200, 20_000),
    ],
)
@pytest.mark.slow
def test_the_other_sets(shared_data: Path, name: str, classes: int, images: int) -> None:
    task = ImageTask.load(shared_data / f"{name}.parquet")
    assert (task.classes, len(task)) == (classes, images)
    assert task.pixels(84).shape == (images, 84, 84, 3)
