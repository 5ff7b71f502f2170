"""Whom a card names as neighbours: at most five, and never the artifact itself."""

import re
from pathlib import Path

import numpy as np

from tests.registry.factories import make_artifact, make_embedding, make_space
from wsdarts_registry.publishing.publication import push
from wsdarts_registry.stores.directory import DirectoryStore


def _named(store: DirectoryStore, reference: str) -> list[str]:
    return re.findall(r"^\| `(.*?)` \|", str(store.pull(reference).card), re.MULTILINE)


def test_five_of_many_and_neither_older_versions_nor_copies(
    store: DirectoryStore, tmp_path: Path
) -> None:
    for number in range(7):
        embedding = make_embedding(f"task {number}", values=np.array([1.0, 2.0 + number]))
        run = tmp_path / f"run-{number}"
        make_artifact(run, f"task {number}", files={}, embeddings=[embedding], weights=False)
        push(run, f"task-{number}", registry=store)
    push(tmp_path / "run-3", "a-copy", registry=store, description="The same run.")
    assert _named(store, "a-copy") == [f"task-{n}@1" for n in (4, 2, 5, 6, 1)]
    entry = push(tmp_path / "run-3", "task-3", registry=store, description="Once more.")
    assert entry.version == 2
    assert _named(store, "task-3@2") == [f"task-{n}@1" for n in (4, 2, 5, 6, 1)]
    assert str(tmp_path) not in str(store.pull("task-3@2").card)


def test_yanked_versions_are_no_neighbours(store: DirectoryStore, tmp_path: Path) -> None:
    for name in ("flowers", "birds"):
        make_artifact(tmp_path / name, name, files={}, weights=False)
    push(tmp_path / "flowers", "flowers", registry=store)
    store.yank("flowers@1", "wrong labels")
    push(tmp_path / "birds", "birds", registry=store)
    assert "held no other" in str(store.pull("birds").card)


def test_what_cannot_be_compared_is_there_all_the_same(
    store: DirectoryStore, tmp_path: Path
) -> None:
    strange = make_embedding("birds", space=make_space("other"))
    make_artifact(tmp_path / "birds", "birds", files={}, embeddings=[strange], weights=False)
    make_artifact(tmp_path / "flowers", "flowers", files={}, weights=False)
    push(tmp_path / "flowers", "flowers", registry=store)
    push(tmp_path / "flowers", "a-copy", registry=store, description="The same run.")
    assert "held no other" in str(store.pull("a-copy").card)  # nothing but itself was there
    push(tmp_path / "birds", "birds", registry=store)
    # An older version and a copy can be compared with it now, but birds cannot.
    push(tmp_path / "flowers", "flowers", registry=store, description="Once more.")
    card = str(store.pull("flowers@2").card)
    assert "held no other" not in card
    assert "no other artifact" in card
