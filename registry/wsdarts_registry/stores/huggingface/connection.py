"""Requests to a Hub, each bounded in bytes, time and reach.

They go through the client's own session, which knows proxies, certificates and offline mode. What
the client would do by itself is done here under limits: an answer is given up while it comes, not
after; a redirect or a next page may lead elsewhere, the token does not go along; and nothing is
sent without encryption beyond this machine, unless that was allowed. What writes is the client's
own work; ``guard`` holds that to the same limits.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlencode, urljoin

from huggingface_hub import constants, get_session
from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

from wsdarts_registry.stores.huggingface.errors import (
    INVALID_URL,
    Problem,
    ProblemError,
    harmless,
    refusal,
)
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
