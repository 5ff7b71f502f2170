"""The hub's sockets: one for the Hub itself, one for the storage server of LFS objects.

The storage server goes by another host name (``localhost``, not ``127.0.0.1``), as the real one
does, so that a client which carries its token there is found out: `Exchange.with_token` says so.
Another port alone would not do: version 1.31 of the client takes that for the same server.
"""

import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

from .accounts import Account, account_of
from .control import CONTROL, controlled
from .faults import Fault, Faults
from .hub import Hub, Settings
from .messages import PIECE, HubError, Request, Response
from .record import Exchange, Record
from .routes import HUB_ROUTES, STORAGE_ROUTES, dispatch

_PIECES_A_SECOND = 20


class DisconnectionError(Exception):
    """The connection ends here, because a fault says so or the client has gone."""


class HubServer:
    """A hub that answers until it is closed.

    Args:
        directory: Where everything lies; one that a hub has used before goes on from there.
        settings: Accounts and sizes.
        port: Port of the hub on 127.0.0.1; 0 lets the system choose.
    """

    def __init__(self, directory: Path, settings: Settings | None = None, *, port: int = 0) -> None:
        self.hub = Hub(directory, settings or Settings())
        self.faults = Faults()
        self.record = Record()
        self.failures: list[str] = []
        self.closing = threading.Event()
        self._sockets = [_Socket(self, "hub", port), _Socket(self, "storage", 0)]
        self.url, self.storage_url = (item.url for item in self._sockets)
        self._threads = [
            threading.Thread(target=item.serve_forever, args=(0.02,), daemon=True)
            for item in self._sockets
        ]
        for thread in self._threads:
            thread.start()

    def add_fault(self, fault: Fault) -> None:
        """Order a fault."""
        self.faults.add(fault, state=self.state())

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self.faults.clear()

    def wait_for_held(self, path: str, seconds: float = 120) -> None:
        """Wait until the fault of kind ``hold`` with this ``path`` holds a request."""
        end = time.monotonic() + seconds
        while not any(e.fault == "hold" and not e.ended for e in self.exchanges(path=path)):
            if time.monotonic() > end:
                raise TimeoutError(f"no request for {path} came")
            time.sleep(0.002)

    def release(self, path: str) -> None:
        """Let what the fault of kind ``hold`` with this ``path`` holds go on."""
        self.faults.release(path)

    def exchanges(self, method: str | None = None, path: str = "") -> list[Exchange]:
        """Return the exchanges of a method (None: any) whose path matches an expression."""
        return self.record.all(method, path)

    def clear_exchanges(self) -> None:
        """Forget every exchange."""
        self.record.clear()

    def state(self) -> int:
        """Return the number of the latest change, for `Fault.state`."""
        return self.hub.repositories.counter.last

    def close(self) -> None:
        """Stop answering, and close every connection."""
        self.closing.set()
        self.faults.clear()
        for item, thread in zip(self._sockets, self._threads, strict=True):
            item.shutdown()
            thread.join()
            item.hang_up()
            item.server_close()


