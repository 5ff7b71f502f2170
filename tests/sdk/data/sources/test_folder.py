from collections.abc import Callable
from pathlib import Path

import pytest

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.task import ImageTask

MakeFolder = Callable[..., Path]
Encode = Callable[..., bytes]


def test_classes_are_folders_in_alphabetical_order(make_folder: MakeFolder) -> None:
    task = ImageTask.load(make_folder({"wolf": 4, "ant": 3, "Bee": 5}))
    assert task.name == "images"
    assert task.class_names == ("Bee", "ant", "wolf")
    assert task.labels.tolist() == [0] * 5 + [1] * 3 + [2] * 4
    assert len(task) == 12
    assert task.classes == 3
    assert task.skipped == ()


def test_nested_files_belong_to_the_class_folder(make_folder: MakeFolder) -> None:
    flat = ImageTask.load(make_folder({"a": 4, "b": 4}))
    nested = make_folder({"a": 4, "b": 4}, root="nested")
    (nested / "a" / "deep" / "deeper").mkdir(parents=True)
    (nested / "a" / "0.png").rename(nested / "a" / "deep" / "deeper" / "0.png")
    assert ImageTask.load(nested).digest == flat.digest


def test_hidden_and_other_files_are_left_out(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 3, "b": 3})
    before = ImageTask.load(folder).digest
    (folder / "README.md").write_text("about")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "a" / ".hidden.png").write_bytes(b"x")
    (folder / "a" / "notes.txt").write_text("about")
    (folder / "a" / ".thumbnails").mkdir()
    (folder / "a" / ".thumbnails" / "0.png").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / "overview.png").write_bytes(b"no class, no matter")
    assert ImageTask.load(folder).digest == before


@pytest.mark.parametrize(
    "extension", ["JPG", "jpeg", "PNG", "bmp", "webp", "tif", "TIFF", "gif", "ppm", "jp2"]
)
def test_extensions(make_folder: MakeFolder, encode: Encode, extension: str) -> None:
    folder = make_folder({"a": 3, "b": 3})
    (folder / "a" / f"more.{extension}").write_bytes(encode(7))
    assert len(ImageTask.load(folder)) == 7


def test_links_are_followed_and_loops_end(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder({"a": 3, "b": 3})
    elsewhere = make_folder({"c": 4}, root="elsewhere", start=50)
    (folder / "c").symlink_to(elsewhere / "c", target_is_directory=True)
    (folder / "b" / "loop").symlink_to(folder / "b", target_is_directory=True)
    task = ImageTask.load(folder)
    assert task.class_names == ("a", "b", "c")
    assert len(task) == 10


def test_decomposed_accents_are_the_same_name(make_folder: MakeFolder) -> None:
    task = ImageTask.load(make_folder({"Zu\u0308rich": 3, "Bern": 3}))
    assert task.class_names == ("Bern", "Z\u00fcrich")


def test_a_string_with_a_tilde_is_a_path(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder({"a": 3, "b": 3})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(ImageTask.load("~/images", name="mine")) == 6


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere .*class folders"):
        ImageTask.load(tmp_path / "nowhere")


def test_an_empty_folder_and_empty_classes(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(TaskError, match=r"no images.*CLASS"):
        ImageTask.load(tmp_path)
    folder = make_folder({"a": 3, "b": 3, "empty": 0})
    with pytest.raises(TaskError, match=r"/empty .*at least 3"):
        ImageTask.load(folder)


def test_images_without_class_folders(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 3})
    with pytest.raises(TaskError, match=r"3 images .*/a/CLASS/"):
        ImageTask.load(folder / "a")
    for number in range(2):
        (folder / "a" / f"{number}.png").unlink()
    with pytest.raises(TaskError, match=r"1 image "):
        ImageTask.load(folder / "a")


def test_one_class(make_folder: MakeFolder) -> None:
    with pytest.raises(TaskError, match=r"images .*\('a'\).*at least two"):
        ImageTask.load(make_folder({"a": 5}))


def test_a_class_with_too_few_images(make_folder: MakeFolder) -> None:
    with pytest.raises(TaskError, match=r"'few' .*2 distinct images.*at least 3"):
        ImageTask.load(make_folder({"a": 5, "few": 2}))


def test_a_single_file_is_not_a_task(make_folder: MakeFolder) -> None:
    file = make_folder({"a": 3}) / "a" / "0.png"
    with pytest.raises(TaskError) as caught:
        ImageTask.load(file)
    assert caught.value.what == str(file)
    assert "class folders" in caught.value.expected


def test_options_of_other_sources_are_refused(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 3, "b": 3})
    with pytest.raises(TaskError, match=r"^split .*local files"):
        ImageTask.load(folder, split="train")
    with pytest.raises(TaskError, match=r"^image_column .*image folders"):
        ImageTask.load(folder, image_column="image")


@pytest.mark.parametrize("data", [None, 7, {"images": 1}, b"path"])
def test_other_types_are_refused(data: object) -> None:
    with pytest.raises(TaskError) as caught:
        ImageTask.load(data)
    assert caught.value.found == f"of type {type(data).__name__}"
