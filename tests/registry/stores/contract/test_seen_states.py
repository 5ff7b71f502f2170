"""A registry that shows an older state than before."""

import copy
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub_server import ALICE
from tests.hub_server.control import RemoteHub
from tests.hub_server.faults import Fault
from tests.registry.factories import Push, make_embedding
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact import signing
from wsdarts_registry.errors import (
    OlderStateError,
    RegistryError,
    RegistryWarning,
    SignatureError,
    VersionConflictError,
)
from wsdarts_registry.publishing.publication import sign_version
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.huggingface.store import HubStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store

Restore = Callable[[], None]
Save = Callable[[], Restore]


Elsewhere = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """Do something as another user, who has the same registry and another cache."""

    @contextmanager
    def user() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "cache of somebody else"))
            yield

    return user


@pytest.fixture
def save(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Save:
    """Save the state of the registry; what is returned lets it show that state again."""

    def save_state() -> Restore:
        if isinstance(store, DirectoryStore):
            old, zoo = tmp_path / "old", Path(store.location)
            shutil.copytree(zoo, old)

            def restore() -> None:
                zoo.rename(tmp_path / "newer")
                old.rename(zoo)

            return restore
        hub: RemoteHub = request.getfixturevalue("hub_server")
        state = hub.state()
        return lambda: hub.add_fault(Fault(kind="stale", state=state, times=None))

    return save_state


def differences_of(read: Callable[[], object]) -> str:
    """What is said when something is read of a registry that shows less than before."""
    with pytest.warns(RegistryWarning, match="older state") as caught:
        read()
    (text,) = {str(item.message) for item in caught if "older state" in str(item.message)}
    return text


def assert_refused(store: Store, reference: str, match: str) -> None:
    """A version is refused, and the way on is named."""
    with pytest.warns(RegistryWarning), pytest.raises(OlderStateError, match=match) as refused:
        store.pull(reference)
    assert f"`wsdarts-hub accept flowers{store.option}`" in refused.value.hint
    with pytest.warns(RegistryWarning), pytest.raises(OlderStateError, match=match):
        store.pull_without_weights(reference)


def test_growth_is_silent(store: Store, push: Push) -> None:
    push("flowers", "a")
    assert len(store.entries()) == 1
    push("flowers", "b")
    push("birds")
    store.set_alias("flowers", "stable", 1)
    store.write_signature("flowers", 1, b"{}")
    store.yank("flowers@2", "wrong")
    assert store.pull("flowers").digest == store.entry("flowers", 1).digest
    store.unyank("flowers@2", "right")
    store.set_alias("flowers", "stable", 2)
    store.yank("flowers@2", "wrong after all")
    assert [str(e.reference) for e in store.entries()] == ["birds@1", "flowers@1"]
    assert store.accept_state() == ()


def test_a_clock_that_is_set_back_makes_no_older_state(
    store: Store, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(("2026-01-02T12:00:00Z", "2026-01-02T11:00:00Z", "2026-01-02T11:01:00Z"))
    monkeypatch.setattr("wsdarts_registry.stores.store.now", lambda: next(times))
    push("flowers")
    store.yank("flowers@1", "wrong")
    store.unyank("flowers@1", "right")
    store.yank("flowers@1", "wrong after all")
    assert store.entries() == ()
    (entry,) = store.entries(include_yanked=True)
    assert entry.yanked is not None
    assert entry.yanked.reason == "wrong after all"
    assert store.accept_state() == ()


@pytest.mark.parametrize("read", ["entries", "nearest", "resolve", "pull"])
def test_an_older_state_is_noticed(store: Store, push: Push, save: Save, read: str) -> None:
    push("flowers", "a")
    restore = save()
    push("flowers", "b")
    restore()
    reads: dict[str, Callable[[], object]] = {
        "entries": store.entries,
        "nearest": lambda: store.nearest(make_embedding()),
        "resolve": lambda: store.resolve("flowers"),
        "pull": lambda: store.pull("flowers"),
    }
    assert "flowers@2 is gone" in differences_of(reads[read])
    # It is told until it is accepted, by whatever reads the registry.
    assert f"`wsdarts-hub accept flowers{store.option}`" in differences_of(reads[read])
    assert store.accept_state("flowers") == ("flowers@2 is gone",)
    reads[read]()


def test_a_name_that_is_gone(store: Store, push: Push, save: Save) -> None:
    push("flowers")
    restore = save()
    push("birds")
    store.entries()
    restore()
    assert "birds@1 is gone" in differences_of(store.entries)
    assert store.pull("flowers").manifest.tasks[0].name == "flowers"
    assert store.accept_state() == ("birds@1 is gone",)
    assert [entry.name for entry in store.entries()] == ["flowers"]


def test_a_yank_whose_record_is_gone(store: Store, push: Push, save: Save) -> None:
    push("flowers", "a")
    push("flowers", "b")
    restore = save()
    store.yank("flowers@2", "stolen images")
    restore()
    assert "that flowers@2 was yanked" in differences_of(store.catalogue)
    assert_refused(store, "flowers", "record that flowers@2 .* gone")
    with pytest.warns(RegistryWarning, match="that flowers@2 was yanked"):
        store.pull("flowers@1")
    assert len(store.accept_state()) == 1
    assert store.pull("flowers").digest == store.entry("flowers", 2).digest


def test_a_yank_that_somebody_lifted(store: Store, push: Push, elsewhere: Elsewhere) -> None:
    push("flowers", "a")
    bad = push("flowers", "b")
    store.yank("flowers@2", "stolen images")
    with elsewhere():
        store.unyank("flowers@2", "they are fine")
    assert "flowers@2 was yanked and" in differences_of(store.entries)
    assert_refused(store, "flowers", "flowers@2 .* not any more")
    assert_refused(store, "flowers@2", "flowers@2 .* not any more")
    (accepted,) = store.accept_state("flowers")
    assert accepted.startswith("flowers@2 was yanked")
    assert store.pull("flowers").digest == bad.digest
    with warnings.catch_warnings():
        warnings.simplefilter("error", RegistryWarning)
        assert len(store.entries()) == 2


def test_a_yank_that_was_lifted_within_its_second(
    store: Store, push: Push, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("flowers")
    monkeypatch.setattr("wsdarts_registry.stores.store.now", lambda: "2026-01-02T12:00:00Z")
    store.yank("flowers@1", "stolen images")
    with elsewhere():
        store.unyank("flowers@1", "they are fine")
    assert_refused(store, "flowers@1", "flowers@1 .* not any more")


def test_a_list_from_before_an_own_lift_of_the_same_second(
    store: Store, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("flowers")
    monkeypatch.setattr("wsdarts_registry.stores.store.now", lambda: "2026-01-02T12:00:00Z")
    store.yank("flowers@1", "stolen images")
    before = store.snapshot().listing()
    store.unyank("flowers@1", "they are fine")
    store.compare(before, whole=True)  # as another process does that is slower
    assert store.pull("flowers@1").digest == store.entry("flowers", 1).digest


def test_a_yank_that_somebody_lifted_and_made_again(
    store: Store, push: Push, elsewhere: Elsewhere
) -> None:
    push("flowers")
    store.yank("flowers@1", "stolen images")
    with elsewhere():
        store.unyank("flowers@1", "they are fine")
        store.yank("flowers@1", "they were stolen after all")
    assert store.entries() == ()
    assert store.pull("flowers@1")


def test_a_lifted_yank_that_was_never_seen_is_not_told(
    store: Store, push: Push, elsewhere: Elsewhere
) -> None:
    push("flowers")
    with elsewhere():
        store.yank("flowers@1", "wrong")
        store.unyank("flowers@1", "right")
    assert len(store.entries()) == 1
    assert store.pull("flowers")


@pytest.mark.parametrize("judgement", ["compare", "check_trusted"])
def test_what_this_user_changes_before_it_is_judged_is_no_older_state(
    store: Store, push: Push, monkeypatch: pytest.MonkeyPatch, judgement: str
) -> None:
    push("flowers")
    other, judge = copy.copy(store), getattr(type(store), judgement)
    if isinstance(store, HubStore):
        other = HubStore(store.location, endpoint=store._client.url, token=ALICE.token)

    def judge_later(self: Store, *arguments: object, **named: object) -> object:
        if self is store:
            monkeypatch.setattr(type(store), judgement, judge)
            other.yank("flowers@1", "wrong")
        return judge(self, *arguments, **named)

    monkeypatch.setattr(type(store), judgement, judge_later)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RegistryWarning)
        assert store.pull("flowers@1")
    assert not store.entries()


def test_a_yank_follows_from_what_others_did_meanwhile(
    store: Store, push: Push, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("flowers")
    store.yank("flowers@1", "wrong")
    write = type(store).write_yank

    def write_later(self: Store, *arguments: object) -> None:
        monkeypatch.setattr(type(store), "write_yank", write)
        with elsewhere():
            self.unyank("flowers@1", "right")
        write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "write_yank", write_later)
    with pytest.raises(RegistryError, match="flowers@1 is not yanked"):
        store.unyank("flowers@1", "too late")
    (info,) = store.versions("flowers")
    assert info.status.yank is not None
    assert info.status.yank.lifted is not None
    assert info.status.yank.lifted.reason == "right"


def test_own_changes_do_not_accept_what_somebody_else_did(
    store: Store, push: Push, elsewhere: Elsewhere
) -> None:
    push("flowers", "a")
    push("flowers", "b")
    store.yank("flowers@2", "stolen images")
    with elsewhere():
        store.unyank("flowers@2", "they are fine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegistryWarning)
        store.yank("flowers@1", "wrong")
        store.unyank("flowers@1", "right")
        push("flowers", "c")
    assert_refused(store, "flowers@2", "flowers@2 .* not any more")


def test_a_signature_that_is_gone(store: Store, push: Push, save: Save) -> None:
    push("flowers")
    restore = save()
    store.write_signature("flowers", 1, b"{}")
    store.entries()
    restore()
    assert "signature of flowers@1 is gone" in differences_of(store.entries)
    assert_refused(store, "flowers", "signature .*flowers@1 is gone")
    assert len(store.accept_state("flowers")) == 1
    assert store.pull("flowers")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """The private keys of a publisher and of a forger."""
    return signing.make_keys(tmp_path / "own.key")[0], signing.make_keys(tmp_path / "forged.key")[0]


def test_a_signature_that_somebody_replaced(
    store: Store, push: Push, elsewhere: Elsewhere, keys: tuple[Path, Path]
) -> None:
    push("flowers")
    own, forged = keys
    with elsewhere():
        sign_version("flowers", key=own, registry=store)
    assert store.pull("flowers")
    with elsewhere():
        sign_version("flowers", key=forged, registry=store)
    refused = "the signature of flowers@1 was replaced by another"
    for read in (store.pull, store.pull_without_weights):
        with pytest.raises(OlderStateError, match=refused) as caught:
            read("flowers")
        assert f"`wsdarts-hub accept flowers{store.option}`" in caught.value.hint
    with pytest.raises(SignatureError, match="another key"):
        store.requiring(own.with_name("own.key.pub")).pull("flowers")
    assert store.accept_state("flowers") == (refused,)
    assert store.pull("flowers")


def test_whose_signature_is_required_may_sign_anew(
    store: Store, push: Push, elsewhere: Elsewhere, keys: tuple[Path, Path]
) -> None:
    push("flowers")
    own, _ = keys
    sign_version("flowers", key=own, registry=store)
    with elsewhere():
        sign_version("flowers", key=own, registry=store)
    with pytest.raises(OlderStateError, match="replaced by another"):
        store.pull("flowers")
    assert store.requiring(own.with_name("own.key.pub")).pull("flowers")
    assert store.pull("flowers")


def test_own_signatures_are_silent(store: Store, push: Push, keys: tuple[Path, Path]) -> None:
    push("flowers")
    for key in keys:
        sign_version("flowers", key=key, registry=store)
        assert store.pull("flowers")
    assert store.accept_state() == ()


def test_an_alias_that_moved_back_is_told_once(store: Store, push: Push, save: Save) -> None:
    push("flowers", "a")
    push("flowers", "b")
    store.set_alias("flowers", "stable", 1)
    restore = save()
    store.set_alias("flowers", "stable", 2)
    restore()
    said = differences_of(lambda: store.resolve("flowers@stable"))
    assert "flowers@stable means version 1 and meant 2" in said
    store.resolve("flowers@stable")


def test_what_the_user_moves_or_removes_is_not_told(store: Store, push: Push) -> None:
    push("flowers", "a")
    push("flowers", "b")
    store.set_alias("flowers", "stable", 2)
    store.entries()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RegistryWarning)
        store.set_alias("flowers", "stable", 1)
        store.entries()
        store.remove_alias("flowers", "stable")
        store.entries()
    assert [str(each.message) for each in said] == []


def test_another_content_under_a_version_is_refused(
    store: Store, push: Push, request: pytest.FixtureRequest
) -> None:
    seen = push("flowers", "a")
    if isinstance(store, DirectoryStore):
        shutil.rmtree(store.path("flowers", 1))
    else:
        url = request.getfixturevalue("hub_server").url
        HfApi(endpoint=url, token=ALICE.token).delete_repo("acme/flowers")
    with pytest.warns(RegistryWarning, match="flowers@1 is gone"):
        push("flowers", "b")
    assert "flowers@1 has another digest" in differences_of(store.entries)
    for read in (store.pull, store.pull_without_weights):
        with pytest.warns(RegistryWarning), pytest.raises(VersionConflictError) as refused:
            read("flowers")
        assert refused.value.found != seen.digest
        assert refused.value.expected.startswith(seen.digest)
        assert f"accept flowers{store.option}" in refused.value.hint
    assert store.accept_state("flowers") == ("flowers@1 has another digest",)
    assert store.pull("flowers").digest == refused.value.found


def test_many_differences_are_one_line(store: Store, push: Push, save: Save) -> None:
    restore = save()
    for name in "abcdef":
        push(name)
    store.catalogue()
    restore()
    said = differences_of(store.catalogue)
    assert "a@1 is gone, b@1 is gone, c@1 is gone, and something of 3 other artifacts" in said
    assert f"`wsdarts-hub accept{store.option}`" in said


def test_a_registry_has_its_own_state(store: Store, push: Push, tmp_path: Path) -> None:
    push("flowers")
    other = DirectoryStore(tmp_path / "other", create=True)
    assert other.names() == ()
    assert other.entries() == ()
    assert len(list((cache_directory() / "seen").glob("*.jsonl"))) == 1


def test_a_damaged_file_is_told_and_made_anew(store: Store, push: Push, save: Save) -> None:
    push("flowers", "a")
    restore = save()
    push("flowers", "b")
    (file,) = (cache_directory() / "seen").glob("*.jsonl")
    content = file.read_bytes()
    restore()
    file.write_bytes(content.replace(b"flowers", b"flawers"))
    with pytest.warns(RegistryWarning, match="is damaged") as caught:
        assert len(store.entries()) == 1
    assert not any("older state than" in str(item.message) for item in caught)
    assert len(store.entries()) == 1
    assert file.read_bytes() != content


def test_a_cache_that_cannot_be_written(
    store: Store, push: Push, save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    restore = save()
    push("flowers")
    shutil.copytree(cache_directory() / "seen", tmp_path / "cache" / "seen")
    (tmp_path / "file").touch()
    restore()
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "file"))
    store.catalogue()  # nothing was seen, and nothing can be kept
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "cache"))
    assert "flowers@1 is gone" in differences_of(store.catalogue)


