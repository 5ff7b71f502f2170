"""A registry on a hub in this process, and nobody who waits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_process, hub_server, start_hub
from tests.registry.factories import make_artifact
from wsdarts_registry.stores.huggingface.store import HubStore

__all__ = ["hub_process", "hub_server", "start_hub"]

Make = Callable[[str], Path]
LOCATION = "hf://acme"


@pytest.fixture
def store(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubStore:
    """An empty registry that Alice writes to."""
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    return HubStore(LOCATION, endpoint=hub_server.url)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make small artifacts whose content depends on a word, each in a directory of its own."""

    def make_one(word: str) -> Path:
        directory = tmp_path / "made" / word
        if not directory.exists():
            make_artifact(directory, "flowers", description=word)
        return directory

    return make_one


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody sleep between two tries, neither the client nor the registry."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
