import dataclasses
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

Make = Callable[..., Path]
Encode = Callable[..., bytes]


def test_names_and_order_of_files_do_not_matter(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder({"a": 6, "b": 7})
    task = ImageTask.load(folder)
    other = tmp_path / "moved" / "renamed"
    (other / "x").mkdir(parents=True)
    (other / "y").mkdir()
    for i, file in enumerate(sorted((folder / "a").iterdir(), reverse=True)):
        shutil.copy(file, other / "x" / f"{i}_other.PNG")
    for file in (folder / "b").iterdir():
        shutil.copy(file, other / "y" / file.name)
    renamed = ImageTask.load(other)
    assert renamed.digest == task.digest
    assert renamed.class_names == ("x", "y")
    assert (renamed.image_digests == task.image_digests).all()
    assert (renamed.parts == task.parts).all()


def test_renumbered_classes_are_the_same_task_with_its_own_pixels(make_folder: Make) -> None:
    folder = make_folder({"a": 3, "b": 4})
    task = ImageTask.load(folder)
    before = task.pixels(12)
    (folder / "a").rename(folder / "z")
    swapped = ImageTask.load(folder)
    assert swapped.digest == task.digest
    assert swapped.class_names == ("b", "z")
    expected = np.concatenate([before[3:], before[:3]])
    assert (swapped.pixels(12) == expected).all()
    assert (task.pixels(12) == before).all()


def test_another_label_is_another_task(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    before = ImageTask.load(folder).digest
    (folder / "a" / "0.png").rename(folder / "b" / "moved.png")
    assert ImageTask.load(folder).digest != before


def test_pixels_follow_the_labels(make_folder: Make) -> None:
    folder = make_folder({"a": 5, "b": 6})
    task = ImageTask.load(folder)
    by_digest = dict(zip(task.image_digests.tolist(), task.pixels(12), strict=True))
    for file in folder.rglob("*.png"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest().encode()
        assert (by_digest[digest] == np.asarray(Image.open(file))).all()
        label = task.labels[task.image_digests.tolist().index(digest)]
        assert task.class_names[label] == file.parent.name


def test_parts_are_disjoint_and_complete(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 9, "b": 12}))
    found = [task.indices(part) for part in Part]
    assert [len(indices) for indices in found] == [7, 7, 7, 0]
    assert all(indices.dtype == np.int64 for indices in found)
    assert sorted(np.concatenate(found).tolist()) == list(range(21))
    train = np.sort(np.concatenate(found[:2]))
    assert task.train_indices.tolist() == train.tolist()


def test_the_task_is_frozen(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 3, "b": 3}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "other"  # type: ignore[misc]
    for array in (task.labels, task.image_digests, task.parts, task.pixels(8)):
        assert not array.flags.writeable


def test_its_text_is_short(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 3, "b": 3}), name="two\x1b[2J kinds")
    start = "<ImageTask two\N{REPLACEMENT CHARACTER}[2J kinds: 6 images of 2 classes, "
    assert repr(task) == f"{start}{task.digest[:19]}…>"
    some = dataclasses.replace(task, skipped=("a/1.png: broken",))
    assert ", 1 more left out, " in repr(some)