_READ = """
import os, sys
from wsdarts_registry.stores.huggingface.store import HubStore
from wsdarts_registry.stores.opening import open_registry
store = open_registry(sys.argv[1], endpoint=sys.argv[2] or None)
print(flush=True)
sys.stdin.readline()
for name in sys.argv[3:]:
    store.resolve(name)
"""


@pytest.mark.processes
def test_two_processes_lose_nothing(
    store: Store, push: Push, save: Save, request: pytest.FixtureRequest
) -> None:
    restore = save()
    names = [f"{word}{n}" for n in range(6) for word in ("left", "right")]
    for name in names:
        push(name)
    shutil.rmtree(cache_directory() / "seen")
    is_hub = not isinstance(store, DirectoryStore)
    endpoint = request.getfixturevalue("hub_server").url if is_hub else ""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", _READ, store.location, endpoint, *names[part::2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for part in (0, 1)
    ]
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    for reader in readers:
        reader.communicate(b"\n")
        assert reader.returncode == 0
    restore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegistryWarning)
        assert open_registry(store).accept_state() == tuple(f"{n}@1 is gone" for n in sorted(names))


def test_what_is_kept_names_no_path(store: Store, push: Push) -> None:
    push("flowers")
    (file,) = (cache_directory() / "seen").glob("*.jsonl")
    head, row = file.read_text(encoding="utf-8").splitlines()
    assert set(json.loads(head)) == {"format", "sha256"}
    assert json.loads(row)[0] == "flowers"
    assert store.location not in file.read_text(encoding="utf-8")
