"""Orders to a hub in another process, over HTTP below ``/_control``; they are not recorded."""

import json
import urllib.request
from typing import Any, Protocol

from .faults import Fault
from .messages import Response, answer
from .record import Exchange, matching

CONTROL = "/_control/"


class Controlled(Protocol):
    """What a test may do to a hub, here or in another process."""

    url: str

    def add_fault(self, fault: Fault) -> None:
        """Order a fault."""
        ...

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        ...

    def exchanges(self, method: str | None = None, path: str = "") -> list[Exchange]:
        """Return the exchanges of a method (None: any) whose path matches an expression."""
        ...

    def clear_exchanges(self) -> None:
        """Forget every exchange."""
        ...

    def state(self) -> int:
        """Return the number of the latest change, for `Fault.state`."""
        ...


class RemoteHub:
    """The controls of a hub in another process, by its address."""

    def __init__(self, url: str) -> None:
        self.url = url

    def add_fault(self, fault: Fault) -> None:
        """Order a fault."""
        self._ask("POST", "faults", fault.to_json())

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._ask("DELETE", "faults")

    def exchanges(self, method: str | None = None, path: str = "") -> list[Exchange]:
        """Return the exchanges of a method (None: any) whose path matches an expression."""
        found = [Exchange(**value) for value in self._ask("GET", "exchanges")]
        return matching(found, method, path)

    def clear_exchanges(self) -> None:
        """Forget every exchange."""
        self._ask("DELETE", "exchanges")

    def state(self) -> int:
        """Return the number of the latest change, for `Fault.state`."""
        return int(self._ask("GET", "state"))

    def _ask(self, method: str, name: str, value: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 the address is the test's own
            f"{self.url}{CONTROL}{name}", method=method, data=json.dumps(value).encode()
        )
        with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310 as above
            return json.load(response)


def controlled(hub: Controlled, method: str, path: str, body: bytes) -> Response:
    """Carry out an order of a `RemoteHub`."""
    order = f"{method} {path.removeprefix(CONTROL)}"
    found: object = None
    if order == "POST faults":
        hub.add_fault(Fault(**json.loads(body)))
    elif order == "DELETE faults":
        hub.clear_faults()
    elif order == "GET exchanges":
        found = [exchange.to_json() for exchange in hub.exchanges()]
    elif order == "DELETE exchanges":
        hub.clear_exchanges()
    elif order == "GET state":
        found = hub.state()
    else:
        return answer({"error": f"There is no order {order}"}, 404)
    return answer(found)
