"""Whatever goes wrong on the way, the registry holds together and a repeat succeeds."""

import shutil
from collections.abc import Callable
from functools import partial

import pytest

from tests.hub_server import Fault, HubServer
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from wsdarts_registry._files import cache_directory
from wsdarts_registry.errors import RegistryWarning, WsdartsError
from wsdarts_registry.stores.huggingface.store import HubStore

pytestmark = [
    pytest.mark.processes,
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings("ignore::wsdarts_registry.errors.RegistryWarning"),
]
# What happens to one request, and what happens to it and to every later one.
ONCE = {
    "refused": Fault(kind="refuse", status=503, first=1),
    "answer lost": Fault(kind="lose_answer"),
    "answer cut": Fault(kind="close_response", amount=3),
    "answer garbled": Fault(kind="flip_byte", amount=0),
}
FROM_THEN_ON = {
    "refused": Fault(kind="refuse", status=500, times=None),
    "no connection": Fault(kind="close_request", times=None),
}


def _ordered(fault: Fault, first: int) -> Fault:
    return Fault(**{**fault.to_json(), "first": first})


def _forget() -> None:
    """Empty the caches, as on another machine."""
    shutil.rmtree(cache_directory(), ignore_errors=True)


def _is_whole(hub: HubServer, expected: dict[str, str]) -> None:
    """Another client sees exactly these versions, each of which verifies."""
    _forget()
    other = HubStore(LOCATION, endpoint=hub.url)
    found = {str(entry.reference): entry.digest for entry in other.entries()}
    assert found == expected
    for reference, digest in expected.items():
        assert other.pull(reference).digest == digest


def _fails(work: Callable[[], object]) -> bool:
    """Whether a work ends in an error, which then is one line."""
    try:
        work()
    except WsdartsError as error:
        return "\n" not in str(error) or pytest.fail(f"several lines: {error}")
    return False


def _requests(hub: HubServer) -> int:
    return len(hub.exchanges())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONCE, *(f"{name}, and all later ones" for name in FROM_THEN_ON)])
def test_a_push_that_is_disturbed(
    name: str, hub_server: HubServer, store: HubStore, make: Make
) -> None:
    fault = ONCE.get(name) or FROM_THEN_ON[name.removesuffix(", and all later ones")]
    versions = {"flowers@1": store.publish(make("first"), "flowers").digest}
    hub_server.clear_exchanges()
    versions["flowers@2"] = store.publish(make("second"), "flowers").digest
    points = _requests(hub_server)
    assert points >= 15
    failed = 0
    for point in range(1, points + 1):
        made = make(f"{name}{point}".replace(" ", ""))
        hub_server.add_fault(_ordered(fault, point))
        failed += _fails(partial(store.publish, made, "flowers"))
        hub_server.clear_faults()
        entry = store.publish(made, "flowers")
        versions[str(entry.reference)] = entry.digest
        assert entry.version == point + 2
    # What happens once is got over; what lasts is an error until the version is there.
    assert (failed > 0) == (fault.times is None)
    print(f"push, {name}: {points} points, {failed} of them ended in an error")
    _is_whole(hub_server, versions)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONCE, *(f"{name}, and all later ones" for name in FROM_THEN_ON)])
def test_a_pull_that_is_disturbed(
    name: str, hub_server: HubServer, store: HubStore, make: Make
) -> None:
    fault = ONCE.get(name) or FROM_THEN_ON[name.removesuffix(", and all later ones")]
    digest = store.publish(make("first"), "flowers").digest
    _forget()
    hub_server.clear_exchanges()
    store.pull("flowers")
    points = _requests(hub_server)
    assert points >= 15
    failed = 0
    for point in range(1, points + 1):
        _forget()
        hub_server.add_fault(_ordered(fault, point))
        if _fails(partial(store.pull, "flowers")):
            failed += 1
            assert not (cache_directory() / "artifacts" / digest[7:]).exists()
        hub_server.clear_faults()
        assert store.pull("flowers").digest == digest
        assert [p.name for p in (cache_directory() / "artifacts").iterdir()] == [digest[7:]]
    print(f"pull, {name}: {points} points, {failed} of them ended in an error")


def test_an_index_that_cannot_be_written_does_not_undo_a_push(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    store.publish(make("first"), "flowers")
    hub_server.add_fault(
        Fault(kind="refuse", status=403, path="datasets/acme/wsdarts-registry/commit", times=None)
    )
    with pytest.warns(RegistryWarning, match="hf://acme: .*index rebuild"):
        store.publish(make("second"), "flowers")
    with pytest.warns(RegistryWarning, match="behind, so flowers"):
        assert len(store.entries()) == 2
    hub_server.clear_faults()
    assert store.rebuild_index() == ("flowers",)
    assert len(store.entries()) == 2
