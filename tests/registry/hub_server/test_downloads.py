"""Files and snapshots as the real client fetches them, and what that costs."""

import hashlib
import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import get_hf_file_metadata

from tests.hub_server import ALICE, Fault, HubServer

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


def test_a_snapshot_holds_every_file_and_is_fetched_once(
    cells: HfApi, hub_server: HubServer
) -> None:
    snapshot = Path(cells.snapshot_download(_NAME, revision="v1"))
    contents = {
        str(path.relative_to(snapshot)): path.read_bytes()
        for path in snapshot.rglob("*")
        if path.is_file()
    }
    assert contents.pop(".gitattributes").startswith(b"*.7z filter=lfs")
    assert contents == {"weights.safetensors": _WEIGHTS, "a b/ä#1.json": b"{}\n"}
    assert len(hub_server.exchanges("GET", "/resolve/")) == 2
    large = hub_server.exchanges("GET", _SHA256)
    assert [(item.server, item.sent, item.with_token) for item in large] == [
        ("storage", len(_WEIGHTS), False)
    ]
    hub_server.clear_exchanges()
    assert Path(cells.snapshot_download(_NAME, revision="v1")) == snapshot
    assert hub_server.exchanges("GET", "/resolve/|/objects/") == []


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


def test_an_interrupted_download_goes_on_after_the_last_whole_chunk(
    cells: HfApi, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 15)
    hub_server.add_fault(Fault(kind="close_response", path=_SHA256, method="GET", amount=70_000))
    path = cells.hf_hub_download(_NAME, "weights.safetensors")
    assert Path(path).read_bytes() == _WEIGHTS
    sent = [(item.status, item.sent) for item in hub_server.exchanges("GET", _SHA256)]
    # Two chunks of 32768 bytes were written, the rest of the 70,000 was thrown away.
    assert sent == [(200, 70_000), (206, len(_WEIGHTS) - 65_536)]


def test_an_interrupted_download_below_a_chunk_starts_again(
    cells: HfApi, hub_server: HubServer
) -> None:
    hub_server.add_fault(Fault(kind="close_response", path=_SHA256, method="GET", amount=70_000))
    assert Path(cells.hf_hub_download(_NAME, "weights.safetensors")).read_bytes() == _WEIGHTS
    sent = [(item.status, item.sent) for item in hub_server.exchanges("GET", _SHA256)]
    assert sent == [(200, 70_000), (200, len(_WEIGHTS))]


def test_the_client_does_not_see_a_flipped_byte(cells: HfApi, hub_server: HubServer) -> None:
    hub_server.add_fault(Fault(kind="flip_byte", path=_SHA256, method="GET", amount=70_000))
    found = Path(cells.hf_hub_download(_NAME, "weights.safetensors")).read_bytes()
    assert len(found) == len(_WEIGHTS)
    assert [at for at in range(len(found)) if found[at] != _WEIGHTS[at]] == [70_000]


def test_the_client_refuses_a_short_body(cells: HfApi, hub_server: HubServer) -> None:
    hub_server.add_fault(Fault(kind="short_body", path=_SHA256, method="GET", amount=70_000))
    with pytest.raises(OSError, match="should be of size 102400 but has size 70000"):
        cells.hf_hub_download(_NAME, "weights.safetensors")
    assert Path(cells.hf_hub_download(_NAME, "weights.safetensors")).read_bytes() == _WEIGHTS


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=10-19", 206, 10, 19),
        ("bytes=102390-", 206, 102_390, 102_399),
        ("bytes=-10", 206, 102_390, 102_399),
        ("bytes=102390-999999", 206, 102_390, 102_399),
        ("bytes=102400-", 416, 0, -1),
        ("bytes=-", 200, 0, 102_399),
        ("lines=1-2", 200, 0, 102_399),
    ],
)
def test_ranges(
    cells: HfApi, hub_server: HubServer, asked: str, status: int, first: int, last: int
) -> None:
    found = _get(_signed_url(hub_server), {"Range": asked})
    assert found.status == status
    if status == 206:
        assert found.headers["Content-Range"] == f"bytes {first}-{last}/102400"
    if status == 416:
        assert found.headers["Content-Range"] == "bytes */102400"
    else:
        assert found.body == _WEIGHTS[first : last + 1]


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
