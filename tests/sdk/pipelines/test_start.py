"""What a warm start reads of a registry, and what it keeps of that for when it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.file_reads import counted_reads
from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from tests.sdk.pipelines.conftest import QUICK, Publish
from wsdarts_hub import WarmStart, report, warm_start
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import RegistryWarning, RunError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import silent

__all__ = ["hub_server", "start_hub"]


def start(task: ImageTask, registry: Any, out: Path, **options: Any) -> WarmStart:
    given = {"preset": QUICK, "device": "cpu", "progress": silent, **options}
    return warm_start(task, registry=registry, out=out, **given)


def damage(zoo: DirectoryStore, name: str) -> None:
    """Spoil manifest and embeddings of an artifact."""
    for file in zoo.path(name, 1).rglob("*.*"):
        if file.name == "artifact.json" or file.suffix == ".safetensors":
            file.write_bytes(b"spoilt")


def test_each_manifest_and_embedding_is_read_once_and_then_those_of_the_nearest(
    digits_task: ImageTask, zoo: DirectoryStore, tmp_path: Path
) -> None:
    def reads() -> tuple[dict[str, int], dict[str, int]]:
        read = {p: n for p, n in found.items() if p.is_relative_to(tmp_path / "zoo")}
        manifests = {p.parts[-3]: n for p, n in read.items() if p.name == "artifact.json"}
        embeddings = {p.parts[-4]: n for p, n in read.items() if p.parent.name == "embeddings"}
        return manifests, embeddings

    with counted_reads() as found:
        first = start(digits_task, zoo, tmp_path / "first", k=3)
    assert first.source == "a@1"
    manifests, embeddings = reads()
    # Once for all, and once more when the artifact that was chosen is verified.
    assert manifests == {**dict.fromkeys((*"bcdef", "meta"), 1), "a": 2}
    assert embeddings == {**dict.fromkeys((*"bcdef", "meta"), 1), "a": 2}

    with counted_reads() as found:
        again = start(digits_task, zoo, tmp_path / "again", k=3)
    assert [n.reference for n in again.neighbours] == ["a@1", "b@1", "c@1"]
    # The nearest twenty, which are all that are of one task.
    assert reads() == ({**dict.fromkeys("bcdef", 1), "a": 2}, {**dict.fromkeys("bcdef", 1), "a": 2})


def test_an_artifact_beyond_the_shortlist_can_be_found(
    digits_task: ImageTask, zoo: DirectoryStore, tmp_path: Path
) -> None:
    found = start(digits_task, zoo, tmp_path / "run", k=1, mode="meta")
    assert found.source == "meta@1"
    assert [n.reference for n in found.neighbours] == ["a@1"]
    joined = start(digits_task, zoo, tmp_path / "union", k=4, mode="union")
    assert joined.source == "a@1 + b@1 + c@1 + d@1"


@pytest.mark.parametrize("kind", ["directory", "hub"])
def test_what_is_published_in_between_has_no_say(
    kind: str,
    digits_task: ImageTask,
    digits_embedding: TaskEmbedding,
    publish: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if kind == "hub":
        hub: HubServer = request.getfixturevalue("hub_server")
        monkeypatch.setenv("HF_TOKEN", ALICE.token)
        store = open_registry("hf://acme", endpoint=hub.url)
    else:
        store = DirectoryStore(tmp_path / "zoo", create=True)
    publish(store, "x", "bb", far=0.1)
    first = str(store.resolve("x").digest)
    pushed: list[str] = []

    def progress(what: str, done: int, total: int, /) -> None:
        if not pushed:  # the embedding is under way: the registry has been looked at
            pushed.append("nearer")
            publish(store, "nearer")
            publish(DirectoryStore(tmp_path / "other", create=True), "y")
            store.publish(tmp_path / "made" / "y", "x")  # a new version of what was nearest

    found = start(digits_task, store, tmp_path / "run", mode="topology", progress=progress)
    assert pushed
    assert found.source == "x@1"
    assert [n.reference for n in found.neighbours] == ["x@1", "bb@1"]
    ((reference, digest),) = found.found.origin.parents if found.found.origin else ()
    assert (reference, digest) == ("x@1", first)
    assert {e.name for e in store.entries()} == {"x", "bb", "nearer"}


def test_one_list_of_a_namespace_is_enough(
    digits_task: ImageTask,
    publish: Publish,
    hub_server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    store = open_registry("hf://acme", endpoint=hub_server.url)
    publish(store, *"abcdefg", far=0.1)
    hub_server.clear_exchanges()
    found = start(digits_task, store, tmp_path / "run", k=2, mode="topology")
    assert found.source == "a@1"
    assert len(hub_server.exchanges("GET", r"^/api/models$")) == 1
    # Of the artifacts only the one that is started from is asked for.
    asked = {name for name in "abcdefg" if hub_server.exchanges(None, rf"/acme/{name}(/|$)")}
    assert asked == {"a"}


def test_a_run_goes_on_without_the_rest_of_the_registry(
    digits_task: ImageTask, zoo: DirectoryStore, publish: Publish, tmp_path: Path
) -> None:
    first = start(digits_task, zoo, tmp_path / "run", k=3)
    before = report(tmp_path / "run").to_json()
    publish(zoo, "nearer", far=-0.01)
    for name in ("b", "meta"):
        damage(zoo, name)
    (tmp_path / "run" / "search.checkpoint.safetensors").unlink()
    with counted_reads() as found:
        again = start(digits_task, zoo, tmp_path / "run", k=3, resume=True)
    assert (again.source, again.why) == (first.source, first.why)
    assert again.neighbours == first.neighbours
    assert {p.parts[-3] for p in found if p.name == "artifact.json" and "zoo" in p.parts} == {"a"}
    shown = report(tmp_path / "run").to_json()
    assert shown["runs"][0]["sources"] == before["runs"][0]["sources"]
    kept = json.loads((tmp_path / "run" / "report.json").read_text())["decision"]
    assert [n["reference"] for n in kept["neighbours"]] == ["a@1", "b@1", "c@1"]


def test_a_run_goes_on_with_its_own_embedding(
    digits_task: ImageTask,
    zoo: DirectoryStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(digits_task, zoo, tmp_path / "run")
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    said: list[str] = []
    start(
        digits_task,
        zoo,
        tmp_path / "run",
        resume=True,
        progress=lambda what, done, total: said.append(what),
    )
    assert not (tmp_path / "empty" / "embeddings").exists()
    assert not any("probe" in what or "embed" in what for what in said)


def test_a_run_that_kept_its_decision_alone_goes_on(
    digits_task: ImageTask, zoo: DirectoryStore, tmp_path: Path
) -> None:
    first = start(digits_task, zoo, tmp_path / "run", k=3)
    file = tmp_path / "run" / "decision.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps({name: data[name] for name in ("mode", "sources", "why")}))
    for name in "b", "c":
        damage(zoo, name)
    again = start(digits_task, zoo, tmp_path / "run", k=3, resume=True)
    assert (again.source, again.why) == (first.source, first.why)
    # No ranking was kept, and a new one would not be what the reason speaks of.
    assert again.neighbours == ()


def test_a_damaged_decision_is_one_line(
    digits_task: ImageTask, zoo: DirectoryStore, tmp_path: Path
) -> None:
    start(digits_task, zoo, tmp_path / "run")
    file = tmp_path / "run" / "decision.json"
    for text in ('{"mode": "trained"}', '{"mode": 3}', "[]", "{"):
        file.write_text(text)
        with pytest.raises(RunError, match=r"decision\.json"):
            start(digits_task, zoo, tmp_path / "run", resume=True)


def test_a_damaged_artifact_stops_no_warm_start(
    digits_task: ImageTask, zoo: DirectoryStore, tmp_path: Path
) -> None:
    damage(zoo, "f")
    for number, asked in enumerate(({}, {"source": "a"}, {"mode": "cold"})):
        with pytest.warns(RegistryWarning, match="f@1"):
            found = start(digits_task, zoo, tmp_path / f"{number}", **asked)
        assert found.neighbours[0].reference == "a@1"
        assert "f@1" not in [neighbour.reference for neighbour in found.neighbours]
