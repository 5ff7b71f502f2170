"""A registry in the embedding space of the shipped probe, and a search that takes a second."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.registry.factories import SPACE, digest_of, make_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import RegistryConfig
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.presets import TINY, Preset
from wsdarts_sdk.search.settings import StageSettings
from wsdarts_sdk.task2vec.embedding import embed
from wsdarts_sdk.task2vec.loading import load_probe

_STAGE = StageSettings(
    cells=3, operations=3, epochs=1, weights_only_epochs=0, skip_dropout=0.0, trained_epochs=1
)
QUICK = Preset(
    name="tiny",
    search=replace(
        TINY.search,
        space=SPACE,
        stages=(_STAGE,),
        channels=2,
        image_size=8,
        steps_per_epoch=1,
        batch_size=4,
    ),
    training=replace(
        TINY.training,
        cells=3,
        channels=2,
        image_size=8,
        epochs=1,
        steps_per_epoch=1,
        batch_size=8,
        auxiliary_weight=0.0,
    ),
    selection=TINY.selection,
)
Publish = Callable[..., Store]


@pytest.fixture(scope="session")
def digits_embedding(
    digits_task: ImageTask, tmp_path_factory: pytest.TempPathFactory
) -> TaskEmbedding:
    """The embedding of ``digits_task`` by the shipped probe."""
    return embed(digits_task, load_probe(), cache_dir=tmp_path_factory.mktemp("embedding"))


@pytest.fixture
def publish(digits_embedding: TaskEmbedding, tmp_path: Path) -> Publish:
    """Publish artifacts that are the farther from the digits the later they are named."""

    def publish_in(store: Store, *names: str, tasks: int = 1, far: float = 0.0) -> Store:
        for place, name in enumerate(names):
            random = np.random.default_rng(len(name) + place)
            noise = random.gamma(1.0, size=len(digits_embedding.values))
            level = 0.02 * (place + 1) + far
            values = digits_embedding.values * (1 - level) + level * noise * float(
                digits_embedding.values.mean()
            )
            of_tasks = [f"{name}-{number}" for number in range(tasks)]
            made = [_embedding(digits_embedding, values, task) for task in of_tasks]
            make_artifact(tmp_path / "made" / name, *of_tasks, embeddings=made, weights=False)
            store.publish(tmp_path / "made" / name, name)
        return store

    return publish_in


def _embedding(like: TaskEmbedding, values: NDArray[np.float64], task: str) -> TaskEmbedding:
    return replace(
        like, values=values, task_digest=digest_of(task), task_name=task, standard_error=None
    )


@pytest.fixture
def zoo(publish: Publish, tmp_path: Path) -> DirectoryStore:
    """A registry of seven artifacts, one of them a λ_meta, where all is near."""
    store = DirectoryStore(tmp_path / "zoo", create=True)
    near = open_registry().config.near[0].model_copy(update={"distance": 0.999999})
    store.configure(RegistryConfig(name="zoo", near=(near,)))
    publish(store, "a", "b", "c", "d", "e", "f")
    publish(store, "meta", tasks=2, far=0.3)
    return store
