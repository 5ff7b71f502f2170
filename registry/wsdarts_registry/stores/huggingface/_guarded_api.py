"""Calls of huggingface_hub that write, held to the limits of ``_transport``.

Writing is left to huggingface_hub, whose protocol of uploads changes with the Hub. ``guarded_api``
bounds it by hooks in its session: a response is given up while it comes, a token goes to no other
host, and nothing is sent without encryption beyond this machine unless that was allowed. Uploads by
Xet, which are made to the official Hub alone, do not go through the session.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import HfApi, constants

from wsdarts_registry.stores.huggingface import _transport
from wsdarts_registry.stores.huggingface._errors import (
    BUSY,
    CLIENT_ERRORS,
    TRANSPORT_MODULE,
    Failure,
    RequestError,
    classify_client_error,
    classify_response,
)
from wsdarts_registry.stores.huggingface._responses import UPLOAD_PLAN, parse_response
from wsdarts_registry.stores.huggingface._transport import (
    LIBRARY,
    MAX_RESPONSE_BYTES,
    blocks,
    check_not_compressed,
    client_session,
    host_of,
    library_version,
    untrusted,
)
from wsdarts_registry.stores.huggingface.location import Endpoint

_OFFICIAL = "https://huggingface.co"
# Names the call that a request belongs to; the Hub uses the header for tracing.
_CALL_HEADER = "X-Request-Id"
# Of one call; huggingface_hub repeats requests as long as a Hub asks it to.
_MAX_REQUESTS = 10_000
_TIMEOUTS = ("connect", "read", "write", "pool")


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
        limits = dict.fromkeys(_TIMEOUTS, _transport.TIMEOUT)
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
