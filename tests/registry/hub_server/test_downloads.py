"""Files and snapshots as the real client fetches them, and what that costs."""

import hashlib
import http.client
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import get_hf_file_metadata

from tests.hub_server import ALICE, HubServer

pytestmark = pytest.mark.processes

_NAME = "acme/cells"
_WEIGHTS = bytes(range(256)) * 400
_SHA256 = hashlib.sha256(_WEIGHTS).hexdigest()


@pytest.fixture
def cells(api: HfApi, hub_server: HubServer) -> HfApi:
    """A tagged model of two files and the usual one."""
    files = {"weights.safetensors": _WEIGHTS, "a b/ä#1.json": b"{}\n"}
    operations = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in files.items()
    ]
    api.create_commit(_NAME, operations, commit_message="files")
    api.create_tag(_NAME, tag="v1")
    hub_server.clear_exchanges()
    return api


def test_metadata_tells_commit_hash_and_size(cells: HfApi, hub_server: HubServer) -> None:
    commit = cells.repo_info(_NAME).sha

    def metadata(path: str) -> tuple[str | None, str | None, int | None]:
        url = hf_hub_url(_NAME, path, revision="v1", endpoint=hub_server.url)
        found = get_hf_file_metadata(url, token=ALICE.token)
        return found.commit_hash, found.etag, found.size

    assert metadata("weights.safetensors") == (commit, _SHA256, len(_WEIGHTS))
    # `printf '{}\n' | git hash-object --stdin`
    blob = "0967ef424bce6791893e9a57bb952f80fd536e93"
    assert metadata("a b/ä#1.json") == (commit, blob, 3)


def test_what_is_missing_is_told_apart(cells: HfApi) -> None:
    with pytest.raises(EntryNotFoundError):
        cells.hf_hub_download(_NAME, "absent")
    with pytest.raises(RevisionNotFoundError):
        cells.hf_hub_download(_NAME, "weights.safetensors", revision="v2")
    with pytest.raises(RevisionNotFoundError):
        cells.snapshot_download(_NAME, revision="0" * 40)


def test_the_storage_server_opens_for_its_signatures_alone(
    cells: HfApi, hub_server: HubServer
) -> None:
    url = _signed_url(hub_server)
    assert _get(url, {}).body == _WEIGHTS
    assert _get(url.partition("?")[0], {}).status == 403
    assert _get(url[:-1] + ("0" if url[-1] != "0" else "1"), {}).status == 403
    # A signature to read is none to write.
    assert _get(url, {}, method="PUT").status == 403


class _Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()


def _get(url: str, headers: dict[str, str], method: str = "GET") -> _Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers=headers)
        return _Answer(connection.getresponse())
    finally:
        connection.close()


def _signed_url(server: HubServer) -> str:
    resolved = f"{server.url}/{_NAME}/resolve/main/weights.safetensors"
    return str(_get(resolved, {}).headers["Location"])
