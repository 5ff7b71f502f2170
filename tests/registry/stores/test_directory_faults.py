"""Full disks, read-only file systems, killed pushes and pushes at the same time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.registry.factories import make_artifact, make_weights
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.errors import RegistryError, VersionConflictError
from wsdarts_registry.stores.directory import DirectoryStore

pytestmark = pytest.mark.processes

Mount = Callable[[int], Path]

_PUSH = """
import sys, time
from pathlib import Path
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.errors import VersionConflictError

root, source, gate, rounds, version = sys.argv[1:]
store = DirectoryStore(root)
for number in range(int(rounds)):
    while not Path(f"{gate}{number}").exists():
        time.sleep(0.0005)
    try:
        entry = store.publish(source, f"name{number}", int(version) if version else None)
        print(number, "won", entry.version, entry.digest, flush=True)
    except VersionConflictError as error:
        print(number, "lost", str(error).replace(" ", "_"), flush=True)
"""

_PUSH_UNTIL_KILLED = """
import os, signal, sys
import wsdarts_registry.artifact.reader  # what publishing imports: only pushes are to be counted
from wsdarts_registry.stores.directory import DirectoryStore

root, source, events = sys.argv[1:]
store = DirectoryStore(root)
left = int(events)


def count(event, arguments):
    global left
    left -= event == "open" or event.startswith("os.")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(count)
number = 0
while True:
    number += 1
    store.publish(source, f"name{number}-{source[-1]}")
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small memory file system; skip where that is not allowed."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path))
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def _check_whole(store: DirectoryStore) -> None:
    for entry in store.entries(include_yanked=True):
        assert store.pull(entry.reference).digest == entry.digest


def _staged(store: DirectoryStore) -> list[Path]:
    folder = Path(store.location) / ".staging"
    return list(folder.iterdir()) if folder.exists() else []


def test_full_disk(mount: Mount, tmp_path: Path) -> None:
    store = DirectoryStore(mount(512) / "zoo", create=True)
    make_artifact(tmp_path / "small")
    weights = {**make_weights(), "big": np.ones(2**18, dtype=np.float32)}
    make_artifact(tmp_path / "large", weights=weights)
    entry = store.publish(tmp_path / "small", "small")
    with pytest.raises(RegistryError, match=f"{store.location} is full") as caught:
        store.publish(tmp_path / "large", "large")
    assert "--registry" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert _staged(store) == []
    assert store.entries() == (entry,)
    _check_whole(store)


def test_a_disk_that_fills_at_any_point(mount: Mount, tmp_path: Path) -> None:
    disk = mount(256)
    store = DirectoryStore(disk / "zoo", create=True)
    make_artifact(tmp_path / "first", description="first")
    make_artifact(tmp_path / "second", description="second")
    store.publish(tmp_path / "first", "name")
    failed = 0
    for left in range(0, 64, 4):
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(b"\0" * (free - left * 1024))
        try:
            store.publish(tmp_path / "second", "name")
        except RegistryError:
            failed += 1
            assert [e.version for e in store.entries()] == [1]
            assert _staged(store) == []
        _check_whole(store)
        (disk / "filler").unlink()
    assert failed >= 5
    assert store.publish(tmp_path / "second", "name").version == 2


def test_a_yank_on_a_full_disk_is_told(mount: Mount, tmp_path: Path) -> None:
    disk = mount(256)
    store = DirectoryStore(disk / "zoo", create=True)
    make_artifact(tmp_path / "a")
    entry = store.publish(tmp_path / "a", "a")
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(b"\0" * free)
    with pytest.raises(RegistryError, match="is full"):
        store.yank("a@1", "wrong")
    assert store.entries() == (entry,)


def test_read_only_file_system(mount: Mount, tmp_path: Path) -> None:
    disk = mount(512)
    store = DirectoryStore(disk / "zoo", create=True)
    make_artifact(tmp_path / "a", description="a")
    make_artifact(tmp_path / "b", description="b")
    entry = store.publish(tmp_path / "a", "a")
    _mount("-o", "remount,ro", str(disk))
    message = r"^the registry .* is read-only for you \(Read-only file system\); ask[^\n]*$"
    for write in (
        lambda: store.publish(tmp_path / "b", "a"),
        lambda: store.yank("a@1", "x"),
        lambda: DirectoryStore(disk / "new", create=True),
    ):
        with pytest.raises(RegistryError, match=message):
            write()
    assert store.publish(tmp_path / "a", "a") == entry  # it is there already: nothing to write
    assert DirectoryStore(disk / "zoo").entries() == (entry,)
    assert store.pull("a").digest == entry.digest
    with pytest.raises(RegistryError, match=r"cannot write .*Read-only file"):
        store.pull("a", disk / "out")


