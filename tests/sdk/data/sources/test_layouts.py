"""Which folders are classes, which are splits, and what is passed over."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsdarts_registry._text import is_plain_line
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

MakeFolder = Callable[..., Path]
Encode = Callable[..., bytes]
Tree = dict[str, int]


@pytest.fixture
def tree(tmp_path: Path, encode: Encode) -> Callable[[Tree], Path]:
    """Write so many different images into each folder; 0 makes it empty."""

    def make(folders: Tree) -> Path:
        seed = 0
        for name, count in folders.items():
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(encode(seed))
                seed += 1
        return tmp_path / "data"

    return make


Make = Callable[[Tree], Path]


def _sizes(task: ImageTask) -> list[int]:
    return [len(task.indices(part)) for part in Part]


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test", "eval", "dev"])
def test_train_and_a_held_out_part_are_the_users_own_split(tree: Make, name: str) -> None:
    root = tree({"train/a": 6, "train/b": 6, f"{name}/a": 4, f"{name}/b": 3})
    task = ImageTask.load(root)
    assert task.class_names == ("a", "b")
    assert task.given_split
    assert _sizes(task) == [6, 6, 7, 0]
    places = [Path(task.images.source.describe(int(row))) for row in task.images.rows]
    held_out = {places[i].parent.parent.name for i in task.indices(Part.VALIDATION)}
    assert held_out == {name}
    assert {places[i].parent.parent.name for i in task.train_indices} == {"train"}
    assert task.held_out is Part.VALIDATION
    assert "(train 12, validation 7)" in repr(task)
    assert any("train 12, validation 7" in note for note in task.notes)


def test_with_validation_and_test(tree: Make) -> None:
    folders = {f"{part}/{c}": 4 for part in ("training", "valid", "testing") for c in "ab"}
    task = ImageTask.load(tree(folders))
    assert _sizes(task) == [4, 4, 8, 8]
    assert task.held_out is Part.TEST
    assert "train 8, validation 8, test 8" in repr(task)


def test_the_digest_covers_a_given_split(tree: Make, tmp_path: Path) -> None:
    root = tree({f"{part}/{c}": 4 for part in ("train", "val") for c in "ab"})
    given = ImageTask.load(root)
    # The same images and classes without a split are another task, and so is another split.
    flat = tmp_path / "flat"
    for file in sorted(root.rglob("*.png")):
        target = flat / file.parent.name / f"{file.parent.parent.name}-{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    whole = ImageTask.load(flat)
    assert not whole.given_split
    (root / "train").rename(root / "other")
    (root / "val").rename(root / "train")
    (root / "other").rename(root / "test")
    swapped = ImageTask.load(root)
    assert len({given.digest, whole.digest, swapped.digest}) == 3
    # Names of files, classes and of the part, and the order of files do not count.
    (root / "test").rename(root / "x")
    (root / "train").rename(root / "EVAL")
    (root / "x").rename(root / "Train")
    for part in ("Train", "EVAL"):
        (root / part / "a").rename(root / part / "z")
        (root / part / "b" / "0.png").rename(root / part / "b" / "last.png")
    again = ImageTask.load(root)
    assert again.class_names == ("b", "z")
    assert again.digest == given.digest


def test_a_subset_keeps_the_given_parts(tree: Make) -> None:
    task = ImageTask.load(tree({f"{part}/{c}": 4 for part in ("train", "val") for c in "ab"}))
    chosen = [i for i in range(len(task)) if i % 4]
    part = task.subset(chosen)
    assert part.given_split
    validation = set(task.image_digests[task.indices(Part.VALIDATION)].tolist())
    found = set(part.image_digests[part.indices(Part.VALIDATION)].tolist())
    assert found
    assert found <= validation
    assert task.subset(range(len(task))).digest == task.digest
    with pytest.raises(TaskError, match=r"0 distinct images .*validation"):
        task.subset(task.train_indices)


def test_held_out_copies_of_train_images_are_told(tree: Make) -> None:
    root = tree({f"{part}/{c}": 4 for part in ("train", "val") for c in "ab"})
    shutil.copy(root / "train/a/0.png", root / "val/a/copy.png")
    task = ImageTask.load(root)
    assert _sizes(task) == [4, 4, 9, 0]
    assert any("1 held-out image" in note and "train part" in note for note in task.notes)


def test_test_images_that_are_copies_of_validation_images_are_told(tree: Make) -> None:
    root = tree({f"{part}/{c}": 4 for part in ("train", "val", "test") for c in "ab"})
    assert not any("cop" in note for note in ImageTask.load(root).notes)
    shutil.copy(root / "val/a/0.png", root / "test/a/copy.png")
    notes = ImageTask.load(root).notes
    assert any("1 test image" in note and "validation part" in note for note in notes)
    assert not any("train part has copies" in note for note in notes)


def test_parquet_files_named_as_parts(tmp_path: Path, tree: Make, make_parquet: MakeFolder) -> None:
    root = tree({f"{part}/{c}": 4 for part in ("train", "val") for c in "ab"})
    for part, name in (
        ("train", "train-00000-of-00001.parquet"),
        ("val", "validation/0.parquet"),
    ):
        files = sorted((root / part).rglob("*.png"))
        make_parquet(
            {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]},
            f"tables/{name}",
        )
    tables = ImageTask.load(tmp_path / "tables")
    assert tables.given_split
    assert tables.digest == ImageTask.load(root).digest
    make_parquet({"image": [b"x"], "label": ["a"]}, "tables/more.parquet")
    with pytest.raises(TaskError, match=r"more\.parquet "):
        ImageTask.load(tmp_path / "tables")


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        ({"train/cat": 4, "train/dog": 4, "test": 4}, "train"),
        ({"train": 4, "test": 4}, None),
        ({"train/a": 4, "train/b": 4, "samples": 4}, "train"),
        ({"train/a": 4, "train/b": 4, "val/a": 4, "val/b": 4, "dev/a": 4, "dev/b": 4}, "train"),
        ({"train/a": 4, "train/b": 4, "train/c": 4, "val/a": 4, "val/b": 4}, "train"),
        ({"test/a": 4, "test/b": 4, "val/a": 4, "val/b": 4}, "test"),
        ({"one/a": 4, "one/b": 4, "two/a": 4, "two/b": 4}, "one"),
        (
            {"x_train/x/a": 4, "x_train/x/b": 4, "x_test/x/a": 4, "x_test/x/b": 4, "c": 3},
            "x_test/x",
        ),
    ],
)
def test_splits_never_become_classes(tree: Make, folders: Tree, named: str | None) -> None:
    root = tree(folders)
    with pytest.raises(TaskError, match="look like splits") as caught:
        ImageTask.load(root)
    assert all(name.split("/")[0] in str(caught.value) for name in folders)
    if named is not None:
        assert f"such as {root / named}" in str(caught.value)
        assert ImageTask.load(root / named).classes >= 2


@pytest.mark.parametrize("below", [("2020", "2021"), ("left", "right")])
def test_repeated_folders_may_be_of_classes_or_of_splits(
    tree: Make, below: tuple[str, str]
) -> None:
    root = tree({f"{top}/{name}": 3 for top in ("bus", "car") for name in below})
    with pytest.raises(TaskError, match="look like splits") as caught:
        ImageTask.load(root)
    message = str(caught.value)
    assert f"such as {root / 'bus'}: " in message
    assert "move the images up" in message


@pytest.mark.parametrize(
    "folders",
    [
        {"x/y/train/a": 3, "x/y/train/b": 3, "x/y/val/a": 3, "x/y/val/b": 3, "z/k": 3},
        {"x/train": 3, "x/val": 3, "z": 3},
        {"x/train": 3, "x/test": 3, "z/train": 3, "z/test": 3},
    ],
)
def test_parts_below_a_class_are_not_mixed(tree: Make, folders: Tree) -> None:
    root = tree(folders)
    with pytest.raises(TaskError, match="below a class folder") as caught:
        ImageTask.load(root)
    for folder in folders:
        if folder.startswith("x"):
            assert folder.removesuffix("/a").removesuffix("/b") in str(caught.value)


def test_a_folder_of_one_part_below_a_class_is_of_the_class(tree: Make) -> None:
    assert ImageTask.load(tree({"x/train": 3, "x/more": 3, "z": 3})).class_names == ("x", "z")


def test_what_every_part_does_not_have_is_named(tree: Make) -> None:
    root = tree({"train/a": 4, "train/b": 4, "train/c": 4, "val/a": 4, "val/b": 4})
    with pytest.raises(TaskError, match=r"\(c not in all"):
        ImageTask.load(root)


def test_folders_beside_a_given_split(tree: Make) -> None:
    parts = {f"{part}/{c}": 4 for part in ("train", "val") for c in "ab"}
    clean = ImageTask.load(tree(parts))
    (empty := tree(parts) / "labels").mkdir()
    assert ImageTask.load(empty.parent).digest == clean.digest
    junk = ImageTask.load(tree({"samples": 3}))
    assert junk.digest == clean.digest
    assert junk.passed_over == {".png": 3}
    assert any("3 .png" in note for note in junk.notes)
    assert ImageTask.load(tree({"train": 2})).passed_over == {".png": 5}  # beside its classes
    with pytest.raises(TaskError, match=r"/c has no images"):
        ImageTask.load(tree({"train/c": 0, "val/c": 0}))


def test_a_class_may_have_the_name_of_a_part(tree: Make) -> None:
    assert ImageTask.load(tree({"train": 3, "bus": 3})).class_names == ("bus", "train")


def test_folders_of_equal_names_within_classes(tree: Make) -> None:
    # As in Tiny ImageNet: every class folder holds one folder of the same name.
    assert ImageTask.load(tree({"n01/images": 3, "n02/images": 3})).class_names == ("n01", "n02")


@pytest.mark.parametrize("way", ["images", "a set/images"])
def test_class_folders_lie_deeper(tree: Make, way: str) -> None:
    root = tree({f"{way}/a": 4, f"{way}/b": 4, "__MACOSX": 0})
    task = ImageTask.load(root)
    assert task.class_names == ("a", "b")
    assert task.name == "data"
    assert task.digest == ImageTask.load(root / way).digest


def test_a_split_lies_deeper(tree: Make) -> None:
    task = ImageTask.load(tree({f"set/{p}/{c}": 3 for p in ("train", "val") for c in "ab"}))
    assert task.given_split


def test_images_in_formats_that_are_not_read_are_counted(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 4, "b": 4})
    for number in range(20):
        (folder / "a" / f"{number}.HEIC").write_bytes(b"any")
    (folder / "b" / "notes.txt").write_text("no image")
    task = ImageTask.load(folder)
    assert task.passed_over == {".heic": 20}
    assert any("20 .heic" in note for note in task.notes)
    assert ImageTask.load(make_folder({"a": 3, "b": 3}, root="clean")).notes == ()


def test_images_whose_names_do_not_say_so_are_counted(
    make_folder: MakeFolder, encode: Encode
) -> None:
    folder = make_folder({"a": 4, "b": 4})
    for number, kind in enumerate(["png", "jpeg", "gif", "webp", "tiff", "bmp", "jpeg2000"]):
        (folder / "a" / f"img{number}").write_bytes(encode(number, kind=kind))
    (folder / "a" / "Makefile").write_text("BMP is a word; MM, II and RIFF are letters")
    (folder / "b" / "x.part").write_bytes(encode(9, kind="jpeg"))
    assert ImageTask.load(folder).passed_over == {"": 7, ".part": 1}
    for file in (folder / "b").glob("*.png"):
        file.rename(file.with_suffix(""))
    with pytest.raises(TaskError, match=r"b .*4 without a suffix"):
        ImageTask.load(folder)


def test_images_beside_class_folders_are_counted(make_folder: MakeFolder, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4})
    for number in range(5):
        (folder / f"{number}.png").write_bytes(encode(number))
    task = ImageTask.load(folder)
    assert task.passed_over == {".png": 5}
    assert any("5 images outside" in note for note in task.notes)


@pytest.mark.parametrize("where", ["c", "a/more"])
def test_a_link_that_leads_nowhere(make_folder: MakeFolder, where: str) -> None:
    folder = make_folder({"a": 4, "b": 4})
    (folder / where).symlink_to("/nowhere/c")
    with pytest.raises(TaskError, match=rf"{where} .*broken link"):
        ImageTask.load(folder)


def test_names_that_are_no_text(make_folder: MakeFolder) -> None:
    folder = make_folder({"ok": 4, "b": 4})
    (folder / "b").rename(folder / os.fsdecode(b"caf\xe9\n\x1b[31m"))
    odd = folder.parent / os.fsdecode(b"d\xe9")
    folder.rename(odd)
    task = ImageTask.load(odd)
    assert task.class_names == ("caf\ufffd \ufffd[31m", "ok")
    assert all(is_plain_line(name, 200) for name in (*task.class_names, task.name))
    assert ImageTask.load(odd, name="a\nb").name == "a b"


def test_classes_of_one_name_in_two_forms_are_one(make_folder: MakeFolder) -> None:
    folder = make_folder({"caf\u00e9": 4, "cafe\u0301": 5, "tea": 4})
    task = ImageTask.load(folder)
    assert task.class_names == ("caf\u00e9", "tea")
    assert task.labels.tolist() == [0] * 9 + [1] * 4


def test_names_are_different_in_every_source(
    make_folder: MakeFolder, make_parquet: MakeFolder, encode: Encode
) -> None:
    folder = make_folder({"a": 4, "b": 4, "tea": 4})
    for name in (b"caf\xe9", b"caf\xe8"):
        next(folder.glob("[ab]")).rename(folder / os.fsdecode(name))
    with pytest.raises(TaskError, match="2 classes called 'caf\ufffd'"):
        ImageTask.load(folder)
    images = [encode(i) for i in range(8)]
    path = make_parquet({"image": images, "label": ["caf\u00e9", "tea"] * 3 + ["cafe\u0301"] * 2})
    assert ImageTask.load(path).class_names == ("caf\u00e9", "tea")
    path = make_parquet({"image": images, "label": ["tea", "tea\n"] * 4})
    with pytest.raises(TaskError, match="2 classes called 'tea'"):
        ImageTask.load(path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12), dtype=np.uint8)
    with pytest.raises(TaskError, match="2 classes called 'caf\u00e9'"):
        ImageTask.load((pixels, [0, 1] * 4, ["caf\u00e9", "cafe\u0301"]))


@pytest.mark.parametrize("special", ["pipe", "device"])
def test_only_regular_files_are_read(make_folder: MakeFolder, special: str) -> None:
    folder = make_folder({"a": 4, "b": 4})
    for place in (folder / "a" / "x.png", folder / "b" / "y", folder / "z.parquet.d"):
        if special == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to("/dev/zero")
    with pytest.raises(TaskError, match=r"x\.png .*\(it is no regular"):
        ImageTask.load(folder)
    task = ImageTask.load(folder, skip_corrupt=True)
    assert (len(task), len(task.skipped)) == (8, 1)
    assert task.passed_over == {}


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.parquet")
    # In a process of its own: where a pipe is opened, reading never ends.
    program = (
        "import sys\n"
        "from wsdarts_registry.errors import TaskError\n"
        "from wsdarts_sdk.data.task import ImageTask\n"
        "try:\n"
        "    ImageTask.load(sys.argv[1])\n"
        "except TaskError as error:\n"
        "    print(error)\n"
    )
    for path in (tmp_path, tmp_path / "rows.parquet"):
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, text=True, check=True,
            timeout=300,
        )  # fmt: skip
        assert "rows.parquet is no regular" in done.stdout
