"""The index of a namespace, ``index.safetensors`` in its dataset repository ``wsdarts-registry``.

It holds all that a ranking reads: of each version the manifest and the ranking embeddings, byte by
byte as in the artifact, as U8 tensors ``DIGEST/artifact.json`` and
``DIGEST/embeddings/KEY.safetensors``. Its metadata is a table of the names, with the commit of main
that each was read from, and of their versions. A manifest is verified by its digest and an
embedding by its manifest; a name whose main has moved since is read again. The settings of the
registry, ``registry.json``, are in the same repository.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from huggingface_hub import CommitOperationAdd
from pydantic import Field, ValidationError, model_validator

from wsdarts_registry import _json, _tensors
from wsdarts_registry._json import MAX_RECORD_BYTES, Count, Digest, Record, explain
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import MANIFEST, EmbeddingRecord, Manifest
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import ArtifactError, RegistryError, WsdartsError
from wsdarts_registry.stores.huggingface._artifact_repository import AliasKey
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._responses import Commit, Head, Repository
from wsdarts_registry.stores.huggingface.retry import with_retries
from wsdarts_registry.stores.records import RegistryConfig, Status, VersionInfo, Yank

INDEX_FILE = "index.safetensors"
MAX_BYTES = 2 * 2**30
_MAX_NAMES = 100_000
_MAX_VERSIONS = 5000


class IndexedVersion(Record):
    """A version of an artifact: digest, commit of its tag, yank, aliases and signature."""

    version: Count
    digest: Digest
    commit: Commit
    yank: Yank | None = None
    aliases: Annotated[tuple[AliasKey, ...], Field(max_length=1000)] = ()
    signed: bool = False

    @property
    def info(self) -> VersionInfo:
        """The version as a registry lists it."""
        status = Status(yank=self.yank, aliases=self.aliases, signed=self.signed)
        return VersionInfo(version=self.version, digest=self.digest, status=status)


class IndexedName(Record):
    """An artifact's name, the commit of main that was read, and its versions, ascending."""

    name: Annotated[str, Field(max_length=64)]
    commit: Commit
    versions: Annotated[tuple[IndexedVersion, ...], Field(max_length=_MAX_VERSIONS)]

    @model_validator(mode="after")
    def _check(self) -> "IndexedName":
        numbers = [version.version for version in self.versions]
        if not is_name(self.name) or numbers != sorted(set(numbers)):
            raise ValueError("expected the name of an artifact, and its versions ascending")
        return self

    def version(self, number: int) -> IndexedVersion | None:
        """Return the version with a number; None if there is none."""
        return next((version for version in self.versions if version.version == number), None)


class IndexTable(Record):
    """Metadata of ``index.safetensors``."""

    format: Literal[1] = 1
    names: Annotated[tuple[IndexedName, ...], Field(max_length=_MAX_NAMES)] = ()


