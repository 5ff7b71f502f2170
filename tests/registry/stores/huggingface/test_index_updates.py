"""The index: what a ranking costs with it, and that nothing is wrong without it."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd

from tests.hub_server import HubServer
from tests.registry.factories import CARD, make_artifact, make_embedding
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from tests.registry.stores.huggingface.index_files import (
    INDEX,
    api,
    forge,
    read_file,
    read_index,
    write_files,
    write_old_index,
)
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.stores.huggingface._artifact_repository import RECORD, RepositoryRecord
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import (
    LIST_FILE,
    OLD_FILE,
    Content,
    IndexedName,
    IndexedVersion,
    PartList,
    Table,
    pack_bytes,
    pack_path,
    table_path,
)
from wsdarts_registry.stores.huggingface._index_repository import IndexRepository
from wsdarts_registry.stores.huggingface.store import HubStore
from wsdarts_registry.stores.records import Yank

pytestmark = pytest.mark.processes

FUTURE = "9999-12-31T23:59:59Z"


@pytest.fixture
def full(store: HubStore, tmp_path: Path) -> HubStore:
    """A registry with three artifacts, of which `birds` is nearest to the query."""
    for name, value in (("birds", 1.0), ("cars", 5.0), ("flowers", 3.0)):
        embedding = make_embedding(name, values=np.array([1.0, value]))
        make_artifact(tmp_path / name, name, embeddings=[embedding])
        store.publish(tmp_path / name, name)
    return store


def _query() -> TaskEmbedding:
    return make_embedding("query", values=np.array([1.0, 1.1]))


def _names(store: HubStore) -> list[str]:
    return [neighbour.reference for neighbour in store.nearest(_query()).neighbours]


def _forget() -> None:
    shutil.rmtree(cache_directory(), ignore_errors=True)


def test_a_ranking_downloads_the_index_alone_and_once(
    hub_server: HubServer, full: HubStore
) -> None:
    assert full.names() == ("birds", "cars", "flowers")
    _forget()
    hub_server.clear_exchanges()
    cold = HubStore(LOCATION, endpoint=hub_server.url)
    assert _names(cold) == ["birds@1", "flowers@1", "cars@1"]
    assert not hub_server.exchanges(path="/acme/.*resolve.*artifact.json")
    # What the index says of names that were not seen before is compared with their records.
    assert len(hub_server.exchanges("GET", "^/acme/.*resolve.*registry.json")) == 3
    fetched = len(hub_server.exchanges("GET", "datasets/acme/wsdarts-registry/objects"))
    assert fetched == len(read_index(hub_server).packs)
    hub_server.clear_exchanges()
    assert _names(HubStore(LOCATION, endpoint=hub_server.url)) == ["birds@1", "flowers@1", "cars@1"]
    asked = [(exchange.method, exchange.path) for exchange in hub_server.exchanges()]
    assert asked == [("GET", f"/api/datasets/{INDEX}"), ("GET", "/api/models")]


def test_a_missing_index(hub_server: HubServer, full: HubStore) -> None:
    api(hub_server).delete_repo(INDEX, repo_type="dataset")
    with pytest.warns(RegistryWarning, match=r"no index.*index rebuild --registry"):
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert full.rebuild_index() == ("birds", "cars", "flowers")
    assert _names(full) == ["birds@1", "flowers@1", "cars@1"]


def _with_another_pack(content: bytes) -> bytes:
    listed = PartList.from_bytes(content, what="list")
    more = file_record(b"pack")
    return listed.model_copy(update={"packs": (*listed.packs, more)}).to_bytes()


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-5],
    "a byte": lambda content: content[:60] + b"\xff" + content[61:],
    "no list at all": lambda content: b"nothing",
    "another format": lambda content: content.replace(b'"format":1', b'"format":2', 1),
    "a part that is not there": _with_another_pack,
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_list_is_not_used(hub_server: HubServer, full: HubStore, how: str) -> None:
    write_files(hub_server, {LIST_FILE: SPOILT[how](read_file(hub_server, LIST_FILE))})
    with pytest.warns(RegistryWarning, match=r"hf://acme cannot be used"):
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    full.yank("cars@1", "wrong")  # whoever writes next makes it anew
    assert _names(full) == ["birds@1", "flowers@1"]
    assert len(read_index(hub_server).digests) == 3


@pytest.mark.parametrize("how", ["table cut off", "table of no index", "unlisted pack"])
def test_a_damaged_table_is_not_used(hub_server: HubServer, full: HubStore, how: str) -> None:
    found = read_index(hub_server)
    if how == "table cut off":
        path = table_path(found.listed.tables[0])
        write_files(hub_server, {path: read_file(hub_server, path)[:-3]})
    elif how == "table of no index":
        content = b"{}"
        record = file_record(content)
        listed = found.listed.model_copy(update={"tables": (*found.listed.tables, record)})
        write_files(hub_server, {table_path(record): content, LIST_FILE: listed.to_bytes()})
    else:
        content = pack_bytes(found.packs[0])[:-1]
        record = file_record(content)
        listed = found.listed.model_copy(update={"packs": (*found.listed.packs, record)})
        write_files(hub_server, {pack_path(record): content, LIST_FILE: listed.to_bytes()})
    _forget()
    with pytest.warns(RegistryWarning, match=r"hf://acme cannot be used"):
        assert _names(HubStore(LOCATION, endpoint=hub_server.url))[0] == "birds@1"
    full.yank("cars@1", "wrong")
    assert _names(full) == ["birds@1", "flowers@1"]
    assert len(read_index(hub_server).digests) == 3


def _replace_pack(hub: HubServer, content: bytes, digests: list[str]) -> None:
    """Let the list name another file in place of all packs, as a forger would."""
    found = read_index(hub)
    record = file_record(content)
    table = Table(packs={record.sha256: tuple(digest[7:] for digest in digests)})
    tables = (*found.listed.tables, file_record(table.to_bytes()))
    listed = PartList(tables=tables, packs=(record,))
    files = {pack_path(record): content, table_path(tables[-1]): table.to_bytes()}
    write_files(hub, {**files, LIST_FILE: listed.to_bytes()})


def _swapped(pack: dict[str, Content]) -> dict[str, Content]:
    """Put the embedding of one artifact in the place of another's."""
    (first, one), (second, two), *rest = pack.items()
    return {
        first: Content(manifest=one.manifest, parsed=one.parsed, embeddings=two.embeddings),
        second: Content(manifest=two.manifest, parsed=two.parsed, embeddings=one.embeddings),
        **dict(rest),
    }


