"""Listings: filters, order, pages and what they tell."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub_server import BOB, HubServer
from tests.hub_server.fixture import StartHub
from tests.registry.hub_server.conftest import client


def _card(api: HfApi, name: str, card: str, repo_type: str = "model") -> None:
    api.create_repo(name, repo_type=repo_type, exist_ok=True)
    content = f"---\n{card}\n---\n# Card\n".encode()
    api.create_commit(
        name,
        [CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=content)],
        commit_message="card",
        repo_type=repo_type,
    )


@pytest.fixture
def zoo(hub_server: HubServer) -> HfApi:
    """Three models: two of acme with a tag in common, one of alice."""
    api = client(hub_server)
    _card(api, "acme/birds", "tags: [nas, birds]\nlibrary_name: wsdarts\nlicense: mit")
    _card(api, "alice/birds", "tags: [birds]\npipeline_tag: image-classification")
    _card(api, "acme/flowers", "tags: nas\nlanguage: en\ndatasets: [acme/petals]")
    return api


def _names(api: HfApi, **wanted: object) -> list[str]:
    return [model.id for model in api.list_models(**wanted)]  # type: ignore[arg-type]


def test_filters_are_all_to_be_met(zoo: HfApi) -> None:
    assert _names(zoo, filter="nas") == ["acme/flowers", "acme/birds"]
    assert _names(zoo, filter=["nas", "birds"]) == ["acme/birds"]
    assert _names(zoo, filter="wsdarts") == ["acme/birds"]
    assert _names(zoo, filter="license:mit") == ["acme/birds"]
    assert _names(zoo, filter="dataset:acme/petals") == ["acme/flowers"]
    assert _names(zoo, filter="image-classification") == ["alice/birds"]
    assert _names(zoo, filter="bird") == []
    assert _names(zoo, filter="nas", author="alice") == []
    assert _names(zoo, author="alice") == ["alice/birds"]
    assert _names(zoo, search="BIRD") == ["alice/birds", "acme/birds"]
    assert _names(zoo, search="acme/b") == ["acme/birds"]


def test_what_a_listing_tells_depends_on_what_is_asked(zoo: HfApi) -> None:
    brief = next(iter(zoo.list_models(filter="wsdarts")))
    assert (brief.sha, brief.siblings, brief.card_data) == (None, None, None)
    assert brief.tags == ["wsdarts", "nas", "birds", "license:mit", "region:us"]
    full = next(iter(zoo.list_models(filter="wsdarts", full=True, cardData=True)))
    assert full.sha == zoo.repo_info("acme/birds").sha
    assert [item.rfilename for item in full.siblings or []] == [".gitattributes", "README.md"]
    assert full.card_data is not None
    assert full.card_data.library_name == "wsdarts"
    expanded = next(iter(zoo.list_models(filter="wsdarts", expand=["sha", "cardData"])))
    assert (expanded.sha, expanded.tags) == (full.sha, None)
    assert expanded.card_data is not None


def test_pages_hold_each_model_once_while_others_are_made(start_hub: StartHub) -> None:
    server = start_hub(page_size=3)
    api = client(server)
    for number in range(7):
        api.create_repo(f"acme/m{number}")
    server.clear_exchanges()
    found = []
    for model in api.list_models():
        if not found:
            api.create_repo("acme/newer")  # by offsets, it would push m4 to the next page again
        found.append(model.id)
    assert found == [f"acme/m{number}" for number in reversed(range(7))]
    assert len(server.exchanges("GET", "^/api/models$")) == 3


def test_what_is_deleted_between_pages_does_not_end_the_listing(start_hub: StartHub) -> None:
    api = client(start_hub(page_size=2))
    for number in range(5):
        api.create_repo(f"acme/m{number}")
    found = []
    for model in api.list_models():
        found.append(model.id)
        if model.id == "acme/m3":  # the last one of the first page, where the next one begins
            api.delete_repo("acme/m3")
    assert found == [f"acme/m{number}" for number in reversed(range(5))]


def test_private_models_are_listed_for_members(hub_server: HubServer, zoo: HfApi) -> None:
    zoo.update_repo_settings("acme/birds", private=True)
    assert _names(zoo, filter="wsdarts") == ["acme/birds"]
    assert _names(client(hub_server, BOB), filter="wsdarts") == []
    assert _names(client(hub_server, None), filter="wsdarts") == []


def test_datasets_are_listed_apart(zoo: HfApi) -> None:
    _card(zoo, "acme/petals", "tags: [nas]\nlicense: mit", repo_type="dataset")
    assert [item.id for item in zoo.list_datasets(filter="nas")] == ["acme/petals"]
    assert _names(zoo, filter="nas") == ["acme/flowers", "acme/birds"]
    info = zoo.dataset_info("acme/petals")
    assert (info.author, info.tags) == ("acme", ["nas", "license:mit", "region:us"])
    assert zoo.list_repo_files("acme/petals", repo_type="dataset") == [
        ".gitattributes",
        "README.md",
    ]
