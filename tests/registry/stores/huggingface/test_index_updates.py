"""The index: what a ranking costs with it, and that nothing is wrong without it."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub_server import ALICE, HubServer
from tests.registry.factories import CARD, make_artifact, make_embedding
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index import (
    INDEX_FILE,
    Content,
    Index,
    IndexedName,
    IndexedVersion,
    IndexRepository,
)
from wsdarts_registry.stores.huggingface.store import HubStore

pytestmark = pytest.mark.processes

INDEX = "acme/wsdarts-registry"


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


def _api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=ALICE.token)


def _forget() -> None:
    shutil.rmtree(cache_directory(), ignore_errors=True)


def _replace_index(hub: HubServer, change: Callable[[bytes], bytes]) -> None:
    api = _api(hub)
    path = api.hf_hub_download(INDEX, INDEX_FILE, repo_type="dataset")
    api.create_commit(
        INDEX,
        [CommitOperationAdd(INDEX_FILE, change(Path(path).read_bytes()))],
        commit_message="spoil",
        repo_type="dataset",
    )


def test_a_ranking_downloads_the_index_alone_and_once(
    hub_server: HubServer, full: HubStore
) -> None:
    _forget()
    hub_server.clear_exchanges()
    assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert not hub_server.exchanges(path="api/models/acme/|/acme/.*resolve.*artifact.json")
    assert len(hub_server.exchanges("GET", "datasets/acme/wsdarts-registry/objects")) == 1
    hub_server.clear_exchanges()
    assert _names(HubStore(LOCATION, endpoint=hub_server.url)) == ["birds@1", "flowers@1", "cars@1"]
    asked = [(exchange.method, exchange.path) for exchange in hub_server.exchanges()]
    assert asked == [("GET", f"/api/datasets/{INDEX}"), ("GET", "/api/models")]


def test_a_missing_index(hub_server: HubServer, full: HubStore) -> None:
    _api(hub_server).delete_repo(INDEX, repo_type="dataset")
    with pytest.warns(RegistryWarning, match=r"no index.*index rebuild --registry"):
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    assert full.rebuild_index() == ("birds", "cars", "flowers")
    assert _names(full) == ["birds@1", "flowers@1", "cars@1"]


def _swap_embeddings(content: bytes) -> bytes:
    """Put the embedding of one artifact in the place of another's, as a forger would."""
    index = Index.from_bytes(content)
    (first, one), (second, two), *rest = index.contents.items()
    swapped = {
        first: Content(manifest=one.manifest, parsed=one.parsed, embeddings=two.embeddings),
        second: Content(manifest=two.manifest, parsed=two.parsed, embeddings=one.embeddings),
    }
    return Index(names=index.names, contents={**swapped, **dict(rest)}).to_bytes()


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-5],
    "a byte of an embedding": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a byte of the header": lambda content: content[:60] + b"\xff" + content[61:],
    "no index at all": lambda content: b"nothing",
    "another format": lambda content: content.replace(b'\\"format\\":1', b'\\"format\\":2', 1),
    "an embedding for another": _swap_embeddings,
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_index_is_not_used(hub_server: HubServer, full: HubStore, how: str) -> None:
    _replace_index(hub_server, SPOILT[how])
    with pytest.warns(RegistryWarning, match=r"hf://acme cannot be used"):
        assert _names(full) == ["birds@1", "flowers@1", "cars@1"]
    full.yank("cars@1", "wrong")  # whoever writes next makes it anew
    assert _names(full) == ["birds@1", "flowers@1"]


