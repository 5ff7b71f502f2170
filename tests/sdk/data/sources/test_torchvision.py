import bz2
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray
from PIL import Image

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.task import ImageTask

Digits = dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def _idx(array: NDArray[np.uint8]) -> bytes:
    """The format of MNIST's files: magic with the number of dimensions, the shape, the data."""
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    """MNIST's raw files where torchvision looks for them, 40 + 20 images of four digits."""
    random = np.random.default_rng(0)
    raw = tmp_path / "torchvision" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    found = {}
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 4).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(images))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(labels))
        found[prefix] = (images, labels)
    return found


@pytest.mark.parametrize("name", ["MNIST", "mnist"])
def test_splits_are_put_together_and_names_kept(digits: Digits, tmp_path: Path, name: str) -> None:
    task = ImageTask.load(f"torchvision:{name}", cache_dir=tmp_path)
    assert task.name == "MNIST"
    assert len(task) == 60
    assert any("splits train, test" in note for note in task.notes)
    assert task.class_names == ("0 - zero", "1 - one", "2 - two", "3 - three")
    tensors = ImageTask.load(
        (np.concatenate([digits["train"][0], digits["t10k"][0]]),
         np.concatenate([digits["train"][1], digits["t10k"][1]]))
    )  # fmt: skip
    assert task.digest == tensors.digest
    assert (task.pixels(28) == tensors.pixels(28)).all()


def test_one_split(digits: Digits, tmp_path: Path) -> None:
    task = ImageTask.load("torchvision:MNIST", split="test", cache_dir=tmp_path)
    assert task.digest == ImageTask.load(digits["t10k"]).digest
    assert task.notes == ()
    with pytest.raises(TaskError, match=r"'val'; .*train, test"):
        ImageTask.load("torchvision:MNIST", split="val", cache_dir=tmp_path)


def test_image_files_that_torchvision_opens(tmp_path: Path) -> None:
    root = tmp_path / "torchvision" / "eurosat" / "2750"
    for i, name in enumerate(["River", "Forest"]):
        (root / name).mkdir(parents=True)
        for j in range(4):
            colour = (50 * i, 40 * j, 7)
            Image.new("RGB", (8, 8), colour).save(root / name / f"{name}_{j}.jpg", quality=100)
    task = ImageTask.load("torchvision:EuroSAT", cache_dir=tmp_path)
    assert task.class_names == ("Forest", "River")
    (root / "River" / "River_2.jpg").write_bytes(b"broken")
    with pytest.raises(TaskError, match=r"image 6 .*'all' .*EuroSAT"):
        ImageTask.load("torchvision:EuroSAT", cache_dir=tmp_path)
    assert len(ImageTask.load("torchvision:EuroSAT", cache_dir=tmp_path, skip_corrupt=True)) == 7


def test_labels_without_names_are_named_by_number(tmp_path: Path) -> None:
    # USPS comes as text: the label from 1, then 256 numbers in [-1, 1].
    root = tmp_path / "torchvision"
    root.mkdir()
    random = np.random.default_rng(0)
    for name in ("usps.bz2", "usps.t.bz2"):
        rows = [
            f"{1 + i % 3} " + " ".join(f"{k + 1}:{v:.3f}" for k, v in enumerate(values))
            for i, values in enumerate(random.uniform(-1, 1, (12, 256)))
        ]
        (root / name).write_bytes(bz2.compress("\n".join(rows).encode()))
    task = ImageTask.load("torchvision:USPS", cache_dir=tmp_path)
    assert task.class_names == ("0", "1", "2")
    assert np.bincount(task.labels).tolist() == [8, 8, 8]


def test_unknown_names_list_close_ones(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"'cifar'.*mean CIFAR10 or"):
        ImageTask.load("torchvision:cifar", cache_dir=tmp_path)
    with pytest.raises(TaskError, match=r"'qwertz' .*Caltech101"):
        ImageTask.load("torchvision:qwertz", cache_dir=tmp_path)


def test_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"^image_column .*torchvision"):
        ImageTask.load("torchvision:MNIST", image_column="x", cache_dir=tmp_path)


def test_what_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(TaskError, match=rf"MNIST .*{tmp_path}"):
        ImageTask.load("torchvision:MNIST", cache_dir=tmp_path)


def test_the_splits_are_kept_by_choice(digits: Digits, tmp_path: Path) -> None:
    task = ImageTask.load("torchvision:MNIST", split="given", cache_dir=tmp_path)
    assert task.given_split
    assert len(task.train_indices) == 40
    assert task.digest == ImageTask.load(digits["train"], validation=digits["t10k"]).digest
