"""What a registry says of one published version."""

from dataclasses import dataclass
from typing import Literal

from wsdarts_registry.manifest import Manifest
from wsdarts_registry.records import Document, Line, Moment
from wsdarts_registry.reference import Reference


class Yank(Document):
    """Why and when (UTC) a version was hidden."""

    format: Literal[1] = 1
    reason: Line
    when: Moment


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One published version, before its manifest is read.

    Attributes:
        version: Its number, from 1.
        digest: Its claimed digest; None where it is unreadable (reading the entry says why).
        yanked: Why it is hidden; None if it is not.
    """

    version: int
    digest: str | None
    yanked: Yank | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published version with its verified manifest.

    Attributes:
        name: Name of the artifact.
        version: Version, from 1.
        digest: ``"sha256:…"`` of the manifest.
        manifest: The manifest.
        yanked: Why it is hidden; None if it is not.
    """

    name: str
    version: int
    digest: str
    manifest: Manifest
    yanked: Yank | None

    @property
    def reference(self) -> Reference:
        """The exact reference, ``NAME@3``."""
        return Reference(name=self.name, version=self.version)
