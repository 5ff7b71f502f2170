"""Reading and listing a registry, and snapshots of its content.

Of a snapshot, names, versions and settings are listed once, so that a push or a yank in between
changes nothing. The content of a version never changes: it is read when it is asked for, and kept.
"""

import shlex
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._format import pluralize
from wsdarts_registry._text import sanitize_spaced
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import (
    ArtifactError,
    RecordError,
    ReferenceNotFoundError,
    RegistryError,
    RegistryWarning,
    UnreadableError,
    WsdartsError,
)
from wsdarts_registry.stores._listing_cache import Listing
from wsdarts_registry.stores.records import DamagedVersion, Entry, RegistryConfig, VersionInfo

if TYPE_CHECKING:
    from wsdarts_registry.embedding.embedding import TaskEmbedding

# Errors of reading a damaged version; of a registry that is out of reach there are others.
DAMAGE = (ArtifactError, RecordError)
_WARNINGS = 10


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """The versions of a registry, after reading each of their manifests.

    Attributes:
        entries: Those that can be read, by name and version.
        damaged: Those whose manifests or records are damaged, by name and version.
    """

    entries: tuple[Entry, ...]
    damaged: tuple[DamagedVersion, ...]


class Catalogue(ABC):
    """The artifacts of a registry by name and version, to be read."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {sanitize_spaced(self.location, 400)}>"

    access_hint = ""  # what helps where an artifact exists and is not shown to this user

    @property
    @abstractmethod
    def location(self) -> str:
        """The location by which ``open_registry`` opens this registry."""

    @property
    @abstractmethod
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return the names with at least one version, yanked or not, sorted."""

    @abstractmethod
    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name, ascending; none for an unknown name."""

    @abstractmethod
    def entry(self, name: str, version: int) -> Entry:
        """Return one version with its manifest.

        Raises:
            ArtifactError: The manifest is missing, damaged or malformed.
        """

    @abstractmethod
    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """Return the embedding that ranks an entry in a space; None if it has none there.

        Raises:
            ArtifactError: It is damaged or malformed.
        """

    def entries(self, include_yanked: bool = False) -> tuple[Entry, ...]:
        """Return all versions with their manifests, by name and version.

        Damaged ones are left out with a RegistryWarning; ``scan`` has them.
        """
        found = self.scan(include_yanked)
        self.warn_damaged(found.damaged)
        return found.entries

    def scan(self, include_yanked: bool = False) -> ScanResult:
        """Read all versions, by name and version: those that are valid, and the damaged ones."""
        found = list(self.iter_read(include_yanked))
        return ScanResult(
            entries=tuple(version for version in found if isinstance(version, Entry)),
            damaged=tuple(version for version in found if isinstance(version, DamagedVersion)),
        )

    def iter_read(self, include_yanked: bool = False) -> Iterator[Entry | DamagedVersion]:
        """Yield all versions by name and version, each read when it is its turn."""
        for name, info in self.iter_versions(include_yanked):
            yield self.read_version(name, info)

    def iter_versions(self, include_yanked: bool = False) -> Iterator[tuple[str, VersionInfo]]:
        """Yield all versions by name and version, without reading a manifest."""
        for name in self.names():
            for info in self.versions(name):
                if include_yanked or info.yanked is None:
                    yield name, info

    def listing(self) -> Mapping[str, tuple[VersionInfo, ...]]:
        """Return the versions of each name that has one, by name, sorted."""
        return {name: self.versions(name) for name in self.names()}

    def latest(self) -> Iterator[tuple[str, str | None]]:
        """Yield the names with a version that is not yanked, and the digest of the last such."""
        for name, versions in self.listing().items():
            digests = [info.digest for info in versions if info.yanked is None]
            if digests:
                yield name, digests[-1]

    def latest_version(self, name: str) -> VersionInfo:
        """Return the last version of a name that is not yanked; there must be one."""
        return [info for info in self.versions(name) if info.yanked is None][-1]

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the aliases of a name and the version that each means."""
        return {
            alias: info.version for info in self.versions(name) for alias in info.status.aliases
        }

    def version_of_alias(self, name: str, alias: str) -> int:
        """Return the version that an alias means.

        Raises:
            RegistryError: The name has no such alias; says which it has.
        """
        known = self.aliases(name)
        if alias not in known:
            raise RegistryError(
                f"{name} has no alias {alias}", hint=f"it has {', '.join(sorted(known)) or 'none'}"
            )
        return known[alias]

    def resolve(self, reference: str | Reference) -> Entry:
        """Find the version that a reference means: for a plain name the latest not yanked.

        Raises:
            ReferenceNotFoundError: There is none; close names and the command that lists
                all are named.
            RegistryError: The reference is malformed, or fits several versions.
            ArtifactError: The manifest is damaged.
        """
        wanted = parsed(reference)
        return self.entry_or_advice(wanted.name, self.find(wanted).version)

    def find(self, reference: Reference) -> VersionInfo:
        """Find the version that a reference means, without reading its manifest.

        Raises:
            ReferenceNotFoundError: There is none.
            RegistryError: The reference fits several versions.
        """
        versions = self.compared_versions(reference.name)
        if not versions:
            raise ReferenceNotFoundError(
                f"the registry {self.location} has no artifact named {reference.name}",
                hint=self._unknown_name_hint(reference.name),
            )
        if reference.version is not None:
            fitting = [v for v in versions if v.version == reference.version]
        elif reference.digest is not None:
            fitting = [v for v in versions if v.digest and v.digest.startswith(reference.digest)]
            if len({v.digest for v in fitting}) > 1:
                raise RegistryError(
                    f"{reference} fits {_listed(reference.name, fitting)}", hint="give more digits"
                )
        elif reference.alias is not None:
            meant = self.version_of_alias(reference.name, reference.alias)
            fitting = [v for v in versions if v.version == meant]
            if fitting and fitting[0].yanked is not None:
                raise ReferenceNotFoundError(
                    (
                        f"{reference} means {reference.name}@{meant}, which was yanked "
                        f"({fitting[0].yanked.reason})"
                    ),
                    hint="name an exact version to use it all the same",
                )
        else:
            fitting = [v for v in versions if v.yanked is None]
        if not fitting:
            raise _unknown_version(reference, versions)
        return fitting[-1]

    def compared_versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name; a registry compares them with what was seen before."""
        return self.versions(name)

    def _unknown_name_hint(self, name: str) -> str:
        close = did_you_mean(nearest_names(name, self.names()))
        hints = (f"{close}`wsdarts-hub list{self.option}` lists all", self.access_hint)
        return "; ".join(filter(None, hints))

    def is_first_hand(self, name: str) -> bool:  # noqa: ARG002
        """Return whether what is listed of a name was read where it is, not in an index."""
        return True

    @property
    def option(self) -> str:
        """The option of the command line for this registry: `` --registry LOCATION``."""
        return f" --registry {shlex.quote(self.location)}"

    def read_version(self, name: str, info: VersionInfo) -> Entry | DamagedVersion:
        """Return one version with its manifest, or what is wrong with it."""
        try:
            return self.entry(name, info.version)
        except DAMAGE as error:
            return damaged_version(name, info, error)

    def warn_damaged(self, damaged: Sequence[DamagedVersion]) -> None:
        """Warn of versions that are damaged or may not be read, unless they are yanked already."""
        listed = [version for version in damaged if version.status.yanked is None]
        for version in listed[:_WARNINGS]:
            if version.unreadable:
                text = f"{version.reference} was left out: {version.why}"
            else:
                text = (
                    f"{version.reference} is damaged and was left out: {version.why}; "
                    f"{self._advice(version.reference)}"
                )
            warnings.warn(text, RegistryWarning, stacklevel=3)
        if listed[_WARNINGS:]:
            warnings.warn(
                f"{pluralize(len(listed) - _WARNINGS, 'more version')} of {self.location} "
                f"are damaged or cannot be read; `wsdarts-hub list{self.option}` shows all",
                RegistryWarning,
                stacklevel=3,
            )

    def entry_or_advice(self, name: str, version: int) -> Entry:
        """Return one version with its manifest.

        Raises:
            ArtifactError: The manifest is damaged; says what to do about it.
        """
        reference = Reference(name=name, version=version)
        try:
            return self.entry(name, version)
        except UnreadableError as error:
            raise UnreadableError(f"{reference}: {error}") from error
        except ArtifactError as error:
            raise ArtifactError(
                f"{reference}: {error.what}",
                found=error.found or None,
                expected=error.expected,
                hint="; ".join(filter(None, (error.hint, self._advice(reference)))),
            ) from error

    def _advice(self, reference: Reference) -> str:
        return (
            f"restore it, or hide it with `wsdarts-hub yank {reference} --reason damaged"
            f"{self.option}`"
        )


def damaged_version(name: str, info: VersionInfo, error: WsdartsError) -> DamagedVersion:
    """Return the description of a version that raised one of ``DAMAGE``."""
    return DamagedVersion(
        name=name,
        version=info.version,
        digest=info.digest,
        why=str(error),
        status=info.status,
        unreadable=isinstance(error, UnreadableError),
    )


def parsed(reference: str | Reference) -> Reference:
    """Return a reference, parsed if it is text."""
    return reference if isinstance(reference, Reference) else Reference.parse(reference)


def _unknown_version(
    reference: Reference, versions: Sequence[VersionInfo]
) -> ReferenceNotFoundError:
    if reference == Reference(name=reference.name):
        last = versions[-1]
        reason = last.yanked.reason if last.yanked else ""
        return ReferenceNotFoundError(
            f"every version of {reference.name} is yanked ({reference.name}@{last.version}: "
            f"{reason})",
            hint="name an exact version to use it all the same",
        )
    return ReferenceNotFoundError(
        f"there is no {reference}", hint=f"there is {_listed(reference.name, versions)}"
    )


def _listed(name: str, versions: Sequence[VersionInfo]) -> str:
    shown = ", ".join(
        f"{name}@{v.version} ({v.digest[:19] if v.digest else 'damaged'})" for v in versions[-5:]
    )
    return f"{shown} and {len(versions) - 5} older ones" if len(versions) > 5 else shown


# A manifest takes some tens of kilobytes of memory; a registry may have a hundred thousand.
_MANIFESTS_KEPT = 2048
_EMBEDDINGS_KEPT = 64


class Snapshot(Catalogue):
    """A snapshot of a registry.

    Args:
        store: The registry, which reads what is asked for.

    Raises:
        RegistryError: It cannot be listed.
    """

    def __init__(self, store: Catalogue) -> None:
        self._store = store
        self._config = store.config
        self._versions = store.listing()
        self._entry = lru_cache(_MANIFESTS_KEPT)(self._read)
        self._embedding = lru_cache(_EMBEDDINGS_KEPT)(self._read_embedding)

    @property
    def location(self) -> str:
        """The location by which ``open_registry`` opens this registry."""
        return self._store.location

    @property
    def option(self) -> str:
        """The option of the command line for this registry."""
        return self._store.option

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""
        return self._config

    def names(self) -> tuple[str, ...]:
        """Return the names with at least one version, yanked or not, sorted."""
        return tuple(self._versions)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name, ascending; none for an unknown name."""
        return self._versions.get(name, ())

    def listing(self) -> Mapping[str, tuple[VersionInfo, ...]]:
        """Return the versions of each name that has one, by name, sorted."""
        return self._versions

    def latest(self) -> Iterator[tuple[str, str | None]]:
        """Yield the names with a version that is not yanked, and the digest of the last such."""
        listed = self._versions
        return listed.latest() if isinstance(listed, Listing) else super().latest()

    def entry(self, name: str, version: int) -> Entry:
        """Return one version with its manifest.

        Raises:
            ArtifactError: There was no such version, or its manifest is not the one that was there.
        """
        return self._entry(name, version)

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """Return the embedding that ranks an entry in a space; None if it has none there."""
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
                (f"{name}@{version} has digest {entry.digest} now and had {listed.digest} before"),
                expected="content that never changes: restore it, and repeat the command",
            )
        return replace(entry, status=listed.status)
