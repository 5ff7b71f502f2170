"""Licence and description of a pushed version: given, its own, or those of the version before."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import digest_of, make_artifact
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.publishing.publication import publish_run, push
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Entry, Store

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write an artifact that states neither, unless it is told to."""

    def made(number: int, **changes: Any) -> Path:
        stated = {"license": "", "description": "", "files": {}, "metrics": {"steps": number}}
        place = tmp_path / f"made-{number}"
        if not place.exists():
            make_artifact(place, "flowers", **{**stated, **changes})
        return place

    return made


def _terms(entry: Entry) -> tuple[str, str]:
    return entry.manifest.license, entry.manifest.description


def test_they_are_those_of_the_version_before(make: Make, store: Store) -> None:
    push(make(1), "flowers", registry=store, license="cc0-1.0", description="Petals")
    second = publish_run(make(2), "flowers", registry=store)
    assert _terms(second.entry) == ("cc0-1.0", "Petals")
    assert second.inherited == ("licence", "description")
    assert str(second.inherited_from and second.inherited_from.reference) == "flowers@1"
    assert (second.note or "").split()[0] == "licence"
    assert (second.note or "").endswith(" flowers@1")
    same = publish_run(make(2), "flowers", registry=store)
    assert (same.entry, same.note) == (second.entry, None)
    third = publish_run(make(3), "flowers", registry=store, license="mit")
    assert (_terms(third.entry), third.inherited) == (("mit", "Petals"), ("description",))
    dropped = publish_run(make(4), "flowers", registry=store, license="", description="")
    assert (_terms(dropped.entry), dropped.inherited_from) == (("", ""), None)
    assert _terms(push(make(5), "flowers", registry=store)) == ("", "")


def test_those_of_the_artifact_itself_win(make: Make, store: Store) -> None:
    push(make(1), "flowers", registry=store, license="cc0-1.0", description="Petals")
    stated = publish_run(make(2, license="mit"), "flowers", registry=store)
    assert (_terms(stated.entry), stated.inherited) == (("mit", "Petals"), ("description",))


def test_yanked_and_damaged_versions_are_passed_over(make: Make, store: DirectoryStore) -> None:
    for number, licence in ((1, "cc0-1.0"), (2, "mit"), (3, "isc")):
        push(make(number), "flowers", registry=store, license=licence)
    store.yank("flowers@3", "wrong licence")
    assert _terms(push(make(4), "flowers", registry=store))[0] == "mit"
    store.yank("flowers@4", "wrong licence")
    manifest = Path(store.location, "artifacts", "flowers", "v2", "artifact.json")
    manifest.chmod(0o600)
    manifest.write_text("{}")
    assert _terms(push(make(5), "flowers", registry=store))[0] == "cc0-1.0"


def _started_from(*parents: tuple[str, str]) -> Lineage:
    said = tuple(Parent(reference=reference, digest=digest) for reference, digest in parents)
    return Lineage(mode="trained", parents=said)


def test_another_licence_than_a_parent_has_is_said(make: Make, store: Store) -> None:
    shipped = open_registry().resolve("dtd-10@2")
    own = push(make(1), "flowers", registry=store, license="cc-by-4.0")
    known = _started_from(
        ("dtd-10@2", shipped.digest), ("flowers@1", own.digest), ("birds@1", digest_of("birds"))
    )
    with pytest.warns(RegistryWarning) as said:
        push(make(2, lineage=known), "roses", registry=store, license="cc0-1.0")
    shown = [str(warning.message) for warning in said]
    assert len(shown) == 2
    for text, words in zip(
        shown, (("dtd-10@2", "research-only"), ("flowers@1", "cc-by-4.0")), strict=True
    ):
        assert all(word in text for word in (*words, "cc0-1.0"))


@pytest.mark.parametrize("licence", ["Research-Only", ""])
def test_the_same_licence_or_none_is_no_reason_to_warn(
    licence: str, make: Make, store: Store
) -> None:
    shipped = open_registry().resolve("dtd-10@2")
    run = make(1, lineage=_started_from(("dtd-10@2", shipped.digest)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry = push(run, "roses", registry=store, license=licence)
    assert _terms(entry)[0] == licence
