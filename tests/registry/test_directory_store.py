from pathlib import Path

import pytest

from tests.registry.factories import CARD, Push, digest_of, make_artifact
from wsdarts_registry.artifact import read_artifact
from wsdarts_registry.directory_store import DirectoryStore
from wsdarts_registry.errors import (
    ArtifactError,
    ReferenceNotFoundError,
    RegistryError,
    VersionConflictError,
)
from wsdarts_registry.store import RegistryConfig


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_versions_count_up(store: DirectoryStore, push: Push) -> None:
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


def test_a_published_version_is_the_artifact(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    entry = push("flowers")
    artifact = store.pull("flowers@1")
    assert artifact.digest == entry.digest == read_artifact(tmp_path / "source").digest
    assert artifact.directory == tmp_path / "zoo" / "artifacts" / "flowers" / "v1"
    assert _files(artifact.directory) == _files(tmp_path / "source")
    assert not list((tmp_path / "zoo" / ".staging").iterdir())


def test_resolving(store: DirectoryStore, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    assert store.resolve("flowers") == second
    assert store.resolve("flowers@1") == first
    assert store.resolve(f"flowers@{first.digest}") == first
    assert store.resolve(f"flowers@{first.digest[:19]}") == first
    assert store.resolve(second.reference) == second


def test_references_to_nothing(store: DirectoryStore, push: Push) -> None:
    with pytest.raises(
        ReferenceNotFoundError, match=r"no artifact named flowers; `wsdarts-hub list"
    ):
        store.resolve("flowers")
    push("flowers")
    with pytest.raises(
        ReferenceNotFoundError, match=r"did you mean flowers\? `wsdarts-hub list --reg"
    ):
        store.resolve("flower")
    with pytest.raises(
        ReferenceNotFoundError, match=r"there is no flowers@2; there is flowers@1 \(sha"
    ):
        store.resolve("flowers@2")
    with pytest.raises(ReferenceNotFoundError, match=r"there is no flowers@sha256:0{12}; there is"):
        store.resolve("flowers@sha256:" + "0" * 12)


def test_an_ambiguous_digest_is_refused(store: DirectoryStore, push: Push, tmp_path: Path) -> None:
    push("flowers", "a")
    push("flowers", "b")
    folder = tmp_path / "zoo" / "artifacts" / "flowers"
    for number in (1, 2):
        line = f"{'ab' * 31}{number:02}  artifact.json\n"
        (folder / f"v{number}" / "artifact.sha256").write_text(line)
    with pytest.raises(RegistryError, match=r"fits flowers@1 .*flowers@2 .*give more digits"):
        store.resolve("flowers@sha256:" + "ab" * 6)


def test_versions_are_write_once(store: DirectoryStore, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    before = _files(Path(store.location))
    message = (
        rf"flowers@1 exists with digest {first.digest}, and what is pushed has {second.digest}"
    )
    with pytest.raises(VersionConflictError, match=message):
        push("flowers", "b", version=1)
    with pytest.raises(VersionConflictError, match="is flowers@1 already; expected new content"):
        push("flowers", "a", version=7)
    assert _files(Path(store.location)) == before
    assert store.resolve("flowers@1") == first


def test_pushing_the_same_again_changes_nothing(store: DirectoryStore, push: Push) -> None:
    first, _ = push("flowers", "a"), push("flowers", "b")
    assert push("flowers", "a") == first
    assert push("flowers", "a", version=1) == first
    assert len(store.entries()) == 2


def test_names_and_versions_are_checked_before_anything_is_read(store: DirectoryStore) -> None:
    with pytest.raises(RegistryError, match=r"artifact name '\.\./x' is not allowed"):
        store.publish("absent", "../x")
    with pytest.raises(RegistryError, match="version 0 of x"):
        store.publish("absent", "x", 0)
    with pytest.raises(ArtifactError, match="cannot read the artifact absent"):
        store.publish("absent", "x")


def test_a_damaged_artifact_is_not_published(store: DirectoryStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    (tmp_path / "a" / "README.md").write_text("changed!")
    with pytest.raises(ArtifactError, match=r"README\.md has"):
        store.publish(tmp_path / "a", "flowers")
    assert store.names() == ()


def test_yanking(store: DirectoryStore, push: Push) -> None:
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


def test_yanking_by_digest_and_twice(store: DirectoryStore, push: Push) -> None:
    entry = push("flowers", "a")
    store.yank(f"flowers@{entry.digest[:19]}", "wrong labels")
    with pytest.raises(RegistryError, match=r"was yanked already, on 20.*Z: wrong labels"):
        store.yank("flowers@1", "again")
    with pytest.raises(
        ReferenceNotFoundError, match=r"every version .* is yanked \(flowers@1: wrong"
    ):
        store.resolve("flowers")
    with pytest.raises(RegistryError, match=r"this content is flowers@1, which was yanked \(wrong"):
        push("flowers", "a")


@pytest.mark.parametrize(
    ("reference", "reason", "error", "message"),
    [
        ("flowers", "x", RegistryError, "flowers is not exact; name the version to hide"),
        ("flowers@2", "x", ReferenceNotFoundError, "there is no flowers@2"),
        ("birds@1", "x", ReferenceNotFoundError, "no artifact named birds"),
        ("flowers@1", "", RegistryError, "the reason is not allowed: reason"),
        ("flowers@1", "a\x1b[2J", RegistryError, "without control characters"),
        ("flowers@1", "a\nb", RegistryError, "without control characters"),
    ],
)
def test_bad_yanks(
    store: DirectoryStore,
    push: Push,
    reference: str,
    reason: str,
    error: type[Exception],
    message: str,
) -> None:
    entry = push("flowers")
    with pytest.raises(error, match=message):
        store.yank(reference, reason)
    assert store.entries() == (entry,)


def test_pulling_into_a_directory(store: DirectoryStore, push: Push, tmp_path: Path) -> None:
    entry = push("flowers")
    artifact = store.pull("flowers", tmp_path / "new" / "copy")
    assert artifact.directory == tmp_path / "new" / "copy"
    assert read_artifact(tmp_path / "new" / "copy", entry.digest).digest == entry.digest
    assert artifact.weights() is not None
    (tmp_path / "empty").mkdir()
    store.pull("flowers", tmp_path / "empty")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "README.md"):
        with pytest.raises(RegistryError, match="is not empty; name a new or empty directory"):
            store.pull("flowers", taken)
    with pytest.raises(RegistryError, match=r"cannot write .*Not a directory; name another"):
        store.pull("flowers", tmp_path / "empty" / "README.md" / "x")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["copy"]


def test_a_copied_artifact_keeps_its_digest(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    entry = push("flowers")
    other = DirectoryStore(tmp_path / "other", create=True)
    copied = other.publish(store.pull("flowers").directory, "blumen", 4)
    assert (copied.digest, copied.version) == (entry.digest, 4)


def test_what_is_read_is_verified(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    push("birds")
    path = store.pull("flowers").directory
    (path / "README.md").write_bytes(CARD.swapcase())
    with pytest.raises(ArtifactError, match=r"README\.md has another sha256"):
        store.pull("flowers")
    manifest = path / "artifact.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"120", b"121"))
    with pytest.raises(ArtifactError, match=r"artifact\.json has sha256"):
        store.resolve("flowers")
    message = (
        r"flowers@1: .*restore it, or hide it with `wsdarts-hub yank flowers@1 --reason damaged"
    )
    with pytest.raises(ArtifactError, match=message):
        store.entries()
    store.pull("birds")
    store.yank("flowers@1", "damaged")
    assert [e.name for e in store.entries()] == ["birds"]


def test_a_lost_manifest_or_checksum(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    path = store.pull("flowers").directory
    (path / "artifact.sha256").write_bytes(b"nonsense")
    with pytest.raises(ReferenceNotFoundError, match=r"there is flowers@1 \(damaged\)"):
        store.resolve("flowers@sha256:" + "0" * 12)
    (path / "artifact.sha256").unlink()
    with pytest.raises(ArtifactError, match=r"cannot read .*artifact\.sha256: No such file"):
        store.resolve("flowers")
    (path.parent / "v1.yanked.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"v1\.yanked\.json has no format version"):
        store.resolve("flowers@1")


def test_opening_what_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"is not a registry: registry\.json cannot be read"):
        DirectoryStore(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RegistryError, match=r"holds other files \(photo\.jpg\); expected a new"):
        DirectoryStore(tmp_path, create=True)
    with pytest.raises(RegistryError, match=r"cannot write the registry .*: Not a directory"):
        DirectoryStore(tmp_path / "photo.jpg" / "zoo", create=True)
    (tmp_path / "registry.json").write_text('{"format":2}')
    with pytest.raises(RegistryError, match=r"has format 2.*pip install -U wsdarts-hub"):
        DirectoryStore(tmp_path)
    (tmp_path / "registry.json").write_text('{"format":1,"name":"x","default_probe":"p","n":1}')
    with pytest.raises(
        RegistryError, match=r"registry\.json is not valid: near: .*n: Extra|n: Extra"
    ):
        DirectoryStore(tmp_path)


def test_creating_keeps_what_is_there(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "My Zoo", create=True)
    assert store.config == RegistryConfig(name="registry")
    store.configure(RegistryConfig(name="Ours", default_probe="timm:resnet34"))
    assert DirectoryStore(tmp_path / "My Zoo", create=True).config.name == "Ours"


def test_read_only_stores_refuse_to_write(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    entry = push("flowers")
    closed = DirectoryStore(store.location, read_only=True)
    for write in (
        lambda: closed.publish(tmp_path / "source", "birds"),
        lambda: closed.yank("flowers@1", "x"),
        lambda: closed.configure(RegistryConfig(name="x")),
        lambda: DirectoryStore(tmp_path / "new", create=True, read_only=True),
    ):
        with pytest.raises(
            RegistryError, match="is read-only; name one of your own with --registry"
        ):
            write()
    assert closed.entries() == (entry,)
    assert closed.pull("flowers").digest == entry.digest


def test_things_that_are_no_artifacts_are_passed_over(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    folder = Path(store.location) / "artifacts"
    (folder / "Not A Name").mkdir()
    (folder / "empty").mkdir()
    (folder / "notes.txt").touch()
    (folder / "flowers" / "v01").mkdir()
    (folder / "flowers" / "v2").touch()
    assert store.names() == ("flowers",)
    assert [info.version for info in store.versions("flowers")] == [1]
    assert store.versions("unknown") == ()
    assert digest_of("x") != store.versions("flowers")[0].digest
