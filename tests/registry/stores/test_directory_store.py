from pathlib import Path

import pytest

from tests.registry.factories import CARD, Push, digest_of
from wsdarts_registry.artifact import reference
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import (
    ArtifactError,
    ReferenceNotFoundError,
    RegistryError,
)
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import RegistryConfig


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_published_version_is_the_artifact(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    entry = push("flowers")
    artifact = store.pull("flowers@1")
    assert artifact.digest == entry.digest == read_artifact(tmp_path / "source").digest
    assert artifact.directory == tmp_path / "zoo" / "artifacts" / "flowers" / "v1"
    assert _files(artifact.directory) == _files(tmp_path / "source")
    assert not list((tmp_path / "zoo" / ".staging").iterdir())


def test_an_ambiguous_digest_is_refused(store: DirectoryStore, push: Push, tmp_path: Path) -> None:
    push("flowers", "a")
    push("flowers", "b")
    folder = tmp_path / "zoo" / "artifacts" / "flowers"
    for number in (1, 2):
        line = f"{'ab' * 31}{number:02}  artifact.json\n"
        (folder / f"v{number}" / "artifact.sha256").write_text(line)
    with pytest.raises(RegistryError, match=r"fits flowers@1 .*flowers@2 "):
        store.resolve("flowers@sha256:" + "ab" * 6)


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
        store.resolve("flowers")
    store.pull("birds")
    store.yank("flowers@1", "damaged")
    assert [e.name for e in store.entries()] == ["birds"]


def test_a_lost_manifest_or_checksum(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    path = store.pull("flowers").directory
    checksum = (path / "artifact.sha256").read_bytes()
    (path / "artifact.sha256").write_bytes(b"nonsense")
    with pytest.raises(ReferenceNotFoundError, match=r"there is flowers@1 \(damaged\)"):
        store.resolve("flowers@sha256:" + "0" * 12)
    (path / "artifact.sha256").unlink()
    with pytest.raises(ArtifactError, match=r"artifact\.sha256: No such file"):
        store.resolve("flowers")
    (path / "artifact.sha256").write_bytes(checksum)
    (path.parent / "v1.yanked.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"v1\.yanked\.json .*format version"):
        store.resolve("flowers@1")


def test_opening_what_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not a registry"):
        DirectoryStore(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RegistryError, match=r"other files \(photo\.jpg\)"):
        DirectoryStore(tmp_path, create=True)
    with pytest.raises(RegistryError, match="zoo: Not a directory"):
        DirectoryStore(tmp_path / "photo.jpg" / "zoo", create=True)
    (tmp_path / "registry.json").write_text('{"format":2}')
    with pytest.raises(RegistryError, match=r"format 2.*`git pull"):
        DirectoryStore(tmp_path)
    (tmp_path / "registry.json").write_text('{"format":1,"name":"x","default_probe":"p","n":1}')
    with pytest.raises(RegistryError, match=r"registry\.json .*n: Extra"):
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
        with pytest.raises(RegistryError, match="is read-only") as caught:
            write()
        assert "--registry" in caught.value.hint
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


def test_an_alias_that_is_removed_while_it_is_read(
    store: DirectoryStore, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("flowers")
    store.set_alias("flowers", "stable", 1)
    store.set_alias("flowers", "tried", 1)

    def is_alias(text: str) -> bool:
        # Between the listing of the aliases and their reading.
        (tmp_path / "zoo" / "artifacts" / "flowers" / "aliases" / "stable.json").unlink(True)
        return reference.is_alias(text)

    monkeypatch.setattr("wsdarts_registry.stores._directory_files.is_alias", is_alias)
    assert store.pull("flowers@1").digest == first.digest
    assert store.aliases("flowers") == {"tried": 1}
