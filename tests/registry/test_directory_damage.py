"""What is read of a registry in a directory when one of its artifacts is damaged."""

from pathlib import Path

import pytest

from tests.registry.factories import Push, make_artifact, make_draft
from wsdarts_registry.copying import copy
from wsdarts_registry.directory_store import DirectoryStore
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.finding import find
from wsdarts_registry.lineage import lineage
from wsdarts_registry.manifest import Lineage, Parent
from wsdarts_registry.store import Store


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
    with pytest.raises(ArtifactError, match=r"genotype\.json"):
        find(registry=store, operation="sep_conv_3x3")


def test_a_family_passes_over_what_was_yanked_for_its_damage(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    parent = push("parent")
    other = push("other")
    store.yank("other@1", "wrong labels")
    said = tuple(Parent(reference=str(e.reference), digest=e.digest) for e in (parent, other))
    make_artifact(tmp_path / "child", lineage=Lineage(mode="union", parents=said))
    store.publish(tmp_path / "child", "child")
    (store.path("parent", 1) / "artifact.json").write_bytes(b"{")
    with pytest.raises(ArtifactError, match="parent@1"):
        lineage("child", registry=store)
    store.yank("parent@1", "damaged")
    damaged, hidden = lineage("child", registry=store).parents
    assert damaged.entries == ()
    assert [str(entry.reference) for entry in hidden.entries] == ["other@1"]
