"""Requests to a Hub, each bounded in bytes, time and reach.

They go through the client's own session, which knows proxies, certificates and offline mode. What
the client would do by itself is done here under limits: an answer is given up while it comes, not
after; a redirect or a next page may lead elsewhere, the token does not go along; and nothing is
sent without encryption beyond this machine, unless that was allowed. What writes is the client's
own work; ``guard`` holds that to the same limits.

The client's own calls that write, held to the limits of all other requests.

How files are uploaded and committed is the client's to know. It trusts the server with it: it
takes the token wherever an answer says that an upload is confirmed, reads answers of any length and
waits as long as it is told to. So while a call of it runs, its session has hooks that look at each
request before it is sent, and at each answer before the client does. Uploads by Xet, which are made
to the official Hub alone, do not go through that session.
"""

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    Problem,
    ProblemError,
    harmless,
    problem_of_client,
    refusal,
)
from wsdarts_registry.stores.huggingface._responses import PLAN, checked
from wsdarts_registry.stores.huggingface.location import HubAddress

# What requests say who sends them.
LIBRARY = "wsdarts-hub"
# Seconds after which a Hub that says nothing is given up; the client itself would wait for ever.
SILENCE = 120.0
# Bytes a second, below which an answer is given up once it has taken longer than SILENCE.
SLOWEST = 1024
MAX_ANSWER_BYTES = 16 * 2**20
MAX_PAGES = 1000
_MAX_REFUSAL_BYTES = 2**16
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Those that repeat the request with its method and body.
_REPEATING = (307, 308)
_NEXT = re.compile(r"<([^<>]*)>\s*;[^,]*\brel=\"?next\b")
_BLOCK = 2**20
# Smaller files come and go without a progress bar.
_LARGE = 10 * 2**20


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The headers, names in any case, and the content of a successful answer."""

    headers: Mapping[str, str]
    content: bytes


class Connection:
    """Requests to one Hub.

    Args:
        address: Where it is, and where else may be asked.
        token: A token; None for what the client finds.
    """

    def __init__(self, address: HubAddress, token: str | None = None) -> None:
        self._address = address
        self._token = token

    def url(self, path: str, parameters: list[tuple[str, str]] | None = None) -> str:
        """The whole address of a path on the Hub."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"{self._address.url}{path}{query}"

    def ask(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> Reply:
        """Send a request and read its answer.

        Args:
            method: ``GET`` or ``POST``.
            url: Whole address; only the Hub's own gets the token.
            body: What to send.
            headers: Further headers.
            limit: Longest answer.

        Raises:
            ProblemError: The answer is a refusal, too long or too slow, or the request would have
                to go where it may not.
        """
        with self._answer(method, url, body, headers or {}, SILENCE) as response:
            content = b"".join(blocks(response.headers, response.iter_raw(), limit))
            return Reply(headers=response.headers, content=content)

    def pages(self, url: str) -> Iterator[Reply]:
        """Read a list page by page.

        Raises:
            ProblemError: As in ``ask``; or the list goes on elsewhere, in a circle or for too long.
        """
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            if len(seen) > MAX_PAGES:
                raise refused(f"a list has more than {MAX_PAGES} pages")
            reply = self.ask("GET", url)
            yield reply
            found = _NEXT.search(reply.headers.get("Link", ""))
            if found is None:
                return
            url = _joined(url, found[1])
            if not self._address.is_own(url):
                raise refused(f"a list goes on at another address ({host_of(url)})")
        raise refused("a list goes on in a circle")

    def download(self, url: str, size: int, write: Callable[[bytes], object], name: str) -> None:
        """Fetch a file block by block.

        Args:
            url: Whole address.
            size: Bytes that it should have; a longer one is given up, a shorter one is not noticed.
            write: Takes each block.
            name: What a progress bar calls it.

        Raises:
            ProblemError: As in ``ask``.
        """
        with self._answer("GET", url, b"", {}, constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
            for block in _shown(blocks(response.headers, response.iter_raw(), size), size, name):
                write(block)

    @contextmanager
    def _answer(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Iterator[Any]:
        """An answer with a status below 300, whose content was not read yet."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, body, headers, timeout)
            try:
                where = response.headers.get("Location")
                if response.status_code in _REDIRECTS and where is not None:
                    _beginning(response)  # so that the connection can be used again
                    url = self._redirected(method, url, response.status_code, where)
                    continue
                self._check(response, method)
                yield response
                return
            finally:
                response.close()
        raise refused(f"it redirects more than {_MAX_REDIRECTS} times")

    def _send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Any:
        if not self._address.is_allowed(url):
            raise refused(f"it leads to {host_of(url)}, which is not encrypted or no address")
        sent = {**headers, "Accept-Encoding": "identity"}
        if self._address.is_own(url):
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

    def _redirected(self, method: str, url: str, status: int, where: str) -> str:
        """The address that a redirect leads to, where it may be followed."""
        target = _joined(url, where)
        repeats = status in _REPEATING and self._address.is_own(target)
        if method != "GET" and not repeats:
            raise refused(f"it redirects what is sent to {host_of(target)}")
        return target

    def _check(self, response: Any, method: str) -> None:
        """Refuse an answer that is no success, or is packed so that its length says nothing."""
        status, headers = response.status_code, response.headers
        if status >= 400:
            content = _beginning(response)
            raise ProblemError(
                refusal(status, headers, content, reading=method == "GET", token=self._token)
            )
        check_not_packed(headers)
        if not 200 <= status < 300:
            raise ProblemError(Problem(kind="garbled", said=f"status {status}"))


def _shown(content: Iterator[bytes], size: int, name: str) -> Iterator[bytes]:
    """Pass blocks on, with the client's progress bar where they are many."""
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
    """The client's session; it is made at the first call, of proxies and certificates.

    Raises:
        ProblemError: It cannot be made of them.
    """
    try:
        return get_session()
    except ImportError as error:
        said = (
            "the proxy in ALL_PROXY or HTTPS_PROXY is a SOCKS proxy, and the package for that is "
            "not installed; install it with `pip install socksio`, or unset the proxy"
        )
        raise ProblemError(Problem(kind="setup", said=said)) from error
    except OSError as error:
        said = (
            f"the certificates cannot be read ({error.strerror or type(error).__name__}); check "
            "SSL_CERT_FILE and SSL_CERT_DIR"
        )
        raise ProblemError(Problem(kind="setup", said=said)) from error
    except (ValueError, INVALID_URL) as error:
        said = (
            f"the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no address "
            f"({harmless(str(error))}); correct or unset it"
        )
        raise ProblemError(Problem(kind="setup", said=said)) from error


def check_not_packed(headers: Mapping[str, str]) -> None:
    """Refuse an answer whose length says nothing of what it unpacks to.

    Raises:
        ProblemError: It is compressed.
    """
    if headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        said = "it is compressed, which was not asked"
        raise ProblemError(Problem(kind="garbled", said=said))


def blocks(
    headers: Mapping[str, str], content: Iterable[bytes], limit: int, *, cut: bool = False
) -> Iterator[bytes]:
    """Pass on the content of an answer, which is given up, or cut, where it becomes too long.

    Raises:
        ProblemError: It announces or has more than ``limit`` bytes, or comes too slowly.
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
            raise refused(f"it sends more than the {limit} bytes that are expected")
        if time.monotonic() - begun > SILENCE + received / SLOWEST:
            raise ProblemError(Problem(kind="network", said="it sends too slowly"))
        yield block


def _beginning(response: Any) -> bytes:
    content = blocks(response.headers, response.iter_raw(), _MAX_REFUSAL_BYTES, cut=True)
    return b"".join(content)


def _check_length(announced: str, limit: int) -> None:
    if len(announced) > 18 or int(announced) > limit:
        raise refused(f"it announces {announced[:20]} bytes where {limit} at most are expected")


def _joined(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError:
        raise refused("it leads to an address that is none") from None


def host_of(url: str) -> str:
    """An address without what may be secret in it."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2][:100]


def refused(said: str) -> ProblemError:
    """The error for an answer that asks for what is not done."""
    return ProblemError(Problem(kind="refused", said=said))


def library_version() -> str:
    """The version of this library, which requests name."""
    try:
        return version(LIBRARY)
    except PackageNotFoundError:
        return "0"


_OFFICIAL = "https://huggingface.co"
# By this header, which the Hub takes for tracing, a request shows of which call it is a part.
_MARK = "X-Request-Id"
# Requests of one call; the client repeats some for as long as a Hub asks it to.
_MAX_REQUESTS = 10_000
_TIMEOUTS = ("connect", "read", "write", "pool")


@contextmanager
def guarded(address: HubAddress, token: str | None) -> Iterator[HfApi]:
    """Yield a client for one call that writes.

    What it sends with its token goes to the Hub's own address. Contents may go elsewhere, without
    it, where the address may be asked.

    Raises:
        ProblemError: The call failed; whatever the client raises over an answer is that.
    """
    mark = uuid.uuid4().hex
    api = HfApi(
        endpoint=address.url,
        token=token,
        library_name=LIBRARY,
        library_version=library_version(),
        headers={_MARK: mark},
    )
    _HOOKS.add(mark, _Call(address=address, token=token))
    try:
        yield api
    except CLIENT_ERRORS as error:
        raise ProblemError(problem_of_client(error, token)) from error
    finally:
        _HOOKS.remove(mark)


@dataclass(frozen=True, kw_only=True)
class _Call:
    address: HubAddress
    token: str | None


@dataclass
class _Hooks:
    """The hooks in the client's session, which are there while calls run.

    Attributes:
        calls: The calls that run, by their marks.
        requests: How many requests each has made.
        sessions: Those that have the hooks.
        without_xet: Whether the user wants no Xet.
    """

    calls: dict[str, _Call] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    sessions: list[Any] = field(default_factory=list)
    without_xet: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, mark: str, call: _Call) -> None:
        """Guard a call.

        Raises:
            ProblemError: The client has no session.
        """
        session = client_session()
        with self._lock:
            if not self.calls:
                self.without_xet = constants.HF_HUB_DISABLE_XET
            self.calls[mark] = call
            if session not in self.sessions:
                self.sessions.append(session)
                # In place of the old lists, which other threads may be reading.
                session.event_hooks = {
                    "request": [*session.event_hooks["request"], self._look_at_request],
                    "response": [*session.event_hooks["response"], self._look_at_answer],
                }
            self._choose_uploads()

    def remove(self, mark: str) -> None:
        """Guard a call no longer."""
        with self._lock:
            del self.calls[mark], self.requests[mark]
            self._choose_uploads()
            if self.calls:
                return
            for session in self.sessions:
                hooks = session.event_hooks
                session.event_hooks = {
                    "request": [h for h in hooks["request"] if h != self._look_at_request],
                    "response": [h for h in hooks["response"] if h != self._look_at_answer],
                }
            self.sessions.clear()

    def _choose_uploads(self) -> None:
        """Let the client upload by LFS where a Hub is not the official one.

        It takes Xet wherever that is installed, without asking the server, and this constant alone
        tells it not to.
        """
        others = any(call.address.url != _OFFICIAL for call in self.calls.values())
        constants.HF_HUB_DISABLE_XET = self.without_xet or others

    def _look_at_request(self, request: Any) -> None:
        """Refuse a request that would go where it may not, and limit its time."""
        url, mark = str(request.url), request.headers.get(_MARK, "")
        with self._lock:
            calls = tuple(self.calls.values())
            call = self.calls.get(mark)
            if call is not None:
                self.requests[mark] += 1
            count = self.requests[mark]
        if call is None and _is_of_others(request):
            return
        where = host_of(url)
        if call is not None and not call.address.is_own(url):
            raise refused(f"it leads what has a token to {where}")
        if call is None and not any(running.address.is_allowed(url) for running in calls):
            raise refused(f"it leads to {where}, which is not encrypted or no address")
        if count > _MAX_REQUESTS:
            raise refused(f"it takes more than {_MAX_REQUESTS} requests")
        request.headers["Accept-Encoding"] = "identity"
        limits = dict.fromkeys(_TIMEOUTS, SILENCE)
        request.extensions = {**request.extensions, "timeout": limits, "trace": _end_at_failure}

    def _look_at_answer(self, response: Any) -> None:
        """Read an answer under limits, and let the client see it if it may act on it."""
        request, headers = response.request, response.headers
        with self._lock:
            call = self.calls.get(request.headers.get(_MARK, ""))
        if call is None and _is_of_others(request):
            return
        check_not_packed(headers)
        found = blocks(headers, response.stream, MAX_ANSWER_BYTES)
        content = b"".join(found)
        response.stream.close()
        if call is None and response.has_redirect_location:
            raise refused("it redirects what is uploaded")
        if response.status_code in BUSY:  # else the client would wait as long as it is told to
            token = call.token if call else None
            raise ProblemError(
                refusal(response.status_code, headers, content, reading=False, token=token)
            )
        if "/preupload/" in request.url.path and response.is_success:
            _check_plan(content)
        # What the client would print as it is.
        headers.pop("X-HF-Warning", None)
        if request.url.path.endswith("/api/validate-yaml") and response.is_success:
            content = b"{}"
        response.stream = TRANSPORT_MODULE.ByteStream(content)


_HOOKS = _Hooks()


def _check_plan(content: bytes) -> None:
    left_out = checked(PLAN, content).left_out
    if left_out:
        said = f"a .gitignore there keeps {left_out[0]} out; remove it, or that line of it"
        raise ProblemError(Problem(kind="setup", said=said))


def _is_of_others(request: Any) -> bool:
    """Whether a request without a mark is certainly none of the client's uploads.

    Uploads have no mark, and may run in threads of their own. Another thread may read meanwhile, or
    use the client for something else.
    """
    headers = request.headers
    return (
        request.method not in ("PUT", "POST")
        or ("Authorization" in headers and not request.url.userinfo)
        or headers.get("User-Agent", "").startswith(f"{LIBRARY}/")
    )


def _end_at_failure(event: str, info: dict[str, Any]) -> None:
    """End a call whose connection fails, which is done again under the limits of a registry.

    The client would repeat the request by itself; after a failed connection with a new session,
    which has no hooks.
    """
    error = info.get("exception")
    # What breaks off while it is sent may have been answered before.
    if event.endswith(".failed") and ".send_request" not in event and isinstance(error, Exception):
        raise ProblemError(Problem(kind="network", said=type(error).__name__)) from error
