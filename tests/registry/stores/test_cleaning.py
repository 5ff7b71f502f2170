"""What is deleted from a cache, and above all what is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.registry.processes import container, finish, start
from wsdarts_registry import _file_lock
from wsdarts_registry._files import atomic_file, staged
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores import cache as cleaning_module
from wsdarts_registry.stores._directory_files import StagingArea
from wsdarts_registry.stores.cache import Cleaning, age, clean_cache, open_files, remove_below
from wsdarts_registry.stores.directory import DirectoryStore

pytestmark = pytest.mark.processes

DAY = 86_400
HEX = "0123456789abcdef" * 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    directory = tmp_path / "own"
    directory.mkdir()
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(directory))
    return directory


def make(path: Path, days: float, *, read: float | None = None, octets: int = 10) -> Path:
    """A file that was written, and last read, so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * octets)
    set_age(path, days, read=read)
    return path


def set_age(path: Path, days: float, *, read: float | None = None) -> None:
    now = time.time()
    last_read = now - (days if read is None else read) * DAY
    os.utime(path, (last_read, now - days * DAY), follow_symlinks=False)


def found(cleaning: Cleaning, root: Path) -> list[str]:
    return [unused.path.relative_to(root).as_posix() for unused in cleaning.found]


ALL = (
    f"tasks/{HEX}/0123456789abcdef-64px.v1.npy",
    "checked/abc.v1.json",
    "digests/abc.v1.index",
    f"embeddings/{HEX}/probe-01234567.safetensors",
    f"embeddings/{HEX}/probe-01234567.seconds.json",
    f"features/{HEX}/{HEX}-64px-500.safetensors",
    "nearest/0123456789abcdef0123456789abcdef.npy",
    "kernels/0123456789abcdef.so",
    f"hub/{HEX}.json",
    f"hub/files/{HEX}",
)


def test_every_kind_is_found_by_its_last_use(cache: Path) -> None:
    for place in ALL:
        make(cache / place, 40)
    assert sorted(found(clean_cache(), cache)) == sorted(ALL)
    assert clean_cache().size == 10 * len(ALL)
    assert found(clean_cache(older_than="41d"), cache) == []
    for place in ALL:
        set_age(cache / place, 40, read=20)  # written long ago, but read since
    assert found(clean_cache(), cache) == []
    assert len(clean_cache(older_than="19d").found) == len(ALL)


def test_nothing_is_deleted_unless_asked(cache: Path) -> None:
    paths = [make(cache / place, 40) for place in ALL]
    young = make(cache / "nearest" / "ab.npy", 1)
    assert clean_cache().deleted is False
    assert all(path.exists() for path in paths)
    done = clean_cache(delete=True)
    assert (done.deleted, done.size) == (True, 10 * len(ALL))
    assert not any(path.exists() for path in paths)
    assert young.exists()
    assert clean_cache(delete=True).found == ()


def test_files_of_others_are_left_alone(cache: Path) -> None:
    others = (
        "torchvision/cifar-10-batches-py/data_batch_1",
        "torchvision/.download.tmp",
        "train_probe/100-0.ckpt",
        "notes.npy",
        "tasks/notes.npy",
        f"tasks/{HEX}/notes.txt",
        f"tasks/{HEX}/deeper/x.npy",
        f"artifacts/{HEX}.json",
        "kernels/mine.cpp",
    )
    for place in others:
        make(cache / place, 400)
    assert found(clean_cache(older_than=0, delete=True), cache) == []
    assert all((cache / place).exists() for place in others)


@pytest.mark.parametrize("folder", ["artifacts", "outlines"])
def test_pulled_artifacts_go_whole(cache: Path, folder: str) -> None:
    pulled, used = cache / folder / HEX, cache / folder / HEX[::-1]
    for directory in (pulled, used):
        for name in ("artifact.json", "embeddings/a.safetensors"):
            make(directory / name, 40)
    make(used / "artifact.json", 40, read=2)  # one file of it was read
    for directory in (pulled, used):
        set_age(directory / "embeddings", 40)
        set_age(directory, 40)
    looked = clean_cache()
    assert found(clean_cache(), cache) == found(looked, cache) == [f"{folder}/{HEX}"]
    assert looked.size == 20
    clean_cache(delete=True)
    assert not pulled.exists()
    assert (used / "embeddings" / "a.safetensors").exists()
    # Nothing is left under another name.
    assert [path.name for path in (cache / folder).iterdir()] == [HEX[::-1]]


