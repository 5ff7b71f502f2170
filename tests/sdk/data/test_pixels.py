import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from wsdarts_registry._files import cache_directory
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data import decoding as pixels_module
from wsdarts_sdk.data.decoding import CorruptImage, decode, in_threads, open_pixels, write_pixels
from wsdarts_sdk.data.task import ImageTask

pytestmark = pytest.mark.processes

Make = Callable[..., Path]
SHAPE = (3, 8, 8, 3)


def _images() -> Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
    for position in (2, 0, 1):
        yield position, np.full(SHAPE[1:], position, dtype=np.uint8)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_is_written_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pixels.npy"
    assert write_pixels(path, SHAPE, _images()) == {}
    found = open_pixels(path, SHAPE)
    assert isinstance(found, np.memmap)
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert not found.flags.writeable
    assert (np.load(path) == found).all()  # an ordinary .npy file
    assert _names(path.parent) == ["pixels.npy"]


def test_failures_leave_no_file(tmp_path: Path) -> None:
    bad = CorruptImage("broken")
    path = tmp_path / "pixels.npy"
    assert write_pixels(path, SHAPE, [(1, bad), *list(_images())[:2]]) == {1: bad}
    assert _names(tmp_path) == []


def test_an_interruption_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[int, CorruptImage]]:
        yield from ()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pixels(tmp_path / "pixels.npy", SHAPE, interrupted())
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:100],
        lambda content: b"",
        lambda content: b"\x93NUMPY\2" + content[7:],
        lambda content: content.replace(b"|u1", b"|i1"),
        lambda content: content.replace(b"(3, 8, 8, 3)", b"(3, 8, 4, 6)"),
    ],
)
def test_damaged_files_are_not_used(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "pixels.npy"
    write_pixels(path, SHAPE, _images())
    path.write_bytes(damage(path.read_bytes()))
    assert open_pixels(path, SHAPE) is None


def test_a_damaged_cache_is_made_again(make_folder: Make) -> None:
    folder = make_folder({"a": 3, "b": 3})
    task = ImageTask.load(folder)
    expected = np.array(task.pixels(84))
    (file,) = cache_directory().glob("tasks/*/*84px*.npy")
    assert file.parent.name == task.digest.removeprefix("sha256:")
    file.write_bytes(file.read_bytes()[:5000])
    assert (ImageTask.load(folder).pixels(84) == expected).all()


def test_a_damaged_record_is_made_again(make_folder: Make) -> None:
    folder = make_folder({"a": 3, "b": 3})
    digest = ImageTask.load(folder).digest
    (record,) = cache_directory().glob("checked/*.json")
    for content in (b"", b"{", b'{"format": 2, "failed": []}', b'{"format": 1, "failed": [3]}'):
        record.write_bytes(content)
        assert ImageTask.load(folder).digest == digest
        assert record.read_bytes() == b'{"format": 1, "failed": []}'


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".old.tmp", tmp_path / ".new.tmp"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    write_pixels(tmp_path / "pixels.npy", SHAPE, _images())
    assert _names(tmp_path) == [".new.tmp", "pixels.npy"]


def test_a_file_that_is_being_written_is_not_removed(tmp_path: Path) -> None:
    def slow() -> Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
        (temporary,) = tmp_path.glob(".*.tmp")
        os.utime(temporary, (0, 0))  # suspended for long, or the clock was put forward
        write_pixels(tmp_path / "other.npy", SHAPE, _images())
        yield from _images()

    write_pixels(tmp_path / "pixels.npy", SHAPE, slow())
    assert _names(tmp_path) == ["other.npy", "pixels.npy"]


def test_a_cache_that_is_a_file(make_folder: Make, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(TaskError, match=r"cannot be used \(.*\); .*WSDARTS_HUB_CACHE"):
        ImageTask.load(make_folder({"a": 3, "b": 3}), cache_dir=tmp_path / "cache")


def test_a_write_that_fails_is_told_and_leaves_nothing(make_folder: Make) -> None:
    # A limit on the size of files stands in for a full disk: the same call fails. Written
    # through a memory map, it would kill the process instead.
    resource = pytest.importorskip("resource", reason="this system has no limits to set")
    folder = make_folder({"a": 3, "b": 3})
    program = (
        "import resource, sys\nfrom wsdarts_sdk.data.task import ImageTask\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, {resource.RLIM_INFINITY}))\n"
        "ImageTask.load(sys.argv[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program, folder],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "TaskError: the cache file" in result.stderr
    assert "(File too large)" in result.stderr
    # The index of digests is no pixels: it is written where reading took long enough to trust it.
    left = [file for file in cache_directory().rglob("*") if file.is_file()]
    assert [file for file in left if file.parent.name != "digests"] == []


def test_two_processes_at_once(make_folder: Make) -> None:
    folder = make_folder({"a": 40, "b": 40})
    program = (
        "import sys\nfrom wsdarts_sdk.data.task import ImageTask\n"
        "task = ImageTask.load(sys.argv[1])\n"
        "print(task.digest, int(task.pixels(64).sum()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, folder], env=environment, text=True,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    outputs = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(outputs) == 1
    task = ImageTask.load(folder)
    assert outputs == {f"{task.digest} {int(task.pixels(64).sum())}\n"}


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_threads_decode_what_one_by_one_would(
    make_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = make_folder({"a": 60, "b": 45}, kind=kind)
    found = []
    for threads in (1, 7):
        monkeypatch.setattr(pixels_module, "_cores", lambda count=threads: count)
        cache = tmp_path / str(threads)
        task = ImageTask.load(folder, cache_dir=cache)
        (file,) = cache.glob("tasks/*/*84px*.npy")
        found.append((task.digest, file.name, file.read_bytes()))
    assert found[0] == found[1]
    contents = (file.read_bytes() for file in folder.rglob(f"*.{kind}"))
    by_digest = {hashlib.sha256(c).hexdigest().encode(): decode(c, 84) for c in contents}
    expected = [by_digest[digest] for digest in task.image_digests.tolist()]
    np.testing.assert_array_equal(task.pixels(84), np.array(expected))


@pytest.mark.parametrize("what", ["reading images", "decoding images"])
def test_an_interrupted_load_leaves_nothing_and_can_be_repeated(
    make_folder: Make, what: str
) -> None:
    def interrupt(now: str, done: int, total: int) -> None:
        if now == what and done > total // 2:
            raise KeyboardInterrupt

    folder = make_folder({"a": 60, "b": 45})
    with pytest.raises(KeyboardInterrupt):
        ImageTask.load(folder, progress=interrupt)
    assert [file for file in cache_directory().rglob("*") if file.is_file()] == []
    assert ImageTask.load(folder).pixels(84).shape == (105, 84, 84, 3)


def test_threads_keep_the_order_and_few_in_flight() -> None:
    started = 0

    def items() -> Iterator[tuple[int, Callable[[], bytes]]]:
        nonlocal started
        for row in range(2000):
            started = row
            yield row, lambda: b""

    results = in_threads(
        lambda row, read: (row, read()), items(), what="x", total=2000, progress=None
    )
    assert next(results) == (0, (0, b""))
    assert started < 2000
    assert [row for row, _ in results] == list(range(1, 2000))


def test_an_error_in_a_thread_arrives() -> None:
    def fail(row: int, _read: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_threads(fail, [(0, lambda: b"")], what="x", total=1, progress=None))
