"""What is held out, and what things are called, changes nothing that a search finds.

Two folders hold the same train part. In the second every validation image is another one, and
the files and the classes have other names, so that they come in another order.
"""

import hashlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from wsdarts_hub import TINY, ImageTask, Preset, nearest, search, warm_start
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.split import Part

_QUICK = Preset(
    name="quick",
    search=replace(
        TINY.search,
        stages=tuple(replace(stage, epochs=2, trained_epochs=1) for stage in TINY.search.stages),
        steps_per_epoch=2,
        image_size=12,
        batch_size=6,
    ),
    training=TINY.training,
    selection=replace(TINY.selection, epochs=1, steps_per_epoch=2, image_size=12, batch_size=6),
)
# Five images of a class: two for validation and three to train on, an odd number in each.
_CLASSES, _TRAIN, _VALIDATION = 6, 3, 2
Contents = dict[int, list[bytes]]
Folders = tuple[Path, Path]


def _encoded(pixels: NDArray[np.float64]) -> bytes:
    buffer = BytesIO()
    Image.fromarray((pixels * 15).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def digits() -> Contents:
    """Images of each class, in the order by which the split takes the validation third."""

    def place(content: bytes) -> bytes:
        digest = hashlib.sha256(content).hexdigest().encode()
        return hashlib.sha256(digest + b"wsdarts-hub split 1").digest()

    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 8, 8)
    return {c: sorted(map(_encoded, pixels[labels == c]), key=place) for c in range(_CLASSES)}


def _write(root: Path, classes: dict[str, list[bytes]]) -> Path:
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for number, content in enumerate(images):
            (root / name / f"{number}.png").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def own_split(digits: Contents, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Two folders that are split here, with the same train images and names as described above."""
    root = tmp_path_factory.mktemp("own")
    first = {f"digit {c}": images[:2] + images[-3:] for c, images in digits.items()}
    second = {f"{9 - c}": [*images[-3:][::-1], *images[2:4]] for c, images in digits.items()}
    return _write(root / "first", first), _write(root / "second", second)


@pytest.fixture(scope="module")
def given_split(digits: Contents, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Two folders with a split of their own; more is held out of the second, a test part, too."""
    root = tmp_path_factory.mktemp("given")
    for c, images in digits.items():
        _write(root / "first", {f"train/digit {c}": images[:3], f"val/digit {c}": images[5:7]})
        parts = {"Training": images[2::-1], "dev": images[8:12], "test": images[12:14]}
        _write(root / "second", {f"{part}/{9 - c}": some for part, some in parts.items()})
    return root / "first", root / "second"


@pytest.mark.parametrize("kind", ["own_split", "given_split"])
def test_what_is_held_out_changes_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folders: Folders = request.getfixturevalue(kind)
    here, there = tasks = tuple(ImageTask.load(folder) for folder in folders)
    assert here.digest != there.digest
    assert here.given_split == there.given_split == (kind == "given_split")
    for part in (Part.WEIGHTS, Part.ALPHA):
        assert _contents(here, part) == _contents(there, part)
    assert not _contents(here, Part.VALIDATION) & _contents(there, Part.VALIDATION)

    first, second = (
        search(task, out=tmp_path / f"search-{i}", preset=_QUICK) for i, task in enumerate(tasks)
    )
    _assert_equal(first.result, second.result)
    rankings = [nearest(task, k=3).neighbours for task in tasks]
    assert [(n.reference, n.distance) for n in rankings[0]] == [
        (n.reference, n.distance) for n in rankings[1]
    ]


def test_the_choice_of_a_genotype(own_split: Folders, tmp_path: Path) -> None:
    preset = _QUICK.with_choice(candidates=3, steps=2, checked=3)
    found = [
        search(folder, out=tmp_path / f"search-{i}", preset=preset)
        for i, folder in enumerate(own_split)
    ]
    _assert_equal(found[0].result, found[1].result)
    assert found[0].choice is not None
    assert found[0].choice == found[1].choice


@pytest.mark.slow
def test_a_warm_start_with_its_sweep(own_split: Folders, tmp_path: Path) -> None:
    found = [
        warm_start(
            folder,
            out=tmp_path / f"warm-{i}",
            preset=_QUICK,
            source="dtd-10",
            mode="topology",
            sweep_skip_dropout=True,
        )
        for i, folder in enumerate(own_split)
    ]
    _assert_equal(found[0].result, found[1].result)
    trials = [[(t.rate, t.accuracy, t.genotype) for t in each.trials] for each in found]
    assert trials[0] == trials[1]


def _contents(task: ImageTask, part: Part) -> set[bytes]:
    return set(task.image_digests[task.indices(part)].tolist())


def _assert_equal(here: Any, there: Any) -> None:
    assert here.genotype == there.genotype
    assert here.stage_masks == there.stage_masks
    assert all(np.array_equal(here.alpha[kind], there.alpha[kind]) for kind in CELL_KINDS)
    assert here.weights.keys() == there.weights.keys()
    assert all(torch.equal(value, there.weights[name]) for name, value in here.weights.items())
