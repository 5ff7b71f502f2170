import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plain_user import without_overrides
from wsdarts_registry._files import (
    entries,
    exists,
    expanded,
    is_directory,
    is_file,
    is_link,
    matching,
    modified,
    open_regular,
    read_regular,
    resolved,
    write_atomically,
)
from wsdarts_registry.errors import FileAccessError

IMPOSSIBLE = [Path("x" * 300), Path("null\0byte"), Path("nothing/below")]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that may not be entered, by root's tests neither."""
    directory = tmp_path / "closed"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    directory.chmod(0)
    with without_overrides():
        yield directory
    directory.chmod(0o700)


@pytest.mark.parametrize("path", IMPOSSIBLE, ids=["too long", "null byte", "no such directory"])
def test_a_path_that_cannot_exist_does_not(path: Path, tmp_path: Path) -> None:
    there = tmp_path / path
    assert not exists(there)
    assert not is_file(there)
    assert not is_directory(there)
    assert entries(there) == ()
    assert not is_link(there)
    assert matching(there, "*") == ()
    assert modified(there) == 0
    assert resolved(there).is_absolute()
    with pytest.raises(FileAccessError):
        read_regular(there)
    with pytest.raises(OSError, match=r"."):
        open_regular(there)


LOOKS = [exists, is_file, is_directory, is_link, modified, entries, read_regular]


@pytest.mark.parametrize("look", LOOKS)
def test_a_directory_that_may_not_be_entered_is_named(look, closed: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileAccessError, match=r"closed/file.*Permission denied"):
        look(closed / "file")


def test_whoever_knows_more_of_a_file_catches_an_os_error(closed: Path) -> None:
    with pytest.raises(OSError, match="closed") as caught:
        exists(closed / "file")
    assert caught.value.errno == errno.EACCES
    assert caught.value.strerror == os.strerror(errno.EACCES)
    assert caught.value.filename == str(closed / "file")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert str(again) == str(caught.value)


def test_paths_are_made_plain_without_raising(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "circle").symlink_to("circle")
    assert expanded("~/data") == tmp_path / "data"
    assert expanded("~nobody-of-that-name/data") == Path("~nobody-of-that-name/data")
    assert resolved(tmp_path / "circle") == tmp_path.resolve() / "circle"


def test_links_are_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dead").symlink_to("nowhere")
    assert is_file(tmp_path / "link")
    assert not is_file(tmp_path / "link", follow_links=False)
    assert not exists(tmp_path / "dead")
    assert [path.name for path in entries(tmp_path)] == ["dead", "file", "link"]


def test_a_limit_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_regular(tmp_path / "file", 2**60) == b"content"
    assert read_regular(tmp_path / "file", 3) == b"con"


def test_neither_pipes_nor_devices_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        assert exists(tmp_path / name)
        assert not is_file(tmp_path / name)
        with pytest.raises(FileAccessError, match=name):
            read_regular(tmp_path / name)


def test_devices_and_pipes_are_not_replaced_by_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/full")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match=name):
            write_atomically(tmp_path / name, b"content")
        assert exists(tmp_path / name)
        assert not is_file(tmp_path / name)
