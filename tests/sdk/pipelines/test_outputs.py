"""Runs do not lie in the folder of the dataset that they read, in any form of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsdarts_registry.errors import RunError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.pipelines.run_context import check_apart
from wsdarts_sdk.pipelines.search import search


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images."""
    for number in range(6):
        file = tmp_path / "data" / f"class-{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 40 * number, dtype=np.uint8)).save(file)
    return tmp_path / "data"


def test_the_folder_of_a_task_that_is_read_already(folder: Path, tmp_path: Path) -> None:
    task = ImageTask.load(folder, cache_dir=tmp_path / "cache")
    with pytest.raises(RunError, match=str(folder / "run")):
        search(task, out=folder / "run")
    assert not (folder / "run").exists()


def test_what_lies_elsewhere(folder: Path, tmp_path: Path) -> None:
    images, labels = np.zeros((6, 8, 8), np.uint8), [0, 1] * 3
    table = tmp_path / "table.parquet"
    table.write_bytes(b"")
    data = (folder, f"{folder}", "hf:a/b", "torchvision:MNIST", (images, labels), table, None, 3)
    check_apart(tmp_path / "run", data)
    check_apart(tmp_path / "data-run", data)
    with pytest.raises(RunError, match=str(folder)):
        check_apart(folder, data)
