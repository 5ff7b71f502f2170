"""Several processes that change one registry at the same time, stopped at the worst points."""

import os
import time
from pathlib import Path

import pytest

from tests.plain_user import without_overrides
from tests.registry.factories import make_artifact
from tests.registry.processes import container, finish, start
from wsdarts_registry import _file_lock
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores import directory
from wsdarts_registry.stores._directory_files import StagingArea
from wsdarts_registry.stores.directory import DirectoryStore

pytestmark = pytest.mark.processes

_PUSH = """
root, source, name = sys.argv[1:]
print(DirectoryStore(root).publish(source, name).version)
"""
# Stops with a copy that is half made.
_PUSH_SLOWLY = """
root, source, name, gate = sys.argv[1:]
before("open", ".staging", "op_masks", lambda: stop_at(gate))
print(DirectoryStore(root).publish(source, name).version)
"""


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.002)


def _staged(store: DirectoryStore) -> list[str]:
    folder = Path(store.location) / ".staging"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _check_whole(store: DirectoryStore) -> None:
    for entry in store.entries(include_yanked=True):
        assert store.pull(entry.reference).digest == entry.digest


def test_pushers_in_two_namespaces_with_one_host_name(
    store: DirectoryStore, tmp_path: Path
) -> None:
    # To the second pusher the process id of the first one is nobody's, and the host is the same.
    make_artifact(tmp_path / "slow", description="slow")
    make_artifact(tmp_path / "quick", description="quick")
    gate = tmp_path / "gate"
    slow = start(
        _PUSH_SLOWLY,
        *(store.location, tmp_path / "slow", "slow", gate),
        command=container("twin", 40),
    )
    _wait_for(tmp_path / "gate.reached")
    (copy,) = (Path(store.location) / ".staging").glob("*[!k]")
    long_ago = time.time() - 30 * 86_400
    for path in copy.parent.rglob("*"):
        os.utime(path, (long_ago, long_ago))  # as after a jump of the clock
    quick = start(_PUSH, store.location, tmp_path / "quick", "quick", command=container("twin", 0))
    assert finish(quick) == "1\n"
    assert copy.is_dir()
    gate.touch()
    assert finish(slow) == "1\n"
    assert store.names() == ("quick", "slow")
    _check_whole(store)
    assert _staged(store) == []


_PUSH_TOGETHER = """
root, source, gate, me, together, rounds = sys.argv[1:]
store = DirectoryStore(root)

def meet():
    # Each has looked for the content, and not found it, before any of them copies.
    Path(here + me).touch()
    wait_for(*(f"{here}{other}" for other in range(int(together))))

for number in range(int(rounds)):
    here = f"{gate}-{number}-"
    before("os.mkdir", ".staging", "", meet)
    print(store.publish(source, f"name{number}").version)
"""


def test_one_content_that_is_pushed_at_once_is_one_version(
    store: DirectoryStore, tmp_path: Path
) -> None:
    make_artifact(tmp_path / "same", description="same")
    make_artifact(tmp_path / "other", description="other")
    rounds, together = 3, 8
    for number in range(rounds):
        store.publish(tmp_path / "other", f"name{number}")
    arguments = (store.location, tmp_path / "same", tmp_path / "gate")
    pushes = [
        start(_PUSH_TOGETHER, *arguments, str(me), str(together), str(rounds))
        for me in range(together)
    ]
    for push in pushes:
        assert finish(push) == "2\n" * rounds
    for number in range(rounds):
        assert [info.version for info in store.versions(f"name{number}")] == [1, 2]
    assert _staged(store) == []
    _check_whole(store)


_KILL_ANYWHERE = """
root, source, other = sys.argv[1:]
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "fcntl.flock")

def push(number):
    store = DirectoryStore(root)
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in EVENTS:
            count += 1
        if event in EVENTS and count == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    store.publish(source, f"name{number}")

store = DirectoryStore(root)
seen, left = set(), 0
number = 0
while True:
    number += 1
    child = os.fork()
    if child == 0:
        push(number)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    name = f"name{number}"
    found = store.versions(name)
    for info in found:
        store.pull(f"{name}@{info.version}")
    seen.add(len(found))
    left += len(list((Path(root) / ".staging").glob("*"))) > 0
    assert store.publish(other, name).version == len(found) + 1
    assert list((Path(root) / ".staging").iterdir()) == []
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
print(sorted(seen), left > 20)
"""


@pytest.mark.slow
def test_a_push_that_is_killed_anywhere_leaves_nothing_in_the_way(
    store: DirectoryStore, tmp_path: Path
) -> None:
    make_artifact(tmp_path / "a", description="a", weights=None, check=None)
    make_artifact(tmp_path / "b", description="b", weights=None, check=None)
    killed = start(_KILL_ANYWHERE, store.location, tmp_path / "a", tmp_path / "b")
    assert finish(killed) == "[0, 1] True\n"
    _check_whole(store)


