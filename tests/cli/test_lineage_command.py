import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.registry.factories import digest_of, make_artifact
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import shipped_zoo


@pytest.fixture
def store(zoo: Path, tmp_path: Path) -> DirectoryStore:
    """A registry where joined was started from flowers, textures and something of elsewhere."""
    store = DirectoryStore(zoo)
    for name, parents in (("joined", ("flowers", "textures")), ("last", ("joined",))):
        known = [store.resolve(parent) for parent in parents]
        said = [Parent(reference=str(e.reference), digest=e.digest) for e in known]
        if name == "joined":
            said.append(Parent(reference="birds@7", digest=digest_of("birds")))
        line = Lineage(mode="union", parents=tuple(said))
        make_artifact(tmp_path / name, name, lineage=line)
        store.publish(tmp_path / name, name)
    return store


def test_the_tree(store: DirectoryStore, run: Run) -> None:
    shown = run("lineage", "joined", "--registry", store.location)
    flowers, textures, joined, last = (
        store.resolve(name).digest[:19] for name in ("flowers", "textures", "joined", "last")
    )
    assert shown.lines == [
        f"joined@1  {joined}",
        "started (union) from",
        f"├─ flowers@1  {flowers}  cold",
        f"├─ textures@1  {textures}  cold",
        f"└─ birds@7  {digest_of('birds')[:19]}  not in this registry",
        "and was the start of",
        f"└─ last@1  {last}  union",
    ]
    assert all(len(line) <= 80 for line in shown.lines)


def test_a_parent_in_the_shipped_zoo(store: DirectoryStore, run: Run, tmp_path: Path) -> None:
    shipped = open_registry().resolve("dtd-10@2")
    said = (Parent(reference=name, digest=shipped.digest) for name in ("dtd-10@2", "textures@9"))
    for number, parent in enumerate(said):
        line = Lineage(mode="trained", parents=(parent,))
        make_artifact(tmp_path / f"own-{number}", "own", lineage=line)
        store.publish(tmp_path / f"own-{number}", "own")
    there = ("--registry", store.location)
    (row,) = (line for line in run("lineage", "own@1", *there).lines if "dtd-10@2" in line)
    assert "in the shipped zoo," in row
    (row,) = (line for line in run("lineage", "own@2", *there).lines if "textures@9" in line)
    assert "shipped zoo as dtd-10@2" in row
    data = json.loads(run("lineage", "own@1", "--json", *there).out)
    assert data["parents"][0]["shipped"] == "dtd-10@2"
    store.publish(shipped_zoo() / "artifacts" / "dtd-10" / "v2", "dtd-10", 2)
    (parent,) = json.loads(run("lineage", "own@1", "--json", *there).out)["parents"]
    assert (parent["shipped"], parent["in_registry"]) == (None, True)


def test_generations_are_indented_and_limited(store: DirectoryStore, run: Run) -> None:
    there = ("--registry", store.location)
    lines = run("lineage", "last", *there).lines
    assert [line.partition("  sha256")[0] for line in lines[2:6]] == [
        "└─ joined@1",
        "   ├─ flowers@1",
        "   ├─ textures@1",
        "   └─ birds@7",
    ]
    assert lines[-1].startswith("no artifact")
    shallow = run("lineage", "last", "--depth", "1", *there).lines
    assert shallow[2].endswith(" --depth)")
    store.yank("flowers@1", "wrong labels")
    assert "  cold  yanked: wrong labels" in run("lineage", "last", *there).lines[3]


def test_a_cold_start_has_no_parents(store: DirectoryStore, run: Run) -> None:
    shown = run("lineage", "flowers", "--registry", store.location)
    assert shown.lines[1].endswith("no other artifact (cold)")


def test_as_json_and_quiet(store: DirectoryStore, run: Run) -> None:
    there = ("--registry", store.location)
    data = json.loads(run("lineage", "joined", "--json", *there).out)
    assert [p["reference"] for p in data["parents"]] == ["flowers@1", "textures@1", "birds@7"]
    assert [p["in_registry"] for p in data["parents"]] == [True, True, False]
    assert data["children"][0]["reference"] == "last@1"
    quiet = run("lineage", "last", "-q", *there).lines
    assert [line.rpartition(" ")[0] for line in quiet] == [
        "ancestor joined@1",
        "ancestor flowers@1",
        "ancestor textures@1",
        "ancestor birds@7",
    ]


def test_an_unknown_reference_is_an_error(store: DirectoryStore, run: Run) -> None:
    shown = run("lineage", "flower", "--registry", store.location)
    assert (shown.code, shown.out) == (1, "")
    assert "did you mean flowers" in shown.err
