"""What a registry says of one published version."""

from dataclasses import dataclass
from typing import Any, Literal

from wsdarts_registry.description import described
from wsdarts_registry.inert import plain_text
from wsdarts_registry.manifest import Manifest
from wsdarts_registry.records import Count, Document, Line, Moment, Record
from wsdarts_registry.reference import Reference


class Lift(Record):
    """Why and when (UTC) a yank was taken back."""

    reason: Line
    when: Moment


class Yank(Document):
    """Why and when (UTC) a version was hidden; and why not any more, if it was taken back."""

    format: Literal[1] = 1
    reason: Line
    when: Moment
    lifted: Lift | None = None


class Alias(Document):
    """Which version another word for it means, since when (UTC)."""

    format: Literal[1] = 1
    version: Count
    when: Moment


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a registry says about a version, beside its content.

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
        """Why the version is hidden; None if it is not."""
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
        """Why the version is hidden; None if it is not."""
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
        """What it is: ``damaged`` or ``unreadable``."""
        return "unreadable" if self.unreadable else "damaged"

    def __repr__(self) -> str:
        return f"<DamagedVersion {self.reference}: {plain_text(self.why, 400)}>"

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
        """Why the version is hidden; None if it is not."""
        return self.status.yanked

    @property
    def reference(self) -> Reference:
        """The exact reference, ``NAME@3``."""
        return Reference(name=self.name, version=self.version)