def test_a_file_with_another_name_elsewhere_frees_nothing(cache: Path, tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "client", 40)
    (cache / "artifacts" / HEX).mkdir(parents=True)
    (cache / "artifacts" / HEX / "artifact.json").hardlink_to(elsewhere)
    set_age(cache / "artifacts" / HEX, 40)
    assert clean_cache(delete=True).size == 0
    assert elsewhere.exists()


def test_leftovers_of_interrupted_writes_after_a_day(cache: Path) -> None:
    hex32 = HEX[:32]
    old = [
        make(cache / "tasks" / HEX / f".{hex32}.tmp", 2),
        make(cache / "nearest" / ".ab.npy.k3_x9abc.tmp", 2),
        make(cache / "artifacts" / f".{HEX[:12]}.{hex32}" / "artifact.json", 2).parent,
        make(cache / "kernels" / "tmpa1b2c3d4" / "cpu.cpp", 2).parent,
    ]
    young = make(cache / "digests" / ".x.index.abcdefgh.tmp", 0.9)
    growing = make(cache / "artifacts" / f".{HEX[:12]}.{hex32[::-1]}" / "weights.safetensors", 0.1)
    for path in (old[2], old[3], growing.parent):
        set_age(path, 2)
    looked = clean_cache(older_than="90d")
    assert {unused.path for unused in looked.found} == set(old)
    assert {(u.what, u.why) for u in looked.found} == {("interrupted writes", "interrupted")}
    clean_cache(older_than="90d", delete=True)
    assert not any(path.exists() for path in old)
    assert young.exists()
    assert growing.exists()


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside" / "0123456789abcdef.so", 400)
    (cache / "kernels").symlink_to(tmp_path / "outside")
    kept = make(tmp_path / "kept.npy", 400)
    (cache / "nearest").mkdir()
    (cache / "nearest" / "ab.npy").symlink_to(kept)
    tasks = make(tmp_path / "elsewhere" / "x.npy", 400).parent
    (cache / "tasks").mkdir()
    (cache / "tasks" / HEX).symlink_to(tasks)
    (cache / "artifacts").mkdir()
    (cache / "artifacts" / HEX).symlink_to(tasks)
    inner = cache / "artifacts" / HEX[::-1]
    inner.mkdir()
    (inner / "link").symlink_to(kept)
    set_age(inner / "link", 400)
    set_age(inner, 400)
    assert found(clean_cache(older_than=0, delete=True), cache) == [f"artifacts/{HEX[::-1]}"]
    assert outside.exists()
    assert kept.exists()
    assert (tasks / "x.npy").exists()


def test_the_cache_itself_may_be_a_link(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(cache / "nearest" / "ab.npy", 40)
    (tmp_path / "link").symlink_to(cache)
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "link"))
    assert len(clean_cache(delete=True).found) == 1
    assert not path.exists()


def test_a_link_that_takes_a_directorys_place_leads_nowhere(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside" / "x.npy", 0)
    root = tmp_path / "root"
    root.mkdir()
    (root / "tasks").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="tasks"):
        remove_below(root, root / "tasks" / "x.npy")
    assert outside.exists()
    with pytest.raises(ValueError, match="outside"):
        remove_below(root, outside)
    remove_below(root, root / "nowhere" / "x.npy")  # gone already


_HOLD = {
    "opened": "file = open(sys.argv[1], 'rb')",
    # Once it is mapped no descriptor is needed.
    "mapped": "held = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, access=mmap.ACCESS_READ); "
    "os.closerange(3, 256)",
}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell")
@pytest.mark.parametrize("how", _HOLD)
def test_what_a_living_process_has_open_stays(cache: Path, how: str) -> None:
    held = make(cache / "nearest" / "ab.npy", 40)
    inside = make(cache / "artifacts" / HEX / "artifact.json", 40)
    free = make(cache / "nearest" / "cd.npy", 40)
    code = f"import mmap, os, sys; {_HOLD[how]}; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(held)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        set_age(held, 40)
        set_age(inside.parent, 40)
        with inside.open("rb"):
            done = clean_cache(delete=True)
        assert [unused.path for unused in done.found] == [free]
        assert {unused.path for unused in done.held} == {held, inside.parent}
        assert held.exists()
        assert inside.exists()
        process.communicate("")
    assert len(clean_cache(delete=True).found) == 2


def test_where_the_system_does_not_tell_a_day_is_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(cache / "nearest" / "ab.npy", 0.5)
    make(cache / "nearest" / "cd.npy", 1.5)
    assert len(clean_cache(older_than=0).found) == 2
    monkeypatch.setattr(cleaning_module, "open_files", lambda root: None)
    assert found(clean_cache(older_than=0), cache) == ["nearest/cd.npy"]


