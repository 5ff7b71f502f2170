"""What the Hub makes of the cards: how artifacts are found there."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub_server import ALICE, Fault, HubServer
from tests.registry.factories import digest_of, make_artifact, make_draft
from tests.registry.stores.huggingface.conftest import LOCATION
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.errors import CacheError, RegistryError
from wsdarts_registry.publishing.publication import push
from wsdarts_registry.stores.huggingface.store import HubStore


def test_descendants_are_found_by_their_parents(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    make_artifact(tmp_path / "a", "flowers", files={})
    first = push(tmp_path / "a", "flowers", registry=store)
    parents = (
        Parent(reference="flowers@1", digest=first.digest),
        Parent(reference="flowers@1", digest=digest_of("of another registry")),
        Parent(reference="nowhere@1", digest=digest_of("elsewhere")),
        Parent(reference="not a name", digest=digest_of("x")),
    )
    lineage = Lineage(mode="union", parents=parents)
    make_artifact(tmp_path / "b", "flowers", files={}, lineage=lineage)
    push(tmp_path / "b", "petals", registry=store)
    api = HfApi(endpoint=hub_server.url)

    def found(tag: str) -> list[str]:
        return sorted(info.id for info in api.list_models(filter=tag))

    assert found("base_model:acme/flowers") == ["acme/petals"]
    assert found("base_model:acme/nowhere") == []
    assert found("wsdarts-hub") == found("darts") == ["acme/flowers", "acme/petals"]
    assert api.model_info("acme/petals").card_data.to_dict()["library_name"] == "wsdarts-hub"  # type: ignore[union-attr]
    # The Hub's own check of the card was asked of this hub alone.
    assert hub_server.exchanges("POST", "api/validate-yaml")


def test_artifacts_are_found_by_their_dataset_and_show_what_was_measured(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    task = make_draft("flowers").tasks[0].model_copy(update={"dataset": "acme/petals"})
    metrics = {"alpha_accuracy": 0.25}
    make_artifact(tmp_path / "a", "flowers", tasks=[task], metrics=metrics, files={})
    push(tmp_path / "a", "flowers", registry=store)
    api = HfApi(endpoint=hub_server.url)
    assert [info.id for info in api.list_models(filter="dataset:acme/petals")] == ["acme/flowers"]
    data = api.model_info("acme/flowers").card_data
    assert data is not None
    (result,) = data.eval_results or []
    assert (result.dataset_type, result.metric_type) == ("acme/petals", "accuracy")
    assert result.metric_value == 0.25
    assert "no trained classifier" in str(result.metric_name)


def test_a_result_that_the_hub_would_refuse_is_refused_here(hub_server: HubServer) -> None:
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    api.create_repo("acme/flowers")
    card = "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: y}\n---\n"
    with pytest.raises(ValueError, match="model-index"):
        api.upload_file(
            path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="acme/flowers"
        )


def test_the_card_and_its_picture_are_in_the_repository_at_the_tag(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    make_artifact(tmp_path / "a", "flowers", files={})
    push(tmp_path / "a", "flowers", registry=store)
    push(tmp_path / "a", "flowers", registry=store, description="Once more.")
    api = HfApi(endpoint=hub_server.url)
    for revision in ("v1", "v2", "main"):
        files = api.list_repo_files("acme/flowers", revision=revision)
        assert {"README.md", "cells.svg"} <= set(files)


@pytest.mark.usefixtures("impatient")
def test_a_push_that_was_interrupted_is_found_after_another_one(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    for name in ("flowers", "birds", "more-flowers"):
        make_artifact(tmp_path / name, name, files={})
    hub_server.add_fault(Fault(kind="refuse", status=500, path="/tag/", times=None))
    with pytest.raises(RegistryError):
        push(tmp_path / "flowers", "flowers", registry=store)
    hub_server.clear_faults()
    # Now the registry holds another artifact, which the card of a repeat would name.
    push(tmp_path / "birds", "birds", registry=store)
    entry = push(tmp_path / "flowers", "flowers", registry=store)
    assert entry.version == 1
    assert [info.version for info in store.versions("flowers")] == [1]
    assert "held no other" in str(store.pull("flowers").card)
    # Nor does it matter if another version of the name came first.
    hub_server.add_fault(Fault(kind="refuse", status=500, path="/tag/", times=None))
    with pytest.raises(RegistryError):
        push(tmp_path / "flowers", "flowers", registry=store, description="Second.")
    hub_server.clear_faults()
    assert push(tmp_path / "more-flowers", "flowers", registry=store).version == 3
    again = push(tmp_path / "flowers", "flowers", registry=store, description="Second.")
    assert again.version == 2


def test_neighbours_cost_no_more_than_the_index(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    for number in range(4):
        make_artifact(tmp_path / f"{number}", f"task {number}", files={})
        push(tmp_path / f"{number}", f"task-{number}", registry=store)
    make_artifact(tmp_path / "new", "new", files={})
    shutil.rmtree(cache_directory())  # as on another machine
    # What an index says of names that were not seen is compared with their repositories, once.
    HubStore(LOCATION, endpoint=hub_server.url).catalogue()
    hub_server.clear_exchanges()
    push(tmp_path / "new", "new", registry=HubStore(LOCATION, endpoint=hub_server.url))
    assert len(hub_server.exchanges("GET", "datasets/acme/wsdarts-registry/objects")) == 1
    assert not hub_server.exchanges(path="acme/task-")
    assert "| `task-0@1` |" in str(store.pull("new").card)


def test_a_cache_that_cannot_be_written_publishes_no_card_without_neighbours(
    hub_server: HubServer, store: HubStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flowers", "birds"):
        make_artifact(tmp_path / name, name, files={}, weights=False)
    push(tmp_path / "flowers", "flowers", registry=store)
    working = cache_directory()
    (tmp_path / "file").touch()  # root may write to any directory
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError):
        push(tmp_path / "birds", "birds", registry=HubStore(LOCATION, endpoint=hub_server.url))
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(working))
    assert store.names() == ("flowers",)
    push(tmp_path / "birds", "birds", registry=store)
    assert "`flowers@1`" in str(store.pull("birds").card)
