"""The index of a registry on the Hub, ``index.safetensors``: all that a ranking reads, in one file.

For each version there are its manifest and its ranking embeddings, byte by byte as in the
artifact, as U8 _tensors ``DIGEST/artifact.json`` and ``DIGEST/embeddings/KEY.safetensors``. The
metadata says of each name which commit of its main branch that was read from, and its versions.

A manifest is checked by its digest and an embedding by its manifest, so whoever reads an index has
to believe the table alone; and a name whose main has moved since is read anew.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from wsdarts_registry import _json, _tensors
from wsdarts_registry._json import Count, Digest, Record, explain
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import MANIFEST, EmbeddingRecord, Manifest
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.embedding.space import EmbeddingSpace
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface.answers import Commit
from wsdarts_registry.stores.huggingface.record import AliasKey
from wsdarts_registry.stores.records import Status, VersionInfo, Yank

FILE = "index.safetensors"
MAX_BYTES = 2 * 2**30
_MAX_NAMES = 100_000
_MAX_VERSIONS = 5000


class IndexedVersion(Record):
    """A version of a name: its content, the commit that its tag means, and what is said of it."""

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
    """A name, the commit of its main branch that was read, and its versions, ascending."""

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
        """The version of a number."""
        return next((version for version in self.versions if version.version == number), None)


class IndexTable(Record):
    """The metadata of ``index.safetensors``."""

    format: Literal[1] = 1
    names: Annotated[tuple[IndexedName, ...], Field(max_length=_MAX_NAMES)] = ()


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an index holds of one artifact.

    Attributes:
        manifest: ``artifact.json``, byte by byte.
        parsed: What that says.
        embeddings: The embeddings by which it is ranked, byte by byte, by path.
    """

    manifest: bytes
    parsed: Manifest
    embeddings: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index in memory.

    Attributes:
        names: Its table, by name.
        contents: Verified contents by digest; those of damaged artifacts are missing.
    """

    names: Mapping[str, IndexedName]
    contents: Mapping[str, Content]

    def to_bytes(self) -> bytes:
        """Write ``index.safetensors``; equal indices have equal bytes."""
        table = IndexTable(names=tuple(self.names[name] for name in sorted(self.names)))
        arrays = {}
        for digest in sorted(_digests(self.names.values()) & self.contents.keys()):
            content = self.contents[digest]
            for path, data in {MANIFEST: content.manifest, **content.embeddings}.items():
                arrays[f"{digest[7:]}/{path}"] = np.frombuffer(data, np.uint8)
        return _tensors.write_tensors(arrays, table.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Index":
        """Read and verify an index, every byte of it.

        Raises:
            WsdartsError: It is damaged or malformed in any way.
        """
        arrays, metadata = _tensors.read_tensors(content, what=FILE, error=RegistryError)
        table = _table(metadata)
        files: dict[str, dict[str, bytes]] = {}
        for name, array in arrays.items():
            hexadecimal, _, path = name.partition("/")
            if array.dtype != np.uint8 or array.ndim != 1:
                raise RegistryError(f"tensor {name[:120]!r} of {FILE} holds no bytes")
            files.setdefault(f"sha256:{hexadecimal}", {})[path] = array.tobytes()
        names = {entry.name: entry for entry in table.names}
        strangers = files.keys() - _digests(table.names)
        if strangers or len(names) != len(table.names):
            raise RegistryError(f"{FILE} holds what its table does not name")
        contents = {digest: _content(digest, found) for digest, found in files.items()}
        return cls(names=names, contents=contents)


EMPTY = Index(names={}, contents={})


def ranking_records(manifest: Manifest) -> tuple[EmbeddingRecord, ...]:
    """The embeddings by which an artifact is ranked, one in each space."""
    spaces: dict[EmbeddingSpace, None] = dict.fromkeys(
        record.space.embedding_space for record in manifest.embeddings
    )
    found = (manifest.ranking_record(space) for space in spaces)
    return tuple(record for record in found if record is not None)


def _content(digest: str, files: Mapping[str, bytes]) -> Content:
    manifest = files.get(MANIFEST, b"")
    if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != digest:
        raise RegistryError(f"a manifest in {FILE} has another digest than {digest}")
    parsed = Manifest.from_bytes(manifest, what=f"a manifest in {FILE}", error=RegistryError)
    paths = {record.file for record in ranking_records(parsed)}
    if files.keys() != {MANIFEST, *paths}:
        raise RegistryError(f"{FILE} has not the ranking embeddings of {digest}")
    for path in paths:
        if file_record(files[path]) != parsed.files[path]:
            raise RegistryError(f"{path} of {digest} in {FILE} has another sha256")
    return Content(
        manifest=manifest, parsed=parsed, embeddings={path: files[path] for path in sorted(paths)}
    )


def _table(metadata: object) -> IndexTable:
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if type(found) is int and found != 1:
        raise RegistryError(
            f"{FILE} has format {found}", hint=f"this version reads format 1: update with {UPDATE}"
        )
    try:
        return IndexTable.model_validate_json(_json.dump(metadata))
    except ValidationError as problem:
        raise RegistryError(f"the table of {FILE} is not valid: {explain(problem)}") from problem


def _digests(names: Iterable[IndexedName]) -> set[str]:
    return {version.digest for entry in names for version in entry.versions}