class _Socket(ThreadingHTTPServer):
    """One listening socket and its connections."""

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128

    def __init__(self, owner: HubServer, role: Literal["hub", "storage"], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.owner = owner
        self.role: Literal["hub", "storage"] = role
        host = "127.0.0.1" if role == "hub" else "localhost"
        self.url = f"http://{host}:{self.server_address[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Remember what went wrong in a handler, unless the client merely left."""
        error = sys.exception()
        is_cut_off = isinstance(error, OSError | ValueError) and self.owner.closing.is_set()
        if not is_cut_off and not isinstance(error, ConnectionError | TimeoutError):
            self.owner.failures.append(traceback.format_exc())

    def hang_up(self) -> None:
        """Wake the threads that wait for a client's next request."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster


class _Connection(BaseHTTPRequestHandler):
    """One client's connection; several requests follow each other on it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _socket(self) -> _Socket:
        assert isinstance(self.server, _Socket)
        return self.server

    def do_GET(self) -> None:
        try:
            self._handle()
        except (DisconnectionError, ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 the names that the base class calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing: `Record` has it all."""

    def _handle(self) -> None:
        owner = self._socket.owner
        path, _, query = self.path.partition("?")
        if path.startswith(CONTROL):
            body = b"".join(self._chunks(None, None))
            self._send(controlled(owner, self.command, path, body), None, None)
            return
        fault = owner.faults.next(self.command, self.path)
        exchange = owner.record.add(
            Exchange(
                method=self.command,
                server=self._socket.role,
                path=path,
                query=query,
                with_token="Authorization" in self.headers,
                fault=None if fault is None else fault.kind,
            )
        )
        try:
            self._answer(exchange, fault, query)
        finally:
            exchange.ended = True

    def _answer(self, exchange: Exchange, fault: Fault | None, query: str) -> None:
        owner = self._socket.owner
        chunks = self._chunks(exchange, fault)
        if fault is not None and fault.kind == "hang":
            owner.closing.wait(fault.seconds)
        if fault is not None and fault.kind == "hold":
            owner.faults.wait(fault)
        try:
            response = self._respond(exchange.path, query, chunks, fault)
        except HubError as error:
            response = error.response()
        for _ in chunks:  # what the handler left, so that the next request begins at its start
            pass
        if fault is not None and fault.kind == "lose_answer":
            raise DisconnectionError
        self._send(response, exchange, fault)

    def _respond(
        self, path: str, query: str, chunks: Iterator[bytes], fault: Fault | None
    ) -> Response:
        if fault is not None and fault.kind == "refuse":
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            raise HubError(fault.status, "A fault that a test has ordered", headers=wait)
        owner = self._socket.owner
        request = Request(
            method=self.command,
            path=path,
            query=parse_qs(query),
            headers={key.lower(): value for key, value in self.headers.items()},
            chunks=lambda: chunks,
            account=self._account(),
            hub_url=owner.url,
            storage_url=owner.storage_url,
            as_of=fault.state if fault is not None and fault.kind == "stale" else None,
        )
        routes = HUB_ROUTES if self._socket.role == "hub" else STORAGE_ROUTES
        return dispatch(owner.hub, request, routes)

    def _account(self) -> Account | None:
        sent = self.headers.get("Authorization")
        if sent is None or self._socket.role == "storage":
            return None
        account = account_of(sent.removeprefix("Bearer "), self._socket.owner.hub.settings.accounts)
        if account is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return account

    def _chunks(self, exchange: Exchange | None, fault: Fault | None) -> Iterator[bytes]:
        """Yield the request's body, until a fault closes the socket."""
        limit = fault.amount if fault is not None and fault.kind == "close_request" else None
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            sizes = self._chunk_sizes()
        else:
            sizes = iter([int(self.headers.get("Content-Length") or 0)])
        received = 0
        for size in sizes:
            left = size
            while left > 0:
                wanted = min(left, PIECE if limit is None else max(limit - received, 0))
                piece = self.rfile.read(wanted) if wanted else b""
                if not piece:
                    raise DisconnectionError
                left -= len(piece)
                received += len(piece)
                if exchange is not None:
                    exchange.received = received
                yield piece
        if limit is not None:
            raise DisconnectionError

    def _chunk_sizes(self) -> Iterator[int]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield size
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _send(self, response: Response, exchange: Exchange | None, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        amount = 0 if fault is None else fault.amount
        length = min(response.length, amount) if kind == "short_body" else response.length
        if exchange is not None:
            exchange.status = response.status
        self.send_response(response.status)
        for key, value in {**response.headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            size = max(amount // _PIECES_A_SECOND, 1) if kind == "slow_body" else PIECE
            chunks = response.chunks(size)
            for chunk in chunks if fault is None else fault.spoil(chunks):
                if kind == "slow_body":
                    self._socket.owner.closing.wait(len(chunk) / amount)
                if exchange is not None:
                    exchange.sent += len(chunk)
                self.wfile.write(chunk)
        if kind == "close_response":
            raise DisconnectionError
