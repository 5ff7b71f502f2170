"""The registries that the contract is tried on: each test runs once on each."""

from pathlib import Path

import pytest

from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store

__all__ = ["hub_server", "start_hub"]


@pytest.fixture(params=["directory", "hub"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty registry."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "zoo", create=True)
    hub: HubServer = request.getfixturevalue("hub_server")
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    return open_registry("hf://acme", endpoint=hub.url)