@dataclass(frozen=True, kw_only=True)
class Content:
    """Manifest and ranking embeddings of one artifact.

    Attributes:
        manifest: ``artifact.json``, byte by byte.
        parsed: The parsed manifest.
        embeddings: The ranking embeddings by path, byte by byte.
    """

    manifest: bytes
    parsed: Manifest
    embeddings: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index in memory.

    Attributes:
        names: Its table by name.
        contents: Verified contents by digest; those of damaged artifacts are missing.
    """

    names: Mapping[str, IndexedName]
    contents: Mapping[str, Content]

    def to_bytes(self) -> bytes:
        """Return the bytes of ``index.safetensors``; equal indices have equal bytes."""
        table = IndexTable(names=tuple(self.names[name] for name in sorted(self.names)))
        arrays = {}
        for digest in sorted(_digests(self.names.values()) & self.contents.keys()):
            content = self.contents[digest]
            for path, data in {MANIFEST: content.manifest, **content.embeddings}.items():
                arrays[f"{digest[7:]}/{path}"] = np.frombuffer(data, np.uint8)
        return _tensors.write_tensors(arrays, table.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Index":
        """Read and verify an index.

        Raises:
            WsdartsError: It is damaged or malformed.
        """
        arrays, metadata = _tensors.read_tensors(content, what=INDEX_FILE, error=RegistryError)
        table = _table(metadata)
        files: dict[str, dict[str, bytes]] = {}
        for name, array in arrays.items():
            hexadecimal, _, path = name.partition("/")
            if array.dtype != np.uint8 or array.ndim != 1:
                raise RegistryError(f"tensor {name[:120]!r} of {INDEX_FILE} holds no bytes")
            files.setdefault(f"sha256:{hexadecimal}", {})[path] = array.tobytes()
        names = {entry.name: entry for entry in table.names}
        unlisted = files.keys() - _digests(table.names)
        if unlisted or len(names) != len(table.names):
            raise RegistryError(f"{INDEX_FILE} holds what its table does not name")
        contents = {digest: _content(digest, found) for digest, found in files.items()}
        return cls(names=names, contents=contents)


EMPTY_INDEX = Index(names={}, contents={})


def ranking_records(manifest: Manifest) -> tuple[EmbeddingRecord, ...]:
    """Return the embeddings that rank an artifact, one in each space."""
    spaces: dict[EmbeddingSpace, None] = dict.fromkeys(
        record.space.embedding_space for record in manifest.embeddings
    )
    found = (manifest.ranking_record(space) for space in spaces)
    return tuple(record for record in found if record is not None)


def _content(digest: str, files: Mapping[str, bytes]) -> Content:
    manifest = files.get(MANIFEST, b"")
    if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != digest:
        raise RegistryError(f"a manifest in {INDEX_FILE} has another digest than {digest}")
    parsed = Manifest.from_bytes(manifest, what=f"a manifest in {INDEX_FILE}", error=RegistryError)
    paths = {record.file for record in ranking_records(parsed)}
    if files.keys() != {MANIFEST, *paths}:
        raise RegistryError(f"{INDEX_FILE} has not the ranking embeddings of {digest}")
    for path in paths:
        if file_record(files[path]) != parsed.files[path]:
            raise RegistryError(f"{path} of {digest} in {INDEX_FILE} has another sha256")
    return Content(
        manifest=manifest, parsed=parsed, embeddings={path: files[path] for path in sorted(paths)}
    )


def _table(metadata: object) -> IndexTable:
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if type(found) is int and found != 1:
        raise RegistryError(
            f"{INDEX_FILE} has format {found}",
            hint=f"this version reads format 1: update with {UPDATE}",
        )
    try:
        return IndexTable.model_validate_json(_json.dump(metadata))
    except ValidationError as problem:
        raise RegistryError(
            f"the table of {INDEX_FILE} is not valid: {explain(problem)}"
        ) from problem


def _digests(names: Iterable[IndexedName]) -> set[str]:
    return {version.digest for entry in names for version in entry.versions}


NAME = "wsdarts-registry"
CONFIG = "registry.json"
CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FoundIndex:
    """Index of a namespace, if it has a usable one.

    Attributes:
        head: Newest commit of its repository; None without a repository.
        index: The index; None if it is missing or unusable.
        problem: Reason why it is unusable; else empty.
    """

    head: Head | None
    index: Index | None
    problem: str = ""


class IndexRepository:
    """Repository of the settings and the index of one namespace.

    Args:
        client: Client of the Hub.
        namespace: User or organisation.
    """

    def __init__(self, client: HuggingFaceClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._last: tuple[str, Index] | None = None  # with its commit
        self.remote = Repository(id=f"{namespace}/{NAME}", kind="dataset")

    def config(self, head: Head | None) -> RegistryConfig:
        """Return the settings at a commit, by default those of a new registry.

        Raises:
            RegistryError: They are malformed, or the Hub cannot be asked.
        """
        if head is None or CONFIG not in head.files:
            return RegistryConfig(name=self._namespace)
        content = self._client.read(self.remote, head.commit, CONFIG, MAX_RECORD_BYTES)
        what = f"{CONFIG} of {self.remote.path}"
        return RegistryConfig.from_bytes(content, what=what, error=RegistryError)

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """

        def attempt() -> None:
            additions = [CommitOperationAdd(CONFIG, config.to_bytes())]
            parent = self.ensure_head().commit
            self._client.commit(self.remote, parent, "Change the settings", additions)

        with_retries(attempt)

    def head(self) -> Head | None:
        """Return the head of main; None without a repository."""
        return self._client.head(self.remote)

    def find(self) -> FoundIndex:
        """Read and verify the index.

        Raises:
            RegistryError: A request to the Hub failed.
        """
        head = self.head()
        if head is None or INDEX_FILE not in head.files:
            return FoundIndex(head=head, index=None)
        last = self._last
        if last is not None and last[0] == head.commit:
            return FoundIndex(head=head, index=last[1])
        try:
            content = self._client.read(self.remote, head.commit, INDEX_FILE, MAX_BYTES)
        except ArtifactError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        try:
            index = Index.from_bytes(content)
        except WsdartsError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        self._last = (head.commit, index)
        return FoundIndex(head=head, index=index)

    def ensure_head(self) -> Head:
        """Return the head of main; create a missing repository.

        Raises:
            RegistryError: It cannot be created.
        """
        return self.head() or self._client.create(self.remote)

    def write(self, index: Index, head: Head) -> None:
        """Replace the index that was read at a head.

        Raises:
            RetryableError: It was replaced meanwhile, or the response was lost.
            RegistryError: It cannot be written.
        """
        additions = [CommitOperationAdd(INDEX_FILE, index.to_bytes())]
        if CONFIG not in head.files:
            config = RegistryConfig(name=self._namespace)
            additions.append(CommitOperationAdd(CONFIG, config.to_bytes()))
        if CARD not in head.files:
            additions.append(CommitOperationAdd(CARD, _card(self._namespace).encode()))
        self._client.commit(self.remote, head.commit, "Update the index", additions)


def _card(namespace: str) -> str:
    return (
        "---\ntags:\n- wsdarts-hub\nviewer: false\n---\n\n"
        f"# The index of hf://{namespace}\n\n"
        "What `wsdarts-hub` reads to rank the artifacts of this namespace. It is written by "
        f"`wsdarts-hub push`, and made anew by `wsdarts-hub index rebuild --registry "
        f"hf://{namespace}`.\n"
    )
