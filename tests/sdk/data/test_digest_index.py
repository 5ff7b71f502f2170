"""A source that was read before is not read again, unless a file may have changed."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsdarts_registry._files import cache_directory
from wsdarts_sdk.data._images import known_digests, remember_digests
from wsdarts_sdk.data.sources import base as stamps_module
from wsdarts_sdk.data.sources.base import FILE_STAT, file_stats, is_reliable
from wsdarts_sdk.data.task import ImageTask

pytestmark = pytest.mark.processes

Make = Callable[..., Path]
Encode = Callable[..., bytes]


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count files that were written a moment ago as rested, so that no test has to wait."""
    monkeypatch.setattr(stamps_module, "_CLOCK_TICK", -60_000_000_000)


def _load(data: Path) -> tuple[ImageTask, dict[str, int]]:
    """Load a task, and count what was read and decoded for it."""
    done: dict[str, int] = {}
    task = ImageTask.load(data, progress=lambda what, _, total: done.update({what: total}))
    time.sleep(0.02)  # a tick of the file system's clock, so that a change now gets a new ctime
    return task, done


@pytest.mark.usefixtures("trusting")
def test_nothing_is_read_twice(make_folder: Make) -> None:
    folder = make_folder({"a": 5, "b": 4})
    task, done = _load(folder)
    assert done == {"reading images": 9, "decoding images": 9}
    again, done = _load(folder)
    assert done == {}
    assert again.digest == task.digest
    assert (again.image_digests == task.image_digests).all()
    assert (again.pixels(84) == task.pixels(84)).all()


@pytest.mark.usefixtures("trusting")
def test_a_table_is_not_read_twice(make_parquet: Make, encode: Encode) -> None:
    columns = {
        "one": [encode(i) for i in range(8)],
        "two": [encode(100 + i) for i in range(8)],
        "label": [0, 1] * 4,
    }
    path = make_parquet(columns)
    first, second = (ImageTask.load(path, image_column=column) for column in ("one", "two"))
    assert first.digest != second.digest
    for column, task in (("one", first), ("two", second)):  # each column its own index
        calls: list[str] = []
        again = ImageTask.load(
            path, image_column=column, progress=lambda what, *_, c=calls: c.append(what)
        )
        assert (again.digest, calls) == (task.digest, [])


@pytest.mark.usefixtures("trusting")
def test_changed_content_under_the_old_size_and_mtime(make_folder: Make, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4}, kind="bmp")
    task, _ = _load(folder)
    file = folder / "a" / "0.bmp"
    before = file.stat()
    with file.open("r+b") as open_file:  # in place: the same inode, too
        open_file.write(encode(99, kind="bmp"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino, before.st_size, before.st_mtime_ns,
    )  # fmt: skip
    changed, done = _load(folder)
    assert done["reading images"] == 1
    assert changed.digest != task.digest


@pytest.mark.usefixtures("trusting")
def test_a_file_replaced_by_another_with_its_size_and_mtime(
    make_folder: Make, encode: Encode
) -> None:
    folder = make_folder({"a": 4, "b": 4}, kind="bmp")
    task, _ = _load(folder)
    file, other = folder / "a" / "0.bmp", folder / "new"
    other.write_bytes(encode(99, kind="bmp"))
    shutil.copystat(file, other)
    other.replace(file)
    assert _load(folder)[0].digest != task.digest


def test_a_fresh_file_is_not_trusted(make_folder: Make, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4}, kind="bmp")
    task, _ = _load(folder)
    assert not list(cache_directory().glob("digests/*"))  # all were written within two seconds
    again, done = _load(folder)
    assert (again.digest, done) == (task.digest, {"reading images": 8})


