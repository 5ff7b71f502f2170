"""Faults that a test orders for chosen requests.

A `Fault` says what goes wrong and for which requests: the method, a regular expression that is
searched in path and query, the first matching request that it hits and how often it does. The
kinds, with the field that each of them reads:

=====================  ===========================================================================
``close_response``     the socket closes after ``amount`` bytes of the answer's body
``short_body``         the answer's body is ``amount`` bytes long and says that this is all
``flip_byte``          byte ``amount`` of the answer's body is another one
``slow_body``          the answer's body comes at ``amount`` bytes a second
``close_request``      the socket closes after ``amount`` bytes of the request's body; nothing done
``lose_answer``        the request is carried out and the socket closes instead of the answer
``refuse``             the answer is ``status``, with ``retry_after`` if given; nothing done
``hang``               the request waits for ``seconds``, then goes its way
``hold``               the request waits until `HubServer.release` names ``path``
``stale``              reads see the hub as of change ``state`` (by default the one at the order)
=====================  ===========================================================================
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

FaultKind = Literal[
    "close_response",
    "short_body",
    "flip_byte",
    "slow_body",
    "close_request",
    "lose_answer",
    "refuse",
    "hang",
    "hold",
    "stale",
]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and for which requests.

    Args:
        kind: What goes wrong, see the module.
        path: Regular expression, searched in ``path?query``.
        method: HTTP method; None means any.
        first: The matching request that it hits first, counted from 1.
        times: How many matching requests it hits from there on; None: all.
        amount: Bytes, or bytes a second.
        status: HTTP status of a refusal.
        retry_after: Seconds for ``Retry-After``.
        seconds: How long to hang.
        state: Number of a change of the hub.
    """

    kind: FaultKind
    path: str = ""
    method: str | None = None
    first: int = 1
    times: int | None = 1
    amount: int = 0
    status: int = 500
    retry_after: int | None = None
    seconds: float = 0.0
    state: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            kinds = ", ".join(get_args(FaultKind))
            raise ValueError(f"there is no fault {self.kind!r}; there are {kinds}")
        if self.first < 1 or self.amount < 0 or (self.kind == "slow_body" and self.amount == 0):
            raise ValueError(f"{self} cannot happen; first is at least 1, a rate too, amount 0")
        re.compile(self.path)

    def to_json(self) -> dict[str, Any]:
        """Return the fault as `Fault(**value)` takes it."""
        return asdict(self)

    def matches(self, method: str, target: str) -> bool:
        """Whether a request is one of those that the fault counts."""
        return self.method in (None, method) and re.search(self.path, target) is not None

    def spoil(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the body of an answer as the fault leaves it."""
        position = 0
        for chunk in chunks:
            piece = chunk
            if self.kind in ("short_body", "close_response"):
                piece = chunk[: max(self.amount - position, 0)]
            elif self.kind == "flip_byte" and 0 <= self.amount - position < len(chunk):
                at = self.amount - position
                piece = chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
            position += len(chunk)
            if piece:
                yield piece


class Faults:
    """The faults that are ordered, and how many requests each has counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: list[Fault] = []
        self._counts: list[int] = []
        self._gates: dict[str, threading.Event] = {}

    def add(self, fault: Fault, *, state: int) -> None:
        """Order a fault; ``state`` is what the hub's latest change is."""
        with self._lock:
            self._ordered.append(fault if fault.state is not None else replace(fault, state=state))
            self._counts.append(0)
            if fault.kind == "hold":
                self._gates[fault.path] = threading.Event()

    def clear(self) -> None:
        """Let nothing go wrong any more, and what is held go on."""
        with self._lock:
            self._ordered.clear()
            self._counts.clear()
            for gate in self._gates.values():
                gate.set()

    def release(self, path: str) -> None:
        """Let what the fault with this ``path`` holds go on."""
        self._gates[path].set()

    def wait(self, fault: Fault) -> None:
        """Wait until a fault of the kind ``hold`` is released."""
        self._gates[fault.path].wait()

    def next(self, method: str, target: str) -> Fault | None:
        """Count a request, and return the first fault that hits it."""
        hit = None
        with self._lock:
            for index, fault in enumerate(self._ordered):
                if not fault.matches(method, target):
                    continue
                self._counts[index] += 1
                turn = self._counts[index] - fault.first
                if hit is None and turn >= 0 and (fault.times is None or turn < fault.times):
                    hit = fault
        return hit
