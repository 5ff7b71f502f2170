"""What no well-behaved client sends: broken connections, wrong contents, malformed calls."""

import hashlib
import http.client
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi

from tests.hub_server import ALICE, HubServer

pytestmark = pytest.mark.processes

_WEIGHTS = b"w" * 1000
_SHA256 = hashlib.sha256(_WEIGHTS).hexdigest()


class _Wire:
    """One connection that stays open from request to request."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def ask(
        self, method: str, path: str, body: object = b"", token: str = ALICE.token
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        return response.status, dict(response.headers), response.read()

    def put_chunked(self, url: str, chunks: list[bytes]) -> int:
        parts = urlsplit(url)
        self._connection.request(
            "PUT", f"{parts.path}?{parts.query}", iter(chunks), encode_chunked=True
        )
        response = self._connection.getresponse()
        response.read()
        return response.status

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(api: HfApi, hub_server: HubServer) -> Iterator[_Wire]:
    """A bare connection to a hub with a model ``acme/cells``."""
    connection = _Wire(hub_server.url)
    yield connection
    connection.close()


def _upload_url(wire: _Wire) -> str:
    asked = {"operation": "upload", "objects": [{"oid": _SHA256, "size": len(_WEIGHTS)}]}
    status, headers, body = wire.ask("POST", "/acme/cells.git/info/lfs/objects/batch", asked)
    assert (status, headers["Content-Type"]) == (200, "application/vnd.git-lfs+json")
    return str(json.loads(body)["objects"][0]["actions"]["upload"]["href"])


def _verify(wire: _Wire, size: int = len(_WEIGHTS)) -> int:
    asked = {"oid": _SHA256, "size": size}
    return wire.ask("POST", "/api/models/acme/cells/lfs/verify", asked)[0]


def _stored(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("lfs/*"))


def test_an_object_must_have_the_hash_that_names_it(wire: _Wire, tmp_path: Path) -> None:
    url = _upload_url(wire)
    storage = _Wire(url)
    assert storage.put_chunked(url, [_WEIGHTS, b"!"]) == 400
    assert (_verify(wire), _stored(tmp_path)) == (404, [])
    assert storage.put_chunked(url, [_WEIGHTS[:300], _WEIGHTS[300:]]) == 200
    assert (_verify(wire), _verify(wire, 999)) == (200, 400)
    assert _stored(tmp_path) == [_SHA256]
    storage.close()


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_client_that_leaves_in_an_upload_leaves_nothing(
    wire: _Wire, hub_server: HubServer, tmp_path: Path, is_reset: bool
) -> None:
    parts = urlsplit(_upload_url(wire))
    idle = socket.create_connection((parts.hostname or "", parts.port or 0))
    busy = socket.create_connection((parts.hostname or "", parts.port or 0))
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    busy.sendall(head.encode() + _WEIGHTS[:999])
    while not _stored(tmp_path):  # until the server writes under a temporary name
        time.sleep(0.001)
    for connection in (idle, busy):
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    hub_server.close()
    assert _stored(tmp_path) == []
    assert hub_server.failures == []


def test_a_handler_that_fails_is_remembered(wire: _Wire, hub_server: HubServer) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        wire.ask("POST", "/api/models/acme/cells/preupload/main", {})
    hub_server.close()
    [failure] = hub_server.failures
    assert "KeyError: 'files'" in failure
    hub_server.failures.clear()
