"""What the Hub makes of the cards: how artifacts are found there."""

from pathlib import Path

from huggingface_hub import HfApi

from tests.hub_server import HubServer
from tests.registry.factories import digest_of, make_artifact
from wsdarts_registry.hub.store import HubStore
from wsdarts_registry.manifest import Lineage, Parent
from wsdarts_registry.publication import push


def test_descendants_are_found_by_their_parents(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    make_artifact(tmp_path / "a", "flowers", files={})
    first = push(tmp_path / "a", "flowers", registry=store)
    parents = (
        Parent(reference="flowers@1", digest=first.digest),
        Parent(reference="flowers@1", digest=digest_of("of another registry")),
        Parent(reference="nowhere@1", digest=digest_of("elsewhere")),
        Parent(reference="not a name", digest=digest_of("x")),
    )
    lineage = Lineage(mode="union", parents=parents)
    make_artifact(tmp_path / "b", "flowers", files={}, lineage=lineage)
    push(tmp_path / "b", "petals", registry=store)
    api = HfApi(endpoint=hub_server.url)

    def found(tag: str) -> list[str]:
        return sorted(info.id for info in api.list_models(filter=tag))

    assert found("base_model:acme/flowers") == ["acme/petals"]
    assert found("base_model:acme/nowhere") == []
    assert found("wsdarts-hub") == found("darts") == ["acme/flowers", "acme/petals"]
    assert api.model_info("acme/petals").card_data.to_dict()["library_name"] == "wsdarts-hub"  # type: ignore[union-attr]
    # The Hub's own check of the card was asked of this hub alone.
    assert hub_server.exchanges("POST", "api/validate-yaml")