def test_what_is_used_meanwhile_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (make(cache / "nearest" / name, 40) for name in ("ab.npy", "cd.npy"))

    def remove(root: Path, path: Path) -> None:
        remove_below(root, path)
        set_age(second, 0)  # another process reads it while the first is deleted

    monkeypatch.setattr(cleaning_module, "remove_below", remove)
    assert [unused.path for unused in clean_cache(delete=True).found] == [first]
    assert second.exists()


def test_what_is_being_written_stays_however_old_it_looks(cache: Path) -> None:
    # The cleaner sees no process but its own, as in another container, and a clock that jumped.
    names = ("artifacts", "nearest")
    for name in names:
        (cache / name).mkdir()
    clean = start(
        "from wsdarts_registry.stores.cache import clean_cache\n"
        "sys.stdin.readline()\n"
        "for _ in range(2):\n"
        "    done = clean_cache(delete=True)\n"
        "    print(sorted(u.path.parent.name for u in done.found), len(done.held), flush=True)\n"
        "    sys.stdin.readline()",
        command=container("cleaner", 0),
    )
    assert clean.stdin is not None
    assert clean.stdout is not None
    with (
        staged(cache / "artifacts" / HEX) as directory,
        atomic_file(cache / "nearest" / "ab.npy") as file,
    ):
        file.write(b"half")
        file.flush()
        (directory / "weights.safetensors").write_bytes(b"half")
        dead = [
            make(cache / "nearest" / ".ab.npy.0a1b2c3d.tmp", 2),
            make(cache / "artifacts" / f".{HEX[:12]}.{HEX[:32]}" / "artifact.json", 2).parent,
        ]
        for path in (*cache.rglob("*"), cache):
            set_age(path, 2)
        for expected in ("['artifacts', 'nearest'] 2\n", "[] 2\n"):
            clean.stdin.write("\n")
            clean.stdin.flush()
            assert clean.stdout.readline() == expected
    finish(clean)
    assert not any(path.exists() for path in dead)
    assert (cache / "nearest" / "ab.npy").read_bytes() == b"half"
    assert [path.name for path in (cache / "artifacts" / HEX).iterdir()] == ["weights.safetensors"]


def test_pushes_that_were_killed(cache: Path, tmp_path: Path) -> None:
    registry = tmp_path / "zoo"
    DirectoryStore(registry, create=True)
    staging = registry / ".staging"
    dead = make(staging / "dead" / "weights.safetensors", 0).parent
    make(staging / "dead.lock", 0)
    earlier = make(staging / f"00000000-1-{HEX[:32]}" / "weights.safetensors", 2).parent
    assert clean_cache().found == ()
    looked = clean_cache(registry=registry)
    (one,) = looked.found
    assert (one.path, one.what, one.size) == (dead, "interrupted pushes", 10)
    assert [unused.path for unused in looked.unlocked] == [earlier]
    assert dead.exists()
    with StagingArea(staging).new() as living:
        clean_cache(registry=registry, delete=True)
        assert sorted(staging.iterdir()) == sorted(
            (earlier, living, living.with_name(f"{living.name}.lock"))
        )
        done = clean_cache(registry=registry, unlocked=True, delete=True)
        assert [unused.path for unused in done.found] == [earlier]
        assert done.unlocked == ()
        assert sorted(staging.iterdir()) == [living, living.with_name(f"{living.name}.lock")]


def test_where_there_are_no_locks_nothing_is_deleted_unasked(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int) -> bool:
        raise _file_lock.NoLocksError(38, "Function not implemented")

    monkeypatch.setattr(_file_lock, "lock_open_file", no_locks)
    left = make(cache / "nearest" / ".ab.npy.0a1b2c3d.tmp", 2)
    done = clean_cache(delete=True)
    assert (done.found, [unused.path for unused in done.unlocked]) == ((), [left])
    assert left.exists()
    assert [unused.path for unused in clean_cache(delete=True, unlocked=True).found] == [left]
    assert not left.exists()


def test_no_cache_is_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "nowhere"))
    assert clean_cache(delete=True).found == ()
    assert not (tmp_path / "nowhere").exists()
    assert open_files(tmp_path / "nowhere") in (None, frozenset())


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("1.5h", 5400), ("90m", 5400), ("7s", 7), (12, 12)]
)
def test_ages(text: str | float, seconds: float) -> None:
    assert age(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "3w", "1e3", "nan", "30 d"])
def test_what_is_no_age_is_refused(cache: Path, text: str) -> None:
    with pytest.raises(RegistryError, match=r"^age ") as caught:
        clean_cache(older_than=text)
    assert "30d" in caught.value.expected
