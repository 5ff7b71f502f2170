"""What the repository of an artifact holds at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsdarts_registry.entry import Status, VersionInfo
from wsdarts_registry.hub.answers import Head
from wsdarts_registry.hub.record import HubRecord, signature_path


@dataclass(frozen=True, kw_only=True)
class State:
    """What a repository holds at one moment.

    Attributes:
        head: Newest commit of main; None where there is no repository.
        record: Versions, yanks and aliases; empty where main has none.
        tags: Commit of each tagged version.
    """

    head: Head | None
    record: HubRecord = field(default_factory=HubRecord)
    tags: Mapping[int, str] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[VersionInfo, ...]:
        """The versions that count, ascending."""
        return tuple(
            VersionInfo(version=version, digest=digest, status=self.status(version))
            for version, digest in self.record.digests.items()
            if version in self.tags
        )

    @property
    def untagged(self) -> dict[int, str]:
        """Versions whose push has ended before its last step, with their digests."""
        return {n: d for n, d in self.record.digests.items() if n not in self.tags}

    def status(self, version: int) -> Status:
        """Everything that is said of one version."""
        signed = self.head is not None and signature_path(version) in self.head.files
        return self.record.status(version, signed=signed)
