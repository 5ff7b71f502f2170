"""Types of API responses, and the offline cache; nothing is used before it was checked here.

A Hub can be wrong, taken over, or another server than intended, so every commit, tag, path, size
and hash has a type with its limits, and every list a greatest length.

The offline cache has the last responses of a Hub, and the files that were fetched from it.
Responses are used where the Hub may not be asked, and are checked again when they are read. Files
are stored by their sha256 and verified whenever they are read.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from huggingface_hub import constants
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from wsdarts_registry import _json
from wsdarts_registry._files import cache_directory, exists, read_regular, temporary_file
from wsdarts_registry._json import explain
from wsdarts_registry._text import is_plain_line
from wsdarts_registry.artifact.checked_files import check_file, read_checked
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.errors import RegistryError, WsdartsError
from wsdarts_registry.stores.huggingface._errors import Failure, RequestError

_MAX_FILES = 100_000
_MAX_TAGS = 20_000
_MAX_PATH = 4096
_MAX_BYTES = 64 * 2**20  # of a response in the cache
_T = TypeVar("_T")
_log = logging.getLogger("wsdarts_hub.cache")


def _check_path(path: str) -> str:
    parts = path.split("/")
    if not is_plain_line(path, _MAX_PATH) or any(part in ("", ".", "..") for part in parts):
        raise ValueError("expected a relative path without '..' or control characters")
    return path


def _check_line(text: str) -> str:
    if not is_plain_line(text, len(text)):
        raise ValueError("expected one line without control characters")
    return text


Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=2**53)]
RemotePath = Annotated[str, Field(max_length=_MAX_PATH), AfterValidator(_check_path)]
RefName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_check_line)]
RepositoryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}$")]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model or dataset repository, by its id such as ``"lab/flowers"``."""

    id: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def path(self) -> str:
        """Path of its address on the Hub."""
        return self.id if self.kind == "model" else f"datasets/{self.id}"

    @property
    def api(self) -> str:
        """Path of its address in the API."""
        return f"/api/{self.kind}s/{self.id}"


class _Response(BaseModel):
    """Base of all responses: strict and frozen; unknown keys are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", validate_default=True)


class Head(_Response):
    """The newest commit of a repository's main branch.

    Attributes:
        commit: Hash of the commit.
        files: Paths of all files.
        private: Whether the repository is private.
    """

    commit: Commit
    files: Annotated[tuple[RemotePath, ...], Field(max_length=_MAX_FILES)] = ()
    private: bool = False


class _Sibling(_Response):
    rfilename: RemotePath


class RepositoryInfo(_Response):
    """A repository; without a commit ``sha`` is None."""

    sha: Commit | None = None
    private: bool = False
    siblings: Annotated[tuple[_Sibling, ...], Field(max_length=_MAX_FILES)] | None = None

    @property
    def head(self) -> Head | None:
        """Newest commit of main; None without a commit."""
        if self.sha is None:
            return None
        files = sorted(sibling.rfilename for sibling in self.siblings or ())
        return Head(commit=self.sha, files=tuple(files), private=self.private)


class _Tag(_Response):
    name: RefName
    commit: Commit = Field(alias="targetCommit")


class References(_Response):
    """The tags of a repository."""

    tags: Annotated[tuple[_Tag, ...], Field(max_length=_MAX_TAGS)]


class ListedRepository(_Response):
    """A repository in a list."""

    id: RepositoryId
    sha: Commit | None = None
    private: bool = False


class HistoryEntry(_Response):
    """A commit in a history."""

    id: Commit
    title: Annotated[str, Field(max_length=10_000)]


class _LfsFile(_Response):
    sha256: Sha256 = Field(validation_alias=AliasChoices("sha256", "oid"))
    size: Size


class RemoteFile(_Response):
    """Size and hash of a path, before anything is fetched."""

    type: Literal["file", "directory"]
    path: RemotePath
    oid: Commit
    own_size: Size = Field(default=0, alias="size")
    lfs: _LfsFile | None = None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.lfs.size if self.lfs else self.own_size

    @property
    def sha256(self) -> str | None:
        """Hash of an LFS file; None for another file."""
        return self.lfs.sha256 if self.lfs else None

    def is_content(self, content: bytes) -> bool:
        """Return whether a content has this size and hash."""
        if len(content) != self.size:
            return False
        if self.lfs:
            return hashlib.sha256(content).hexdigest() == self.lfs.sha256
        blob = b"blob %d\0%b" % (len(content), content)
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == self.oid


class _PlannedFile(_Response):
    path: RemotePath
    ignored: bool = Field(default=False, alias="shouldIgnore")


class UploadPlan(_Response):
    """The Hub's plan of an upload; huggingface_hub leaves ignored files out silently."""

    files: Annotated[tuple[_PlannedFile, ...], Field(max_length=_MAX_FILES)]

    @property
    def ignored(self) -> tuple[str, ...]:
        """Paths that a ``.gitignore`` in the repository excludes."""
        return tuple(file.path for file in self.files if file.ignored)


