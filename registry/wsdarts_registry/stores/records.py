"""Records of a registry: its settings, ``registry.json``, and the state of each version."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from wsdarts_registry._json import Count, Document, Line, Moment, Record
from wsdarts_registry._text import sanitize
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord, Manifest, described
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace, NearThreshold
from wsdarts_registry.errors import RegistryError


class Lift(Record):
    """Reason and time (UTC) of reverting a yank."""

    reason: Line
    when: Moment


class Yank(Document):
    """Reason and time (UTC) of hiding a version, and of restoring it if it was restored."""

    format: Literal[1] = 1
    reason: Line
    when: Moment
    lifted: Lift | None = None

    @property
    def newest(self) -> Moment:
        """Time of the last change of the record."""
        return self.when if self.lifted is None else max(self.when, self.lifted.when)


class Alias(Document):
    """Version of an alias, and the time of its setting (UTC)."""

    format: Literal[1] = 1
    version: Count
    when: Moment


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of a version in its registry, beside its content.

    Attributes:
        yank: Why it was hidden, and perhaps why not any more; None if it never was.
        aliases: Other words for it, sorted.
        signed: Whether there is a signature; only ``verify`` says whether it is a good one.
    """

    yank: Yank | None = None
    aliases: tuple[str, ...] = ()
    signed: bool = False

    @property
    def yanked(self) -> Yank | None:
        """Reason and time of hiding the version; None if it is not hidden."""
        return self.yank if self.yank and self.yank.lifted is None else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data: ``yanked`` (whether), ``yank``, ``aliases``, ``signed``."""
        record = None if self.yank is None else self.yank.model_dump(exclude={"format"})
        return {
            "yanked": self.yanked is not None,
            "yank": record,
            "aliases": list(self.aliases),
            "signed": self.signed,
        }


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One published version, before its manifest is read.

    Attributes:
        version: Its number, from 1.
        digest: Its claimed digest; None where it is unreadable (reading the entry says why).
        status: What the registry says about it.
    """

    version: int
    digest: str | None
    status: Status = Status()

    @property
    def yanked(self) -> Yank | None:
        """Reason and time of hiding the version; None if it is not hidden."""
        return self.status.yanked


@dataclass(frozen=True, kw_only=True)
class DamagedVersion:
    """One published version whose manifest cannot be used.

    It need not be harmed: this user may lack the permission to read it.

    Attributes:
        name: Name of the artifact.
        version: Version, from 1.
        digest: Its claimed digest; None where that is unreadable, too.
        why: What is wrong with it.
        status: What the registry says about it.
        unreadable: Whether it is only that this user may not read it.
    """

    name: str
    version: int
    digest: str | None
    why: str
    status: Status = Status()
    unreadable: bool = False

    @property
    def word(self) -> str:
        """``damaged`` or ``unreadable``."""
        return "unreadable" if self.unreadable else "damaged"

    def __repr__(self) -> str:
        return f"<DamagedVersion {self.reference}: {sanitize(self.why, 400)}>"

    @property
    def reference(self) -> Reference:
        """The exact reference, ``NAME@3``."""
        return Reference(name=self.name, version=self.version)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published version with its verified manifest.

    Attributes:
        name: Name of the artifact.
        version: Version, from 1.
        digest: ``"sha256:…"`` of the manifest.
        manifest: The manifest.
        status: What the registry says about it.
    """

    name: str
    version: int
    digest: str
    manifest: Manifest
    status: Status = Status()

    def __repr__(self) -> str:
        yanked = "yanked, " if self.yanked else ""
        return f"<Entry {self.reference}: {yanked}{described(self.manifest)}>"

    @property
    def yanked(self) -> Yank | None:
        """Reason and time of hiding the version; None if it is not hidden."""
        return self.status.yanked

    @property
    def info(self) -> VersionInfo:
        """The version without its manifest."""
        return VersionInfo(version=self.version, digest=self.digest, status=self.status)

    @property
    def reference(self) -> Reference:
        """The exact reference, ``NAME@3``."""
        return Reference(name=self.name, version=self.version)


class NearRecord(Record):
    """Largest distance that is near in one embedding space, and its measurement."""

    space: EmbeddingSpaceRecord
    distance: Annotated[float, Field(gt=0, lt=1)]
    measured: Line


class RegistryConfig(Document):
    """``registry.json``: name of a registry, default probe and thresholds."""

    format: Literal[1] = 1
    name: Line
    default_probe: Line = "shipped"
    near: tuple[NearRecord, ...] = ()

    def threshold(self, space: EmbeddingSpace) -> NearThreshold | None:
        """Return the measured threshold of an embedding space, if there is one.

        A threshold belongs to probe and estimator rather than to a registry, so those that
        come with the package hold wherever a registry has none of its own.
        """
        for record in (*self.near, *_shipped()):
            if record.space.embedding_space == space:
                return NearThreshold(
                    space=space, distance=record.distance, measured=record.measured
                )
        return None


def shipped_zoo() -> Path:
    """Return the directory of the registry that comes with the package."""
    return Path(__file__).parents[1] / "zoo_data"


@cache
def _shipped() -> tuple[NearRecord, ...]:
    """Return the thresholds that were measured for the zoo that comes with the package."""
    path = shipped_zoo() / "registry.json"
    return RegistryConfig.from_bytes(path.read_bytes(), what=str(path), error=RegistryError).near
