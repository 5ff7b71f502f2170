"""Files of the index of a namespace, in its dataset repository ``wsdarts-registry``.

The index holds all that a ranking reads. Its parts are never changed, and are named by their
sha256; ``index.json`` lists those that count:

- tables, ``index/tables/HEX.json``: the names, with the commit of main that each was read from and
  their versions, and the digests in each pack. An entry of a later table replaces that of an
  earlier one;
- packs, ``index/packs/HEX.safetensors``: of some versions the manifest and the ranking
  embeddings, byte by byte as in the artifact, as U8 tensors ``DIGEST/artifact.json`` and
  ``DIGEST/embeddings/KEY.safetensors``.

A manifest is verified by its digest and an embedding by its manifest; a name whose main has moved
since is read again. ``index.safetensors`` is the index of earlier versions of this library, tables
and packs in one file: it is read where there is no ``index.json``.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, BinaryIO, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from wsdarts_registry import _json, _tensors
from wsdarts_registry._json import Count, Digest, Document, Record, explain
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import MANIFEST, EmbeddingRecord, FileRecord, Manifest
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface._artifact_repository import AliasKey
from wsdarts_registry.stores.huggingface._responses import Commit, Sha256
from wsdarts_registry.stores.records import Status, VersionInfo, Yank

LIST_FILE = "index.json"
OLD_FILE = "index.safetensors"
FOLDER = "index/"
MAX_OLD_BYTES = 2 * 2**30
# The largest parts that are read; those that are written are smaller, see ``_index_update``.
MAX_TABLE_BYTES = 4 * 2**20
MAX_PACK_BYTES = 64 * 2**20
_MAX_NAMES = 100_000
_MAX_VERSIONS = 5000
_MAX_PARTS = 100_000


def _check_name(text: str) -> str:
    if not is_name(text):
        raise ValueError("expected the name of an artifact")
    return text


Name = Annotated[str, Field(max_length=64), AfterValidator(_check_name)]


class DamagedPartError(RegistryError):
    """A part of an index is not what it should be; the artifacts have what was in it."""


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

    name: Name
    commit: Commit
    versions: Annotated[tuple[IndexedVersion, ...], Field(max_length=_MAX_VERSIONS)]

    @model_validator(mode="after")
    def _check(self) -> "IndexedName":
        numbers = [version.version for version in self.versions]
        if numbers != sorted(set(numbers)):
            raise ValueError("expected the versions of a name, ascending")
        return self

    def version(self, number: int) -> IndexedVersion | None:
        """Return the version with a number; None if there is none."""
        return next((version for version in self.versions if version.version == number), None)


class PartList(Document):
    """``index.json``: the tables of an index, oldest first, and its packs."""

    MAX_BYTES: ClassVar[int] = 16 * 2**20

    format: Literal[1] = 1
    tables: Annotated[tuple[FileRecord, ...], Field(max_length=_MAX_PARTS)] = ()
    packs: Annotated[tuple[FileRecord, ...], Field(max_length=_MAX_PARTS)] = ()

    @model_validator(mode="after")
    def _check(self) -> "PartList":
        for records, limit in ((self.tables, MAX_TABLE_BYTES), (self.packs, MAX_PACK_BYTES)):
            if len({record.sha256 for record in records}) != len(records):
                raise ValueError("a part stands there twice")
            if any(record.size > limit for record in records):
                raise ValueError(f"a part has more than {limit} bytes")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all parts."""
        return (*map(table_path, self.tables), *map(pack_path, self.packs))


class Table(Document):
    """A part of the table of an index.

    Attributes:
        names: Entries of names, sorted; they replace those of earlier tables.
        packs: For packs by the sha256 of their file the artifacts in them, sorted, by digest
            without ``sha256:``.
    """

    MAX_BYTES: ClassVar[int] = MAX_TABLE_BYTES

    format: Literal[1] = 1
    names: Annotated[tuple[IndexedName, ...], Field(max_length=_MAX_NAMES)] = ()
    packs: dict[Sha256, Annotated[tuple[Sha256, ...], Field(max_length=_tensors.MAX_TENSORS)]] = (
        Field(default={}, max_length=_MAX_PARTS)
    )

    @model_validator(mode="after")
    def _check(self) -> "Table":
        names = [entry.name for entry in self.names]
        if names != sorted(set(names)):
            raise ValueError("expected sorted names, none of them twice")
        if any(list(held) != sorted(set(held)) for held in self.packs.values()):
            raise ValueError("expected sorted digests, none of them twice")
        return self


