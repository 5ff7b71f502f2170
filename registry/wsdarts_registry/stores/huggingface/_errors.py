"""Errors of requests to Hugging Face: their classification, and their messages.

Exceptions of the transport and refusals of the server become a ``Failure`` of one of a few kinds,
and that a RegistryError. Of the server's text only a short message is quoted, without addresses
and tokens: addresses of uploads are signed, and a server may echo what it was sent.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import errors as huggingface_errors
from huggingface_hub import get_token
from pydantic import BaseModel, ValidationError

from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import CacheError, RegistryError

Kind = Literal[
    "missing",
    "gated",
    "not_found",
    "forbidden",
    "conflict",
    "busy",
    "network",
    "malformed",
    "untrusted",
    "offline",
    "disk",
    "setup",
    "other",
]
# Base of every exception of the transport: httpx or its successor, by version of huggingface_hub.
_TRANSPORT: type[Exception] = next(
    b for b in huggingface_errors.HfHubHTTPError.__bases__ if b is not OSError
)
# Not of that base: an address that the transport cannot read.
TRANSPORT_MODULE = sys.modules[_TRANSPORT.__module__.partition(".")[0]]
INVALID_URL: type[Exception] = TRANSPORT_MODULE.InvalidURL
BUSY = (408, 425, 429, 500, 502, 503, 504)
_STATUSES: dict[int, Kind] = {401: "forbidden", 403: "forbidden", 412: "conflict"}
_CODES: dict[str, Kind] = {
    "GatedRepo": "gated",
    "RepoNotFound": "not_found",
    "RevisionNotFound": "missing",
    "EntryNotFound": "missing",
}
_REFUSED_LOGIN = "Invalid credentials in Authorization header"
_TOKEN = re.compile(r"hf_[A-Za-z0-9_]{4,}|Bearer\s+\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+")
_LOGIN = "`hf auth login`"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed request.

    Attributes:
        kind: Classification for the registry.
        status: HTTP status; None without a response.
        retry_after: Seconds that the server asks to wait; None if it does not.
        message: Short redacted text of the server, or the reason.
        hint: What to do about it, for the kind ``setup``.
    """

    kind: Kind
    status: int | None = None
    retry_after: float | None = None
    message: str = ""
    hint: str = ""


class RequestError(Exception):
    """A request failed for a known reason.

    Args:
        failure: The reason.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message or failure.kind)
        self.failure = failure


class RepositoryNotFoundError(RegistryError):
    """A repository does not exist, or is hidden from this user."""


# Raised by requests: RuntimeError where a stream is used wrongly, ValueError where a header cannot
# be sent, OSError for the local disk and for offline mode.
CALL_ERRORS = (RequestError, _TRANSPORT, INVALID_URL, OSError, ValueError, RuntimeError)

# Raised by huggingface_hub, too, where a response is not what it takes for granted.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
)
CLIENT_ERRORS = (*CALL_ERRORS, *_UNREADABLE)
# Text of huggingface_hub where the Hub refuses to store a file; any other wrong value that it
# reports is a response that it cannot read.
_UPLOAD_REFUSED = "LFS batch API returned errors"


def classify(error: BaseException, token: str | None = None) -> Failure:
    """Classify an exception of a request; the first cause of a known kind decides.

    Args:
        error: The exception.
        token: Secret to redact, beside the token that huggingface_hub finds.
    """
    chain = list(_chain(error))
    for cause in chain:
        failure = _request_failure(cause, token) or _local_failure(cause)
        if failure is not None:
            return failure
    return Failure(kind="other", message=redact(str(chain[-1]), token))


def classify_client_error(error: BaseException, token: str | None = None) -> Failure:
    """Classify an exception of huggingface_hub's own code; arguments as in ``classify``."""
    failure = classify(error, token)
    is_known = failure.kind != "other" or failure.status is not None
    if is_known or _UPLOAD_REFUSED in failure.message:
        return failure
    unreadable = [c for c in _chain(error) if isinstance(c, (ValueError, *_UNREADABLE))]
    if not unreadable and not isinstance(error, RecursionError):
        return failure
    not_json = (json.JSONDecodeError, UnicodeDecodeError, RecursionError)
    message = "it is no JSON" if isinstance(error, not_json) else failure.message
    return Failure(kind="malformed", message=message)


def classify_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    reading: bool,
    token: str | None = None,
) -> Failure:
    """Classify a response with a status of 400 or more.

    Args:
        status: HTTP status.
        headers: Headers; names in any case.
        content: At least the beginning of the content.
        reading: Whether the request changes nothing.
        token: Secret to redact, beside the token that huggingface_hub finds.
    """
    message = headers.get("X-Error-Message") or _message_of(content)
    kind: Kind = "busy" if status in BUSY else _STATUSES.get(status, "other")
    kind = _CODES.get(headers.get("X-Error-Code", ""), kind)
    if kind == "forbidden" and status == 401 and reading and message != _REFUSED_LOGIN:
        kind = "not_found"  # the Hub's response to anonymous users, whether the repository exists
    wait = headers.get("Retry-After", "")
    is_number = wait.isascii() and wait.isdigit() and len(wait) < 10
    return Failure(
        kind=kind,
        status=status,
        retry_after=float(wait) if is_number else None,
        message=redact(message, token),
    )


