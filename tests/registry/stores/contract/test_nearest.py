"""Ranking, in every kind of registry."""

from pathlib import Path

import numpy as np
import pytest

from tests.registry.factories import Push, make_artifact, make_embedding, make_space
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import EmbeddingError, RegistryError
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Entry, NearRecord, RegistryConfig, Store


def _query(values: list[float]) -> TaskEmbedding:
    return make_embedding("query", values=np.array(values))


def _near(distance: float) -> NearRecord:
    space = EmbeddingSpaceRecord.model_validate(make_space().to_json())
    return NearRecord(space=space, distance=distance, measured="halves of two sets")


def test_nearest_ranks_the_latest_version_of_each_name(store: Store, push: Push) -> None:
    def add(name: str, values: list[float], description: str = "") -> Entry:
        embedding = make_embedding(name, values=np.array(values))
        return push(name, description, embedding=embedding)

    add("flowers", [1.0, 1.0, 1.0], "old")
    add("flowers", [1.0, 1.0, 2.0], "new")
    add("birds", [1.0, 1.0, 1.5])
    add("cars", [9.0, 1.0, 1.0])
    add("cars", [1.0, 1.0, 1.0], "yanked")
    store.yank("cars@2", "wrong")
    ranking = store.nearest(_query([1.0, 1.0, 1.0]), k=10)
    assert [n.reference for n in ranking.neighbours] == ["birds@1", "flowers@2", "cars@1"]
    assert ranking.near is None
    assert "no threshold was measured" in ranking.why
    short = store.nearest(_query([1.0, 1.0, 1.0]), k=1)
    assert short.neighbours == ranking.neighbours[:1]
    assert (short.total, ranking.total) == (3, 3)

    distance = ranking.neighbours[0].distance
    store.configure(RegistryConfig(name="zoo", near=(_near(distance * 1.01),)))
    near = store.nearest(_query([1.0, 1.0, 1.0]))
    assert near.near is True
    assert "halves of two sets" in near.why
    store.configure(RegistryConfig(name="zoo", near=(_near(distance * 0.99),)))
    assert store.nearest(_query([1.0, 1.0, 1.0])).near is False
    assert store.config.name == "zoo"


def test_a_threshold_that_comes_with_the_package_holds_everywhere(store: Store, push: Push) -> None:
    shipped = open_registry().config.near[0]
    space = shipped.space.embedding_space
    for name, last in (("flowers", 1.0), ("cars", 2.0)):
        push(name, embedding=make_embedding(name, values=np.array([1.0, 1, last]), space=space))
    store.yank("cars@1", "far away")
    query = make_embedding("query", values=np.array([1.0, 1, 1]), space=space)
    near = store.nearest(query)
    assert (near.near, near.threshold) == (True, shipped.distance)
    # Orthogonal directions are at distance 1 from each other: farther than any threshold.
    far = make_embedding("query", values=np.array([0, 0, 0, 1.0]), space=space)
    push("planes", embedding=make_embedding("planes", values=np.array([1.0, 1, 0, 0]), space=space))
    store.yank("flowers@1", "of another width")
    assert store.nearest(far).near is False
    # The registry's own goes first.
    store.configure(RegistryConfig(name="zoo", near=(_own(shipped, 0.9999999),)))
    assert store.nearest(far).threshold == 0.9999999


def _own(record: NearRecord, distance: float) -> NearRecord:
    return record.model_copy(update={"distance": distance, "measured": "between our own"})


def test_nearest_of_nothing(store: Store, push: Push) -> None:
    with pytest.raises(RegistryError, match="has no artifacts") as caught:
        store.nearest(_query([1.0]))
    assert "wsdarts-hub push" in caught.value.hint
    push("flowers")
    with pytest.raises(RegistryError, match=r"^0 neighbours"):
        store.nearest(_query([1.0]), k=0)
    with pytest.raises(EmbeddingError, match="probe big") as foreign:
        store.nearest(make_embedding("query", space=make_space("big")))
    assert "probe tiny" in foreign.value.expected
    assert "--probe" in foreign.value.hint
    store.yank("flowers@1", "x")
    with pytest.raises(RegistryError, match="has no artifacts"):
        store.nearest(_query([1.0]))


def test_meta_transfer_artifacts_rank_by_their_mean(store: Store, tmp_path: Path) -> None:
    make_artifact(tmp_path / "meta", "flowers", "birds")
    store.publish(tmp_path / "meta", "meta")
    mean = TaskEmbedding.mean([make_embedding("flowers"), make_embedding("birds")])
    (neighbour,) = store.nearest(mean).neighbours
    assert neighbour.kind == "meta-transfer"
    assert neighbour.task_name == "mean of flowers, birds"
    assert neighbour.distance < 1e-12