def test_an_index_that_is_behind(hub_server: HubServer, full: HubStore, make: Make) -> None:
    old = Path(
        _api(hub_server).hf_hub_download(INDEX, INDEX_FILE, repo_type="dataset")
    ).read_bytes()
    full.publish(make("later"), "later")
    full.yank("birds@1", "wrong")
    full.set_alias("cars", "stable", 1)
    _api(hub_server).delete_repo("acme/flowers")
    _replace_index(hub_server, lambda content: old)
    with pytest.warns(RegistryWarning, match="birds, cars, flowers and 1"):
        entries = full.entries(include_yanked=True)
    assert [str(entry.reference) for entry in entries] == ["birds@1", "cars@1", "later@1"]
    assert [bool(entry.yanked) for entry in entries] == [True, False, False]
    assert entries[1].status.aliases == ("stable",)
    assert full.rebuild_index() == ("birds", "cars", "later")


def test_an_index_that_lies_about_a_tag_is_found_out_by_a_pull(
    hub_server: HubServer, full: HubStore
) -> None:
    def lie(content: bytes) -> bytes:
        index = Index.from_bytes(content)
        cars, birds = index.names["cars"], index.names["birds"]
        forged = cars.model_copy(
            update={
                "versions": (
                    cars.versions[0].model_copy(update={"digest": birds.versions[0].digest}),
                )
            }
        )
        names = {**index.names, "cars": forged}
        used = {v.digest for entry in names.values() for v in entry.versions}
        contents = {digest: found for digest, found in index.contents.items() if digest in used}
        return Index(names=names, contents=contents).to_bytes()

    digest = full.pull("cars").digest
    _replace_index(hub_server, lie)
    assert full.entries()[1].digest != digest
    assert full.pull("cars@1").digest == digest
    assert full.resolve("cars").digest == digest


def test_private_artifacts_stay_out_of_a_public_index(
    hub_server: HubServer, full: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _api(hub_server).update_repo_settings("acme/birds", private=True)
    full.yank("cars@1", "wrong")
    path = _api(hub_server).hf_hub_download(INDEX, INDEX_FILE, repo_type="dataset")
    assert set(Index.from_bytes(Path(path).read_bytes()).names) == {"cars", "flowers"}
    assert _names(full) == ["birds@1", "flowers@1"]
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.delenv("HF_TOKEN")
    assert _names(HubStore(LOCATION, endpoint=hub_server.url)) == ["flowers@1"]


def test_a_model_that_only_has_our_tag_is_no_artifact(
    hub_server: HubServer, full: HubStore
) -> None:
    api = _api(hub_server)
    api.create_repo("acme/other")
    api.create_commit("acme/other", [CommitOperationAdd("README.md", CARD)], commit_message="x")
    with pytest.warns(RegistryWarning, match="behind, so other had"):
        assert full.names() == ("birds", "cars", "flowers")
    full.rebuild_index()
    assert full.names() == ("birds", "cars", "flowers")


@pytest.mark.slow
def test_a_thousand_artifacts_are_ranked_from_one_file(
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
    assert len([path for path in downloads if "objects" in path]) == 1
    hub_server.clear_exchanges()
    warm = HubStore(LOCATION, endpoint=hub_server.url).nearest(query, k=3)
    assert warm == cold
    assert not hub_server.exchanges(path="resolve|objects")
    print(f"a warm ranking of 1,000 asked {len(hub_server.exchanges())} times")


def _fill(hub: HubServer, tmp_path: Path, count: int) -> None:
    """Put repositories on the hub by the plain client, and an index of as many artifacts.

    The repositories hold what the Hub lists them by, and no artifact: a ranking must not look.
    """
    api = _api(hub)
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
        api.create_repo(f"acme/{name}")
        card = [CommitOperationAdd("README.md", CARD)]
        commit = api.create_commit(f"acme/{name}", card, commit_message="Publish").oid
        version = IndexedVersion(version=1, digest=digest, commit=commit)
        names[name] = IndexedName(name=name, commit=commit, versions=(version,))
        contents[digest] = Content(
            manifest=manifest.to_bytes(), parsed=manifest, embeddings={path: embedding}
        )
    repository = IndexRepository(HuggingFaceClient(hub.url), "acme")
    repository.write(Index(names=names, contents=contents), repository.ensure_head())
