"""What goes wrong on the way to the Hub and back, told to somebody who uses a registry.

One table, from what the transport raises and the Hub refuses to a kind and a line of text. No line
holds a foreign text but the server's short answer, without addresses and tokens: addresses of
uploads are signed, and a server may echo what it was sent.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import errors as hub
from huggingface_hub import get_token
from pydantic import BaseModel, ValidationError

from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import RegistryError

Kind = Literal[
    "missing",
    "gated",
    "unknown",
    "forbidden",
    "moved",
    "busy",
    "network",
    "garbled",
    "refused",
    "offline",
    "disk",
    "setup",
    "other",
]
# The base of every exception of the transport, httpx or its successor, by the client's version.
_TRANSPORT: type[Exception] = next(b for b in hub.HfHubHTTPError.__bases__ if b is not OSError)
# Not of that base: an address that the transport cannot read.
TRANSPORT_MODULE = sys.modules[_TRANSPORT.__module__.partition(".")[0]]
INVALID_URL: type[Exception] = TRANSPORT_MODULE.InvalidURL
BUSY = (408, 425, 429, 500, 502, 503, 504)
_STATUSES: dict[int, Kind] = {401: "forbidden", 403: "forbidden", 412: "moved"}
_CODES: dict[str, Kind] = {
    "GatedRepo": "gated",
    "RepoNotFound": "unknown",
    "RevisionNotFound": "missing",
    "EntryNotFound": "missing",
}
_REFUSED_LOGIN = "Invalid credentials in Authorization header"
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


class ProblemError(Exception):
    """Something went wrong between here and the Hub, and it is known what.

    Args:
        problem: What went wrong.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.said or problem.kind)
        self.problem = problem


# What a call of the Hub raises: RuntimeError where a stream is used wrongly, ValueError where a
# header cannot be sent, OSError for the own disk and for offline mode.
CALL_ERRORS = (ProblemError, _TRANSPORT, INVALID_URL, OSError, ValueError, RuntimeError)

# What the client raises, beside those, where an answer is not what it takes for granted.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
)
CLIENT_ERRORS = (*CALL_ERRORS, *_UNREADABLE)
# How the client begins where the Hub refuses to store a file; anything else that it calls a wrong
# value is an answer that it cannot read.
_NOT_STORED = "LFS batch API returned errors"


def problem_of(error: BaseException, token: str | None = None) -> Problem:
    """Classify an exception of a call; what it wraps decides where it wraps another.

    Args:
        error: What was raised.
        token: What is not to be said, beside the token that the client finds.
    """
    chain = list(_chain(error))
    for cause in chain:
        problem = _told(cause, token) or _met(cause)
        if problem is not None:
            return problem
    return Problem(kind="other", said=harmless(str(chain[-1]), token))


def problem_of_client(error: BaseException, token: str | None = None) -> Problem:
    """Classify an exception of the client's own code; arguments as in ``problem_of``."""
    problem = problem_of(error, token)
    if problem.kind != "other" or problem.status is not None or _NOT_STORED in problem.said:
        return problem
    unreadable = [c for c in _chain(error) if isinstance(c, (ValueError, *_UNREADABLE))]
    if not unreadable and not isinstance(error, RecursionError):
        return problem
    kinds = (json.JSONDecodeError, UnicodeDecodeError, RecursionError)
    said = "it is no JSON" if isinstance(error, kinds) else problem.said
    return Problem(kind="garbled", said=said)


def refusal(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    reading: bool,
    token: str | None = None,
) -> Problem:
    """The problem that an answer with a status from 400 on tells of.

    Args:
        status: Of the answer.
        headers: Of the answer; names in any case.
        content: Of the answer, at least its beginning.
        reading: Whether the request would have changed nothing.
        token: What is not to be said, beside the token that the client finds.
    """
    said = headers.get("X-Error-Message") or _said(content)
    kind: Kind = "busy" if status in BUSY else _STATUSES.get(status, "other")
    kind = _CODES.get(headers.get("X-Error-Code", ""), kind)
    if kind == "forbidden" and status == 401 and reading and said != _REFUSED_LOGIN:
        kind = "unknown"  # so the Hub answers who is not logged in, whether it is there or not
    wait = headers.get("Retry-After", "")
    is_number = wait.isascii() and wait.isdigit() and len(wait) < 10
    return Problem(
        kind=kind,
        status=status,
        wait=float(wait) if is_number else None,
        said=harmless(said, token),
    )


class _Message(BaseModel):
    message: str = ""


class _Refusal(BaseModel):
    error: str = ""
    errors: list[_Message] = []


def _said(content: bytes) -> str:
    try:
        found = _Refusal.model_validate_json(content)
    except ValidationError:
        return ""
    return found.error or "; ".join(item.message for item in found.errors[:3])


def _told(error: BaseException, token: str | None) -> Problem | None:
    """The problem that an answer tells of, or the client before it asks."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, hub.OfflineModeIsEnabled):
        return Problem(kind="offline")
    if isinstance(error, hub.HfHubHTTPError):
        answer = error.response
        return refusal(
            answer.status_code, answer.headers, answer.content, reading=False, token=token
        )
    if isinstance(error, hub.HFValidationError):
        return Problem(kind="setup", said=harmless(str(error), token))
    return None


def _met(error: BaseException) -> Problem | None:
    """The problem of a connection, or of the own disk."""
    if isinstance(error, (_TRANSPORT, ConnectionError, TimeoutError)):
        return Problem(kind="network", said=type(error).__name__)
    if isinstance(error, INVALID_URL):
        return Problem(kind="refused", said="it sends to an address that is none")
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
        "garbled": f"cannot {doing} {where}: the answer was cut off or is not what a Hub answers"
        f"{said}; check the address of the Hub in HF_ENDPOINT or --endpoint, or try again later",
        "refused": f"cannot {doing} {where}: {problem.said}; what is sent there or fetched from "
        "there cannot be trusted, so check the address of the Hub in HF_ENDPOINT or --endpoint",
        "offline": f"{repository} or a part of it is not in the cache, and HF_HUB_OFFLINE is set; "
        "unset it to ask the Hub",
        "disk": f"cannot {doing} {repository}: {problem.said}; free some space in the cache, or "
        "move it with WSDARTS_HUB_CACHE",
        "setup": f"cannot {doing} {where}: {problem.said}",
        "other": f"the Hub refused to {doing} {where}"
        f"{f' with status {problem.status}' if problem.status else ''}{said}",
    }
    return RegistryError(lines[problem.kind])


def harmless(text: str, token: str | None = None) -> str:
    """A short line of somebody else's text, without addresses and tokens."""
    for secret in (get_token(), token):
        if secret:
            text = text.replace(secret, "…")
    return sanitize(_TOKEN.sub("…", _ADDRESS.sub("…", text)), 200)


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
