"""What an artifact's repository on the Hub keeps beside its files, ``registry.json`` on main.

All versions of a name stand in one file, so that of two pushes of one version one finds that main
has moved.

One artifact on the Hub: a model repository whose tags ``v1``, ``v2``, … are its versions.

A version is one commit on main that holds the artifact's files and the record of all versions;
then it is tagged. It counts once it is in the record and tagged. All of it is checked against the
digest in the record, so nobody has to trust where a tag points.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from huggingface_hub import CommitOperationAdd
from pydantic import AfterValidator, Field

from wsdarts_registry._json import MAX_RECORD_BYTES, Digest, Document, Record
from wsdarts_registry.artifact.checked_files import checksum_line, file_record
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, FileRecord, Manifest
from wsdarts_registry.errors import (
    ArtifactError,
    RecordError,
    ReferenceNotFoundError,
    RegistryError,
)
from wsdarts_registry.stores.huggingface._client import HubClient
from wsdarts_registry.stores.huggingface._responses import Head, Repository
from wsdarts_registry.stores.huggingface.retry import Patience, UnsettledError
from wsdarts_registry.stores.records import Alias, Entry, Status, VersionInfo, Yank
from wsdarts_registry.stores.reference import is_alias

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


_MAX_SMALL_BYTES = 8 * 2**20
_TAG = re.compile(r"v([1-9][0-9]{0,8})")
# What the Hub puts into every repository by itself.
_ITS_OWN = (".gitattributes",)


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


class ArtifactRepository:
    """The versions of one name.

    Args:
        client: The Hub.
        namespace: Whose registry it is.
        name: Name of the artifact.
    """

    def __init__(self, client: HubClient, namespace: str, name: str) -> None:
        self._client = client
        self.name = name
        self.place = Repository(id=f"{namespace}/{name}")

    def state(self) -> State:
        """Read what is there now.

        Raises:
            RegistryError: The Hub cannot be asked.
            RecordError: The record is malformed.
        """
        head = self._client.head(self.place)
        if head is None or RECORD not in head.files:
            return State(head=head)
        content = self._client.read(self.place, head.commit, RECORD, MAX_RECORD_BYTES)
        what = f"{RECORD} of {self.place.id}"
        record = HubRecord.from_bytes(content, what=what, error=RecordError)
        tags = self._client.tags(self.place)
        numbers = {
            int(match[1]): commit
            for tag, commit in tags.items()
            if (match := _TAG.fullmatch(tag)) is not None
        }
        return State(head=head, record=record, tags=numbers)

    def entry(self, state: State, version: int) -> Entry:
        """One version with its verified manifest.

        Raises:
            ArtifactError: There is no such version, or its tag means other content.
        """
        if version not in state.tags or version not in state.record.digests:
            raise ArtifactError(f"{self.place.id} has no version {version} any more")
        digest = state.record.digests[version]
        manifest = Manifest.from_bytes(
            self.manifest_bytes(state.tags[version], digest),
            what=f"{MANIFEST} of {self.name}@{version}",
        )
        return Entry(
            name=self.name,
            version=version,
            digest=digest,
            manifest=manifest,
            status=state.status(version),
        )

    def manifest_bytes(self, commit: str, digest: str) -> bytes:
        """The manifest at a commit, which has to have a digest.

        Raises:
            ArtifactError: It is missing or has another one.
        """
        content = self._client.read(self.place, commit, MANIFEST, MAX_RECORD_BYTES)
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            raise ArtifactError(
                (
                    f"the artifact of {self.place.id} at {commit[:12]} has digest {found}, and "
                    f"its {RECORD} says {digest}"
                ),
                hint="it was changed by other means than wsdarts-hub",
            )
        return content

    def file_bytes(self, commit: str, manifest: Manifest, path: str) -> bytes:
        """A small file of a version, verified.

        Raises:
            ArtifactError: It is missing, or has another size or sha256 than its manifest says.
        """
        record = manifest.files[path]
        if record.size > _MAX_SMALL_BYTES:
            raise ArtifactError(
                f"{path} of {self.place.id} has {record.size} bytes",
                expected=f"at most {_MAX_SMALL_BYTES}",
            )
        content = self._client.read(self.place, commit, path, record.size)
        if file_record(content) != record:
            raise ArtifactError(
                (
                    f"{path} of {self.place.id} at {commit[:12]} has another size or sha256 than "
                    "its manifest says"
                ),
                hint="it is damaged: push the artifact again",
            )
        return content

    def check_files(self, commit: str, manifest: Manifest, digest: str) -> None:
        """Compare what the Hub says of an artifact's files with the manifest; fetch none.

        Raises:
            ArtifactError: One is missing, or has another size or sha256.
        """
        line = checksum_line(digest.removeprefix("sha256:"))
        own = FileRecord(size=len(line), sha256=hashlib.sha256(line).hexdigest())
        expected = {**manifest.files, CHECKSUM: own}
        found = self._client.describe(self.place, commit, list(expected))
        for path, record in expected.items():
            remote = found.get(path)
            if remote is None:
                raise ArtifactError(
                    f"{self.place.id} at {commit[:12]} lacks {path}", hint="push it again"
                )
            if remote.size != record.size or remote.sha256 not in (None, record.sha256):
                raise ArtifactError(
                    (
                        f"{path} of {self.place.id} at {commit[:12]} has {remote.size} bytes, or "
                        "another sha256"
                    ),
                    hint=f"its manifest says {record.size} bytes: nothing was fetched",
                )

    def add(
        self, state: State, version: int, digest: str, files: Sequence[CommitOperationAdd]
    ) -> State:
        """Commit a version to main, from where the state was read, and tag it.

        Returns:
            What is there then, if nobody else wrote since.

        Raises:
            UnsettledError: Main has moved, or the answer was lost.
            RegistryError: It was refused, the repository is somebody's model, or the tag means
                other content.
        """
        head = state.head or self._client.create(self.place)
        self._check_ours(head)
        record = state.record.with_version(version, digest)
        kept = {*_ITS_OWN, RECORD, *(addition.path_in_repo for addition in files)}
        stale = [
            path
            for path in head.files
            if path not in kept and not path.startswith(f"{SIGNATURES}/")
        ]
        commit = self._client.commit(
            self.place,
            head.commit,
            _title(self.name, version),
            [*files, CommitOperationAdd(RECORD, record.to_commit())],
            stale,
        )
        tagged = self._tag(version, digest, commit)
        signatures = (path for path in head.files if path.startswith(f"{SIGNATURES}/"))
        now = Head(commit=commit, files=(*kept, *signatures), private=head.private)
        return State(head=now, record=record, tags={**state.tags, version: tagged})

    def finish(self, state: State) -> bool:
        """Tag the versions whose push ended before it could; whether there were any.

        One whose commit cannot be found any more, or does not verify, stays hidden.
        """
        done = False
        for version, digest in state.untagged.items():
            commit = self._commit_of(state, version, digest)
            if commit is not None:
                self._tag(version, digest, commit)
                done = True
        return done

    def edit(
        self,
        title: str,
        change: Callable[[HubRecord], HubRecord],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Change the record on main, again and again until nobody was faster.

        Raises:
            RegistryError: It cannot be written.
        """
        patience = Patience()
        while True:
            state = self.state()
            if state.head is None:
                raise ReferenceNotFoundError(f"there is no repository {self.place.id}")
            changed = {RECORD: change(state.record).to_commit(), **(files or {})}
            additions = [CommitOperationAdd(path, content) for path, content in changed.items()]
            try:
                self._client.commit(self.place, state.head.commit, title, additions)
            except UnsettledError as error:
                patience.after(error)
            else:
                return

    def _check_ours(self, head: Head) -> None:
        """Refuse to write to a repository that is somebody's model.

        Raises:
            RegistryError: It has files, but no record.
        """
        others = [path for path in head.files if path not in _ITS_OWN]
        if others and RECORD not in head.files:
            raise RegistryError(
                (
                    f"{self.place.id} is a model on the Hub that wsdarts-hub did not make (it "
                    f"holds {', '.join(others[:3])})"
                ),
                hint="choose another name",
            )

    def _tag(self, version: int, digest: str, commit: str) -> str:
        """Tag a version, unless it is tagged; the commit that the tag means."""
        meant = self._client.tag(self.place, f"v{version}", commit)
        try:
            if meant != commit:
                self.manifest_bytes(meant, digest)
        except ArtifactError as error:
            raise RegistryError(
                f"the tag v{version} of {self.place.id} means other content ({error})",
                hint="delete it on the Hub, or push as another version",
            ) from error
        return meant

    def _commit_of(self, state: State, version: int, digest: str) -> str | None:
        """A commit that holds a version whole."""
        for commit in self._candidates(state, version):
            with suppress(ArtifactError):
                content = self.manifest_bytes(commit, digest)
                self.check_files(commit, Manifest.from_bytes(content, what=MANIFEST), digest)
                return commit
        return None

    def _candidates(self, state: State, version: int) -> Iterator[str]:
        if state.head is not None:
            yield state.head.commit
        title = _title(self.name, version)
        yield from (commit for commit, found in self._client.history(self.place) if found == title)


def _title(name: str, version: int) -> str:
    return f"Publish {name}@{version}"
