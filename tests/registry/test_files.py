import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsdarts_registry.errors import FileAccessError
from wsdarts_registry.files import entries, exists, is_directory, is_file, read_regular

NOBODY = 65534
IMPOSSIBLE = [Path("x" * 300), Path("null\0byte"), Path("nothing/below")]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that may not be entered, by root's tests neither."""
    directory = tmp_path / "closed"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    directory.chmod(0)
    if os.geteuid() == 0:
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        os.seteuid(NOBODY)
    try:
        yield directory
    finally:
        os.seteuid(os.getuid())
        directory.chmod(0o700)


@pytest.mark.parametrize("path", IMPOSSIBLE, ids=["too long", "null byte", "no such directory"])
def test_a_path_that_cannot_exist_does_not(path: Path, tmp_path: Path) -> None:
    there = tmp_path / path
    assert not exists(there)
    assert not is_file(there)
    assert not is_directory(there)
    assert entries(there) == ()
    with pytest.raises(FileAccessError):
        read_regular(there)


@pytest.mark.parametrize("look", [exists, is_file, is_directory, entries, read_regular])
def test_a_directory_that_may_not_be_entered_is_named(look, closed: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileAccessError, match=r"closed/file.*Permission denied"):
        look(closed / "file")


def test_links_are_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dead").symlink_to("nowhere")
    assert is_file(tmp_path / "link")
    assert not is_file(tmp_path / "link", follow_links=False)
    assert not exists(tmp_path / "dead")
    assert [path.name for path in entries(tmp_path)] == ["dead", "file", "link"]


def test_neither_pipes_nor_devices_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        assert exists(tmp_path / name)
        assert not is_file(tmp_path / name)
        with pytest.raises(FileAccessError, match=name):
            read_regular(tmp_path / name)
