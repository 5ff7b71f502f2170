"""What the Hub makes of the cards: how artifacts are found there."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub_server import ALICE, HubServer
from tests.registry.factories import digest_of, make_artifact, make_draft
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


def test_artifacts_are_found_by_their_dataset_and_show_what_was_measured(
    hub_server: HubServer, store: HubStore, tmp_path: Path
) -> None:
    task = make_draft("flowers").tasks[0].model_copy(update={"dataset": "acme/petals"})
    metrics = {"alpha_accuracy": 0.25}
    make_artifact(tmp_path / "a", "flowers", tasks=[task], metrics=metrics, files={})
    push(tmp_path / "a", "flowers", registry=store)
    api = HfApi(endpoint=hub_server.url)
    assert [info.id for info in api.list_models(filter="dataset:acme/petals")] == ["acme/flowers"]
    data = api.model_info("acme/flowers").card_data
    assert data is not None
    (result,) = data.eval_results or []
    assert (result.dataset_type, result.metric_type) == ("acme/petals", "accuracy")
    assert result.metric_value == 0.25
    assert "no trained classifier" in str(result.metric_name)


def test_a_result_that_the_hub_would_refuse_is_refused_here(hub_server: HubServer) -> None:
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    api.create_repo("acme/flowers")
    card = "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: y}\n---\n"
    with pytest.raises(ValueError, match="model-index"):
        api.upload_file(
            path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="acme/flowers"
        )
