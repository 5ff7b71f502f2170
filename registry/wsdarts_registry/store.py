"""What every registry can do, whether it is a directory or a namespace on the Hub."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wsdarts_registry import life
from wsdarts_registry.catalogue import Catalogue, parsed
from wsdarts_registry.entry import Alias, Entry, VersionInfo, Yank
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.reference import Reference
from wsdarts_registry.registry_config import NearRecord, RegistryConfig
from wsdarts_registry.snapshot import Snapshot

if TYPE_CHECKING:
    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.edition import Edition
    from wsdarts_registry.embedding import TaskEmbedding
    from wsdarts_registry.genotype import Genotype
    from wsdarts_registry.nearest import Ranking

__all__ = ["Entry", "NearRecord", "RegistryConfig", "Store", "VersionInfo", "Yank"]


class Store(Catalogue):
    """A registry of artifacts.

    Versions are write-once; everything that is read is verified. A subclass says where names,
    versions, files and records lie; resolving, listing, ranking and the rules of a version's
    life are the same for all.
    """

    @abstractmethod
    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: The registry cannot be written.
        """

    def genotype(self, entry: Entry) -> "Genotype":
        """The genotype of an entry.

        Raises:
            ArtifactError: It is damaged or malformed.
        """
        return self.look(Reference(name=entry.name, digest=entry.digest)).genotype

    def look(self, reference: str | Reference) -> "Artifact":
        """As ``pull``, for who needs no weights: they are not fetched from elsewhere.

        What there is has been verified. Where the weights are missing, ``weights`` and ``check``
        raise an ArtifactError.

        Raises:
            ReferenceNotFoundError: There is no such artifact.
            ArtifactError: It is damaged or malformed.
        """
        return self.pull(reference)

    @abstractmethod
    def read(self, entry: Entry, path: str) -> bytes:
        """One small file of a published version, verified.

        Raises:
            ArtifactError: It is damaged, or larger than 8 MiB.
        """

    @abstractmethod
    def pull(self, reference: str | Reference, out: str | Path | None = None) -> "Artifact":
        """Fetch and verify an artifact.

        Args:
            reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
            out: A new or empty directory to put it into; None for a place of the store's own.

        Raises:
            ReferenceNotFoundError: There is no such artifact.
            ArtifactError: It is damaged or malformed.
            RegistryError: ``out`` is not empty or cannot be written.
        """

    @abstractmethod
    def publish(
        self, artifact: "str | Path | Edition", name: str, version: int | None = None
    ) -> Entry:
        """Publish an artifact as a new version.

        Args:
            artifact: Its directory, as ``write_artifact`` wrote it, or an edition of it.
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
    def aliases(self, name: str) -> Mapping[str, int]:
        """The aliases of a name and the version that each means; none for an unknown name."""

    @abstractmethod
    def signature(self, name: str, version: int) -> bytes | None:
        """The signature of a version, not verified; None if it was not signed."""

    @abstractmethod
    def write_yank(self, name: str, version: int, yank: Yank) -> None:
        """Replace the record of a version's yank. For ``yank`` and ``unyank``."""

    @abstractmethod
    def write_alias(self, name: str, alias: str, record: Alias | None) -> None:
        """Replace the record of an alias, or remove it. For ``set_alias`` and ``remove_alias``."""

    @abstractmethod
    def write_signature(self, name: str, version: int, signature: bytes) -> None:
        """Replace the signature of a version, which is verified already."""

    def hub_id(self, name: str) -> str | None:  # noqa: ARG002
        """Id of the repository of a name on the Hub; None for a registry that is not there."""
        return None

    def nearest(self, embedding: "TaskEmbedding", k: int = 5) -> "Ranking":
        """Rank the latest version of each name by the distance of its task."""
        return self.catalogue().nearest(embedding, k)

    def catalogue(self) -> Catalogue:
        """Return what it holds now, for several questions about one moment.

        Raises:
            RegistryError: It cannot be read.
        """
        return Snapshot(self)

    def settle(self, name: str) -> None:
        """Finish a push of a name that ended before its last step, where that can happen.

        Raises:
            RegistryError: It cannot be finished.
        """

    def rebuild_index(self) -> tuple[str, ...]:
        """Make what speeds up listing and ranking anew, where the registry keeps such a thing.

        Returns:
            The names in it.

        Raises:
            RegistryError: It cannot be written, or there is no such thing.
        """
        raise RegistryError(
            f"{self.location} keeps no index; expected a registry on the Hub, such as hf://lab"
        )

    def abandoned(self) -> tuple[Path, ...]:
        """What pushes left behind that were killed; none where nothing can be left."""
        return ()

    def sweep(self) -> None:
        """Remove what ``abandoned`` lists.

        Raises:
            RegistryError: The registry cannot be written.
        """

    def yank(self, reference: str | Reference, reason: str) -> None:
        """Hide a version from listing, ranking and plain ``NAME``; it stays pullable exactly.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is
                yanked already, or the registry cannot be written.
        """
        wanted = parsed(reference)
        self.write_yank(wanted.name, *life.new_yank(self, wanted, reason))

    def unyank(self, reference: str | Reference, reason: str) -> None:
        """Take a yank back; both reasons stay on record.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is not
                yanked, or the registry cannot be written.
        """
        wanted = parsed(reference)
        self.write_yank(wanted.name, *life.lifted_yank(self, wanted, reason))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let ``NAME@ALIAS`` mean a version, whatever it meant before.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The alias is malformed, the version is yanked, or the registry cannot
                be written.
        """
        self.write_alias(name, alias, life.new_alias(self, name, alias, version))

    def remove_alias(self, name: str, alias: str) -> None:
        """Let ``NAME@ALIAS`` mean nothing any more.

        Raises:
            RegistryError: There is no such alias, or the registry cannot be written.
        """
        life.check_has_alias(self, name, alias)
        self.write_alias(name, alias, None)