@pytest.mark.usefixtures("trusting")
def test_a_touched_file_is_read_and_the_task_stays(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    task, _ = _load(folder)
    os.utime(folder / "b" / "2.png", (1_000_000_000, 1_000_000_000))
    touched, done = _load(folder)
    assert (touched.digest, done) == (task.digest, {"reading images": 1})
    assert _load(folder)[1] == {}  # and is known again


@pytest.mark.usefixtures("trusting")
def test_added_and_removed_files(make_folder: Make, encode: Encode) -> None:
    folder = make_folder({"a": 4, "b": 4})
    before = _load(folder)[0]
    (folder / "a" / "00.png").write_bytes(encode(77))  # sorts between two others
    more, done = _load(folder)
    assert (len(more), done) == (9, {"reading images": 1, "decoding images": 9})
    (folder / "a" / "00.png").unlink()
    back, done = _load(folder)
    assert (back.digest, done) == (before.digest, {})


@pytest.mark.usefixtures("trusting")
def test_a_moved_folder_is_read_once_more_and_not_decoded(
    make_folder: Make, tmp_path: Path
) -> None:
    folder = make_folder({"a": 4, "b": 4})
    task, _ = _load(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    found, done = _load(moved)
    assert (found.digest, done) == (task.digest, {"reading images": 8})
    assert _load(moved)[1] == {}


@pytest.mark.usefixtures("trusting")
def test_swapped_files_take_their_digests_along(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    _load(folder)
    one, two, between = folder / "a" / "0.png", folder / "b" / "0.png", folder / "x"
    one.rename(between)
    two.rename(one)
    between.rename(two)
    here = _load(folder)[0]
    index = next(cache_directory().glob("digests/*.index"))
    index.unlink()
    assert _load(folder)[0].digest == here.digest


@pytest.mark.usefixtures("trusting")
def test_a_damaged_index_is_made_again(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    digest = _load(folder)[0].digest
    (index,) = cache_directory().glob("digests/*.index")
    whole = index.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for content in (b"", b"x", whole[:-1], whole[:31], bytes(flipped)):
        index.write_bytes(content)
        found, done = _load(folder)
        assert (found.digest, done) == (digest, {"reading images": 8})
        assert index.read_bytes() == whole


@pytest.mark.usefixtures("trusting")
def test_what_cannot_be_read_is_tried_every_time(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 4})
    (folder / "a" / "9.png").symlink_to(folder / "nowhere.png")
    for rows in (9, 1):
        done: dict[str, int] = {}
        task = ImageTask.load(
            folder,
            skip_corrupt=True,
            progress=lambda what, _, total, d=done: d.update({what: total}),
        )
        assert len(task.skipped) == 1
        assert done["reading images"] == rows


def test_rest_by_hand(tmp_path: Path) -> None:
    # Written at 10 s, looked at when the clock shows 11, 12 and 12.1 s: within two seconds a
    # second write might still have left the same times.
    second = 10**9
    stat = np.zeros(1, dtype=FILE_STAT)
    stat["modified"], stat["changed"] = 5 * second, 10 * second
    reliable = [is_reliable(stat, round(now * second))[0] for now in (11, 12, 12.1)]
    assert reliable == [False, False, True]
    stat["modified"], stat["changed"] = 10 * second, 5 * second  # the later of the two counts
    assert not is_reliable(stat, 11 * second)[0]
    missing = file_stats([tmp_path / "missing"])
    assert missing.tolist() == [(0, 0, 0, 0, 0)]
    assert not is_reliable(missing, 10**18)[0]


def test_only_whole_stamps_are_known(tmp_path: Path) -> None:
    stats = np.zeros(3, dtype=FILE_STAT)
    for name in FILE_STAT.names or ():
        stats[name] = [7, 8, 9]
    digests = np.array([b"a" * 64, b"b" * 64, b""])
    path = tmp_path / "x.index"
    remember_digests(path, stats, digests, 10**18)
    assert known_digests(path, stats).tolist() == [b"a" * 64, b"b" * 64, b""]
    for name in FILE_STAT.names or ():
        other = stats.copy()
        other[name] = 6
        assert known_digests(path, other).tolist() == [b"", b"", b""]
