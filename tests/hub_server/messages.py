"""A request as the handlers see it, what they answer, and the Hub's errors."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .accounts import Account

PIECE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. ``as_of`` is set where a fault lets reads see an earlier state."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    chunks: Callable[[], Iterator[bytes]]
    account: Account | None
    hub_url: str
    storage_url: str
    as_of: int | None = None

    def body(self) -> bytes:
        """Read the whole body."""
        return b"".join(self.chunks())

    def json(self) -> dict[str, Any]:
        """Read the body as a JSON object.

        Raises:
            HubError: It is none (400).
        """
        try:
            value = json.loads(self.body() or b"{}")
        except ValueError as error:
            raise HubError(400, f"Invalid JSON: {error}") from error
        if not isinstance(value, dict):
            raise HubError(400, "The body must be a JSON object")
        return value

    def fields(self) -> dict[str, list[str]]:
        """Read the body as a form or as JSON, whichever it says it is."""
        if "json" not in self.headers.get("content-type", ""):
            return parse_qs(self.body().decode())
        return {
            key: [str(item) for item in value] if isinstance(value, list) else [str(value)]
            for key, value in self.json().items()
        }

    def values(self, key: str) -> list[str]:
        """Return every value of a query parameter, also where it is spelt ``key[]``."""
        return [*self.query.get(key, []), *self.query.get(f"{key}[]", [])]

    def value(self, key: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        return next(iter(self.values(key)), None)

    def flag(self, key: str) -> bool:
        """Whether a query parameter says yes."""
        return (self.value(key) or "").lower() in {"1", "true"}


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Bytes ``start`` to ``start + length`` of a file."""

    path: Path
    start: int
    length: int

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most ``size``."""
        left = self.length
        with self.path.open("rb") as file:
            file.seek(self.start)
            while left > 0 and (piece := file.read(min(size, left))):
                left -= len(piece)
                yield piece


@dataclass(frozen=True, kw_only=True)
class Response:
    """Status, headers and body of an answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Stretch = b""

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def chunks(self, size: int = PIECE) -> Iterator[bytes]:
        """Yield the body in pieces of at most ``size`` bytes."""
        if isinstance(self.body, Stretch):
            yield from self.body.chunks(size)
        else:
            for start in range(0, len(self.body), size):
                yield self.body[start : start + size]


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    described = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status=status, headers=described, body=json.dumps(value).encode())


class HubError(Exception):
    """An answer that refuses, as the Hub words it.

    Args:
        status: HTTP status.
        message: Text of ``error`` and ``X-Error-Message``.
        code: ``X-Error-Code``, by which the client chooses its exception.
        headers: Further headers.
        facts: Further entries of the JSON body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.facts = dict(facts or {})

    def response(self) -> Response:
        """Return the answer to send."""
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return answer({"error": self.message, **self.facts}, self.status, headers)
