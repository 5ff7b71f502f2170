"""Publishing, resolving, hiding and pulling, in every kind of registry."""

from pathlib import Path

import pytest

from tests.error_fields import assert_fields
from tests.registry.factories import CARD, Push, make_artifact
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import (
    ArtifactError,
    ReferenceNotFoundError,
    RegistryError,
    VersionConflictError,
)
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Store


def test_versions_count_up(store: Store, push: Push) -> None:
    first, second, third = (
        push("flowers", "a"),
        push("flowers", "b"),
        push("flowers", "c", version=9),
    )
    assert [str(e.reference) for e in (first, second, third)] == [
        "flowers@1",
        "flowers@2",
        "flowers@9",
    ]
    assert push("flowers", "d").version == 10
    assert [str(e.reference) for e in store.entries()] == [f"flowers@{n}" for n in (1, 2, 9, 10)]
    assert store.names() == ("flowers",)
    assert store.entries()[0] == first


def test_a_published_version_is_the_artifact(store: Store, push: Push, tmp_path: Path) -> None:
    entry = push("flowers")
    artifact = store.pull("flowers@1")
    assert artifact.digest == entry.digest == read_artifact(tmp_path / "source").digest
    assert artifact.read("README.md") == CARD
    assert store.pull("flowers").directory == artifact.directory


def test_a_look_shows_the_artifact(store: Store, push: Push, tmp_path: Path) -> None:
    entry = push("flowers")
    whole, seen = read_artifact(tmp_path / "source"), store.pull_without_weights("flowers@1")
    assert seen.digest == entry.digest
    assert (seen.manifest, seen.genotype, seen.ranked) == (
        *(whole.manifest, whole.genotype, whole.ranked),
    )
    assert seen.stage_masks == whole.stage_masks
    assert [e.task_digest for e in seen.embeddings] == [e.task_digest for e in whole.embeddings]
    assert seen.read("README.md") == CARD
    with pytest.raises(ReferenceNotFoundError):
        store.pull_without_weights("flowers@2")


