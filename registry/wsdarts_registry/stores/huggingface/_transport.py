"""The transport: requests to a Hub, each bounded in bytes, time and reach.

Those that read are sent here, by ``Connection``, through huggingface_hub's session, which knows
proxies, certificates and offline mode. Writing is left to huggingface_hub, whose protocol of
uploads changes with the Hub. ``guarded_api`` holds it to the same limits by hooks in its session: a
response is given up while it comes, a token goes to no other host, and nothing is sent without
encryption beyond this machine unless that was allowed. Uploads by Xet, which are made to the
official Hub alone, do not go through the session.
"""

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlencode, urljoin

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

from wsdarts_registry.stores.huggingface._errors import (
    BUSY,
    CLIENT_ERRORS,
    INVALID_URL,
    TRANSPORT_MODULE,
    Failure,
    RequestError,
    classify_client_error,
    classify_response,
    redact,
)
from wsdarts_registry.stores.huggingface._responses import UPLOAD_PLAN, parse_response
from wsdarts_registry.stores.huggingface.location import Endpoint

# User agent of the requests.
LIBRARY = "wsdarts-hub"
# Seconds after which a silent Hub is given up; huggingface_hub itself would wait for ever.
TIMEOUT = 120.0
# Rate below which a response is given up once it has taken longer than TIMEOUT.
MIN_BYTES_PER_SECOND = 1024
MAX_RESPONSE_BYTES = 16 * 2**20
MAX_PAGES = 1000
_MAX_ERROR_BYTES = 2**16
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Redirects that keep method and body of the request.
_SAME_METHOD = (307, 308)
_NEXT = re.compile(r"<([^<>]*)>\s*;[^,]*\brel=\"?next\b")
# From this size on a file has a progress bar.
_LARGE = 10 * 2**20
_OFFICIAL = "https://huggingface.co"
# Names the call that a request belongs to; the Hub uses the header for tracing.
_CALL_HEADER = "X-Request-Id"
# Of one call; huggingface_hub repeats requests as long as a Hub asks it to.
_MAX_REQUESTS = 10_000
_TIMEOUTS = ("connect", "read", "write", "pool")


@dataclass(frozen=True, kw_only=True)
class Response:
    """A successful response; names of headers in any case."""

    headers: Mapping[str, str]
    content: bytes