HEAD = TypeAdapter(Head)
REPOSITORY_INFO = TypeAdapter(RepositoryInfo)
REFERENCES = TypeAdapter(References)
# One page each.
REPOSITORIES = TypeAdapter(Annotated[tuple[ListedRepository, ...], Field(max_length=10_000)])
HISTORY = TypeAdapter(Annotated[tuple[HistoryEntry, ...], Field(max_length=10_000)])
FILES = TypeAdapter(Annotated[tuple[RemoteFile, ...], Field(max_length=_MAX_FILES)])
UPLOAD_PLAN = TypeAdapter(UploadPlan)
COMMIT_HASH = TypeAdapter(Commit)
# As the offline cache stores them.
TAGS = TypeAdapter(Annotated[dict[RefName, Commit], Field(max_length=_MAX_TAGS)])
HEADS = TypeAdapter(dict[RepositoryId, tuple[Commit, bool]])
Heads = Mapping[str, tuple[str, bool]]


def parse_response(kind: TypeAdapter[_T], content: bytes) -> _T:
    """Return the checked value of a response.

    Raises:
        RequestError: It is malformed.
    """
    return _checked(kind.validate_json, content)


def check_value(kind: TypeAdapter[_T], value: object) -> _T:
    """Check a value that huggingface_hub read from a response, and return it.

    Raises:
        RequestError: It is malformed.
    """
    return _checked(kind.validate_python, value)


def _checked(validate: Callable[[Any], _T], response: object) -> _T:
    try:
        return validate(response)
    except ValidationError as error:
        raise RequestError(Failure(kind="malformed", message=explain(error))) from None


class OfflineCache:
    """API responses of one Hub by key, each a JSON file in the cache directory."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch(
        self,
        key: str,
        kind: TypeAdapter[_T],
        request: Callable[[], _T | None],
        missing: RegistryError,
    ) -> _T | None:
        """Send a request and store its response; where HF_HUB_OFFLINE is set, return the stored.

        Args:
            key: Name of the response.
            kind: Type of the response.
            request: Asks the Hub.
            missing: Raised offline where no response is stored.
        """
        if constants.is_offline_mode():
            found = self.get(key, kind)
            if found is None:
                raise missing
            return found
        response = request()
        if response is not None:  # what does not exist yet may exist later
            self.put(key, kind, response)
        return response

    def get(self, key: str, kind: TypeAdapter[_T]) -> _T | None:
        """Return a stored response; None if there is none, or it is damaged."""
        path = self._path(key)
        try:
            content = read_regular(path)
            _json.load(content, what=str(path), max_bytes=_MAX_BYTES)
            return kind.validate_json(content)
        except (WsdartsError, ValidationError):
            return None

    def put(self, key: str, kind: TypeAdapter[_T], response: _T) -> None:
        """Store a response; a cache that cannot be written only makes offline use impossible."""
        path = self._path(key)
        content = _json.dump(kind.dump_python(response, mode="json"))
        with suppress(OSError):
            if not path.is_file() or path.read_bytes() != content:
                _replace(path, content)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._url} {key}".encode()).hexdigest()
        return cache_directory() / "hub" / f"{name}.json"


class FileCache:
    """Fetched files by their sha256: ``hub/files/HEX`` in the cache directory."""

    def find(self, record: FileRecord) -> Path | None:
        """Return the path of a file, verified; None if it is missing or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            if exists(path):
                check_file(path.parent, path.name, record)
                _log.info("found in the cache: sha256:%s", record.sha256)
                return path
        return None

    def read(self, record: FileRecord) -> bytes | None:
        """Return the content of a file, verified; None if it is missing or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            return read_checked(path.parent, path.name, record)
        return None

    def add(
        self, record: FileRecord, fetch: Callable[[Callable[[bytes], object]], object]
    ) -> Path | None:
        """Write a file block by block; it appears once it is complete and verified.

        Args:
            record: Its size and sha256.
            fetch: Takes a function that writes a block.

        Returns:
            Its path; None if the content does not match the record.

        Raises:
            OSError: The cache cannot be written.
        """
        path = self._path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0

        def write(block: bytes) -> None:
            nonlocal size
            size += len(block)
            digest.update(block)
            file.write(block)

        with temporary_file(path) as (file, temporary):
            fetch(write)
            file.flush()
            if (size, digest.hexdigest()) != (record.size, record.sha256):
                return None
            return temporary.replace(path)

    def _path(self, record: FileRecord) -> Path:
        return cache_directory() / "hub" / "files" / record.sha256


def _replace(path: Path, content: bytes) -> None:
    """Replace a file in one step; a power cut may lose it, as it can be fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
