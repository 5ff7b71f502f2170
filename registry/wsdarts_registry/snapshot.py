"""What a registry held at one moment, read a piece at a time.

Names, versions and settings are listed once, so a push or a yank in between changes nothing.
What a version holds never changes; it is read when it is asked for, and what was read last is
kept.
"""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from wsdarts_registry.catalogue import Catalogue
from wsdarts_registry.embedding_space import EmbeddingSpace
from wsdarts_registry.entry import Entry, VersionInfo
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.registry_config import RegistryConfig

if TYPE_CHECKING:
    from wsdarts_registry.embedding import TaskEmbedding

# A manifest takes some tens of kilobytes of memory; a registry may have a hundred thousand.
_MANIFESTS_KEPT = 2048
_EMBEDDINGS_KEPT = 64


class Snapshot(Catalogue):
    """A registry as it was when this was made.

    Args:
        store: The registry, which reads what is asked for.

    Raises:
        RegistryError: It cannot be listed.
    """

    def __init__(self, store: Catalogue) -> None:
        self._store = store
        self._config = store.config
        self._versions = {name: store.versions(name) for name in store.names()}
        self._entry = lru_cache(_MANIFESTS_KEPT)(self._read)
        self._embedding = lru_cache(_EMBEDDINGS_KEPT)(self._read_embedding)

    @property
    def location(self) -> str:
        """What ``open_registry`` was given to open this registry."""
        return self._store.location

    @property
    def option(self) -> str:
        """How the command line names this registry."""
        return self._store.option

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""
        return self._config

    def names(self) -> tuple[str, ...]:
        """Names with at least one version, yanked or not, sorted."""
        return tuple(self._versions)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """The versions of a name, ascending; none for an unknown name."""
        return self._versions.get(name, ())

    def entry(self, name: str, version: int) -> Entry:
        """One version with its manifest.

        Raises:
            ArtifactError: There was no such version, or its manifest is not the one that was there.
        """
        return self._entry(name, version)

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """The embedding that ranks an entry in a space; None if it has none there."""
        return self._embedding(entry.name, entry.version, space)

    def _read_embedding(
        self, name: str, version: int, space: EmbeddingSpace
    ) -> "TaskEmbedding | None":
        return self._store.embedding(self.entry(name, version), space)

    def _read(self, name: str, version: int) -> Entry:
        listed = next((info for info in self.versions(name) if info.version == version), None)
        if listed is None:
            raise ArtifactError(f"{self.location} has no {name}@{version}")
        entry = self._store.entry(name, version)
        if listed.digest not in (None, entry.digest):
            raise ArtifactError(
                f"{name}@{version} has digest {entry.digest} now and had {listed.digest} before; "
                "expected content that never changes: restore it, and repeat the command"
            )
        return replace(entry, status=listed.status)
