"""What the library `datasets` and WebDataset write, given as a path: real files of each kind."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

from tests.plain_user import without_overrides
from wsdarts_registry.errors import FileAccessError, TaskError, WsdartsError
from wsdarts_sdk.data.task import ImageTask

Make = Callable[..., Path]
Encode = Callable[..., bytes]
FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=["pot", "cup"])}
)
Members = Iterable[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()


def _dataset(encode: Encode, count: int, start: int = 0) -> Any:
    rows = [{"bytes": encode(start + i), "path": None} for i in range(count)]
    columns = {"image": rows, "label": [i % 2 for i in range(count)]}
    return datasets.Dataset.from_dict(columns, features=FEATURES)


def test_a_folder_of_save_to_disk(tmp_path: Path, encode: Encode) -> None:
    data = _dataset(encode, 12)
    data.to_parquet(tmp_path / "same.parquet")
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    task = ImageTask.load(tmp_path / "saved")
    same = ImageTask.load(tmp_path / "same.parquet")
    assert task.name == "saved"
    assert (task.class_names, task.digest) == (("pot", "cup"), same.digest)
    assert (task.pixels(12) == same.pixels(12)).all()
    assert ImageTask.load(f"hf:{tmp_path / 'saved'}").digest == task.digest
    with pytest.raises(TaskError, match="has no splits"):
        ImageTask.load(tmp_path / "saved", split="train")


def test_a_selection_is_saved_as_such(tmp_path: Path, encode: Encode) -> None:
    _dataset(encode, 12).select(range(3, 11)).save_to_disk(tmp_path / "some")
    assert len(ImageTask.load(tmp_path / "some")) == 8


def test_splits_of_save_to_disk_are_the_users_own(tmp_path: Path, encode: Encode) -> None:
    splits = {"train": _dataset(encode, 8), "test": _dataset(encode, 6, 100)}
    datasets.DatasetDict(splits).save_to_disk(
        tmp_path / "saved", num_shards={"train": 3, "test": 1}
    )
    task = ImageTask.load(tmp_path / "saved")
    assert (task.given_split, task.part_sizes) == (True, "train 8, validation 6")
    assert ImageTask.load(f"hf:{tmp_path / 'saved'}").digest == task.digest
    (tmp_path / "tables").mkdir()
    for name, data in splits.items():
        data.to_parquet(tmp_path / "tables" / f"{name}.parquet")
    assert ImageTask.load(tmp_path / "tables").digest == task.digest
    chosen = ImageTask.load(tmp_path / "saved", split="train+test")
    assert (chosen.given_split, len(chosen)) == (False, 14)
    assert len(ImageTask.load(tmp_path / "saved", split="train")) == 8
    with pytest.raises(TaskError, match=r"'valid'.*train, test"):
        ImageTask.load(tmp_path / "saved", split="valid")


def test_splits_of_save_to_disk_with_validation_and_test(tmp_path: Path, encode: Encode) -> None:
    unlabelled = _dataset(encode, 6, 300).remove_columns("label")
    splits = {
        "train": _dataset(encode, 8),
        "validation": _dataset(encode, 6, 100),
        "test": _dataset(encode, 4, 200),
        "more": unlabelled,
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    task = ImageTask.load(tmp_path / "saved")
    assert task.part_sizes == "train 8, validation 6, test 4"
    assert any("splits more" in note for note in task.notes)
    splits["more"] = _dataset(encode, 6, 300)
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "unclear")
    with pytest.raises(TaskError, match="'more'"):
        ImageTask.load(tmp_path / "unclear")
    assert len(ImageTask.load(tmp_path / "unclear", split="train+more")) == 14


def test_splits_that_are_no_parts_are_put_together(tmp_path: Path, encode: Encode) -> None:
    splits = {"one": _dataset(encode, 8), "two": _dataset(encode, 6, 100)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    task = ImageTask.load(tmp_path / "saved")
    assert (task.given_split, len(task)) == (False, 14)
    assert any("splits one, two" in note for note in task.notes)


def test_a_split_with_other_classes_is_refused(tmp_path: Path, encode: Encode) -> None:
    names = datasets.ClassLabel(names=["bowl", "lid"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    rows = {"image": [{"bytes": encode(i)} for i in range(6)], "label": [0, 1] * 3}
    other = datasets.Dataset.from_dict(rows, features=features)
    saved = datasets.DatasetDict({"train": _dataset(encode, 8), "test": other})
    saved.save_to_disk(tmp_path / "saved")
    with pytest.raises(TaskError, match=r"saved/test/.*class names"):
        ImageTask.load(tmp_path / "saved")


def test_saved_paths_are_not_followed(tmp_path: Path, encode: Encode) -> None:
    _dataset(encode, 8).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    (tmp_path / "elsewhere.png").write_bytes(encode(99))
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all()
    rows = [{"bytes": None, "path": str(tmp_path / "elsewhere.png")}] * 8
    images = pa.array(rows, table.schema.field("image").type)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table.set_column(0, table.schema.field("image"), images))
    with pytest.raises(TaskError, match="no image bytes"):
        ImageTask.load(tmp_path / "saved")


@pytest.mark.parametrize(
    "state",
    [
        "{",
        "[]",
        "{}",
        '{"_data_files": []}',
        '{"_data_files": [{"filename": "../other.arrow"}]}',
        '{"_data_files": [{"filename": "/dev/zero"}]}',
        '{"_data_files": [{"filename": "missing.arrow"}]}',
        '{"_data_files": [{"filename": "pipe.arrow"}]}',
        '{"_data_files": [{"filename": "state.json"}]}',
    ],
)
def test_damaged_folders_of_save_to_disk(state: str, tmp_path: Path, encode: Encode) -> None:
    _dataset(encode, 8).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text(state)
    os.mkfifo(tmp_path / "saved" / "pipe.arrow")
    with pytest.raises(TaskError) as caught:
        ImageTask.load(tmp_path / "saved")
    assert str(tmp_path / "saved") in str(caught.value)


def test_a_cut_off_arrow_file(tmp_path: Path, encode: Encode) -> None:
    _dataset(encode, 8).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    whole = file.read_bytes()
    for length in (0, 7, 500, len(whole) // 2, len(whole) - 100):
        file.write_bytes(whole[:length])
        with pytest.raises(TaskError, match=r"\.arrow cannot be read"):
            ImageTask.load(tmp_path / "saved")
    file.write_bytes(whole.replace(b"label", b"lab\xffl"))
    with pytest.raises(TaskError, match=r"\.arrow .*utf-8"):
        ImageTask.load(tmp_path / "saved")


def _tar(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _samples(encode: Encode, count: int, label: Callable[[int], dict[str, bytes]]) -> Members:
    for i in range(count):
        yield f"./data/{i:04}.png", encode(i)
        for extension, content in label(i).items():
            yield f"./data/{i:04}.{extension}", content


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (lambda i: {"cls": b"%d" % (9 + i % 2)}, ("9", "10")),
        (lambda i: {"cls": b"pot\n" if i % 2 else b"cup\n"}, ("cup", "pot")),
        (lambda i: {"json": b'{"label": %d, "size": 0.5, "by": [1]}' % (i % 2)}, ("0", "1")),
        (lambda i: {"cls": b"%d" % (i % 2), "pkl": b"cos\nsystem\n", "npy": b"?"}, ("0", "1")),
    ],
)  # fmt: skip
def test_an_archive_of_webdataset(
    label: Callable[[int], dict[str, bytes]], names: tuple[str, ...], tmp_path: Path, encode: Encode
) -> None:
    path = _tar(tmp_path / "shards" / "train-0000.tar", _samples(encode, 8, label))
    task = ImageTask.load(path)
    assert (task.name, task.class_names, len(task)) == ("train-0000", names, 8)
    images = np.stack([task.pixels(12)[i] for i in range(8)])
    assert images.shape == (8, 12, 12, 3)
    assert ImageTask.load(path.parent).digest == task.digest


def test_an_archive_holds_what_the_library_reads_of_it(tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"cls": b"%d" % (i // 4)}))
    theirs = datasets.load_dataset("webdataset", data_files=str(path), split="train")
    theirs.to_parquet(tmp_path / "a.parquet")
    same = ImageTask.load(tmp_path / "a.parquet", label_column="cls")
    assert ImageTask.load(path).digest == same.digest


@pytest.mark.parametrize("names", [("train-0.tar", "val-0.tar"), ("train/0.tar", "val/0.tar")])
def test_archives_named_as_parts(names: tuple[str, str], tmp_path: Path, encode: Encode) -> None:
    for start, name in enumerate(names):
        members = [
            member
            for i in range(8)
            for member in ((f"{i}.png", encode(100 * start + i)), (f"{i}.cls", b"%d" % (i % 2)))
        ]
        _tar(tmp_path / "shards" / name, members)
    task = ImageTask.load(tmp_path / "shards")
    assert (task.given_split, task.part_sizes) == (True, "train 8, validation 8")
    _tar((tmp_path / "shards" / names[0]).with_name("more.tar"), [("0.png", encode(1))])
    if "/" not in names[0]:
        with pytest.raises(TaskError, match=r"more\.tar"):
            ImageTask.load(tmp_path / "shards")


def test_several_archives_with_images_of_several_kinds(tmp_path: Path, encode: Encode) -> None:
    for shard in range(2):
        _tar(
            tmp_path / "shards" / f"{shard}.tar",
            [
                member
                for i in range(6)
                for kind in [("png", "webp")[i % 2]]
                for member in (
                    (f"{i}.{kind}", encode(10 * shard + i, kind=kind)),
                    (f"{i}.cls", b"%d" % (i // 3)),
                )
            ],
        )
    task = ImageTask.load(tmp_path / "shards")
    assert (len(task), task.class_names) == (12, ("0", "1"))
    assert task.digest == ImageTask.load(tmp_path / "shards", label_column="cls").digest


def test_text_beside_an_image_is_a_label_where_it_is_chosen(tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"txt": b"ab"[i % 2 :][:1]}))
    with pytest.raises(TaskError, match=r"label column.*txt"):
        ImageTask.load(path)
    assert ImageTask.load(path, label_column="txt").class_names == ("a", "b")


def test_archives_beside_what_they_were_packed_of_are_passed_over(
    make_folder: Make, encode: Encode
) -> None:
    folder = make_folder({"a": 4, "b": 4})
    before = ImageTask.load(folder)
    _tar(folder / "images.tar", _samples(encode, 8, lambda i: {"cls": b"1"}))
    assert ImageTask.load(folder).digest == before.digest


def test_only_regular_members_count(tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"cls": b"%d" % (i % 2)}))
    whole = ImageTask.load(path).digest
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("9.png")
            info.type, info.linkname = kind, "/dev/zero"
            archive.addfile(info)
        info = tarfile.TarInfo("__meta__.cls")
        archive.addfile(info)
    assert ImageTask.load(path).digest == whole


def test_damaged_archives(tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"cls": b"%d" % (i % 2)}))
    whole = path.read_bytes()
    huge = tarfile.TarInfo("0.png")
    huge.size = 2**62
    for content in (
        b"",
        b"no archive" * 100,
        whole[:1000],
        whole[: len(whole) // 3],
        huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024,
        b"\x1f\x8b" + whole,
    ):
        path.write_bytes(content)
        with pytest.raises(TaskError, match=r"a\.tar"):
            ImageTask.load(path)
    twice = _tar(tmp_path / "b.tar", [("0.png", b"x"), ("0.png", b"y")])
    with pytest.raises(TaskError, match="two 'png'"):
        ImageTask.load(twice)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(WsdartsError, match=r"a\.tar"):
        ImageTask.load(path)


def test_archives_one_behind_another_in_one_file(tmp_path: Path, encode: Encode) -> None:
    parts = [
        _tar(
            tmp_path / f"{start}.tar",
            [
                member
                for i in range(count)
                for member in (
                    (f"{i}.png", encode(start + i)),
                    (f"{i}.cls", b"%d" % (i % 2)),
                )
            ],
        ).read_bytes()
        for start, count in ((0, 6), (100, 1), (200, 7))
    ]
    both = tmp_path / "both.tar"
    both.write_bytes(b"".join(parts))
    task = ImageTask.load(both)
    assert len(task) == 14
    (tmp_path / "apart").mkdir()
    for number, content in enumerate(parts):
        (tmp_path / "apart" / f"{number}.tar").write_bytes(content)
    assert ImageTask.load(tmp_path / "apart").digest == task.digest
    both.write_bytes(parts[0] + b"no archive" * 100)
    with pytest.raises(TaskError, match=r"both\.tar"):
        ImageTask.load(both)


def test_an_archive_without_its_end_is_refused(tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"cls": b"%d" % (i % 2)}))
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        starts = [member.offset for member in archive][1:]
        end = archive.offset
    for length in (*starts, end):  # between two members, and behind the last
        path.write_bytes(whole[:length])
        with pytest.raises(TaskError, match=r"a\.tar .*cut off"):
            ImageTask.load(path)
    path.write_bytes(whole[: starts[5]] + b"x" * 512 + whole[starts[5] + 512 :])
    with pytest.raises(TaskError, match=rf"a\.tar .*{starts[5]}"):
        ImageTask.load(path)


@pytest.mark.parametrize("label", [b"", b"\n"])
def test_an_empty_label_is_refused(label: bytes, tmp_path: Path, encode: Encode) -> None:
    path = _tar(tmp_path / "a.tar", _samples(encode, 8, lambda i: {"cls": (b"pot", label)[i % 2]}))
    with pytest.raises(TaskError, match="4 of 8 rows"):
        ImageTask.load(path)


def _described(make_folder: Make, encode: Encode, name: str, text: str) -> Path:
    folder = make_folder({"images": 8}, root="described")
    (folder / name).write_text(text)
    return folder


def _rows(values: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"file_name": f"images/{i}.png", "label": value} for i, value in enumerate(values)]


def test_a_folder_with_metadata(make_folder: Make, encode: Encode) -> None:
    text = "".join(json.dumps(row) + "\n" for row in _rows(["pot", "cup"] * 4))
    folder = _described(make_folder, encode, "metadata.jsonl", text)
    task = ImageTask.load(folder)
    assert (task.name, task.class_names, len(task)) == ("described", ("cup", "pot"), 8)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    assert sorted(theirs["label"]) == ["cup"] * 4 + ["pot"] * 4
    (folder / "metadata.jsonl").unlink()
    rows = "".join(f"images/{i}.png,{(9, 10)[i % 2]},a caption\r\n" for i in range(8))
    (folder / "metadata.csv").write_bytes(
        b"\xef\xbb\xbf" + f"file_name,label,text\r\n{rows}".encode()
    )
    found = ImageTask.load(folder)
    assert (found.class_names, found.digest) == (("9", "10"), task.digest)
    assert ImageTask.load(folder, label_column="label").digest == task.digest


def test_splits_with_metadata_are_the_users_own(make_folder: Make) -> None:
    root = make_folder({"train": 6, "test": 6})
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(6))
    for split in ("train", "test"):
        (root / split / "metadata.csv").write_text(f"file_name,label\n{rows}")
    task = ImageTask.load(root)
    assert (task.given_split, task.part_sizes) == (True, "train 6, validation 6")
    places = [Path(task.images.source.describe(int(row))) for row in task.images.rows]
    assert {places[i].parent.name for i in task.train_indices} == {"train"}
    assert len(ImageTask.load(root, split="train")) == 6
    both = ImageTask.load(root, split="train+test")
    assert (both.given_split, len(both)) == (False, 12)
    (root / "test").rename(root / "other")
    assert any("splits other, train" in n for n in ImageTask.load(root).notes)


def test_metadata_without_labels_leave_class_folders_alone(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    before = ImageTask.load(folder)
    for text in ("file_name,text\na/0.png,a cat\n", "id,label\n1,2\n"):
        (folder / "metadata.csv").write_text(text)
        assert ImageTask.load(folder).digest == before.digest


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (_rows([0, 1] * 3), "2 images"),
        (
            [*_rows([0] * 8), {"file_name": "../secret.png", "label": 1}],
            "'../secret.png'",
        ),
        ([*_rows([0] * 8), {"file_name": "/dev/zero", "label": 1}], "/dev/zero"),
        ([*_rows([0, 1] * 4), {"file_name": "images/9.png", "label": 1}], "images/9.png"),
        (_rows([0, None] * 4), "4 of 8 rows"),
        ([{"file_name": f"images/{i}.png", "text": 0.5} for i in range(8)], "text"),
        ([{"file_name": "images/0.png"}, 5], "row"),
    ],
)
def test_metadata_that_do_not_fit(
    rows: list[Any], named: str, make_folder: Make, encode: Encode
) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    folder = _described(make_folder, encode, "metadata.jsonl", text)
    with pytest.raises(TaskError) as caught:
        ImageTask.load(folder)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("metadata.csv", "", "no rows"),
        ("metadata.csv", "file_name,label\n", "no rows"),
        ("metadata.csv", "file_name;label\n0.png;a\n", "file_name;label"),
        ("metadata.csv", "file,label\n0.png,a\n", "file, label"),
        ("metadata.csv", "file_name,label\n0.png,a,b\n", "row 0"),
        ("metadata.jsonl", "", "no rows"),
        ("metadata.jsonl", '{"file": "0.png", "label": 1}\n', "file, label"),
        ("metadata.jsonl", '\n[1]\n', "line 2"),
        ("metadata.jsonl", '{"a":\n', "line 1"),
        ("metadata.csv", "pipe", "no regular file"),
        ("metadata.csv", "/dev/zero", "no regular file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["", "train"])
def test_metadata_that_cannot_be_used_are_named(
    where: str, name: str, text: str, named: str, make_folder: Make
) -> None:
    root = make_folder({"train": 8, "val": 8})
    folder = root / "train"
    file = folder / name
    if text == "pipe":
        os.mkfifo(file)
    elif text == "/dev/zero":
        file.symlink_to(text)
    else:
        file.write_text(text)
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(8))
    (root / "val" / "metadata.csv").write_text(f"file_name,label\n{rows}")
    for options in ({}, {"label_column": "label"}):
        with pytest.raises(TaskError) as caught:
            ImageTask.load(root if where else folder, **options)
        assert str(file) in str(caught.value)
        assert named in str(caught.value)
        assert "wsdarts-hub" not in str(caught.value)


def test_two_kinds_of_metadata_in_a_folder(make_folder: Make, encode: Encode) -> None:
    rows = _rows([0, 1] * 4)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    folder = _described(make_folder, encode, "metadata.jsonl", text)
    alone = ImageTask.load(folder)
    lines = [f"{row['file_name']},{row['label']}\n" for row in rows]
    (folder / "metadata.csv").write_text(f"file_name,label\n{''.join(lines)}")
    assert ImageTask.load(folder).digest == alone.digest
    (folder / "metadata.csv").write_text(f"file_name,label\n{''.join(lines[:-1])}images/7.png,0\n")
    with pytest.raises(TaskError, match=r"metadata\.jsonl and metadata\.csv"):
        ImageTask.load(folder)


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    for data in (folder, tmp_path):
        with without_overrides(), pytest.raises(FileAccessError) as caught:
            ImageTask.load(data)
        assert caught.value.filename == str(folder)
        assert "json" not in str(caught.value)


def test_archives_that_lie_deeper_are_named(tmp_path: Path, encode: Encode) -> None:
    _tar(tmp_path / "set" / "shards" / "0.tar", [("0.png", encode(0))])
    with pytest.raises(TaskError, match=f"1 tar file .*{tmp_path / 'set' / 'shards'}"):
        ImageTask.load(tmp_path / "set")


def test_a_folder_of_images_is_opened_without_arrow(make_folder: Make) -> None:
    code = (
        "import sys\nfrom wsdarts_sdk.data.sources.source_kinds import open_source\n"
        "source = open_source(sys.argv[1], {}, cache=None)\n"
        "print(len(source.labels), 'pyarrow' in sys.modules)"
    )
    folder = make_folder({"a": 3, "b": 4})
    shown = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "7 False\n"
