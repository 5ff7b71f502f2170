"""What every registry can do, whether it is a directory or a namespace on the Hub."""

import difflib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsdarts_registry.artifact import Artifact
from wsdarts_registry.embedding import EmbeddingSpace, TaskEmbedding, check_comparable
from wsdarts_registry.embedding_matrix import matrix_path, read_matrix
from wsdarts_registry.entry import Entry, VersionInfo, Yank
from wsdarts_registry.errors import (
    ArtifactError,
    EmbeddingError,
    ReferenceNotFoundError,
    RegistryError,
)
from wsdarts_registry.nearest import Candidate, Ranking, judge, rank, shortlist
from wsdarts_registry.reference import Reference
from wsdarts_registry.registry_config import NearRecord, RegistryConfig
from wsdarts_registry.scan import TOLERANCE

__all__ = ["Entry", "NearRecord", "RegistryConfig", "Store", "VersionInfo", "Yank"]


class Store(ABC):
    """A registry of artifacts.

    Versions are write-once; everything that is read is verified. A subclass says where names,
    versions and files come from; resolving, listing and ranking are the same for all.
    """

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
    def embedding(self, entry: Entry, space: EmbeddingSpace) -> TaskEmbedding | None:
        """The embedding that ranks an entry in a space; None if it has none there.

        Raises:
            ArtifactError: It is damaged or malformed.
        """

    @abstractmethod
    def pull(self, reference: str | Reference, out: str | Path | None = None) -> Artifact:
        """Fetch and verify an artifact.

        Args:
            reference: ``NAME``, ``NAME@3`` or ``NAME@sha256:…``.
            out: A new or empty directory to put it into; None for a place of the store's own.

        Raises:
            ReferenceNotFoundError: There is no such artifact.
            ArtifactError: It is damaged or malformed.
            RegistryError: ``out`` is not empty or cannot be written.
        """

    @abstractmethod
    def publish(self, directory: str | Path, name: str, version: int | None = None) -> Entry:
        """Publish an artifact directory as a new version.

        Args:
            directory: What ``write_artifact`` wrote.
            name: Name to publish under.
            version: Exact version; None takes the next one. Content that is already
                published under this name is not published twice: its entry is returned.

        Raises:
            ArtifactError: The artifact does not verify.
            VersionConflictError: The version exists with other content, or the content exists
                as another version.
            RegistryError: The registry cannot be written, or the content was yanked.
        """

    @abstractmethod
    def yank(self, reference: str | Reference, reason: str) -> None:
        """Hide a version from listing, ranking and plain ``NAME``; it stays pullable exactly.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is
                yanked already, or the registry cannot be written.
        """

    def entries(self, include_yanked: bool = False) -> tuple[Entry, ...]:
        """All versions with their manifests, by name and version.

        Raises:
            ArtifactError: A manifest is damaged; the message names the version.
        """
        return tuple(
            self._entry_or_advice(name, info.version)
            for name in self.names()
            for info in self.versions(name)
            if include_yanked or info.yanked is None
        )

    def resolve(self, reference: str | Reference) -> Entry:
        """Find the version that a reference means: for a plain name the latest not yanked.

        Raises:
            ReferenceNotFoundError: There is none; close names and the command that lists
                all are named.
            RegistryError: The reference is malformed, or fits several versions.
            ArtifactError: The manifest is damaged.
        """
        wanted = Reference.parse(reference) if isinstance(reference, str) else reference
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
        else:
            fitting = [v for v in versions if v.yanked is None]
        if not fitting:
            raise ReferenceNotFoundError(self._unknown_version(reference, versions))
        return fitting[-1]

    def nearest(self, embedding: TaskEmbedding, k: int = 5) -> Ranking:
        """Rank the latest version of each name by the distance of its task.

        Args:
            embedding: Embedding of the task that looks for a neighbour.
            k: How many neighbours to return.

        Raises:
            RegistryError: The registry has no artifacts, or ``k`` is below 1.
            EmbeddingError: No artifact has an embedding in the query's space; names the
                spaces that there are.
            ArtifactError: An artifact is damaged.
        """
        if k < 1:
            raise RegistryError(f"{k} neighbours were asked for; expected at least 1")
        latest = self._latest()
        if not latest:
            raise RegistryError(
                f"the registry {self.location} has no artifacts; publish one with "
                f"`wsdarts-hub push RUN NAME{self._option}`, or search cold"
            )
        matrix = read_matrix(
            matrix_path(self.location, embedding.space),
            latest,
            len(embedding.values),
            lambda digest: self._embedded(*latest[digest][0], embedding),
        )
        listed = shortlist(embedding, matrix, latest, k)
        if not listed:
            raise EmbeddingError(self._no_common_space(embedding, latest))
        scanned, candidates = {}, []
        for digest, distance in listed.items():
            for name, version in latest[digest]:
                reference = str(Reference(name=name, version=version))
                kind, found = self._embedded(name, version, embedding)
                if found is not None:
                    scanned[reference] = distance
                    candidates.append(Candidate(reference=reference, kind=kind, embedding=found))
        neighbours = rank(embedding, candidates)
        if any(abs(n.distance - scanned[n.reference]) > TOLERANCE for n in neighbours):
            raise RegistryError(
                f"the cached embeddings in {matrix.path} are not those of {self.location}; "
                f"remove the file (`rm {shlex.quote(str(matrix.path))}`), it is made again"
            )
        threshold = self.config.threshold(embedding.space)
        return judge(neighbours, threshold, images=embedding.images).first(k)

    def _latest(self) -> dict[str, list[tuple[str, int]]]:
        """For each digest the names whose latest version that is not yanked has it."""
        found: dict[str, list[tuple[str, int]]] = {}
        for name in self.names():
            versions = [info for info in self.versions(name) if info.yanked is None]
            if versions:
                last = versions[-1]
                digest = last.digest or self._entry_or_advice(name, last.version).digest
                found.setdefault(digest, []).append((name, last.version))
        return found

    def _embedded(
        self, name: str, version: int, query: TaskEmbedding
    ) -> tuple[str, TaskEmbedding | None]:
        """Kind of a version, and its embedding in the space of a query, if there is one."""
        entry = self._entry_or_advice(name, version)
        found = self.embedding(entry, query.space)
        if found is not None:
            check_comparable(query, [found])
        return entry.manifest.kind, found

    @property
    def _option(self) -> str:
        """How the command line names this registry: `` --registry LOCATION``."""
        return f" --registry {shlex.quote(self.location)}"

    def _entry_or_advice(self, name: str, version: int) -> Entry:
        try:
            return self.entry(name, version)
        except ArtifactError as error:
            raise ArtifactError(
                f"{name}@{version}: {error}; restore it, or hide it with `wsdarts-hub yank "
                f"{name}@{version} --reason damaged{self._option}`"
            ) from error

    def _unknown_name(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.names(), n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        return (
            f"the registry {self.location} has no artifact named {name}; {hint}"
            f"`wsdarts-hub list{self._option}` lists all"
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

    def _no_common_space(
        self, query: TaskEmbedding, latest: Mapping[str, Sequence[tuple[str, int]]]
    ) -> str:
        spaces = {
            str(record.space.embedding_space)
            for ((name, version), *_) in latest.values()
            for record in self._entry_or_advice(name, version).manifest.embeddings
        }
        return (
            f"the embedding of {query.task_name} was made by {query.space}, but the artifacts of "
            f"{self.location} have embeddings by {'; '.join(sorted(spaces)) or 'no probe at all'}: "
            "embed the task with one of those (--probe, --estimator)"
        )


def _listed(name: str, versions: Sequence[VersionInfo]) -> str:
    shown = ", ".join(
        f"{name}@{v.version} ({v.digest[:19] if v.digest else 'damaged'})" for v in versions[-5:]
    )
    return f"{shown} and {len(versions) - 5} older ones" if len(versions) > 5 else shown
