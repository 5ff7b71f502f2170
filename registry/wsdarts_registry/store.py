"""What every registry can do, whether it is a directory or a namespace on the Hub."""

import difflib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsdarts_registry import life
from wsdarts_registry.catalogue import Catalogue
from wsdarts_registry.entry import Alias, Entry, VersionInfo, Yank
from wsdarts_registry.errors import ReferenceNotFoundError, RegistryError
from wsdarts_registry.reference import Reference
from wsdarts_registry.registry_config import NearRecord, RegistryConfig

if TYPE_CHECKING:
    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.genotype import Genotype

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

    def catalogue(self) -> Catalogue:
        """What it holds now, for several questions about one moment where that can be had.

        Raises:
            RegistryError: It cannot be read.
        """
        return self

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
        wanted = _parsed(reference)
        self.write_yank(wanted.name, *life.new_yank(self, wanted, reason))

    def unyank(self, reference: str | Reference, reason: str) -> None:
        """Take a yank back; both reasons stay on record.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is not
                yanked, or the registry cannot be written.
        """
        wanted = _parsed(reference)
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
        life.version_of_alias(self, name, alias)
        self.write_alias(name, alias, None)

    def resolve(self, reference: str | Reference) -> Entry:
        """Find the version that a reference means: for a plain name the latest not yanked.

        Raises:
            ReferenceNotFoundError: There is none; close names and the command that lists
                all are named.
            RegistryError: The reference is malformed, or fits several versions.
            ArtifactError: The manifest is damaged.
        """
        wanted = _parsed(reference)
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
            meant = life.version_of_alias(self, reference.name, reference.alias)
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


def _parsed(reference: str | Reference) -> Reference:
    return Reference.parse(reference) if isinstance(reference, str) else reference


def _listed(name: str, versions: Sequence[VersionInfo]) -> str:
    shown = ", ".join(
        f"{name}@{v.version} ({v.digest[:19] if v.digest else 'damaged'})" for v in versions[-5:]
    )
    return f"{shown} and {len(versions) - 5} older ones" if len(versions) > 5 else shown
