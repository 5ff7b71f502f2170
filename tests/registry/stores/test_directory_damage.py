"""What is read of a registry in a directory when one of its artifacts is damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plain_user import without_overrides
from tests.registry.factories import Push, make_artifact, make_draft, make_embedding, reseal
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.errors import (
    ArtifactError,
    NoCommonSpaceError,
    RecordError,
    RegistryWarning,
    UnreadableError,
    WsdartsError,
)
from wsdarts_registry.publishing.publication import copy
from wsdarts_registry.publishing.publication import push as push_run
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.lineage import lineage
from wsdarts_registry.stores.query import find
from wsdarts_registry.stores.store import Store


def test_a_damaged_artifact_is_not_copied(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    push("flowers")
    weights = store.path("flowers", 1) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        copy("flowers", tmp_path / "other", registry=store)
    assert not (tmp_path / "other").exists()


def test_a_genotype_is_read_without_the_weights(store: DirectoryStore, push: Push) -> None:
    entry = push("flowers")
    assert Store.genotype(store, entry) == make_draft().genotype  # what other stores do
    directory = store.path("flowers", 1)
    (directory / "weights.safetensors").unlink()
    assert store.genotype(entry) == make_draft().genotype
    with pytest.raises(ArtifactError, match="weights"):
        Store.genotype(store, entry)
    (directory / "genotype.json").write_bytes(b"{}")
    with pytest.warns(RegistryWarning, match=r"flowers@1 is damaged .*genotype\.json"):
        assert find(registry=store, operation="sep_conv_3x3") == ()


def test_a_family_names_what_is_damaged(store: DirectoryStore, push: Push, tmp_path: Path) -> None:
    parent = push("parent")
    other = push("other")
    store.yank("other@1", "wrong labels")
    said = tuple(Parent(reference=str(e.reference), digest=e.digest) for e in (parent, other))
    make_artifact(tmp_path / "child", lineage=Lineage(mode="union", parents=said))
    store.publish(tmp_path / "child", "child")
    (store.path("parent", 1) / "artifact.json").write_bytes(b"{")
    with pytest.warns(RegistryWarning, match="parent@1 is damaged"):
        damaged, hidden = lineage("child", registry=store).parents
    assert damaged.entries == ()
    assert [str(version.reference) for version in damaged.damaged] == ["parent@1"]
    assert [str(entry.reference) for entry in hidden.entries] == ["other@1"]
    store.yank("parent@1", "damaged")
    damaged, hidden = lineage("child", registry=store).parents  # whoever yanked it knows
    assert damaged.to_json("parents")["damaged"] == ["parent@1"]
    assert hidden.damaged == ()


def _empty(version: Path) -> None:
    shutil.rmtree(version)
    version.mkdir()


def _no_artifact(version: Path) -> None:
    _empty(version)
    (version / "photo.jpg").write_bytes(b"x")


def _pipe(version: Path) -> None:
    (version / "artifact.json").unlink()
    os.mkfifo(version / "artifact.json")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no manifest": lambda version: (version / "artifact.json").unlink(),
    "no checksum": lambda version: (version / "artifact.sha256").unlink(),
    "not JSON": lambda version: (version / "artifact.json").write_bytes(b"{"),
    "another digest": lambda version: (version / "artifact.sha256").write_text(
        f"{'0' * 64}  artifact.json\n"
    ),
    "of another format": lambda version: reseal(version, lambda data: data.update(format=9)),
    "an empty directory": _empty,
    "no artifact": _no_artifact,
    "a pipe": _pipe,
    "a record of a yank": lambda version: (version.parent / "v1.yanked.json").write_bytes(b"{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damaged_version_is_named_and_fails_no_other(
    store: DirectoryStore, push: Push, tmp_path: Path, damage: str
) -> None:
    good, later = push("flowers"), push("later")
    push("birds")
    DAMAGES[damage](store.path("birds", 1))

    scan = store.scan()
    assert scan.entries == (good, later)
    (bad,) = scan.damaged
    assert (str(bad.reference), bad.why != "") == ("birds@1", True)
    with pytest.warns(RegistryWarning, match="birds@1 is damaged"):
        assert store.entries() == (good, later)
    with pytest.warns(RegistryWarning, match="birds@1 is damaged"):
        assert find(registry=store) == (good, later)
    for _ in range(2):  # with and without a matrix
        with pytest.warns(RegistryWarning, match="birds@1 is damaged"):
            ranking = store.nearest(make_embedding("birds"))
        assert {n.reference for n in ranking.neighbours} == {"flowers@1", "later@1"}
        assert [str(version.reference) for version in ranking.damaged] == ["birds@1"]
    with pytest.raises(WsdartsError):
        store.pull("birds")
    make_artifact(tmp_path / "more", description="more")
    with pytest.warns(RegistryWarning, match="birds@1 is damaged"):
        assert push_run(tmp_path / "more", "more", registry=store).version == 1
    assert push("birds", "mended").version == 2


@pytest.mark.parametrize("closed", ["v1", "v1/artifact.json", "v1/artifact.sha256"])
def test_what_this_user_may_not_read_is_not_called_damaged(
    store: DirectoryStore, push: Push, closed: str
) -> None:
    good = push("flowers")
    push("birds")
    place = store.path("birds", 1).parent / closed
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        with without_overrides():
            with pytest.warns(RegistryWarning) as caught:
                found = find(registry=store), store.nearest(make_embedding("birds"))
            with pytest.raises(UnreadableError) as raised:
                store.resolve("birds")
            with pytest.raises(UnreadableError):
                store.pull("birds")
            (bad,) = store.scan().damaged
    finally:
        place.chmod(mode)
    assert bad.unreadable
    assert (found[0], len(found[1].neighbours)) == ((good,), 1)
    for text in (*(str(warning.message) for warning in caught), str(raised.value)):
        assert "birds@1" in text
        assert "permission" in text
        assert "damaged" not in text
        assert "yank" not in text
        assert "fetch" not in text
    assert len(store.entries()) == 2


def test_what_was_damaged_after_it_was_ranked(store: DirectoryStore, push: Push) -> None:
    for name in ("a", "b", "c"):
        push(name)
    query = make_embedding("a")
    assert [n.reference for n in store.nearest(query, 1).neighbours] == ["a@1"]
    second = store.nearest(query, 2).neighbours[1]
    (store.path("a", 1) / "artifact.json").write_bytes(b"{")
    with pytest.warns(RegistryWarning, match="a@1 is damaged"):
        ranking = store.nearest(query, 1)
    assert ranking.neighbours == (second,)  # as many as were asked for, all the same
    assert [str(version.reference) for version in ranking.damaged] == ["a@1"]


def test_the_content_of_a_damaged_version_under_another_name_is_ranked(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    push("a")
    store.publish(tmp_path / "source", "copy")
    (store.path("a", 1) / "artifact.json").write_bytes(b"{")
    with pytest.warns(RegistryWarning, match="a@1 is damaged"):
        ranking = store.nearest(make_embedding("a"))
    assert [n.reference for n in ranking.neighbours] == ["copy@1"]


def test_a_registry_with_nothing_but_damage_has_nothing_to_rank(
    store: DirectoryStore, push: Push
) -> None:
    push("a")
    path = next((store.path("a", 1) / "embeddings").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with (
        pytest.warns(RegistryWarning, match=r"a@1 .*has \d+ bytes"),
        pytest.raises(NoCommonSpaceError, match=r"is damaged \(a@1\)"),
    ):
        store.nearest(make_embedding("a"))


def test_an_alias_that_is_malformed_fails_nothing_but_itself(
    store: DirectoryStore, push: Push
) -> None:
    push("a")
    store.set_alias("a", "stable", 1)
    store.set_alias("a", "other", 1)
    (store.path("a", 1).parent / "aliases" / "stable.json").write_bytes(b"{")
    (entry,) = store.entries()
    assert entry.status.aliases == ("other",)
    assert store.resolve("a@1") == entry
    with pytest.raises(RecordError, match=r"stable\.json"):
        store.resolve("a@stable")


def test_a_name_that_may_not_be_read_is_left_out(store: DirectoryStore, push: Push) -> None:
    push("a")
    push("b")
    closed = store.path("b", 1).parent
    closed.chmod(0)
    with (
        without_overrides(),
        pytest.warns(RegistryWarning, match="^b .*Permission denied"),
    ):
        assert store.names() == ("a",)
    closed.chmod(0o755)


def test_many_damaged_versions_are_counted(store: DirectoryStore, push: Push) -> None:
    for number in range(12):
        push("a", str(number))
    for number in range(1, 13):
        (store.path("a", number) / "artifact.json").unlink()
    with pytest.warns(RegistryWarning) as said:
        store.entries()
    assert len(said) == 11
    assert "2 more versions" in str(said[-1].message)