@pytest.mark.parametrize("how", ["cut off", "a byte", "no pack", "an embedding for another", "one"])
def test_contents_of_a_damaged_pack_are_read_from_their_artifacts(
    hub_server: HubServer, full: HubStore, how: str
) -> None:
    pack = {digest: held for pack in read_index(hub_server).packs for digest, held in pack.items()}
    content = pack_bytes(pack)
    spoilt = {
        "cut off": content[:-5],
        "a byte": content[:-1] + bytes([content[-1] ^ 1]),
        "no pack": b"nothing",
        "an embedding for another": pack_bytes(_swapped(pack)),
        "one": pack_bytes(dict(list(pack.items())[:1])),  # its table says that all are in it
    }[how]
    _replace_pack(hub_server, spoilt, list(pack))
    _forget()
    with pytest.warns(RegistryWarning, match="a part of the index of hf://acme"):
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert full.rebuild_index() == ("birds", "cars", "flowers")
    _forget()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RegistryWarning)
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert read_index(hub_server).digests == sorted(pack)


def test_an_index_that_is_behind(hub_server: HubServer, full: HubStore, make: Make) -> None:
    before = read_index(hub_server)
    old = {path: read_file(hub_server, path) for path in (LIST_FILE, *before.listed.paths)}
    full.publish(make("later"), "later")
    full.yank("birds@1", "wrong")
    full.set_alias("cars", "stable", 1)
    api(hub_server).delete_repo("acme/flowers")
    write_files(hub_server, old)
    assert full.accept_state("flowers") == ("flowers@1 is gone",)
    with pytest.warns(RegistryWarning, match="birds, cars, flowers and 1"):
        entries = full.entries(include_yanked=True)
    assert [str(entry.reference) for entry in entries] == ["birds@1", "cars@1", "later@1"]
    assert [bool(entry.yanked) for entry in entries] == [True, False, False]
    assert entries[1].status.aliases == ("stable",)
    assert full.rebuild_index() == ("birds", "cars", "later")
    assert set(read_index(hub_server).names) == {"birds", "cars", "later"}  # and no other files


