"""The client's own calls that write, held to the limits of all other requests.

How files are uploaded and committed is the client's to know. It trusts the server with it: it
takes the token wherever an answer says that an upload is confirmed, reads answers of any length and
waits as long as it is told to. So while a call of it runs, its session has hooks that look at each
request before it is sent, and at each answer before the client does. Uploads by Xet, which are made
to the official Hub alone, do not go through that session.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import HfApi, constants

from wsdarts_registry.stores.huggingface import connection
from wsdarts_registry.stores.huggingface.answers import PLAN, checked
from wsdarts_registry.stores.huggingface.errors import (
    BUSY,
    CLIENT_ERRORS,
    TRANSPORT_MODULE,
    Problem,
    ProblemError,
    problem_of_client,
    refusal,
)
from wsdarts_registry.stores.huggingface.location import HubAddress

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
        library_name=connection.LIBRARY,
        library_version=connection.library_version(),
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
        session = connection.client_session()
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
        where = connection.host_of(url)
        if call is not None and not call.address.is_own(url):
            raise connection.refused(f"it leads what has a token to {where}")
        if call is None and not any(running.address.is_allowed(url) for running in calls):
            raise connection.refused(f"it leads to {where}, which is not encrypted or no address")
        if count > _MAX_REQUESTS:
            raise connection.refused(f"it takes more than {_MAX_REQUESTS} requests")
        request.headers["Accept-Encoding"] = "identity"
        limits = dict.fromkeys(_TIMEOUTS, connection.SILENCE)
        request.extensions = {**request.extensions, "timeout": limits, "trace": _end_at_failure}

    def _look_at_answer(self, response: Any) -> None:
        """Read an answer under limits, and let the client see it if it may act on it."""
        request, headers = response.request, response.headers
        with self._lock:
            call = self.calls.get(request.headers.get(_MARK, ""))
        if call is None and _is_of_others(request):
            return
        connection.check_not_packed(headers)
        found = connection.blocks(headers, response.stream, connection.MAX_ANSWER_BYTES)
        content = b"".join(found)
        response.stream.close()
        if call is None and response.has_redirect_location:
            raise connection.refused("it redirects what is uploaded")
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
        or headers.get("User-Agent", "").startswith(f"{connection.LIBRARY}/")
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