# Whoever is second lets the first one go on when it waits, or when it is done without waiting.
_FIRST = """
root, gate, part, action = sys.argv[1:]
before("open", root, part, lambda: stop_at(gate))
try:
    exec(action)
    print("done")
except WsdartsError as error:
    print(type(error).__name__)
"""
_SECOND = """
root, gate, action = sys.argv[1:]
before("open", root, os.sep + ".lock", Path(gate).touch)
try:
    exec(action)
    print("done")
except WsdartsError as error:
    print(type(error).__name__)
finally:
    Path(gate).touch()
"""


def _overtake(root: Path, gate: Path, part: str, first: str, second: str) -> tuple[str, str]:
    """Let a second process act while the first one has decided and not yet written."""
    one = start(_FIRST, root, gate, part, first)
    _wait_for(gate.with_name(f"{gate.name}.reached"))
    other = start(_SECOND, root, gate, second)
    said = finish(other)
    return finish(one).strip(), said.strip()


def test_two_yanks_at_once(store: DirectoryStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    store.publish(tmp_path / "a", "name")
    yank = "DirectoryStore(root).yank('name@1', {!r})"
    said = _overtake(
        Path(store.location),
        tmp_path / "gate",
        ".v1.yanked.json",
        yank.format("first"),
        yank.format("second"),
    )
    assert said == ("done", "RegistryError")
    (info,) = store.versions("name")
    assert info.yanked is not None
    assert info.yanked.reason == "first"


def test_a_registry_that_is_made_twice_keeps_its_settings(tmp_path: Path) -> None:
    root = tmp_path / "zoo"
    configure = (
        "from wsdarts_registry.stores.store import RegistryConfig; "
        "DirectoryStore(root, create=True).configure(RegistryConfig(name='Ours'))"
    )
    said = _overtake(
        root, tmp_path / "gate", ".registry.json", "DirectoryStore(root, create=True)", configure
    )
    assert said == ("done", "done")
    assert DirectoryStore(root).config.name == "Ours"


def test_two_changes_of_the_settings_at_once(store: DirectoryStore, tmp_path: Path) -> None:
    change = (
        "store = DirectoryStore(root)\n"
        "with store.changing():\n"
        "    config = store.config\n"
        "    store.configure(config.model_copy(update={%r: 'changed'}))"
    )
    said = _overtake(
        Path(store.location),
        tmp_path / "gate",
        ".registry.json.",
        change % "name",
        change % "default_probe",
    )
    assert said == ("done", "done")
    assert (store.config.name, store.config.default_probe) == ("changed", "changed")


def test_a_change_that_hangs_is_told(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_artifact(tmp_path / "a")
    monkeypatch.setattr(directory, "_LOCK_TIMEOUT", 0.0)
    lock = _file_lock.try_lock(Path(store.location) / ".lock", create=True)
    assert lock is not None
    with lock, pytest.raises(RegistryError, match="another process"):
        store.publish(tmp_path / "a", "name")
    assert store.publish(tmp_path / "a", "name").version == 1


def test_what_has_no_lock_is_removed_only_if_that_is_asked_for(tmp_path: Path) -> None:
    area = StagingArea(tmp_path)
    # As earlier versions named them; and what somebody else has put there.
    earlier = tmp_path / "0123abcd-1-0123456789abcdef0123456789abcdef"
    foreign = tmp_path / "something"
    dead = tmp_path / "dead"
    for path in (earlier, foreign, dead):
        (path / "embeddings").mkdir(parents=True)
        os.utime(path, (0, 0))
    (tmp_path / "dead.lock").touch()
    with area.new() as living:
        assert area.stale_uploads() == (dead,)
        assert area.unlocked_uploads() == (earlier, foreign)
        area.remove_stale_uploads()
        assert area.stale_uploads() == ()
        assert sorted(path for path in tmp_path.iterdir() if path.is_dir()) == sorted(
            (earlier, foreign, living)
        )
        area.remove_stale_uploads(unlocked=True)
        assert sorted(tmp_path.iterdir()) == [living, living.with_name(f"{living.name}.lock")]
    assert list(tmp_path.iterdir()) == []


def test_a_staging_area_that_may_not_be_read_is_told(store: DirectoryStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    staging = Path(store.location) / ".staging"
    staging.mkdir()
    staging.chmod(0)
    with without_overrides():
        with pytest.raises(RegistryError, match=r"\.staging.*Permission denied"):
            store.publish(tmp_path / "a", "name")
        assert store.names() == ()
    staging.chmod(0o755)


def test_a_file_system_without_locks(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int) -> bool:
        raise _file_lock.NoLocksError(38, "Function not implemented")

    monkeypatch.setattr(_file_lock, "lock_open_file", no_locks)
    make_artifact(tmp_path / "a", description="a")
    make_artifact(tmp_path / "b", description="b")
    dead = Path(store.location) / ".staging" / "dead"
    dead.mkdir(parents=True)
    dead.with_name("dead.lock").touch()
    assert store.publish(tmp_path / "a", "name").version == 1
    assert store.publish(tmp_path / "b", "name").version == 2
    assert store.publish(tmp_path / "a", "name").version == 1
    assert store.stale_uploads() == ()
    assert _staged(store) == ["dead", "dead.lock"]
    assert store.unlocked_uploads() == (dead, dead.with_name("dead.lock"))
    store.remove_stale_uploads(unlocked=True)
    assert _staged(store) == []