class Connection:
    """Requests that read from one Hub.

    Args:
        endpoint: Its address, which says what other addresses are allowed.
        token: A token; None for the one that huggingface_hub finds.
    """

    def __init__(self, endpoint: Endpoint, token: str | None = None) -> None:
        self._endpoint = endpoint
        self._token = token

    def url(self, path: str, parameters: list[tuple[str, str]] | None = None) -> str:
        """Return the whole address of a path on the Hub."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"{self._endpoint.url}{path}{query}"

    def request(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_RESPONSE_BYTES,
    ) -> Response:
        """Send a request and return its response.

        Args:
            method: ``GET`` or ``POST``.
            url: Whole address; the token goes to the Hub's own alone.
            body: Content of the request.
            headers: Further headers.
            limit: Most bytes of the response.

        Raises:
            RequestError: The response is an error, too long or too slow, or leads to an address
                that is not allowed.
        """
        with self._response(method, url, body, headers or {}, TIMEOUT) as response:
            content = b"".join(blocks(response.headers, response.iter_raw(), limit))
            return Response(headers=response.headers, content=content)

    def pages(self, url: str) -> Iterator[Response]:
        """Yield the pages of a list.

        Raises:
            RequestError: As in ``request``; or the list goes on elsewhere, in a circle or too long.
        """
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            if len(seen) > MAX_PAGES:
                raise untrusted(f"a list has more than {MAX_PAGES} pages")
            response = self.request("GET", url)
            yield response
            found = _NEXT.search(response.headers.get("Link", ""))
            if found is None:
                return
            url = _join_url(url, found[1])
            if not self._endpoint.is_own(url):
                raise untrusted(f"a list goes on at another address ({host_of(url)})")
        raise untrusted("a list goes on in a circle")

    def download(self, url: str, size: int, write: Callable[[bytes], object], name: str) -> None:
        """Fetch a file block by block.

        Args:
            url: Whole address.
            size: Expected bytes; a longer file is given up, a shorter one is not noticed.
            write: Takes each block.
            name: Title of the progress bar.

        Raises:
            RequestError: As in ``request``.
        """
        with self._response("GET", url, b"", {}, constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
            for block in _with_progress(
                blocks(response.headers, response.iter_raw(), size), size, name
            ):
                write(block)

    @contextmanager
    def _response(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Iterator[Any]:
        """Yield a successful response, whose content was not read yet."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, body, headers, timeout)
            try:
                where = response.headers.get("Location")
                if response.status_code in _REDIRECTS and where is not None:
                    _read_beginning(response)  # so that the connection can be used again
                    url = self._redirect(method, url, response.status_code, where)
                    continue
                self._check(response, method)
                yield response
                return
            finally:
                response.close()
        raise untrusted(f"it redirects more than {_MAX_REDIRECTS} times")

    def _send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Any:
        if not self._endpoint.is_allowed(url):
            raise untrusted(f"it leads to {host_of(url)}, which is not encrypted or no address")
        sent = {**headers, "Accept-Encoding": "identity"}
        if self._endpoint.is_own(url):
            own = build_hf_headers(
                token=self._token, library_name=LIBRARY, library_version=library_version()
            )
            sent = {**own, **sent}
        session = client_session()
        request = session.build_request(
            method,
            url,
            headers=sent,
            content=body,
            timeout=timeout,
        )
        return session.send(request, stream=True, follow_redirects=False, auth=None)

    def _redirect(self, method: str, url: str, status: int, where: str) -> str:
        """Return the target of a redirect that may be followed."""
        target = _join_url(url, where)
        keeps_method = status in _SAME_METHOD and self._endpoint.is_own(target)
        if method != "GET" and not keeps_method:
            raise untrusted(f"it redirects what is sent to {host_of(target)}")
        return target

    def _check(self, response: Any, method: str) -> None:
        """Refuse a response that is no success, or is compressed."""
        status, headers = response.status_code, response.headers
        if status >= 400:
            content = _read_beginning(response)
            raise RequestError(
                classify_response(
                    status, headers, content, reading=method == "GET", token=self._token
                )
            )
        check_not_compressed(headers)
        if not 200 <= status < 300:
            raise RequestError(Failure(kind="malformed", message=f"status {status}"))


def _with_progress(content: Iterator[bytes], size: int, name: str) -> Iterator[bytes]:
    """Pass blocks on; show huggingface_hub's progress bar for a large file."""
    if size < _LARGE:
        yield from content
        return
    bar = tqdm(  # type: ignore[no-untyped-call]
        unit="B", unit_scale=True, total=size, desc=name[-40:], disable=None
    )
    with bar:
        for block in content:
            bar.update(len(block))
            yield block


def client_session() -> Any:
    """Return huggingface_hub's session, which is made at the first call.

    Raises:
        RequestError: A proxy or the certificates cannot be used.
    """
    try:
        return get_session()
    except ImportError as error:
        cause: Exception = error
        message = (
            "the proxy in ALL_PROXY or HTTPS_PROXY is a SOCKS proxy, and the package for that is "
            "not installed"
        )
        hint = "install it with `pip install socksio`, or unset the proxy"
    except OSError as error:
        cause = error
        message = f"the certificates cannot be read ({error.strerror or type(error).__name__})"
        hint = "check SSL_CERT_FILE and SSL_CERT_DIR"
    except (ValueError, INVALID_URL) as error:
        cause = error
        message = (
            "the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no address "
            f"({redact(str(error))})"
        )
        hint = "correct or unset it"
    raise RequestError(Failure(kind="setup", message=message, hint=hint)) from cause


def check_not_compressed(headers: Mapping[str, str]) -> None:
    """Refuse a compressed response, whose length does not bound its content.

    Raises:
        RequestError: It is compressed.
    """
    if headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        message = "it is compressed, which was not requested"
        raise RequestError(Failure(kind="malformed", message=message))