FORGED: dict[str, Callable[[IndexedVersion], dict[str, object]]] = {
    "another digest": lambda version: {"digest": f"sha256:{'0' * 64}"},
    "a yank of the far future": lambda version: {"yank": Yank(reason="x", when=FUTURE)},
    "no yank": lambda version: {"yank": None},
    "a signature": lambda version: {"signed": True},
    "an alias": lambda version: {"aliases": ("stable",)},
    "a version more": lambda version: {"version": 9},
    "no version": lambda version: {},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_index_is_found_out_and_not_remembered(
    hub_server: HubServer, full: HubStore, make: Make, how: str
) -> None:
    full.yank("cars@1", "stolen images")
    full.publish(make("second"), "cars")
    honest = [(str(e.reference), e.digest, e.status) for e in full.entries(include_yanked=True)]
    cars = read_index(hub_server).names["cars"]
    forged = cars.versions[0].model_copy(update=FORGED[how](cars.versions[0]))
    versions = {
        "no version": (),
        "a version more": (*cars.versions, forged),
    }.get(how, (forged, *cars.versions[1:]))
    forge(hub_server, Table(names=(cars.model_copy(update={"versions": versions}),)))
    _forget()
    reader = HubStore(LOCATION, endpoint=hub_server.url)
    with pytest.warns(RegistryWarning, match="repositories of cars"):
        found = reader.entries(include_yanked=True)
    assert [(str(e.reference), e.digest, e.status) for e in found] == honest
    assert full.rebuild_index() == ("birds", "cars", "flowers")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RegistryWarning)
        assert len(reader.entries(include_yanked=True)) == 4
        assert reader.pull("cars").digest == reader.entry("cars", 2).digest
        assert reader.accept_state() == ()


def test_a_forgery_of_what_was_seen_is_found_out(hub_server: HubServer, full: HubStore) -> None:
    digest = full.pull("cars").digest
    names = read_index(hub_server).names
    cars, birds = names["cars"], names["birds"]
    version = cars.versions[0].model_copy(update={"digest": birds.versions[0].digest})
    forge(hub_server, Table(names=(cars.model_copy(update={"versions": (version,)}),)))
    with pytest.warns(RegistryWarning, match="of cars say"):
        assert full.entries()[1].digest == digest
    assert full.pull("cars@1").digest == digest
    assert full.resolve("cars").digest == digest


