"""Hubs for the tests of the hub itself, and clients of its users."""

import pytest
from huggingface_hub import HfApi

from tests.hub_server import ALICE, Account, Controlled, HubServer
from tests.hub_server.fixture import hub_process, hub_server, start_hub

__all__ = ["hub_process", "hub_server", "start_hub"]


def client(hub: Controlled, account: Account | None = ALICE) -> HfApi:
    """The real client, as one of the hub's users or (None) as nobody."""
    return HfApi(endpoint=hub.url, token=False if account is None else account.token)


@pytest.fixture
def api(hub_server: HubServer) -> HfApi:
    """The real client as Alice, who has a model ``acme/cells``."""
    found = client(hub_server)
    found.create_repo("acme/cells")
    hub_server.clear_exchanges()
    return found
