"""A hub that answers wrongly: it asks an honest one, and lets a test spoil each answer.

It is one socket for the hub and its storage server. What is asked of it is kept, with the tokens
that came along; what it sends is counted.
"""

import http.client
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.hub_server import HubServer

_STORED = re.compile(r"/(models|datasets)/[^/]+/[^/]+/objects/")
_OWN = ("connection", "transfer-encoding", "content-length", "server", "date")


@dataclass(kw_only=True)
class Request:
    """A request."""

    method: str
    path: str
    token: str | None


@dataclass(kw_only=True)
class Response:
    """An answer, which a test may change before it is sent.

    Attributes:
        status: HTTP status.
        headers: Names and values, sent as they are.
        body: Content, perhaps without end.
        length: What ``Content-Length`` says; None for chunks, which say nothing.
        before: Bytes sent before the answer.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Iterable[bytes] = b""
    length: str | None = ""
    before: bytes = b""

    def set(self, name: str, value: str) -> None:
        """Replace a header."""
        self.headers = [h for h in self.headers if h[0].lower() != name.lower()]
        self.headers.append((name, value))

    @property
    def is_json(self) -> bool:
        """Whether it is an answer of the API."""
        return any(n.lower() == "content-type" and "json" in v for n, v in self.headers)


Spoil = Callable[[Request, Response], None]


class HostileHub:
    """A hub that listens until it is closed.

    Args:
        honest: Whose answers it spoils; None to answer everything with an empty 200.
        spoil: Changes an answer in place.
        host: Under which name it is asked.
    """

    def __init__(
        self, honest: HubServer | None, spoil: Spoil | None = None, *, host: str = "127.0.0.1"
    ) -> None:
        self.honest = honest
        self.spoil = spoil
        self.instead: Callable[[str], str] = lambda path: path  # what is asked of the honest hub
        self.requests: list[Request] = []
        self.sent = 0
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.owner = self
        port = self._server.server_address[1]
        self.url = f"http://{host}:{port}"
        self.storage_url = f"http://localhost:{port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forward(self, request: Request, headers: dict[str, str], body: bytes) -> Response:
        """Return the honest answer, with addresses of this hub."""
        if self.honest is None:
            return Response()
        path = self.instead(request.path)
        stored = _STORED.match(path) is not None
        host = (self.honest.storage_url if stored else self.honest.url).partition("://")[2]
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(request.method, path, body, headers)
            answer = connection.getresponse()
            found = [(n, self._ours(v)) for n, v in answer.getheaders() if n.lower() not in _OWN]
            content = answer.read()
        finally:
            connection.close()
        response = Response(status=answer.status, headers=found, body=content)
        if request.method == "HEAD":
            response.length = answer.getheader("Content-Length") or ""
        if response.is_json:
            response.body = self._ours(content.decode()).encode()
        return response

    def _ours(self, text: str) -> str:
        assert self.honest is not None
        return text.replace(self.honest.storage_url, self.storage_url).replace(
            self.honest.url, self.url
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: HostileHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave in the middle are what the tests are about."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization")
        request = Request(method=self.command, path=self.path, token=token)
        owner.requests.append(request)
        kept = {n: v for n, v in self.headers.items() if n.lower() not in ("host", *_OWN)}
        response = owner.forward(request, kept, body)
        if owner.spoil is not None:
            owner.spoil(request, response)
        with suppress(OSError):
            self._send(response)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 the names that the base class calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing."""

    def _send(self, response: Response) -> None:
        headers = list(response.headers)
        if response.length is None:
            headers.append(("Transfer-Encoding", "chunked"))
        elif isinstance(response.body, bytes):
            headers.append(("Content-Length", response.length or str(len(response.body))))
        elif response.length:
            headers.append(("Content-Length", response.length))
        head = f"HTTP/1.1 {response.status} X\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers)
        self.wfile.write(response.before + head.encode("utf-8", "surrogateescape") + b"\r\n")
        # What was announced is not always what comes.
        self.close_connection = bool(response.length) or not isinstance(response.body, bytes)
        if self.command == "HEAD":
            return
        owner = self.server.owner
        for block in _blocks(response.body):
            if owner.closing.is_set():
                return
            framed = b"%x\r\n%b\r\n" % (len(block), block) if response.length is None else block
            self.wfile.write(framed)
            owner.sent += len(block)
        if response.length is None:
            self.wfile.write(b"0\r\n\r\n")


def _blocks(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if not isinstance(body, bytes):
        yield from body
    elif body:
        yield body
