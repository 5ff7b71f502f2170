"""LineageTree trees, by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registry.factories import digest_of, make_artifact
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.errors import ReferenceNotFoundError, RegistryError
from wsdarts_registry.stores.lineage import LineageNode, lineage
from wsdarts_registry.stores.store import Entry, Store

Found = Callable[..., Entry]


@pytest.fixture
def found(store: Store, tmp_path: Path) -> Found:
    """Publish what was started from other entries, or from ``NAME@9`` of elsewhere by name."""

    def publish(name: str, *parents: Entry | str, mode: str = "topology") -> Entry:
        said = [
            Parent(reference=f"{p}@9", digest=digest_of(p))
            if isinstance(p, str)
            else Parent(reference=str(p.reference), digest=p.digest)
            for p in parents
        ]
        source = tmp_path / f"{name}-{'-'.join(p.reference for p in said)}"
        line = Lineage(mode=mode if parents else "cold", parents=tuple(said))
        make_artifact(source, name, lineage=line)
        return store.publish(source, name)

    return publish


def shape(relatives: tuple[LineageNode, ...]) -> list[object]:
    """References alone, each followed by its own relatives where it has some."""
    listed: list[object] = []
    for relative in relatives:
        listed.append(relative.reference)
        if relative.relatives:
            listed.append(shape(relative.relatives))
    return listed


def test_both_directions_over_generations(store: Store, found: Found) -> None:
    first, other = found("first"), found("other")
    middle = found("middle", first, other, mode="union")
    last = found("last", middle)
    found("sibling", first)
    family = lineage("middle", registry=store)
    assert family.entry.digest == middle.digest
    assert shape(family.parents) == ["first@1", "other@1"]
    assert shape(family.children) == ["last@1"]
    assert shape(lineage("last", registry=store).parents) == ["middle@1", ["first@1", "other@1"]]
    assert shape(lineage("first", registry=store).children) == ["middle@1", ["last@1"], "sibling@1"]
    assert [r.mode for r in lineage("last", registry=store).parents] == ["union"]
    assert lineage("last", registry=store).to_json() == {
        "reference": "last@1",
        "digest": last.digest,
        "mode": "topology",
        "parents": [
            {
                "reference": "middle@1",
                "digest": middle.digest,
                "in_registry": True,
                "shipped": None,
                "also": [],
                "yanked": False,
                "mode": "union",
                "omitted": None,
                "damaged": [],
                "parents": [
                    {
                        "reference": f"{entry.name}@1",
                        "digest": entry.digest,
                        "in_registry": True,
                        "shipped": None,
                        "also": [],
                        "yanked": False,
                        "mode": "cold",
                        "omitted": None,
                        "damaged": [],
                        "parents": [],
                    }
                    for entry in (first, other)
                ],
            }
        ],
        "children": [],
    }


def test_a_parent_of_elsewhere_is_called_as_its_child_calls_it(store: Store, found: Found) -> None:
    found("mine", "theirs")
    (parent,) = lineage("mine", registry=store).parents
    assert (parent.reference, parent.digest) == ("theirs@9", digest_of("theirs"))
    assert (parent.entries, parent.mode, parent.relatives) == ((), None, ())


def test_the_digest_decides_and_not_the_name(store: Store, found: Found, tmp_path: Path) -> None:
    # Another artifact has the name that the child uses; its parent is here by another name.
    parent = found("parent")
    make_artifact(tmp_path / "copy", "parent")  # the same content
    assert store.publish(tmp_path / "copy", "renamed").digest == parent.digest
    child_of = Parent(reference="decoy@1", digest=parent.digest)
    found("decoy")
    line = Lineage(mode="trained", parents=(child_of,))
    make_artifact(tmp_path / "child", "child", lineage=line)
    store.publish(tmp_path / "child", "child")
    (met,) = lineage("child", registry=store).parents
    assert met.reference == "parent@1"
    assert [str(e.reference) for e in met.entries] == ["parent@1", "renamed@1"]
    store.yank("parent@1", "its name is wrong")
    (met,) = lineage("child", registry=store).parents
    assert met.reference == "renamed@1"
    assert shape(lineage("renamed", registry=store).children) == ["child@1"]


def test_what_is_reached_twice_is_followed_once(store: Store, found: Found) -> None:
    root = found("root")
    base = found("base", root)
    left, right = found("left", base), found("right", base)
    found("join", left, right, mode="union")
    one, two = lineage("join", registry=store).parents
    assert shape(one.relatives) == ["base@1", ["root@1"]]
    assert [r.omitted for r in one.relatives] == [None]
    assert shape(two.relatives) == ["base@1"]
    assert [r.omitted for r in two.relatives] == ["above"]


def test_many_generations_of_two_parents_are_no_explosion(store: Store, found: Found) -> None:
    pair = (found("a0"), found("b0"))
    for number in range(1, 13):  # 2**12 paths lead to the first two
        pair = (found(f"a{number}", *pair), found(f"b{number}", *pair))
    family = lineage("a12", registry=store, depth=100)

    def size(relatives: tuple[LineageNode, ...]) -> int:
        return sum(1 + size(relative.relatives) for relative in relatives)

    assert size(family.parents) == 46  # 2 + 4 * 11: each of 11 pairs is followed once


def test_the_depth_is_limited(store: Store, found: Found) -> None:
    last = found("g0")
    for number in range(1, 5):
        last = found(f"g{number}", last)
    (parent,) = lineage("g4", registry=store, depth=1).parents
    assert (parent.reference, parent.relatives, parent.omitted) == ("g3@1", (), "deeper")
    assert shape(lineage("g4", registry=store, depth=2).parents) == ["g3@1", ["g2@1"]]
    whole = lineage("g4", registry=store, depth=4).parents
    assert shape(whole) == ["g3@1", ["g2@1", ["g1@1", ["g0@1"]]]]
    for depth in (0, 101):
        with pytest.raises(RegistryError, match=f"depth {depth}; expected 1 to 100"):
            lineage("g4", registry=store, depth=depth)


def test_an_unknown_name_is_refused(store: Store, found: Found) -> None:
    found("flowers")
    with pytest.raises(ReferenceNotFoundError, match="did you mean flowers"):
        lineage("flower", registry=store)
