"""Every fault as the real client meets it, and that it hits nothing else."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import Fault, HubServer

pytestmark = pytest.mark.processes

_NAME = "acme/cells"


def _commit(api: HfApi, path: str = "a", content: bytes = b"1") -> str:
    operation = CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
    return api.create_commit(_NAME, [operation], commit_message=path).oid


def _broken(call: Callable[[], object]) -> str:
    """Make a call whose connection breaks; versions of the client name the error differently."""
    with pytest.raises(Exception, match=r"disconnect|closed|reset|Broken pipe") as caught:
        call()
    return type(caught.value).__name__


def test_a_lost_answer_hides_a_commit_that_was_made(hub_server: HubServer, api: HfApi) -> None:
    before = api.repo_info(_NAME).sha
    hub_server.add_fault(Fault(kind="lose_answer", path="/commit/"))
    assert _broken(lambda: _commit(api)) == "RemoteProtocolError"
    assert api.repo_info(_NAME).sha != before
    assert api.list_repo_files(_NAME) == [".gitattributes", "a"]
    [lost] = hub_server.exchanges("POST", "/commit/")
    assert (lost.fault, lost.status, lost.sent) == ("lose_answer", 0, 0)


def test_a_request_cut_short_does_nothing(hub_server: HubServer, api: HfApi) -> None:
    before = api.repo_info(_NAME).sha
    hub_server.add_fault(Fault(kind="close_request", path="/commit/", amount=1000))
    _broken(lambda: _commit(api, "a", b"1" * 100_000))
    assert api.repo_info(_NAME).sha == before
    [cut] = hub_server.exchanges("POST", "/commit/")
    assert (cut.fault, cut.received) == ("close_request", 1000)


def test_a_request_that_ends_before_the_cut_is_lost_too(hub_server: HubServer, api: HfApi) -> None:
    before = api.repo_info(_NAME).sha
    hub_server.add_fault(Fault(kind="close_request", path="/commit/", amount=10**9))
    _broken(lambda: _commit(api))
    assert api.repo_info(_NAME).sha == before


def test_an_upload_cut_short_is_tried_again(hub_server: HubServer, api: HfApi) -> None:
    weights = b"w" * 3_000_000
    hub_server.add_fault(Fault(kind="close_request", method="PUT", amount=100_000))
    _commit(api, "a.safetensors", weights)
    assert Path(api.hf_hub_download(_NAME, "a.safetensors")).read_bytes() == weights
    assert [item.received for item in hub_server.exchanges("PUT")] == [100_000, 3_000_000]


@pytest.mark.parametrize("status", [500, 503])
def test_a_refusal_does_nothing(hub_server: HubServer, api: HfApi, status: int) -> None:
    hub_server.add_fault(Fault(kind="refuse", path="/tag/", status=status))
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag(_NAME, tag="v1")
    assert caught.value.response.status_code == status
    assert api.list_repo_refs(_NAME).tags == []
    api.create_tag(_NAME, tag="v1")


def test_a_limited_client_waits_as_long_as_it_is_told(
    hub_server: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    hub_server.add_fault(Fault(kind="refuse", path="/preupload/", status=429, retry_after=7))
    _commit(api)
    assert waits == [8.0]  # the client adds a second
    statuses = [item.status for item in hub_server.exchanges("POST", "/preupload/")]
    assert statuses == [429, 200]


def test_stale_reads_show_an_earlier_state(hub_server: HubServer, api: HfApi) -> None:
    first = _commit(api)
    api.create_tag(_NAME, tag="v1")
    hub_server.add_fault(Fault(kind="stale", method="GET", times=None))
    second = _commit(api, "b")
    api.delete_tag(_NAME, tag="v1")
    api.create_tag(_NAME, tag="v2")
    api.create_repo("acme/newer")
    assert api.repo_info(_NAME).sha == first
    assert [tag.name for tag in api.list_repo_refs(_NAME).tags] == ["v1"]
    assert api.list_repo_files(_NAME) == [".gitattributes", "a"]
    assert [model.id for model in api.list_models()] == [_NAME]
    assert not api.repo_exists("acme/newer")
    hub_server.clear_faults()
    assert api.repo_info(_NAME).sha == second
    assert [tag.name for tag in api.list_repo_refs(_NAME).tags] == ["v2"]
    assert len(list(api.list_models())) == 2


def test_stale_reads_of_a_chosen_state_do_not_stop_writes(
    hub_server: HubServer, api: HfApi
) -> None:
    state = hub_server.state()
    parent = _commit(api)
    hub_server.add_fault(Fault(kind="stale", times=None, state=state))
    operation = CommitOperationAdd(path_in_repo="b", path_or_fileobj=b"2")
    made = api.create_commit(_NAME, [operation], commit_message="b", parent_commit=parent)
    hub_server.clear_faults()
    assert api.repo_info(_NAME).sha == made.oid


def test_a_hanging_request_is_answered_in_the_end(
    hub_server: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(hub_server.closing, "wait", waits.append)
    hub_server.add_fault(Fault(kind="hang", path="/refs$", seconds=3600))
    assert [branch.name for branch in api.list_repo_refs(_NAME).branches] == ["main"]
    assert waits == [3600]
