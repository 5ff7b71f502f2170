"""The repository of one artifact: a model repository whose tags ``v1``, ``v2``, … are its versions.

A version is one commit on main with the artifact's files and ``registry.json``, the record of all
versions; then it is tagged. It is published once it is recorded and tagged, and is verified by the
recorded digest wherever a tag points. All versions are in one file, so that of two pushes of the
same version one fails because main has moved. ``upload_operations`` are what is sent of a version.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml  # type: ignore[import-untyped, unused-ignore]
from huggingface_hub import CommitOperationAdd
from pydantic import AfterValidator, Field

from wsdarts_registry._json import MAX_RECORD_BYTES, Digest, Document, Record
from wsdarts_registry.artifact.checked_files import checksum_line, file_record
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, FileRecord, Manifest
from wsdarts_registry.artifact.reader import HEAVY
from wsdarts_registry.artifact.reference import is_alias
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import (
    ArtifactError,
    RecordError,
    ReferenceNotFoundError,
    RegistryError,
    VersionConflictError,
)
from wsdarts_registry.stores.huggingface._client import TAG, HuggingFaceClient
from wsdarts_registry.stores.huggingface._responses import Head, Repository
from wsdarts_registry.stores.huggingface._retries import with_retries
from wsdarts_registry.stores.records import Alias, Entry, Status, VersionInfo, Yank

RECORD = "registry.json"
SIGNATURES = "signatures"
_MAX_VERSIONS = 5000
_MAX_SMALL_BYTES = 8 * 2**20
_TAG = re.compile(r"v([1-9][0-9]{0,8})")
# Files that the Hub adds to every new repository.
_CREATED_BY_HUB = (".gitattributes",)
_CARD_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
# Larger files are LFS files, sent from the disk and named by their sha256.
_SMALL = 2**20


def _check_alias(text: str) -> str:
    if not is_alias(text):
        raise ValueError("expected an alias")
    return text


VersionKey = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]
AliasKey = Annotated[str, AfterValidator(_check_alias)]


class VersionRecord(Record):
    """Digest of one version."""

    digest: Digest


class RepositoryRecord(Document):
    """``registry.json``: versions of an artifact by number, yanked versions and aliases."""

    format: Literal[1] = 1
    versions: dict[VersionKey, VersionRecord] = Field(default={}, max_length=_MAX_VERSIONS)
    yanked: dict[VersionKey, Yank] = Field(default={}, max_length=_MAX_VERSIONS)
    aliases: dict[AliasKey, Alias] = Field(default={}, max_length=1000)

    @property
    def digests(self) -> dict[int, str]:
        """Digest of each version, ascending, tagged or not."""
        return {n: self.versions[str(n)].digest for n in sorted(map(int, self.versions))}

    def status(self, version: int, *, signed: bool) -> Status:
        """Return yank, aliases and signature of a version."""
        names = (alias for alias, record in self.aliases.items() if record.version == version)
        return Status(
            yank=self.yanked.get(str(version)), aliases=tuple(sorted(names)), signed=signed
        )

    def to_commit(self) -> bytes:
        """Return its bytes.

        Raises:
            RegistryError: They are longer than the limit for reading a record.
        """
        content = self.to_bytes()
        type(self).from_bytes(content, what=f"the new {RECORD}", error=RegistryError)
        return content

    def with_version(self, version: int, digest: str) -> "RepositoryRecord":
        """Return a copy with one more version."""
        versions = {**self.versions, str(version): VersionRecord(digest=digest)}
        return self.model_copy(update={"versions": versions})

    def with_yank(self, version: int, yank: Yank) -> "RepositoryRecord":
        """Return a copy with another yank of a version."""
        return self.model_copy(update={"yanked": {**self.yanked, str(version): yank}})

    def with_alias(self, alias: str, record: Alias | None) -> "RepositoryRecord":
        """Return a copy with another record of an alias, or without it."""
        aliases = {name: kept for name, kept in self.aliases.items() if name != alias}
        if record is not None:
            aliases[alias] = record
        return self.model_copy(update={"aliases": aliases})


def signature_path(version: int) -> str:
    """Return the path of the signature of a version."""
    return f"{SIGNATURES}/v{version}.json"


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of an artifact's repository when it was read.

    Attributes:
        head: Newest commit of main; None without a repository.
        record: Versions, yanked versions and aliases; empty if main has none.
        tags: Commit of each tagged version.
    """

    head: Head | None
    record: RepositoryRecord = field(default_factory=RepositoryRecord)
    tags: Mapping[int, str] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[VersionInfo, ...]:
        """The published versions, ascending."""
        return tuple(
            VersionInfo(version=version, digest=digest, status=self.status(version))
            for version, digest in self.record.digests.items()
            if version in self.tags
        )

    @property
    def pending(self) -> dict[int, str]:
        """Digests of the versions whose push is pending: committed, not tagged."""
        return {n: d for n, d in self.record.digests.items() if n not in self.tags}

    def status(self, version: int) -> Status:
        """Return yank, aliases and signature of a version."""
        signed = self.head is not None and signature_path(version) in self.head.files
        return self.record.status(version, signed=signed)

    def next_version(self, version: int | None, digest: str, name: str) -> int:
        """Return the number for a push of a digest, as version ``version`` or the next one.

        Numbers of pending pushes count as taken; only the same content may finish them.

        Raises:
            VersionConflictError: A push of the version with other content is pending.
        """
        numbers = {found: number for number, found in self.pending.items()}
        if version is None:
            return numbers.get(digest) or max(self.record.digests, default=0) + 1
        other = self.pending.get(version, digest)
        if other != digest:
            raise VersionConflictError(
                f"{name}@{version} was begun with digest {other} by a push that did not end, and "
                f"what is pushed has {digest}",
                hint="versions are write-once: leave the version out to take the next",
            )
        return version