def test_a_new_version_leaves_nothing_of_the_last(store: Store, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a", files={"README.md": CARD, "notes.md": b"old"})
    make_artifact(tmp_path / "b", weights=False)
    store.publish(tmp_path / "a", "flowers")
    store.publish(tmp_path / "b", "flowers")
    assert set(store.pull("flowers").manifest.files) == set(
        read_artifact(tmp_path / "b").manifest.files
    )
    assert store.pull("flowers@1").read("notes.md") == b"old"


def test_resolving(store: Store, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    assert store.resolve("flowers") == second
    assert store.resolve("flowers@1") == first
    assert store.resolve(f"flowers@{first.digest}") == first
    assert store.resolve(f"flowers@{first.digest[:19]}") == first
    assert store.resolve(second.reference) == second


def test_references_to_nothing(store: Store, push: Push) -> None:
    with pytest.raises(ReferenceNotFoundError, match="no artifact named flowers") as empty:
        store.resolve("flowers")
    assert empty.value.hint.startswith("`wsdarts-hub list")
    push("flowers")
    with pytest.raises(ReferenceNotFoundError) as mistyped:
        store.resolve("flower")
    assert "flowers? `wsdarts-hub list --registry" in mistyped.value.hint
    for reference in ("flowers@2", "flowers@sha256:" + "0" * 12):
        with pytest.raises(ReferenceNotFoundError, match=f"no {reference}") as unknown:
            store.resolve(reference)
        assert "flowers@1 (sha256:" in unknown.value.hint


def test_versions_are_write_once(store: Store, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    before = store.entries(include_yanked=True)
    with pytest.raises(VersionConflictError, match=f"flowers@1 .*{first.digest}.*{second.digest}"):
        push("flowers", "b", version=1)
    with pytest.raises(VersionConflictError, match=f"{first.digest}.* is flowers@1 already"):
        push("flowers", "a", version=7)
    assert store.entries(include_yanked=True) == before
    assert store.resolve("flowers@1") == first


def test_pushing_the_same_again_changes_nothing(store: Store, push: Push) -> None:
    first, _ = push("flowers", "a"), push("flowers", "b")
    assert push("flowers", "a") == first
    assert push("flowers", "a", version=1) == first
    assert len(store.entries()) == 2


def test_names_and_versions_are_checked_before_anything_is_read(store: Store) -> None:
    with pytest.raises(RegistryError, match=r"'\.\./x' is not allowed"):
        store.publish("absent", "../x")
    with pytest.raises(RegistryError, match="of x is 0"):
        store.publish("absent", "x", 0)
    with pytest.raises(ArtifactError, match=r"cannot read .*absent"):
        store.publish("absent", "x")


def test_a_damaged_artifact_is_not_published(store: Store, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    (tmp_path / "a" / "README.md").write_text("changed!")
    with pytest.raises(ArtifactError, match=r"README\.md has"):
        store.publish(tmp_path / "a", "flowers")
    assert store.names() == ()


def test_yanking(store: Store, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    store.yank("flowers@2", "wrong labels")
    assert store.resolve("flowers") == first
    assert store.entries() == (first,)
    hidden = store.resolve("flowers@2")
    assert hidden.yanked is not None
    assert hidden.yanked.reason == "wrong labels"
    assert hidden.digest == second.digest
    assert store.pull(f"flowers@{second.digest}").digest == second.digest
    assert [e.version for e in store.entries(include_yanked=True)] == [1, 2]
    assert push("flowers", "c").version == 3


def test_yanking_by_digest_and_twice(store: Store, push: Push) -> None:
    entry = push("flowers", "a")
    store.yank(f"flowers@{entry.digest[:19]}", "wrong labels")
    with pytest.raises(RegistryError, match=r"already.* 20.*Z: wrong labels"):
        store.yank("flowers@1", "again")
    with pytest.raises(ReferenceNotFoundError, match=r"yanked \(flowers@1: wrong labels\)"):
        store.resolve("flowers")
    with pytest.raises(RegistryError, match=r"flowers@1.* yanked \(wrong labels\)"):
        push("flowers", "a")


@pytest.mark.parametrize(
    ("reference", "reason", "error", "fields"),
    [
        ("flowers", "x", RegistryError, {"what": "flowers is not exact", "hint": "flowers@1"}),
        ("flowers@2", "x", ReferenceNotFoundError, {"what": "no flowers@2"}),
        ("birds@1", "x", ReferenceNotFoundError, {"what": "no artifact named birds"}),
        ("flowers@1", "", RegistryError, {"what": ("reason is not allowed", "at least 1")}),
        ("flowers@1", "a\x1b[2J", RegistryError, {"what": ("reason", "invisible characters")}),
        ("flowers@1", "a\nb", RegistryError, {"what": ("reason", "invisible characters")}),
    ],
)
def test_bad_yanks(
    store: Store,
    push: Push,
    reference: str,
    reason: str,
    error: type[Exception],
    fields: dict[str, object],
) -> None:
    entry = push("flowers")
    with pytest.raises(error) as caught:
        store.yank(reference, reason)
    assert_fields(caught.value, **fields)
    assert store.entries() == (entry,)


def test_pulling_into_a_directory(store: Store, push: Push, tmp_path: Path) -> None:
    entry = push("flowers")
    artifact = store.pull("flowers", tmp_path / "new" / "copy")
    assert artifact.directory == tmp_path / "new" / "copy"
    assert read_artifact(tmp_path / "new" / "copy", entry.digest).digest == entry.digest
    assert artifact.weights() is not None
    (tmp_path / "empty").mkdir()
    store.pull("flowers", tmp_path / "empty")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "README.md"):
        with pytest.raises(RegistryError, match=f"{taken} is not empty"):
            store.pull("flowers", taken)
    with pytest.raises(RegistryError, match=r"README.*: Not a directory"):
        store.pull("flowers", tmp_path / "empty" / "README.md" / "x")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["copy"]


def test_a_copied_artifact_keeps_its_digest(store: Store, push: Push, tmp_path: Path) -> None:
    entry = push("flowers")
    other = DirectoryStore(tmp_path / "other", create=True)
    copied = other.publish(store.pull("flowers").directory, "blumen", 4)
    assert (copied.digest, copied.version) == (entry.digest, 4)