def _break_images(folder: Path) -> None:
    (folder / "a" / "0.png").write_bytes(b"")
    (folder / "b" / "1.png").write_bytes(b"some text\n")
    whole = (folder / "b" / "2.png").read_bytes()
    (folder / "b" / "2.png").write_bytes(whole[: len(whole) // 2])


def test_corrupt_images_are_found_at_load_every_time(make_folder: Make) -> None:
    folder = make_folder({"a": 5, "b": 6})
    _break_images(folder)
    for _ in range(2):
        with pytest.raises(
            TaskError,
            match=r"a/0\.png .*empty \(and 2 more .*--skip-corrupt \(skip_corrupt=True\)",
        ):
            ImageTask.load(folder)


def test_skipped_images_are_listed_and_not_in_the_digest(make_folder: Make) -> None:
    folder = make_folder({"a": 5, "b": 6})
    _break_images(folder)
    task = ImageTask.load(folder, skip_corrupt=True)
    assert len(task) == 8
    assert [line.split(": ")[0] for line in task.skipped] == [
        str(folder / name) for name in ("a/0.png", "b/1.png", "b/2.png")
    ]
    assert task.skipped[1].partition(": ")[2].startswith("not an image")
    assert task.pixels(84).shape == (8, 84, 84, 3)
    for name in ("a/0.png", "b/1.png", "b/2.png"):
        (folder / name).unlink()
    clean = ImageTask.load(folder)
    assert clean.digest == task.digest
    assert clean.skipped == ()
    assert (clean.pixels(12) == task.pixels(12)).all()


def test_a_repaired_image_is_used_again(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    whole = (folder / "a" / "0.png").read_bytes()
    expected = ImageTask.load(folder).digest
    (folder / "a" / "0.png").write_bytes(b"broken")
    assert ImageTask.load(folder, skip_corrupt=True).digest != expected
    (folder / "a" / "0.png").write_bytes(whole)
    assert ImageTask.load(folder).digest == expected


def test_skipping_can_leave_too_few(make_folder: Make) -> None:
    folder = make_folder({"a": 3, "b": 3})
    (folder / "a" / "0.png").write_bytes(b"broken")
    with pytest.raises(TaskError, match=r"a/0\.png cannot be decoded"):
        ImageTask.load(folder)
    with pytest.raises(TaskError, match=r"'a' .*2 distinct"):
        ImageTask.load(folder, skip_corrupt=True)


def test_nothing_but_corrupt_images(make_folder: Make) -> None:
    folder = make_folder({"a": 3, "b": 3})
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(TaskError, match=r"empty \(and 5 more"):
        ImageTask.load(folder)
    with pytest.raises(TaskError, match=r"no images; .*two classes"):
        ImageTask.load(folder, skip_corrupt=True)


def test_unreadable_files_are_corrupt(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    (folder / "a" / "9.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(TaskError, match=r"a/9\.png .*\(No such"):
        ImageTask.load(folder)


def test_a_file_that_changes_after_the_load_is_noticed(make_folder: Make, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4})
    task = ImageTask.load(folder)
    (folder / "a" / "0.png").write_bytes(encode(99))
    with pytest.raises(TaskError, match=r"a/0\.png .*has changed"):
        task.pixels(16)
    assert len(task.pixels(84)) == 8  # decoded when it was loaded


def test_an_image_in_two_classes_is_only_trained_on(make_folder: Make) -> None:
    folder = make_folder({"a": 6, "b": 6})
    shutil.copy(folder / "a" / "0.png", folder / "b" / "copy.png")
    task = ImageTask.load(folder)
    digest = hashlib.sha256((folder / "a" / "0.png").read_bytes()).hexdigest().encode()
    places = np.flatnonzero(task.image_digests == digest)
    assert task.labels[places].tolist() == [0, 1]
    assert set(places.tolist()) <= set(task.train_indices.tolist())


def test_name_and_cache_can_be_given(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder({"a": 3, "b": 3})
    task = ImageTask.load(folder, name="mine", cache_dir=str(tmp_path / "there"))
    assert task.name == "mine"
    assert task.digest == ImageTask.load(folder).digest
    assert list((tmp_path / "there").glob("tasks/*/*.npy"))


def test_progress_counts_to_the_end(make_folder: Make) -> None:
    folder = make_folder({"a": 30, "b": 10})
    calls: list[tuple[str, int, int]] = []
    task = ImageTask.load(folder, progress=lambda *call: calls.append(call))
    assert ("reading images", 40, 40) in calls
    assert ("decoding images", 40, 40) in calls
    calls.clear()
    ImageTask.load(folder, progress=lambda *call: calls.append(call))
    assert {what for what, _, _ in calls} == {"reading images"}  # decoded only once
    calls.clear()
    task.pixels(84, progress=lambda *call: calls.append(call))
    assert calls == []


def test_subsets_are_tasks_of_their_own(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder({"a": 8, "b": 9, "c": 6})
    task = ImageTask.load(folder)
    chosen = np.flatnonzero(task.labels != 1)[::2]
    half = task.subset(chosen[::-1])
    assert half.class_names == ("a", "c")
    assert half.labels.tolist() == [0] * 4 + [1] * 3
    assert (half.pixels(12) == task.pixels(12)[chosen]).all()
    assert len(half.indices(Part.VALIDATION)) == 2

    # The same images in a folder of their own are the same task.
    kept = set(half.image_digests.tolist())
    for file in folder.rglob("*.png"):
        if hashlib.sha256(file.read_bytes()).hexdigest().encode() not in kept:
            file.unlink()
    (folder / "b").rmdir()
    alone = ImageTask.load(folder, cache_dir=tmp_path / "other cache")
    assert alone.digest == half.digest
    assert (alone.parts == half.parts).all()
    assert (alone.pixels(12) == half.pixels(12)).all()


def test_subsets_of_subsets(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 9, "b": 9}))
    outer = task.subset(range(2, 17))
    inner = outer.subset([0, 2, 4, 9, 11, 13])
    assert (inner.pixels(8) == task.pixels(8)[[2, 4, 6, 11, 13, 15]]).all()
    assert task.subset(np.arange(18)).digest == task.digest


@pytest.mark.parametrize("indices", [[0, 0, 1], [-1], [8], [0.5], [[0]], [], [True]])
def test_indices_that_fit_nothing(make_folder: Make, indices: list[object]) -> None:
    task = ImageTask.load(make_folder({"a": 4, "b": 4}))
    with pytest.raises(TaskError, match="from 0 to 7"):
        task.subset(indices)  # type: ignore[arg-type]


def test_subsets_that_are_no_task(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 4, "b": 4}))
    with pytest.raises(TaskError, match="one class"):
        task.subset([0, 1, 2, 3])
    with pytest.raises(TaskError, match=r"'b' .*2 distinct"):
        task.subset([0, 1, 2, 4, 5])


@pytest.mark.parametrize("size", [7, 4001, -1])
def test_sizes_out_of_range(make_folder: Make, size: int) -> None:
    task = ImageTask.load(make_folder({"a": 3, "b": 3}))
    with pytest.raises(TaskError, match=f"{size} pixels.*8 to 4000"):
        task.pixels(size)


def test_importing_tasks_imports_nothing_heavy() -> None:
    program = (
        "import sys, wsdarts_sdk.data\n"
        "heavy = {'torch', 'torchvision', 'datasets', 'pyarrow', 'timm'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_images_are_read_in_the_order_asked_for(make_folder: Make) -> None:
    task = ImageTask.load(make_folder({"a": 5, "b": 4}))
    calls: list[tuple[str, int, int]] = []
    found = task.read([7, 0, 3, 7], 16, progress=lambda *call: calls.append(call))
    assert not list(task.images.cache.glob("tasks/*/*-16px*"))  # nothing is kept
    assert calls[-1] == ("decoding images", 3, 3)
    assert (found == task.pixels(16)[[7, 0, 3, 7]]).all()
    assert task.read(np.array([], dtype=np.int64), 16).shape == (0, 16, 16, 3)
    part = task.subset([0, 2, 3, 5, 6, 8])
    assert (part.read([5, 1], 16) == part.pixels(16)[[5, 1]]).all()
    with pytest.raises(TaskError, match="7 pixels"):
        task.read([0], 7)


def test_reading_notices_changed_images(make_folder: Make, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4})
    task = ImageTask.load(folder)
    for name in ("0", "1"):
        (folder / "a" / f"{name}.png").write_bytes(encode(99))
    with pytest.raises(TaskError, match=r"has changed .*and 1 more"):
        task.read(range(8), 16)
