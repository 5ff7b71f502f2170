"""The user's own split: other datasets as parts, a column that names them, groups."""

import csv
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

Make = Callable[..., Path]
Encode = Callable[..., bytes]


def _sizes(task: ImageTask) -> list[int]:
    return [len(task.indices(part)) for part in Part]


def _table(encode: Encode, rows: list[Mapping[str, Any]], path: Path) -> Path:
    """Write a parquet file with one image a row, the row's number its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [{"image": encode(number), **row} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(data), path)
    return path


def _metadata(folder: Path, column: str, value: Callable[[Path], str]) -> Path:
    """Write metadata.csv with a column for the images of class folders."""
    files = sorted(folder.glob("*/*.png"))
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", column])
        writer.writerows([str(each.relative_to(folder)), value(each)] for each in files)
    return folder


def test_another_folder_is_the_validation_part(make_folder: Make, tmp_path: Path) -> None:
    train = make_folder({"a": 6, "b": 6}, "train-images")
    held_out = make_folder({"b": 3, "a": 4}, "held-out", start=50_000)
    task = ImageTask.load(train, validation=held_out)
    assert task.given_split
    assert task.name == "train-images"
    assert _sizes(task) == [6, 6, 7, 0]
    whole = tmp_path / "whole"
    shutil.copytree(train, whole / "train")
    shutil.copytree(held_out, whole / "val")
    same = ImageTask.load(whole)
    assert task.digest == same.digest
    assert (task.parts == same.parts).all()
    assert (task.pixels(16) == same.pixels(16)).all()
    assert task.digest != ImageTask.load(train).digest


def test_a_test_part_alone_is_held_out_and_with_validation_it_is_the_last(
    make_folder: Make,
) -> None:
    train, first, second = (
        make_folder({"a": 4, "b": 4}, name, start=10_000 * number)
        for number, name in enumerate(("one", "two", "three"))
    )
    alone = ImageTask.load(train, test=first)
    assert _sizes(alone) == [4, 4, 8, 0]
    assert alone.digest == ImageTask.load(train, validation=first).digest
    both = ImageTask.load(train, validation=first, test=second)
    assert _sizes(both) == [4, 4, 8, 8]
    assert both.held_out is Part.TEST
    trained, stopping = both.stopping_split()
    assert (trained == both.train_indices).all()
    assert (stopping == both.indices(Part.VALIDATION)).all()


def test_what_stops_a_training_is_of_the_train_part_without_a_validation_part(
    make_folder: Make,
) -> None:
    train = make_folder({"a": 20, "b": 12}, "one")
    task = ImageTask.load(train, validation=make_folder({"a": 2, "b": 2}, "two", start=10_000))
    trained, stopping = task.stopping_split()
    assert sorted([*trained, *stopping]) == task.train_indices.tolist()
    assert np.bincount(task.labels[stopping]).tolist() == [2, 1]  # a tenth of 20 and of 12
    # The same images stop it whatever is held out.
    other = ImageTask.load(train, validation=make_folder({"a": 5, "b": 1}, "three", start=20_000))
    chosen = other.image_digests[other.stopping_split()[1]]
    assert set(chosen.tolist()) == set(task.image_digests[stopping].tolist())


def test_a_test_part_beside_a_folder_with_train_and_val(make_folder: Make, tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val")):
        make_folder({"a": 4, "b": 4}, f"mine/{name}", start=1000 * number * 10)
    test = make_folder({"a": 2, "b": 2}, "apart", start=90_000)
    assert _sizes(ImageTask.load(tmp_path / "mine", test=test)) == [4, 4, 8, 4]
    with pytest.raises(TaskError, match="split of its own"):
        ImageTask.load(tmp_path / "mine", validation=test)
    with pytest.raises(TaskError, match="split of its own"):
        ImageTask.load(test, validation=tmp_path / "mine")


def test_parts_of_different_kinds(make_folder: Make, encode: Encode, tmp_path: Path) -> None:
    rows = [{"label": "ab"[n % 2]} for n in range(12)]
    task = ImageTask.load(
        _table(encode, rows, tmp_path / "rows.parquet"),
        validation=make_folder({"b": 3, "a": 2}, start=5000),
    )
    assert _sizes(task) == [6, 6, 5, 0]
    arrays = np.random.default_rng(0).integers(0, 256, (14, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(14) % 2
    split = ImageTask.load((arrays[:8], labels[:8]), validation=(arrays[8:], labels[8:]))
    assert _sizes(split) == [4, 4, 6, 0]
    assert (np.sort(split.labels) == np.sort(labels)).all()


def test_the_class_of_a_held_out_part_has_to_be_trained_on(make_folder: Make) -> None:
    train = make_folder({"a": 4, "b": 4}, "one")
    with pytest.raises(TaskError) as caught:
        ImageTask.load(train, validation=make_folder({"a": 2, "b": 2, "c": 2}, "two", start=9000))
    assert "'c'" in caught.value.what
    with pytest.raises(TaskError) as caught:
        ImageTask.load(train, validation=make_folder({"a": 4}, "three", start=8000))
    assert "'b'" in caught.value.what


def test_copies_in_two_parts_are_told(make_folder: Make, tmp_path: Path) -> None:
    train = make_folder({"a": 4, "b": 4}, "one")
    held_out = make_folder({"a": 2, "b": 2}, "two", start=9000)
    shutil.copy(train / "a" / "0.png", held_out / "a" / "copy.png")
    task = ImageTask.load(train, validation=held_out)
    assert any("1 held-out image" in note for note in task.notes)


def test_a_column_names_the_parts(encode: Encode, tmp_path: Path) -> None:
    names = ["train"] * 8 + ["Val"] * 4 + ["test"] * 4
    rows = [{"label": n % 2, "fold": name} for n, name in enumerate(names)]
    path = _table(encode, rows, tmp_path / "rows.parquet")
    task = ImageTask.load(path, split_column="fold")
    assert _sizes(task) == [4, 4, 4, 4]
    row_of_image = task.images.rows[task.indices(Part.TEST)]
    assert sorted(row_of_image.tolist()) == [12, 13, 14, 15]
    plain = ImageTask.load(path)
    assert not plain.given_split
    assert plain.digest != task.digest


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train"] * 12, "'train'"),
        (["train"] * 11 + ["rest"], "row 11"),
        (["train"] * 11 + [None], "row 11"),
    ],
)
def test_columns_that_name_no_parts(
    encode: Encode, tmp_path: Path, names: list[str | None], said: str
) -> None:
    rows = [{"label": n % 2, "fold": name} for n, name in enumerate(names)]
    path = _table(encode, rows, tmp_path / "rows.parquet")
    with pytest.raises(TaskError) as caught:
        ImageTask.load(path, split_column="fold")
    assert said in caught.value.what
    assert "'fold'" in caught.value.what


@pytest.mark.parametrize("option", ["split_column", "groups"])
def test_a_column_that_is_not_there(
    option: str, make_folder: Make, encode: Encode, tmp_path: Path
) -> None:
    path = _table(encode, [{"label": n % 2} for n in range(12)], tmp_path / "rows.parquet")
    folder = make_folder({"a": 4, "b": 4})
    for data in (path, folder, _metadata(folder, "patient", str)):
        with pytest.raises(TaskError, match="'doctor'"):
            ImageTask.load(data, **{option: "doctor"})  # type: ignore[arg-type]


def _group_parts(task: ImageTask, group_of: Callable[[int], str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row, part in zip(task.images.rows.tolist(), task.parts.tolist(), strict=True):
        found.setdefault(group_of(row), set()).add(part)
    return found


def test_groups_of_a_table_stay_together(encode: Encode, tmp_path: Path) -> None:
    rows = [{"label": n % 2, "patient": n // 4} for n in range(48)]
    path = _table(encode, rows, tmp_path / "rows.parquet")
    task = ImageTask.load(path, groups="patient")
    parts = _group_parts(task, lambda row: str(row // 4))
    assert len(parts) == 12
    assert all(len(each) == 1 for each in parts.values())
    assert _sizes(task) == [16, 16, 16, 0]  # 4 groups of 4 images, half of each class
    assert any("12 groups" in note for note in task.notes)
    plain = ImageTask.load(path)
    assert task.digest != plain.digest
    # The same groups by other names, in another order, in two files: one task.
    order = np.random.default_rng(0).permutation(48).tolist()
    data = [
        {"image": encode(n), "label": n % 2, "patient": f"patient {99 - n // 4}"} for n in order
    ]
    for number in range(2):
        file = tmp_path / "several" / f"{number}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(data[24 * number : 24 * (number + 1)]), file)
    same = ImageTask.load(tmp_path / "several", groups="patient")
    assert same.digest == task.digest
    assert (same.parts == task.parts).all()


def test_groups_of_class_folders_are_in_the_metadata(make_folder: Make) -> None:
    folder = make_folder({"a": 24, "b": 24})
    _metadata(folder, "patient", lambda file: str(int(file.stem) // 4))
    task = ImageTask.load(folder, groups="patient")
    files = task.images.source.files  # type: ignore[attr-defined]
    parts = _group_parts(task, lambda row: str(int(files[row].stem) // 4))
    assert len(parts) == 6
    assert all(len(each) == 1 for each in parts.values())
    (folder / "a" / "new.png").write_bytes((folder / "a" / "0.png").read_bytes())
    with pytest.raises(TaskError, match=r"new\.png"):
        ImageTask.load(folder, groups="patient")


def test_groups_of_a_subset_and_of_arrays() -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (36, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(36) % 2
    task = ImageTask.load((arrays, labels), groups=np.arange(36) // 3)  # type: ignore[arg-type]
    parts = _group_parts(task, lambda row: str(row // 3))
    assert len(parts) == 12
    assert all(len(each) == 1 for each in parts.values())
    kept = np.flatnonzero(task.images.rows < 30)
    part = task.subset(kept)
    direct = ImageTask.load((arrays[:30], labels[:30]), groups=list(np.arange(30) // 3))
    assert part.digest == direct.digest
    assert (part.parts == direct.parts).all()


@pytest.mark.parametrize("groups", ["patient", [1, 2], [None] * 12, ["x"] * 12])
def test_groups_that_do_not_fit_arrays(groups: Any) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(TaskError):
        ImageTask.load((arrays, np.arange(12) % 2), groups=groups)


def test_a_group_in_two_parts_of_a_given_split_is_refused(encode: Encode, tmp_path: Path) -> None:
    rows = [
        {"label": n % 2, "fold": "train" if n < 12 else "val", "patient": f"p{n // 4}"}
        for n in range(20)
    ]
    path = _table(encode, rows, tmp_path / "rows.parquet")
    task = ImageTask.load(path, split_column="fold", groups="patient")
    assert _sizes(task)[2] == 8
    rows[19] = {**rows[19], "patient": "p0"}
    with pytest.raises(TaskError) as caught:
        ImageTask.load(
            _table(encode, rows, tmp_path / "mixed.parquet"), split_column="fold", groups="patient"
        )
    assert "'p0'" in caught.value.what


def test_splits_of_a_dataset_are_kept_by_choice(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name, start, count in (("train", 0, 8), ("test", 100, 4)):
        data = [{"image": encode(start + n), "label": n % 2} for n in range(count)]
        path = tmp_path / "pots" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(data), path)
    kept = ImageTask.load(f"hf:{tmp_path / 'pots'}", split="given")
    assert _sizes(kept) == [4, 4, 4, 0]
    assert kept.digest == ImageTask.load(tmp_path / "pots").digest
    assert not ImageTask.load(f"hf:{tmp_path / 'pots'}").given_split
