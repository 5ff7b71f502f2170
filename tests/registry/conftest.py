"""An empty registry, and small artifacts pushed to it."""

import shutil
from pathlib import Path

import pytest

from tests.registry.factories import Push, make_artifact, make_embedding
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Entry, Store


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty registry."""
    return DirectoryStore(tmp_path / "zoo", create=True)


@pytest.fixture
def push(store: Store, tmp_path: Path) -> Push:
    """Publish a small artifact whose content depends on its description."""

    def publish(
        name: str,
        description: str = "",
        *,
        version: int | None = None,
        embedding: TaskEmbedding | None = None,
    ) -> Entry:
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        embeddings = [make_embedding(name) if embedding is None else embedding]
        make_artifact(source, name, description=description, embeddings=embeddings)
        return store.publish(source, name, version)

    return publish


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid artifact, as every test must leave it."""
    directory = tmp_path_factory.mktemp("valid") / "artifact"
    make_artifact(directory)
    return directory


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    """A valid artifact to be spoilt."""
    return Path(shutil.copytree(valid, tmp_path / "copy"))