def test_of_an_index_only_what_was_compared_is_remembered(
    hub_server: HubServer, full: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cars = read_index(hub_server).names["cars"]
    forged = cars.versions[0].model_copy(update={"digest": f"sha256:{'0' * 64}"})
    forge(hub_server, Table(names=(cars.model_copy(update={"versions": (forged,)}),)))
    _forget()
    monkeypatch.setattr("wsdarts_registry.stores._seen_states._TRIED", 1)
    reader = HubStore(LOCATION, endpoint=hub_server.url)
    assert reader.names() == ("birds", "cars", "flowers")
    # Of three names one was compared: birds. The other two are not kept, and the next is cars.
    (file,) = (cache_directory() / "seen").glob("*.jsonl")
    assert [json.loads(line)[0] for line in file.read_bytes().splitlines()[1:]] == ["birds"]
    with pytest.warns(RegistryWarning, match="of cars say"):
        assert reader.accept_state() == ()
    assert b"0" * 64 not in file.read_bytes()
    assert reader.pull("cars").digest == cars.versions[0].digest


def test_private_artifacts_stay_out_of_a_public_index(
    hub_server: HubServer, full: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    api(hub_server).update_repo_settings("acme/birds", private=True)
    full.yank("cars@1", "wrong")
    found = read_index(hub_server)
    assert set(found.names) == {"cars", "flowers"}
    # What is said of them and what they hold is gone, too, not only hidden.
    assert not any(entry.name == "birds" for table in found.tables for entry in table.names)
    assert found.digests == sorted(v.digest for e in found.names.values() for v in e.versions)
    assert _names(full) == ["birds@1", "flowers@1"]
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.warns(RegistryWarning, match="birds@1 is gone; if it is private"):
        assert _names(HubStore(LOCATION, endpoint=hub_server.url)) == ["flowers@1"]


def test_an_index_in_one_file_is_read_and_replaced(
    hub_server: HubServer, full: HubStore, make: Make
) -> None:
    digests = read_index(hub_server).digests
    write_old_index(hub_server)
    _forget()
    hub_server.clear_exchanges()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RegistryWarning)
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert not hub_server.exchanges("GET", "/acme/(birds|cars|flowers)/.*artifact.json")
    hub_server.clear_exchanges()
    full.publish(make("later"), "later")
    assert not hub_server.exchanges("GET", "/acme/(birds|cars|flowers)/")  # nothing is read anew
    found = read_index(hub_server)
    assert set(found.names) == {"birds", "cars", "flowers", "later"}
    assert set(found.digests) > set(digests)
    assert OLD_FILE not in api(hub_server).list_repo_files(INDEX, repo_type="dataset")


def test_a_rebuild_of_a_valid_index_writes_nothing(hub_server: HubServer, full: HubStore) -> None:
    before = api(hub_server).dataset_info(INDEX).sha
    assert full.rebuild_index() == ("birds", "cars", "flowers")
    assert api(hub_server).dataset_info(INDEX).sha == before


def test_a_client_fetches_only_what_is_new(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    _fill(hub_server, tmp_path, 300)
    reader = HubStore(LOCATION, endpoint=hub_server.url)
    _names(reader)
    embedding = make_embedding("new", values=np.array([1.0, 9.0]))
    make_artifact(tmp_path / "new", "new", embeddings=[embedding])
    hub_server.clear_exchanges()
    store.publish(tmp_path / "new", "new")
    written = hub_server.exchanges("(POST|PUT)", INDEX)
    hub_server.clear_exchanges()
    assert len(_names(reader)) == 5
    read = hub_server.exchanges("GET", INDEX)
    fetched = [e.path for e in read if "/resolve/" in e.path or "/objects/" in e.path]
    assert len([path for path in fetched if "/objects" in path or "packs" in path]) <= 2
    index = read_index(hub_server)
    assert len(index.names) == 301
    whole = sum(record.size for record in (*index.listed.packs, *index.listed.tables))
    assert sum(e.received for e in written) < whole / 10
    assert sum(e.sent for e in read) < whole / 10


def test_a_model_that_only_has_our_tag_is_no_artifact(
    hub_server: HubServer, full: HubStore
) -> None:
    client = api(hub_server)
    client.create_repo("acme/other")
    client.create_commit("acme/other", [CommitOperationAdd("README.md", CARD)], commit_message="x")
    with pytest.warns(RegistryWarning, match="behind, so other had"):
        assert full.names() == ("birds", "cars", "flowers")
    full.rebuild_index()
    assert full.names() == ("birds", "cars", "flowers")


@pytest.mark.slow
def test_a_thousand_artifacts_are_ranked_from_the_index(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    _fill(hub_server, tmp_path, 1000)
    _forget()
    hub_server.clear_exchanges()
    query = make_embedding("query", values=np.array([1.0, 1.1]))
    cold = store.nearest(query, k=3)
    assert cold.neighbours[0].reference == "task10@1"  # its second value is 1.1
    downloads = [e.path for e in hub_server.exchanges("GET", "resolve|objects")]
    assert all("registry.json" in path or f"{INDEX}/" in path for path in downloads)
    packs = len(read_index(hub_server).packs)
    assert len([path for path in downloads if "objects" in path]) == packs
    hub_server.clear_exchanges()
    warm = HubStore(LOCATION, endpoint=hub_server.url).nearest(query, k=3)
    assert warm == cold
    assert not hub_server.exchanges(path="objects")
    assert len(hub_server.exchanges(path="resolve")) == 20  # records of names that are compared
    print(f"a warm ranking of 1,000 asked {len(hub_server.exchanges())} times")


def _fill(hub: HubServer, tmp_path: Path, count: int) -> None:
    """Put repositories on the hub by the plain client, and an index of as many artifacts.

    The repositories hold what the Hub lists them by and their records, and no artifact: a ranking
    must not look.
    """
    client = api(hub)
    make_artifact(tmp_path / "base", "flowers", weights=False)
    base = read_artifact(tmp_path / "base").manifest
    path = base.embeddings[0].file
    names, contents = {}, {}
    for number in range(count):
        name = f"task{number}"
        values = np.array([1.0, 1.0 + number / 100])
        embedding = make_embedding("flowers", values=values).to_bytes()
        files = {**base.files, path: file_record(embedding)}
        manifest = base.model_copy(update={"files": files})
        digest = f"sha256:{hashlib.sha256(manifest.to_bytes()).hexdigest()}"
        client.create_repo(f"acme/{name}")
        record = RepositoryRecord().with_version(1, digest).to_commit()
        files_there = [CommitOperationAdd("README.md", CARD), CommitOperationAdd(RECORD, record)]
        commit = client.create_commit(f"acme/{name}", files_there, commit_message="Publish").oid
        client.create_tag(f"acme/{name}", tag="v1", revision=commit)
        version = IndexedVersion(version=1, digest=digest, commit=commit)
        names[name] = IndexedName(name=name, commit=commit, versions=(version,))
        contents[digest] = Content(
            manifest=manifest.to_bytes(), parsed=manifest, embeddings={path: embedding}
        )
    repository = IndexRepository(HuggingFaceClient(hub.url), "acme")
    found, head = repository.find(), repository.ensure_head()
    repository.write(found, head, names, lambda digests: [(d, contents[d]) for d in digests])