class _Message(BaseModel):
    message: str = ""


class _Refusal(BaseModel):
    error: str = ""
    errors: list[_Message] = []


def _message_of(content: bytes) -> str:
    try:
        found = _Refusal.model_validate_json(content)
    except ValidationError:
        return ""
    return found.error or "; ".join(item.message for item in found.errors[:3])


def _request_failure(error: BaseException, token: str | None) -> Failure | None:
    """Return the failure of a refused request, or of one that was never sent."""
    if isinstance(error, RequestError):
        return error.failure
    if isinstance(error, huggingface_errors.OfflineModeIsEnabled):
        return Failure(kind="offline")
    if isinstance(error, huggingface_errors.HfHubHTTPError):
        response = error.response
        return classify_response(
            response.status_code, response.headers, response.content, reading=False, token=token
        )
    if isinstance(error, huggingface_errors.HFValidationError):
        return Failure(kind="setup", message=redact(str(error), token))
    return None


def _local_failure(error: BaseException) -> Failure | None:
    """Return the failure of a connection or of the local disk."""
    if isinstance(error, (_TRANSPORT, ConnectionError, TimeoutError)):
        return Failure(kind="network", message=type(error).__name__)
    if isinstance(error, INVALID_URL):
        return Failure(kind="untrusted", message="it sends to an address that is none")
    if isinstance(error, OSError) and error.errno is not None:
        return Failure(kind="disk", message=error.strerror or type(error).__name__)
    return None


_CHECK_ADDRESS = "check the address of the Hub in HF_ENDPOINT or --endpoint"
# Sentence and hint of each kind of failure; ``registry_error`` fills in the facts.
_TEXTS: dict[Kind, tuple[str, str]] = {
    "missing": (
        "{where} lacks what was looked for{quoted}",
        "it was changed by other means: look at it there",
    ),
    "gated": (
        "{where} is gated",
        f"ask for access at {{url}}/{{repository}}, then log in with {_LOGIN}",
    ),
    "not_found": (
        "there is no {where}, or you may not see it",
        f"if it is private, log in with {_LOGIN}",
    ),
    "forbidden": (
        "you may not {action} {where}{quoted}",
        f"log in as one who may, with a token that can write to {{owner}} if you write: {_LOGIN}",
    ),
    "conflict": ("others keep changing {where}", "try again"),
    "busy": ("{url} answers {answer} where it should {action} {repository}", "try again {soon}"),
    "network": (
        "{cannot}: the connection failed{quoted}",
        "check the network, or use what is in the cache with HF_HUB_OFFLINE=1",
    ),
    "malformed": (
        "{cannot}: the answer was cut off or is not what a Hub answers{quoted}",
        f"{_CHECK_ADDRESS}, or try again later",
    ),
    "untrusted": (
        "{cannot}: {message}",
        f"what is sent there or fetched from there cannot be trusted, so {_CHECK_ADDRESS}",
    ),
    "offline": (
        "{repository} or a part of it is not in the cache, and HF_HUB_OFFLINE is set",
        "unset it to ask the Hub",
    ),
    "disk": (
        "cannot {action} {repository}: {message}",
        "free some space in the cache, or move it with WSDARTS_HUB_CACHE",
    ),
    "setup": ("{cannot}: {message}", "{hint}"),
    "other": ("the Hub refused to {action} {where}{status}{quoted}", ""),
}


_CLASSES: Mapping[Kind, type[RegistryError]] = {
    "not_found": RepositoryNotFoundError,
    "disk": CacheError,
}


def registry_error(failure: Failure, *, action: str, repository: str, url: str) -> RegistryError:
    """Return the error that a user reads of a failure.

    Args:
        failure: The failure.
        action: What was attempted, such as ``"read"``.
        repository: Such as ``"lab/flowers"``.
        url: Address of the Hub.
    """
    what, hint = _TEXTS[failure.kind]
    where = f"{repository} on {url}"
    facts = {
        "action": action,
        "repository": repository,
        "owner": repository.partition("/")[0],
        "url": url,
        "where": where,
        "cannot": f"cannot {action} {where}",
        "message": failure.message,
        "quoted": f" ({failure.message})" if failure.message else "",
        "status": f" with status {failure.status}" if failure.status else "",
        "answer": failure.status,
        "soon": f"in {failure.retry_after:.0f} s" if failure.retry_after else "later",
        "hint": failure.hint,
    }
    error = _CLASSES.get(failure.kind, RegistryError)
    return error(what.format_map(facts), hint=hint.format_map(facts))


def redact(text: str, token: str | None = None) -> str:
    """Return a short line of a foreign text, without addresses and tokens."""
    for secret in (get_token(), token):
        if secret:
            text = text.replace(secret, "…")
    return sanitize(_TOKEN.sub("…", _ADDRESS.sub("…", text)), 200)


def has_no_token(error: BaseException) -> bool:
    """Return whether neither an exception nor a cause of it shows a token."""
    token = get_token()
    texts = [repr(cause) + str(cause) for cause in _chain(error)]
    return not any(_TOKEN.search(text) or (token and token in text) for text in texts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__
