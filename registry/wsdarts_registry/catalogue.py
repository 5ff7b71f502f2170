"""What can be listed and ranked: the reading half of a registry, or what one held at a moment."""

import difflib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wsdarts_registry import life
from wsdarts_registry.embedding_space import EmbeddingSpace
from wsdarts_registry.entry import Entry, VersionInfo
from wsdarts_registry.errors import ArtifactError, ReferenceNotFoundError, RegistryError
from wsdarts_registry.inert import spaced_text
from wsdarts_registry.reference import Reference
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
            self.entry_or_advice(name, info.version) for name, info in self.listed(include_yanked)
        )

    def listed(self, include_yanked: bool = False) -> Iterator[tuple[str, VersionInfo]]:
        """Yield all versions by name and version, without reading a manifest."""
        for name in self.names():
            for info in self.versions(name):
                if include_yanked or info.yanked is None:
                    yield name, info

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

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the aliases of a name and the version that each means."""
        return {
            alias: info.version for info in self.versions(name) for alias in info.status.aliases
        }

    def resolve(self, reference: str | Reference) -> Entry:
        """Find the version that a reference means: for a plain name the latest not yanked.

        Raises:
            ReferenceNotFoundError: There is none; close names and the command that lists
                all are named.
            RegistryError: The reference is malformed, or fits several versions.
            ArtifactError: The manifest is damaged.
        """
        wanted = parsed(reference)
        return self.entry(wanted.name, self.find(wanted).version)

    def find(self, reference: Reference) -> VersionInfo:
        """As ``resolve``, without reading the manifest.

        Raises:
            ReferenceNotFoundError: There is none.
            RegistryError: The reference fits several versions.
        """
        versions = self.versions(reference.name)
        if not versions:
            raise ReferenceNotFoundError(self._unknown_name(reference.name))
        if reference.version is not None:
            fitting = [v for v in versions if v.version == reference.version]
        elif reference.digest is not None:
            fitting = [v for v in versions if v.digest and v.digest.startswith(reference.digest)]
            if len({v.digest for v in fitting}) > 1:
                raise RegistryError(
                    f"{reference} fits {_listed(reference.name, fitting)}; give more digits"
                )
        elif reference.alias is not None:
            life.check_has_alias(self, reference.name, reference.alias)
            meant = self.aliases(reference.name)[reference.alias]
            fitting = [v for v in versions if v.version == meant]
            if fitting and fitting[0].yanked is not None:
                raise ReferenceNotFoundError(
                    f"{reference} means {reference.name}@{meant}, which was yanked "
                    f"({fitting[0].yanked.reason}); name an exact version to use it all the same"
                )
        else:
            fitting = [v for v in versions if v.yanked is None]
        if not fitting:
            raise ReferenceNotFoundError(self._unknown_version(reference, versions))
        return fitting[-1]

    def _unknown_name(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.names(), n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        return (
            f"the registry {self.location} has no artifact named {name}; {hint}"
            f"`wsdarts-hub list{self.option}` lists all"
        )

    def _unknown_version(self, reference: Reference, versions: Sequence[VersionInfo]) -> str:
        if reference == Reference(name=reference.name):
            last = versions[-1]
            reason = last.yanked.reason if last.yanked else ""
            return (
                f"every version of {reference.name} is yanked ({reference.name}@{last.version}: "
                f"{reason}); name an exact version to use it all the same"
            )
        return f"there is no {reference}; there is {_listed(reference.name, versions)}"

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


def parsed(reference: str | Reference) -> Reference:
    """Return a reference, parsed if it is text."""
    return Reference.parse(reference) if isinstance(reference, str) else reference


def _listed(name: str, versions: Sequence[VersionInfo]) -> str:
    shown = ", ".join(
        f"{name}@{v.version} ({v.digest[:19] if v.digest else 'damaged'})" for v in versions[-5:]
    )
    return f"{shown} and {len(versions) - 5} older ones" if len(versions) > 5 else shown
