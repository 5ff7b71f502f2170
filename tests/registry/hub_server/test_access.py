"""Who may see and change what, as the real client tells it."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import get_session, hf_raise_for_status

from tests.hub_server import ALICE_READS, BOB, CAROL, Account, HubServer
from tests.registry.hub_server.conftest import client


def test_a_token_that_nobody_has_is_refused_everywhere(hub_server: HubServer, api: HfApi) -> None:
    stranger = client(hub_server, Account(name="mallory"))
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        stranger.whoami()
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        stranger.repo_info("acme/cells")
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    ("account", "name", "status"),
    [
        (BOB, "acme/mine", 403),  # not his organisation
        (BOB, "alice/mine", 403),
        (ALICE_READS, "alice/mine", 403),  # her own, but the token only reads
        (None, "alice/mine", 401),
        (CAROL, "acme/cells", 409),  # a member may, but it is there
        (CAROL, "acme/..", 400),
    ],
)
def test_creation_is_refused(
    hub_server: HubServer, api: HfApi, account: Account | None, name: str, status: int
) -> None:
    payload = {"organization": name.split("/", maxsplit=1)[0], "name": name.split("/")[1]}
    with pytest.raises(HfHubHTTPError) as caught:
        _post(client(hub_server, account), "/api/repos/create", payload)
    assert caught.value.response.status_code == status


def test_an_existing_repository_is_answered_with_its_address(
    hub_server: HubServer, api: HfApi
) -> None:
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("acme/cells")
    assert api.create_repo("acme/cells", exist_ok=True).repo_id == "acme/cells"
    # A dataset of the same name is another repository.
    created = api.create_repo("acme/cells", repo_type="dataset")
    assert created.url == f"{hub_server.url}/datasets/acme/cells"


def test_a_private_repository_is_missing_for_others(hub_server: HubServer, api: HfApi) -> None:
    api.update_repo_settings("acme/cells", private=True)
    assert client(hub_server, CAROL).repo_info("acme/cells").private is True
    assert client(hub_server, ALICE_READS).file_exists("acme/cells", ".gitattributes")
    for account, status in ((BOB, 404), (None, 401)):
        stranger = client(hub_server, account)
        with pytest.raises(RepositoryNotFoundError) as caught:
            stranger.repo_info("acme/cells")
        assert caught.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            stranger.hf_hub_download("acme/cells", ".gitattributes")
        with pytest.raises(RepositoryNotFoundError):
            stranger.create_tag("acme/cells", tag="v1")
        assert list(stranger.list_models()) == []
        assert not stranger.repo_exists("acme/cells")
    api.update_repo_settings("acme/cells", private=False)
    assert client(hub_server, None).repo_exists("acme/cells")


def test_one_who_may_read_may_not_write(hub_server: HubServer, api: HfApi) -> None:
    for account, status in ((BOB, 403), (ALICE_READS, 403), (None, 401)):
        reader = client(hub_server, account)
        assert reader.file_exists("acme/cells", ".gitattributes")
        with pytest.raises(HfHubHTTPError) as caught:
            reader.create_tag("acme/cells", tag="v1")
        assert caught.value.response.status_code == status
        with pytest.raises(HfHubHTTPError):
            reader.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="acme/cells")
        with pytest.raises(HfHubHTTPError):
            reader.delete_repo("acme/cells")
    assert api.list_repo_files("acme/cells") == [".gitattributes"]
    assert api.list_repo_refs("acme/cells").tags == []


def test_a_gated_repository_is_seen_but_not_read(hub_server: HubServer, api: HfApi) -> None:
    api.update_repo_settings("acme/cells", gated="manual")
    assert client(hub_server, CAROL).file_exists("acme/cells", ".gitattributes")
    for account, status in ((BOB, 403), (None, 401)):
        reader = client(hub_server, account)
        assert reader.repo_info("acme/cells").gated == "manual"
        with pytest.raises(GatedRepoError) as caught:
            reader.hf_hub_download("acme/cells", ".gitattributes")
        assert caught.value.response.status_code == status
    # The client's own grant_access goes to the official host, whatever the endpoint (1.31).
    _post(api, "/api/models/acme/cells/user-access-request/grant", {"user": "bob"})
    assert client(hub_server, BOB).hf_hub_download("acme/cells", ".gitattributes")
    with pytest.raises(GatedRepoError):
        client(hub_server, None).file_exists("acme/cells", ".gitattributes")


def test_no_token_is_written_down(hub_server: HubServer, api: HfApi) -> None:
    client(hub_server, None).repo_info("acme/cells")
    api.repo_info("acme/cells")
    exchanges = hub_server.exchanges()
    assert [exchange.with_token for exchange in exchanges] == [False, True]
    assert "hf_alice" not in repr(exchanges)


def _post(api: HfApi, path: str, payload: dict[str, str]) -> None:
    headers = api._build_hf_headers()
    hf_raise_for_status(get_session().post(f"{api.endpoint}{path}", json=payload, headers=headers))