class _OldTable(Record):
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

    @property
    def size(self) -> int:
        """About the bytes that it takes in a pack, header included."""
        files = (self.manifest, *self.embeddings.values())
        return sum(len(data) + 200 for data in files)


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index as it was read.

    Attributes:
        names: Its table by name.
        contents: Contents by digest, verified when they are read; a KeyError means that there is
            none, and a DamagedPartError that it is damaged.
    """

    names: Mapping[str, IndexedName]
    contents: Mapping[str, Content]


EMPTY_INDEX = Index(names={}, contents={})


def table_path(record: FileRecord) -> str:
    """Return the path of a table in the repository."""
    return f"{FOLDER}tables/{record.sha256}.json"


def pack_path(record: FileRecord) -> str:
    """Return the path of a pack in the repository."""
    return f"{FOLDER}packs/{record.sha256}.safetensors"


def pack_bytes(contents: Mapping[str, Content]) -> bytes:
    """Return the bytes of a pack; equal contents have equal bytes."""
    arrays = {}
    for digest, content in contents.items():
        for path, data in {MANIFEST: content.manifest, **content.embeddings}.items():
            arrays[f"{digest[7:]}/{path}"] = np.frombuffer(data, np.uint8)
    return _tensors.write_tensors(arrays)


# For each digest the first byte and the one after the last of its files, by path.
Places = Mapping[str, Mapping[str, tuple[int, int]]]


def pack_places(file: BinaryIO, size: int) -> Places:
    """Return the places of the contents in a pack.

    Args:
        file: The pack, at its beginning.
        size: Its size in bytes.

    Raises:
        RegistryError: It is damaged or malformed.
    """
    what = "a pack of the index"
    start = file.read(8)
    length = _tensors.header_length(start, size, what=what, error=RegistryError)
    start += file.read(length - len(start))
    header = _tensors.read_header(start, size, what=what, error=RegistryError)
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for name, record in header.tensors.items():
        hexadecimal, _, path = name.partition("/")
        if record.dtype != "U8" or len(record.shape) != 1:
            raise RegistryError(f"tensor {name[:120]!r} of {what} holds no bytes")
        span = (header.length + record.begin, header.length + record.end)
        found.setdefault(f"sha256:{hexadecimal}", {})[path] = span
    return found


def read_pack(content: bytes) -> dict[str, Content]:
    """Read and verify all of a pack.

    Raises:
        WsdartsError: It is damaged or malformed.
    """
    places = pack_places(io.BytesIO(content), len(content))
    return {
        digest: verified_content(
            digest, {path: content[begin:end] for path, (begin, end) in files.items()}
        )
        for digest, files in places.items()
    }


def read_old_index(content: bytes) -> Index:
    """Read and verify ``index.safetensors``.

    Raises:
        WsdartsError: It is damaged or malformed.
    """
    arrays, metadata = _tensors.read_tensors(content, what=OLD_FILE, error=RegistryError)
    table = _old_table(metadata)
    files: dict[str, dict[str, bytes]] = {}
    for name, array in arrays.items():
        hexadecimal, _, path = name.partition("/")
        if array.dtype != np.uint8 or array.ndim != 1:
            raise RegistryError(f"tensor {name[:120]!r} of {OLD_FILE} holds no bytes")
        files.setdefault(f"sha256:{hexadecimal}", {})[path] = array.tobytes()
    names = {entry.name: entry for entry in table.names}
    unlisted = files.keys() - digests_of(table.names)
    if unlisted or len(names) != len(table.names):
        raise RegistryError(f"{OLD_FILE} holds what its table does not name")
    contents = {digest: verified_content(digest, found) for digest, found in files.items()}
    return Index(names=names, contents=contents)


def ranking_records(manifest: Manifest) -> tuple[EmbeddingRecord, ...]:
    """Return the embeddings that rank an artifact, one in each space."""
    spaces: dict[EmbeddingSpace, None] = dict.fromkeys(
        record.space.embedding_space for record in manifest.embeddings
    )
    found = (manifest.ranking_record(space) for space in spaces)
    return tuple(record for record in found if record is not None)


def verified_content(digest: str, files: Mapping[str, bytes]) -> Content:
    """Return the content of an artifact after comparing it with its digest.

    Args:
        digest: Digest of the artifact.
        files: Its manifest and ranking embeddings by path.

    Raises:
        RegistryError: They are not those of that artifact.
    """
    manifest = files.get(MANIFEST, b"")
    if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != digest:
        raise RegistryError(f"a manifest in the index has another digest than {digest}")
    parsed = Manifest.from_bytes(manifest, what="a manifest in the index", error=RegistryError)
    paths = {record.file for record in ranking_records(parsed)}
    if files.keys() != {MANIFEST, *paths}:
        raise RegistryError(f"the index has not the ranking embeddings of {digest}")
    for path in paths:
        if file_record(files[path]) != parsed.files[path]:
            raise RegistryError(f"{path} of {digest} in the index has another sha256")
    return Content(
        manifest=manifest, parsed=parsed, embeddings={path: files[path] for path in sorted(paths)}
    )


def digests_of(names: Iterable[IndexedName]) -> set[str]:
    """Return the digests of all versions of some names."""
    return {version.digest for entry in names for version in entry.versions}


def _old_table(metadata: object) -> _OldTable:
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if type(found) is int and found != 1:
        raise RegistryError(
            f"{OLD_FILE} has format {found}",
            hint=f"this version reads format 1: update with {UPDATE}",
        )
    try:
        return _OldTable.model_validate_json(_json.dump(metadata))
    except ValidationError as problem:
        raise RegistryError(
            f"the table of {OLD_FILE} is not valid: {explain(problem)}"
        ) from problem
