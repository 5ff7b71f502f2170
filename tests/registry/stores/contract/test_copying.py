"""Copies between registries keep the content and leave behind what a registry says of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import Push
from wsdarts_registry.errors import (
    ReferenceNotFoundError,
    RegistryError,
    VersionConflictError,
)
from wsdarts_registry.publishing.publication import copy
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Entry, Store


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Where another registry is made."""
    return tmp_path / "other"


def test_the_digest_stays_and_all_files_come(store: Store, push: Push, other: Path) -> None:
    push("flowers", "a")
    second = push("flowers", "b")
    copied = copy("flowers", other, registry=store)
    assert (copied.source, copied.made) == (second, True)
    assert str(copied.entry.reference) == "flowers@2"
    assert copied.entry.digest == second.digest
    there = DirectoryStore(other).pull("flowers@2")
    assert there.manifest == second.manifest
    assert copy("flowers@1", other, registry=store).entry.version == 1


def test_a_number_is_kept_where_it_is_free(store: Store, push: Push, other: Path) -> None:
    for content in "abc":
        push("flowers", content)
    copy("flowers@1", other, registry=store, version=2)
    assert copy("flowers@2", other, registry=store).entry.version == 3
    assert copy("flowers@3", other, registry=store).entry.version == 4
    assert copy("flowers@3", other, registry=store).entry.version == 4  # it is there
    assert copy("flowers@3", other, registry=store, name="roses").entry.version == 1


def test_a_number_that_is_taken_meanwhile_is_not_waited_for(
    store: Store, push: Push, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("flowers", "a")
    push("flowers", "b")
    target = DirectoryStore(other, create=True)
    publish = target.publish

    def raced(artifact: Any, name: str, version: int | None = None) -> Entry:
        monkeypatch.setattr(target, "publish", publish)
        copy("flowers@1", target, registry=store, version=2)
        return publish(artifact, name, version)

    monkeypatch.setattr(target, "publish", raced)
    assert copy("flowers@2", target, registry=store).entry.version == 3


def test_another_name_and_an_exact_version(store: Store, push: Push, other: Path) -> None:
    push("flowers")
    copied = copy("flowers", other, registry=store, name="roses", version=7)
    assert str(copied.entry.reference) == "roses@7"
    assert DirectoryStore(other).names() == ("roses",)


def test_what_is_there_is_not_copied_again(store: Store, push: Push, other: Path) -> None:
    push("flowers")
    first = copy("flowers", other, registry=store, version=3)
    again = copy("flowers", other, registry=store)
    assert (first.made, again.made) == (True, False)
    assert again.entry == first.entry
    assert len(DirectoryStore(other).versions("flowers")) == 1
    assert copy("flowers", store, registry=store).made is False


def test_the_signature_travels(store: Store, push: Push, other: Path) -> None:
    push("flowers")
    assert copy("flowers", other, registry=store).signature == "none"
    # Signed since: what is there already gets the signature all the same.
    store.write_signature("flowers", 1, b"{}")
    added = copy("flowers", other, registry=store)
    assert (added.made, added.signature, added.entry.status.signed) == (False, "copied", True)
    target = DirectoryStore(other)
    assert target.signature("flowers", 1) == b"{}"
    assert copy("flowers", other, registry=store).signature == "there already"
    target.write_signature("flowers", 1, b"[]")
    assert copy("flowers", other, registry=store).signature == "another one there"
    assert target.signature("flowers", 1) == b"[]"


def test_aliases_and_yanks_stay_behind(store: Store, push: Push, other: Path) -> None:
    push("flowers")
    store.set_alias("flowers", "stable", 1)
    copied = copy("flowers@stable", other, registry=store)
    assert copied.source.status.aliases == ("stable",)
    assert DirectoryStore(other).aliases("flowers") == {}
    store.yank("flowers@1", "wrong labels")
    exact = copy("flowers@1", other, registry=store, name="exact")
    assert exact.source.yanked is not None
    assert exact.entry.yanked is None


def test_a_yanked_version_is_copied_only_by_its_exact_name(
    store: Store, push: Push, other: Path
) -> None:
    entry = push("flowers")
    store.set_alias("flowers", "stable", 1)
    store.yank("flowers@1", "wrong labels")
    for reference in ("flowers", "flowers@stable"):
        with pytest.raises(ReferenceNotFoundError, match="wrong labels"):
            copy(reference, other, registry=store)
    assert not other.exists()
    assert copy(f"flowers@{entry.digest}", other, registry=store).made


def test_refused(store: Store, push: Push, other: Path) -> None:
    push("flowers", "a")
    push("flowers", "b")
    copy("flowers@1", other, registry=store)
    with pytest.raises(VersionConflictError, match="flowers@1 exists"):
        copy("flowers@2", other, registry=store, version=1)
    with pytest.raises(VersionConflictError, match="is flowers@1 already"):
        copy("flowers@1", other, registry=store, version=2)
    with pytest.raises(RegistryError, match="'No!' is not allowed"):
        copy("flowers@1", other, registry=store, name="No!")
    DirectoryStore(other).yank("flowers@1", "not here")
    with pytest.raises(RegistryError, match=r"yanked \(not here\).*unyank"):
        copy("flowers@1", other, registry=store)
    with pytest.raises(RegistryError, match="read-only"):
        copy("flowers@1", DirectoryStore(other, read_only=True), registry=store, name="new")
    assert DirectoryStore(other).names() == ("flowers",)
