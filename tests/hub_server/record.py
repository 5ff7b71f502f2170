"""What was asked of the hub, for tests to count. It never holds a token."""

import re
import threading
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(kw_only=True)
class Exchange:
    """One request and its answer, filled in as they go by.

    ``received`` and ``sent`` are bytes of the bodies, ``sent`` what was handed to the socket;
    ``status`` is 0 until there is an answer, and stays so where the connection broke before;
    ``ended`` says that nothing more comes of it; ``fault`` is the kind of the fault that hit it.
    """

    method: str
    server: Literal["hub", "storage"]
    path: str
    query: str
    with_token: bool
    fault: str | None = None
    status: int = 0
    received: int = 0
    sent: int = 0
    ended: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the exchange as `Exchange(**value)` takes it."""
        return asdict(self)


class Record:
    """Every exchange since the start or the last `clear`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> Exchange:
        """Write an exchange down before it is answered."""
        with self._lock:
            self._exchanges.append(exchange)
        return exchange

    def clear(self) -> None:
        """Forget every exchange."""
        with self._lock:
            self._exchanges.clear()

    def all(self, method: str | None = None, path: str = "") -> list[Exchange]:
        """Return the exchanges of a method (None: any) whose path matches an expression."""
        with self._lock:
            found = [replace(exchange) for exchange in self._exchanges]
        return matching(found, method, path)


def matching(exchanges: list[Exchange], method: str | None, path: str) -> list[Exchange]:
    """Return the exchanges of a method (None: any) whose path matches an expression."""
    return [
        exchange
        for exchange in exchanges
        if method in (None, exchange.method) and re.search(path, exchange.path)
    ]
