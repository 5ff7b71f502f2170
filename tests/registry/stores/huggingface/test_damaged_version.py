"""A namespace on the Hub in which one version is damaged."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub_server import ALICE, HubServer
from tests.registry.factories import make_embedding
from tests.registry.stores.huggingface.conftest import Make
from wsdarts_registry.errors import ArtifactError, RecordError, RegistryWarning
from wsdarts_registry.stores.huggingface.store import HubStore
from wsdarts_registry.stores.query import find


def _damage(hub_server: HubServer, name: str, path: str, content: bytes) -> None:
    """Let version 1 mean a commit in which a file has other content, which no index knows."""
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    place = f"acme/{name}"
    change = [CommitOperationAdd(path, content)]
    commit = api.create_commit(place, change, commit_message="spoil").oid
    api.delete_tag(place, tag="v1")
    api.create_tag(place, tag="v1", revision=commit)
    api.delete_repo("acme/wsdarts-registry", repo_type="dataset")  # has verified contents


@pytest.mark.filterwarnings("ignore:hf.//acme has no index")
@pytest.mark.parametrize("path", ["artifact.json", "embeddings"])
def test_it_is_named_and_fails_no_other(
    hub_server: HubServer, store: HubStore, make: Make, path: str
) -> None:
    good = store.publish(make("good"), "good")
    bad = store.publish(make("bad"), "bad")
    if path == "embeddings":
        path = next(file for file in bad.manifest.files if file.startswith("embeddings/"))
    _damage(hub_server, "bad", path, b"{")
    scan = store.scan()
    assert scan.entries == (good,)
    assert [str(version.reference) for version in scan.damaged] == ["bad@1"]
    with pytest.warns(RegistryWarning, match="bad@1 is damaged"):
        assert store.entries() == (good,)
    with pytest.warns(RegistryWarning, match="bad@1 is damaged"):
        assert find(registry=store) == (good,)
    with pytest.warns(RegistryWarning, match="bad@1 is damaged"):
        ranking = store.nearest(make_embedding("flowers"))
    assert [neighbour.reference for neighbour in ranking.neighbours] == ["good@1"]
    assert [str(version.reference) for version in ranking.damaged] == ["bad@1"]
    with pytest.raises(ArtifactError):
        store.pull("bad")


@pytest.mark.filterwarnings("ignore:hf.//acme has no index")
def test_a_damaged_record_fails_its_own_name_alone(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    good = store.publish(make("good"), "good")
    store.publish(make("bad"), "bad")
    _damage(hub_server, "bad", "registry.json", b"{")
    with pytest.warns(RegistryWarning, match=r"registry\.json of acme/bad"):
        assert store.entries() == (good,)
    assert store.resolve("good") == good
    with pytest.raises(RecordError, match=r"registry\.json of acme/bad"):
        store.resolve("bad")