def test_a_registry_that_is_unmounted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path / "zoo", create=True)
    make_artifact(tmp_path / "a")
    usual = Artifact.copy_file

    def unmount(self: Artifact, path: str, directory: Path) -> None:
        if (tmp_path / "zoo").exists():
            (tmp_path / "zoo").rename(tmp_path / "away")
        usual(self, path, directory)

    monkeypatch.setattr(Artifact, "copy_file", unmount)
    with pytest.raises(RegistryError):
        store.publish(tmp_path / "a", "a")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "zoo", ignore_errors=True)
    (tmp_path / "away").rename(tmp_path / "zoo")
    assert store.entries() == ()
    assert store.publish(tmp_path / "a", "a").version == 1
    _check_whole(store)


def _race(tmp_path: Path, rounds: int, version: str) -> dict[int, list[list[str]]]:
    """Two processes push to the same names at the same moments; what each said by round."""
    make_artifact(tmp_path / "source0", description="zero")
    make_artifact(tmp_path / "source1", description="one")
    DirectoryStore(tmp_path / "zoo", create=True)
    zoo, gate = str(tmp_path / "zoo"), str(tmp_path / "gate-")
    arguments = [gate, str(rounds), version]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PUSH, zoo, str(tmp_path / f"source{n}"), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in (0, 1)
    ]
    said: dict[int, list[list[str]]] = {}
    for number in range(rounds):
        time.sleep(0.02)
        Path(f"{gate}{number}").touch()
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        for line in output.splitlines():
            first, *rest = line.split()
            said.setdefault(int(first), []).append(rest)
    return said


def test_two_pushes_of_one_version_at_once(tmp_path: Path) -> None:
    said = _race(tmp_path, 30, "1")
    store = DirectoryStore(tmp_path / "zoo")
    assert len(said) == 30
    for number, outcomes in said.items():
        (winner, loser) = sorted(outcomes, reverse=True)
        assert (winner[0], loser[0]) == ("won", "lost")
        (entry,) = [e for e in store.entries() if e.name == f"name{number}"]
        assert (str(entry.version), entry.digest) == (winner[1], winner[2])
        assert f"exists_with_digest_{entry.digest}" in loser[1]
    _check_whole(store)
    assert _staged(store) == []


def test_two_pushes_without_a_version_at_once(tmp_path: Path) -> None:
    said = _race(tmp_path, 15, "")
    store = DirectoryStore(tmp_path / "zoo")
    for number, outcomes in said.items():
        assert sorted(outcome[1] for outcome in outcomes) == ["1", "2"]
        assert len(store.versions(f"name{number}")) == 2
    _check_whole(store)


def test_killed_pushes_leave_nothing_visible(tmp_path: Path) -> None:
    # Deaths are counted in opens, renames and the like: a push has about fifty.
    deaths = np.random.default_rng(0).integers(1, 300, 8)
    weights = {**make_weights(), "big": np.ones(2**19, dtype=np.float32)}
    store = DirectoryStore(tmp_path / "zoo", create=True)
    abandoned = 0
    for number, events in enumerate(deaths):
        source = tmp_path / f"source{number}"
        make_artifact(source, weights=weights, description=str(number))
        arguments = ["-c", _PUSH_UNTIL_KILLED, store.location, str(source), str(events)]
        died = subprocess.run([sys.executable, *arguments], check=False)
        assert died.returncode == -signal.SIGKILL
        abandoned += len(_staged(store))
        _check_whole(store)
        make_artifact(tmp_path / f"next{number}", description=f"next{number}")
        store.publish(tmp_path / f"next{number}", "next")
        assert _staged(store) == []
    assert abandoned > 0


def test_a_version_that_appears_after_the_copy(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a", description="a")
    make_artifact(tmp_path / "b", description="b")
    store = DirectoryStore(tmp_path / "zoo", create=True)
    first = store.publish(tmp_path / "a", "name")
    late = read_artifact(tmp_path / "b")
    copies = [tmp_path / "zoo" / ".staging" / number for number in ("one", "two", "three")]
    for copy in copies:
        copy.mkdir(parents=True)
        late.copy_to(copy)
    with pytest.raises(VersionConflictError, match=rf"name@1 exists with digest {first.digest}"):
        store._claim(copies[0], "name", 1, late.digest)
    assert store._claim(copies[1], "name", None, late.digest) == 2
    assert store._claim(copies[2], "name", 2, late.digest) == 2
    _check_whole(store)