def blocks(
    headers: Mapping[str, str], content: Iterable[bytes], limit: int, *, cut: bool = False
) -> Iterator[bytes]:
    """Pass on the content of a response, which is given up, or cut, once it is too long.

    Raises:
        RequestError: It announces or has more than ``limit`` bytes, or is too slow.
    """
    begun, received = time.monotonic(), 0
    announced = headers.get("Content-Length", "")
    if not cut and announced.isascii() and announced.isdigit():
        _check_length(announced, limit)
    for block in content:
        received += len(block)
        if received > limit:
            if cut:
                return
            raise untrusted(f"it sends more than the {limit} bytes that are expected")
        if time.monotonic() - begun > TIMEOUT + received / MIN_BYTES_PER_SECOND:
            raise RequestError(Failure(kind="network", message="it sends too slowly"))
        yield block


def _read_beginning(response: Any) -> bytes:
    content = blocks(response.headers, response.iter_raw(), _MAX_ERROR_BYTES, cut=True)
    return b"".join(content)


def _check_length(announced: str, limit: int) -> None:
    if len(announced) > 18 or int(announced) > limit:
        raise untrusted(f"it announces {announced[:20]} bytes where {limit} at most are expected")


def _join_url(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError:
        raise untrusted("it leads to an address that is none") from None


def host_of(url: str) -> str:
    """Return the host of an address, without anything secret in it."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2][:100]


def untrusted(message: str) -> RequestError:
    """Return the error of a response that cannot be trusted."""
    return RequestError(Failure(kind="untrusted", message=message))


@cache  # a request would take longer to read it than to be sent
def library_version() -> str:
    """Return the version of this library."""
    try:
        return version(LIBRARY)
    except PackageNotFoundError:
        return "0"


class GuardedApi(HfApi):
    """huggingface_hub's client, used for one call.

    Attributes:
        commits: Number of commits that the Hub made.
    """

    commits = 0


@contextmanager
def guarded_api(endpoint: Endpoint, token: str | None) -> Iterator[GuardedApi]:
    """Yield a client for one call that writes.

    Requests with the token go to the Hub's own address. Contents may go to other allowed addresses,
    without the token.

    Raises:
        RequestError: The call failed.
    """
    call_id = uuid.uuid4().hex
    api = GuardedApi(
        endpoint=endpoint.url,
        token=token,
        library_name=LIBRARY,
        library_version=library_version(),
        headers={_CALL_HEADER: call_id},
    )
    _HOOKS.add(call_id, _Call(api=api, endpoint=endpoint, token=token))
    try:
        yield api
    except CLIENT_ERRORS as error:
        raise RequestError(classify_client_error(error, token)) from error
    finally:
        _HOOKS.remove(call_id)


@dataclass(frozen=True, kw_only=True)
class _Call:
    api: GuardedApi
    endpoint: Endpoint
    token: str | None


@dataclass
class _Hooks:
    """Hooks in huggingface_hub's session, present while calls run.

    Attributes:
        calls: Running calls by their id.
        requests: Number of requests of each call.
        sessions: Sessions with the hooks.
        without_xet: Whether the user disabled Xet.
    """

    calls: dict[str, _Call] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    sessions: list[Any] = field(default_factory=list)
    without_xet: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, call_id: str, call: _Call) -> None:
        """Guard a call.

        Raises:
            RequestError: There is no session.
        """
        session = client_session()
        with self._lock:
            if not self.calls:
                self.without_xet = constants.HF_HUB_DISABLE_XET
            self.calls[call_id] = call
            if session not in self.sessions:
                self.sessions.append(session)
                # New lists, since other threads may be reading the old ones.
                session.event_hooks = {
                    "request": [*session.event_hooks["request"], self._check_request],
                    "response": [*session.event_hooks["response"], self._check_response],
                }
            self._choose_upload_protocol()

    def remove(self, call_id: str) -> None:
        """Stop guarding a call."""
        with self._lock:
            del self.calls[call_id], self.requests[call_id]
            self._choose_upload_protocol()
            if self.calls:
                return
            for session in self.sessions:
                hooks = session.event_hooks
                session.event_hooks = {
                    "request": [h for h in hooks["request"] if h != self._check_request],
                    "response": [h for h in hooks["response"] if h != self._check_response],
                }
            self.sessions.clear()

    def _choose_upload_protocol(self) -> None:
        """Disable Xet unless all running calls are to the official Hub.

        huggingface_hub uses Xet wherever it is installed, and only this constant prevents it.
        """
        others = any(call.endpoint.url != _OFFICIAL for call in self.calls.values())
        constants.HF_HUB_DISABLE_XET = self.without_xet or others

    def _check_request(self, request: Any) -> None:
        """Refuse a request to an address that is not allowed, and limit its time."""
        url, call_id = str(request.url), request.headers.get(_CALL_HEADER, "")
        with self._lock:
            calls = tuple(self.calls.values())
            call = self.calls.get(call_id)
            if call is not None:
                self.requests[call_id] += 1
            count = self.requests[call_id]
        if call is None and _is_unrelated(request):
            return
        where = host_of(url)
        if call is not None and not call.endpoint.is_own(url):
            raise untrusted(f"it leads what has a token to {where}")
        if call is None and not any(running.endpoint.is_allowed(url) for running in calls):
            raise untrusted(f"it leads to {where}, which is not encrypted or no address")
        if count > _MAX_REQUESTS:
            raise untrusted(f"it takes more than {_MAX_REQUESTS} requests")
        request.headers["Accept-Encoding"] = "identity"
        limits = dict.fromkeys(_TIMEOUTS, TIMEOUT)
        request.extensions = {**request.extensions, "timeout": limits, "trace": _raise_on_failure}

    def _check_response(self, response: Any) -> None:
        """Read a response under limits before huggingface_hub sees it."""
        request, headers = response.request, response.headers
        with self._lock:
            call = self.calls.get(request.headers.get(_CALL_HEADER, ""))
        if call is None and _is_unrelated(request):
            return
        check_not_compressed(headers)
        found = blocks(headers, response.stream, MAX_RESPONSE_BYTES)
        content = b"".join(found)
        response.stream.close()
        if call is None and response.has_redirect_location:
            raise untrusted("it redirects what is uploaded")
        if response.status_code in BUSY:  # huggingface_hub would wait as long as it is told to
            token = call.token if call else None
            raise RequestError(
                classify_response(
                    response.status_code, headers, content, reading=False, token=token
                )
            )
        if "/preupload/" in request.url.path and response.is_success:
            _check_plan(content)
        if call is not None and "/commit/" in request.url.path and response.is_success:
            call.api.commits += 1
        # huggingface_hub would print these texts as they are.
        headers.pop("X-HF-Warning", None)
        if request.url.path.endswith("/api/validate-yaml") and response.is_success:
            content = b"{}"
        response.stream = TRANSPORT_MODULE.ByteStream(content)


_HOOKS = _Hooks()


def _check_plan(content: bytes) -> None:
    ignored = parse_response(UPLOAD_PLAN, content).ignored
    if ignored:
        message = f"a .gitignore there excludes {ignored[0]}"
        hint = "remove it, or that line of it"
        raise RequestError(Failure(kind="setup", message=message, hint=hint))


def _is_unrelated(request: Any) -> bool:
    """Return whether a request without a call id is certainly no upload of a guarded call.

    Uploads carry no id, and may run in threads of their own. Another thread may read meanwhile, or
    use huggingface_hub for something else.
    """
    headers = request.headers
    return (
        request.method not in ("PUT", "POST")
        or ("Authorization" in headers and not request.url.userinfo)
        or headers.get("User-Agent", "").startswith(f"{LIBRARY}/")
    )


def _raise_on_failure(event: str, info: dict[str, Any]) -> None:
    """End a call whose connection fails; the registry retries it under its own limits.

    huggingface_hub would repeat the request by itself, with a new session that has no hooks.
    """
    error = info.get("exception")
    # A request that breaks off while it is sent may have a response already.
    if event.endswith(".failed") and ".send_request" not in event and isinstance(error, Exception):
        raise RequestError(Failure(kind="network", message=type(error).__name__)) from error
