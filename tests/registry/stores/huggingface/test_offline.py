"""HF_HUB_OFFLINE: what was seen before is there, and nothing is asked."""

import pytest
from huggingface_hub import constants

from tests.hub_server import HubServer
from tests.registry.factories import make_embedding
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface.store import HubStore

pytestmark = pytest.mark.processes


def test_offline(
    hub_server: HubServer, store: HubStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make("first"), "flowers")
    store.publish(make("second"), "flowers")
    store.publish(make("third"), "birds")
    online = store.entries()
    ranking = store.nearest(make_embedding("query"))
    digest = store.pull("flowers").digest
    hub_server.clear_exchanges()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = HubStore(LOCATION, endpoint=hub_server.url)
    assert offline.entries() == online
    assert offline.nearest(make_embedding("query")) == ranking
    assert offline.pull("flowers").digest == digest
    for work in (
        lambda: offline.pull("birds"),
        lambda: offline.pull("never-seen"),
        lambda: offline.publish(make("fourth"), "flowers"),
        lambda: offline.yank("flowers@1", "x"),
        HubStore("hf://alice", endpoint=hub_server.url).names,
        HubStore(LOCATION, endpoint="http://127.0.0.1:9").names,
    ):
        with pytest.raises(RegistryError, match="HF_HUB_OFFLINE is set"):
            work()
    assert not hub_server.exchanges()