class ArtifactRepository:
    """The repository of one artifact.

    Args:
        client: Client of the Hub.
        namespace: User or organisation.
        name: Name of the artifact.
    """

    def __init__(self, client: HuggingFaceClient, namespace: str, name: str) -> None:
        self._client = client
        self.name = name
        self.remote = Repository(id=f"{namespace}/{name}")

    def state(self) -> State:
        """Read the current state.

        Raises:
            RegistryError: A request to the Hub failed.
            RecordError: The record is malformed.
        """
        head = self._client.head(self.remote)
        if head is None or RECORD not in head.files:
            return State(head=head)
        content = self._client.read(self.remote, head.commit, RECORD, MAX_RECORD_BYTES)
        what = f"{RECORD} of {self.remote.id}"
        record = RepositoryRecord.from_bytes(content, what=what, error=RecordError)
        tags = self._client.tags(self.remote)
        numbers = {
            int(match[1]): commit
            for tag, commit in tags.items()
            if (match := _TAG.fullmatch(tag)) is not None
        }
        return State(head=head, record=record, tags=numbers)

    def entry(self, state: State, version: int) -> Entry:
        """Return a version with its verified manifest.

        Raises:
            ArtifactError: There is no such version, or its tag means other content.
        """
        if version not in state.tags or version not in state.record.digests:
            raise ArtifactError(f"{self.remote.id} has no version {version} any more")
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
        """Return the manifest at a commit, verified by its digest.

        Raises:
            ArtifactError: It is missing or has another digest.
        """
        content = self._client.read(self.remote, commit, MANIFEST, MAX_RECORD_BYTES)
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            raise ArtifactError(
                f"digest of {self.remote.id} at {commit[:12]}",
                found=found,
                expected=f"{digest} as in its {RECORD}",
                hint="it was changed by other means than wsdarts-hub",
            )
        return content

    def file_bytes(self, commit: str, manifest: Manifest, path: str) -> bytes:
        """Return a small file of a version, verified.

        Raises:
            ArtifactError: It is missing, or its size or sha256 is not the manifest's.
        """
        record = manifest.files[path]
        if record.size > _MAX_SMALL_BYTES:
            raise ArtifactError(
                f"size of {path} of {self.remote.id}",
                found=f"{record.size} bytes",
                expected=f"at most {_MAX_SMALL_BYTES}",
            )
        content = self._client.read(self.remote, commit, path, record.size)
        if file_record(content) != record:
            raise ArtifactError(
                f"{path} of {self.remote.id} at {commit[:12]} has another size or sha256 than its "
                "manifest says",
                hint="it is damaged: push the artifact again",
            )
        return content

    def check_files(self, commit: str, manifest: Manifest, digest: str) -> None:
        """Compare the Hub's sizes and hashes of an artifact's files with the manifest; fetch none.

        Raises:
            ArtifactError: One is missing, or has another size or sha256.
        """
        line = checksum_line(digest.removeprefix("sha256:"))
        own = FileRecord(size=len(line), sha256=hashlib.sha256(line).hexdigest())
        expected = {**manifest.files, CHECKSUM: own}
        found = self._client.describe(self.remote, commit, list(expected))
        for path, record in expected.items():
            info = found.get(path)
            if info is None:
                raise ArtifactError(
                    f"{self.remote.id} at {commit[:12]} lacks {path}", hint="push it again"
                )
            if info.size != record.size or info.sha256 not in (None, record.sha256):
                raise ArtifactError(
                    f"{path} of {self.remote.id} at {commit[:12]} has {info.size} bytes, or "
                    "another sha256",
                    expected=f"{record.size} bytes, as its manifest says",
                    hint="nothing was fetched",
                )

    def add(
        self, state: State, version: int, digest: str, files: Sequence[CommitOperationAdd]
    ) -> State:
        """Commit a version on top of a state, tag it, and return the new state.

        Raises:
            RetryableError: Main has moved, or the response was lost.
            RegistryError: It was refused, the repository was made by others, or the tag means
                other content.
        """
        head = state.head or self._client.create(self.remote)
        self._check_owned(head)
        record = state.record.with_version(version, digest)
        kept = {*_CREATED_BY_HUB, RECORD, *(addition.path_in_repo for addition in files)}
        stale = [
            path
            for path in head.files
            if path not in kept and not path.startswith(f"{SIGNATURES}/")
        ]
        commit = self._client.commit(
            self.remote,
            head.commit,
            _title(self.name, version),
            [*files, CommitOperationAdd(RECORD, record.to_commit())],
            stale,
        )
        tagged = self._tag(version, digest, commit)
        signatures = (path for path in head.files if path.startswith(f"{SIGNATURES}/"))
        now = Head(commit=commit, files=(*kept, *signatures), private=head.private)
        return State(head=now, record=record, tags={**state.tags, version: tagged})

    def finish_pending(self, state: State) -> bool:
        """Tag the versions of pending pushes; return whether there were any.

        A version whose commit is lost, or does not verify, stays hidden.
        """
        done = False
        for version, digest in state.pending.items():
            commit = self._commit_of(state, version, digest)
            if commit is not None:
                self._tag(version, digest, commit)
                done = True
        return done

    def edit(
        self,
        title: str,
        change: Callable[[RepositoryRecord], RepositoryRecord],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Change the record on main in a commit, with other files.

        Raises:
            RegistryError: It cannot be written.
        """

        def attempt() -> None:
            state = self.state()
            if state.head is None:
                raise ReferenceNotFoundError(f"there is no repository {self.remote.id}")
            changed = {RECORD: change(state.record).to_commit(), **(files or {})}
            additions = [CommitOperationAdd(path, content) for path, content in changed.items()]
            self._client.commit(self.remote, state.head.commit, title, additions)

        with_retries(attempt)

    def _check_owned(self, head: Head) -> None:
        """Refuse to write to a repository that was made by others.

        Raises:
            RegistryError: It has files, but no record.
        """
        others = [path for path in head.files if path not in _CREATED_BY_HUB]
        if others and RECORD not in head.files:
            raise RegistryError(
                f"{self.remote.id} is a model on the Hub that wsdarts-hub did not make (it holds "
                f"{', '.join(others[:3])})",
                hint="choose another name",
            )

    def _tag(self, version: int, digest: str, commit: str) -> str:
        """Tag a version, unless it is tagged; return the commit of the tag."""
        tagged = self._client.tag(self.remote, f"v{version}", commit)
        try:
            if tagged != commit:
                self.manifest_bytes(tagged, digest)
        except ArtifactError as error:
            raise RegistryError(
                f"the tag v{version} of {self.remote.id} means other content ({error})",
                hint="delete it on the Hub, or push as another version",
            ) from error
        return tagged

    def _commit_of(self, state: State, version: int, digest: str) -> str | None:
        """Return a commit with all files of a version; None if there is none."""
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
        yield from (commit for commit, found in self._client.history(self.remote) if found == title)


def _title(name: str, version: int) -> str:
    return f"Publish {name}@{version}"


def check_publishable(edition: Edition) -> None:
    """Refuse an artifact that could not be found on the Hub, or would overwrite its record.

    Raises:
        ArtifactError: Its card lacks our tag, or a path is reserved.
    """
    reserved = [
        path for path in edition.manifest.files if path.split("/")[0] in (RECORD, SIGNATURES)
    ]
    if reserved:
        raise ArtifactError(
            f"the artifact has a file {reserved[0]}, which on the Hub is the registry's own",
            hint="rename it",
        )
    if TAG not in _tags(edition.card):
        raise ArtifactError(
            f"the card of the artifact does not say `library_name: {TAG}`, by which it is found "
            "on the Hub",
            hint="publish it with `wsdarts-hub push`, which writes the card",
        )


def upload_operations(edition: Edition) -> list[CommitOperationAdd]:
    """Return the additions of an artifact's files, verified as they are read.

    Raises:
        ArtifactError: One is damaged, or cannot be read.
    """
    found = [
        CommitOperationAdd(MANIFEST, edition.content),
        CommitOperationAdd(CHECKSUM, edition.checksum),
    ]
    for path, record in edition.manifest.files.items():
        if record.size <= _SMALL or path in edition.replaced:
            found.append(_addition(path, edition.read(path)))
            continue
        found.append(_addition(path, edition.source.directory / path, record))
        if path in HEAVY:
            edition.check_taken(path)
    return found


def _addition(
    path: str, source: bytes | Path, record: FileRecord | None = None
) -> CommitOperationAdd:
    """Return the addition of a file; a file on the disk is hashed by huggingface_hub.

    The Hub stores it by that hash, and refuses other bytes.
    """
    content = source if isinstance(source, bytes) else str(source.absolute())
    try:
        addition = CommitOperationAdd(path, content)
        sha256 = addition.upload_info.sha256.hex()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be sent to the Hub: {error}") from error
    if record is not None and sha256 != record.sha256:
        raise ArtifactError(
            f"{source!s} has another sha256 than its manifest says",
            hint="the artifact is damaged or was changed: nothing was published",
        )
    return addition


def _tags(card: str) -> set[str]:
    """Return the tags under which the Hub lists a repository with that card."""
    head = _CARD_HEAD.match(card)
    try:
        data = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return set()
    if not isinstance(data, dict):
        return set()
    tags = data.get("tags")
    listed = tags if isinstance(tags, list) else [tags]
    return {str(tag) for tag in (data.get("library_name"), *listed) if isinstance(tag, str)}
