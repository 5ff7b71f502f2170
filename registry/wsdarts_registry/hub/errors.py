"""What the client's exceptions mean for somebody who uses a registry.

One table, from what the client raises to a kind and a line of text. No line holds the client's own
text but the server's short answer, without addresses and tokens: addresses of uploads are signed,
and a server may echo what it was sent.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import errors as hub
from huggingface_hub import get_token

from wsdarts_registry.errors import RegistryError
from wsdarts_registry.inert import plain_text

Kind = Literal[
    "missing",
    "gated",
    "unknown",
    "forbidden",
    "moved",
    "busy",
    "network",
    "offline",
    "disk",
    "other",
]
# The base of every exception of the transport, httpx or its successor, by the client's version.
_TRANSPORT: type[Exception] = next(b for b in hub.HfHubHTTPError.__bases__ if b is not OSError)
# What the client raises; KeyError and TypeError where an answer has not the form that it should.
CLIENT_ERRORS = (_TRANSPORT, OSError, ValueError, RuntimeError, KeyError, TypeError)

_BUSY = (408, 425, 429, 500, 502, 503, 504)
_REFUSALS: dict[int, Kind] = {401: "forbidden", 403: "forbidden", 412: "moved"}
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Kind], ...] = (
    ((hub.GatedRepoError,), "gated"),
    ((hub.RepositoryNotFoundError,), "unknown"),
    ((hub.RevisionNotFoundError, hub.RemoteEntryNotFoundError), "missing"),
)
_TOKEN = re.compile(r"hf_[A-Za-z0-9_]{4,}|Bearer\s+\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+")
_LOGIN = "`hf auth login`"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What went wrong.

    Attributes:
        kind: What it is for the registry.
        status: HTTP status, if there was an answer.
        wait: Seconds that the server asks to wait, if it does.
        said: The server's answer, short and harmless.
    """

    kind: Kind
    status: int | None = None
    wait: float | None = None
    said: str = ""


def problem_of(error: BaseException) -> Problem:
    """Classify an exception of the client; what it wraps decides where it wraps another."""
    chain = list(_chain(error))
    for look in (_answer, _transport):
        for cause in chain:
            problem = look(cause)
            if problem is not None:
                return problem
    if any(isinstance(cause, hub.LocalEntryNotFoundError) for cause in chain):
        return Problem(kind="offline")
    # The client tells of a download of the wrong size by an OSError without a number.
    broken = any(isinstance(cause, OSError) for cause in chain)
    return Problem(kind="network" if broken else "other", said=harmless(str(chain[-1])))


def _answer(error: BaseException) -> Problem | None:
    """The problem that an answer of the server tells of, or the client's refusal to ask."""
    if isinstance(error, hub.OfflineModeIsEnabled):
        return Problem(kind="offline")
    if not isinstance(error, hub.HfHubHTTPError):
        return None
    status = error.response.status_code
    kind: Kind = "busy" if status in _BUSY else _REFUSALS.get(status, "other")
    for classes, meaning in _MEANINGS:
        if isinstance(error, classes):
            kind = meaning
            break
    wait = error.response.headers.get("Retry-After", "")
    return Problem(
        kind=kind,
        status=status,
        wait=float(wait) if wait.isdigit() else None,
        said=harmless(error.server_message or ""),
    )


def _transport(error: BaseException) -> Problem | None:
    """The problem of a connection that broke, an answer that is none, or the own disk."""
    if isinstance(error, (_TRANSPORT, ConnectionError, TimeoutError)):
        return Problem(kind="network", said=type(error).__name__)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | KeyError | TypeError):
        return Problem(kind="network", said="the answer was cut off or garbled")
    if isinstance(error, OSError) and error.errno is not None:
        return Problem(kind="disk", said=error.strerror or type(error).__name__)
    return None


def explained(problem: Problem, *, doing: str, repository: str, url: str) -> RegistryError:
    """The error for a problem, in one line.

    Args:
        problem: What went wrong.
        doing: What was done, such as ``"read"``.
        repository: On what, such as ``"lab/flowers"``.
        url: Address of the Hub.
    """
    where = f"{repository} on {url}"
    said = f" ({problem.said})" if problem.said else ""
    owner = repository.partition("/")[0]
    lines = {
        "missing": f"{where} lacks what was looked for{said}; it was changed by other means: "
        "look at it there",
        "gated": f"{where} is gated; ask for access at {url}/{repository}, then log in with "
        f"{_LOGIN}",
        "unknown": f"there is no {where}, or you may not see it; if it is private, log in with "
        f"{_LOGIN}",
        "forbidden": f"you may not {doing} {where}{said}; log in as somebody who may, with a token "
        f"that can write to {owner} if you write: {_LOGIN}",
        "moved": f"others keep changing {where}; try again",
        "busy": f"{url} answers {problem.status} where it should {doing} {repository}; "
        + (f"try again in {problem.wait:.0f} s" if problem.wait else "try again later"),
        "network": f"cannot {doing} {where}: the connection failed{said}; check the network, or "
        "use what is in the cache with HF_HUB_OFFLINE=1",
        "offline": f"{repository} or a part of it is not in the cache, and HF_HUB_OFFLINE is set; "
        "unset it to ask the Hub",
        "disk": f"cannot {doing} {repository}: {problem.said}; free some space in the caches, or "
        "move them with HF_HOME and WSDARTS_HUB_CACHE",
        "other": f"the Hub refused to {doing} {where}"
        f"{f' with status {problem.status}' if problem.status else ''}{said}",
    }
    return RegistryError(lines[problem.kind])


def harmless(text: str) -> str:
    """A short line of somebody else's text, without addresses and tokens."""
    token = get_token()
    if token:
        text = text.replace(token, "…")
    return plain_text(_TOKEN.sub("…", _ADDRESS.sub("…", text)), 200)


def is_harmless(error: BaseException) -> bool:
    """Whether an exception and its causes may be shown as they are: none names a token."""
    token = get_token()
    texts = [repr(cause) + str(cause) for cause in _chain(error)]
    return not any(_TOKEN.search(text) or (token and token in text) for text in texts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__
