"""What can be listed and ranked: the reading half of a registry, or what one held at a moment."""

import shlex
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from wsdarts_registry.embedding_space import EmbeddingSpace
from wsdarts_registry.entry import Entry, VersionInfo
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.inert import spaced_text
from wsdarts_registry.registry_config import RegistryConfig

if TYPE_CHECKING:
    from wsdarts_registry.embedding import TaskEmbedding
    from wsdarts_registry.nearest import Ranking


class Catalogue(ABC):
    """Names, their versions, and what each of them is."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {spaced_text(self.location, 400)}>"

    @property
    @abstractmethod
    def location(self) -> str:
        """What ``open_registry`` was given to open this registry."""

    @property
    @abstractmethod
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names with at least one version, yanked or not, sorted."""

    @abstractmethod
    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """The versions of a name, ascending; none for an unknown name."""

    @abstractmethod
    def entry(self, name: str, version: int) -> Entry:
        """One version with its manifest.

        Raises:
            ArtifactError: The manifest is missing, damaged or malformed.
        """

    @abstractmethod
    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """The embedding that ranks an entry in a space; None if it has none there.

        Raises:
            ArtifactError: It is damaged or malformed.
        """

    def entries(self, include_yanked: bool = False) -> tuple[Entry, ...]:
        """All versions with their manifests, by name and version.

        Raises:
            ArtifactError: A manifest is damaged; the message names the version.
        """
        return tuple(
            self.entry_or_advice(name, info.version)
            for name in self.names()
            for info in self.versions(name)
            if include_yanked or info.yanked is None
        )

    def nearest(self, embedding: "TaskEmbedding", k: int = 5) -> "Ranking":
        """Rank the latest version of each name by the distance of its task.

        Args:
            embedding: Embedding of the task that looks for a neighbour.
            k: How many neighbours to return.

        Raises:
            RegistryError: The registry has no artifacts, or ``k`` is below 1.
            NoCommonSpaceError: No artifact has an embedding in the query's space; names the
                spaces that there are.
            EmbeddingError: An embedding in that space has another width.
            ArtifactError: An artifact is damaged.
        """
        # Imported here: listing a registry needs no numpy.
        from wsdarts_registry.ranking import rank_registry  # noqa: PLC0415

        return rank_registry(self, embedding, k)

    @property
    def option(self) -> str:
        """How the command line names this registry: `` --registry LOCATION``."""
        return f" --registry {shlex.quote(self.location)}"

    def entry_or_advice(self, name: str, version: int) -> Entry:
        """One version with its manifest.

        Raises:
            ArtifactError: The manifest is damaged; says what to do about it.
        """
        try:
            return self.entry(name, version)
        except ArtifactError as error:
            raise ArtifactError(
                f"{name}@{version}: {error}; restore it, or hide it with `wsdarts-hub yank "
                f"{name}@{version} --reason damaged{self.option}`"
            ) from error
