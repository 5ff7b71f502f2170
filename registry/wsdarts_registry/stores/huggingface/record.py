"""What an artifact's repository on the Hub keeps beside its files, ``registry.json`` on main.

All versions of a name stand in one file, so that of two pushes of one version one finds that main
has moved.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from wsdarts_registry._json import Digest, Document, Record
from wsdarts_registry.artifact.reference import is_alias
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.records import Alias, Status, Yank

RECORD = "registry.json"
SIGNATURES = "signatures"
# An artifact may not bring files of its own to these places.
RESERVED = (RECORD, SIGNATURES)
_MAX_VERSIONS = 5000


def _alias(text: str) -> str:
    if not is_alias(text):
        raise ValueError("expected an alias")
    return text


VersionKey = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]
AliasKey = Annotated[str, AfterValidator(_alias)]


class VersionRecord(Record):
    """The content of one version."""

    digest: Digest


class HubRecord(Document):
    """``registry.json``: the versions of a name by number, their yanks, and its aliases."""

    format: Literal[1] = 1
    versions: dict[VersionKey, VersionRecord] = Field(default={}, max_length=_MAX_VERSIONS)
    yanked: dict[VersionKey, Yank] = Field(default={}, max_length=_MAX_VERSIONS)
    aliases: dict[AliasKey, Alias] = Field(default={}, max_length=1000)

    @property
    def digests(self) -> dict[int, str]:
        """The digest of each version, ascending, whether it is tagged yet or not."""
        return {n: self.versions[str(n)].digest for n in sorted(map(int, self.versions))}

    def status(self, version: int, *, signed: bool) -> Status:
        """Everything that is said of one version."""
        names = (alias for alias, record in self.aliases.items() if record.version == version)
        return Status(
            yank=self.yanked.get(str(version)), aliases=tuple(sorted(names)), signed=signed
        )

    def to_commit(self) -> bytes:
        """Its bytes, as they may be committed.

        Raises:
            RegistryError: It has become longer than anybody would read.
        """
        content = self.to_bytes()
        type(self).from_bytes(content, what=f"the new {RECORD}", error=RegistryError)
        return content

    def with_version(self, version: int, digest: str) -> "HubRecord":
        """A copy with one more version."""
        versions = {**self.versions, str(version): VersionRecord(digest=digest)}
        return self.model_copy(update={"versions": versions})

    def with_yank(self, version: int, yank: Yank) -> "HubRecord":
        """A copy with another record of a version's yank."""
        return self.model_copy(update={"yanked": {**self.yanked, str(version): yank}})

    def with_alias(self, alias: str, record: Alias | None) -> "HubRecord":
        """A copy with another record of an alias, or without it."""
        aliases = {name: kept for name, kept in self.aliases.items() if name != alias}
        if record is not None:
            aliases[alias] = record
        return self.model_copy(update={"aliases": aliases})


def signature_path(version: int) -> str:
    """Where the signature of a version lies."""
    return f"{SIGNATURES}/v{version}.json"
