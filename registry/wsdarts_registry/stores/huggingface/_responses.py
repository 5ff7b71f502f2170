"""Checked values of what a Hub answers. Nothing of an answer is used that did not pass here.

A Hub can be wrong, taken over, or another server than the one that was meant, so every commit,
tag, path, size and hash has a type that says what it may be, and every list a length. What the
cache remembers of an answer passes here again when it is recalled.

What the repository of an artifact holds at one moment.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from wsdarts_registry._json import explain
from wsdarts_registry._text import is_plain_line
from wsdarts_registry.stores.huggingface._errors import Problem, ProblemError

_MAX_FILES = 100_000
_MAX_TAGS = 20_000
_LONGEST_PATH = 4096
_T = TypeVar("_T")


def _path(path: str) -> str:
    parts = path.split("/")
    if not is_plain_line(path, _LONGEST_PATH) or any(part in ("", ".", "..") for part in parts):
        raise ValueError("expected a relative path without '..' or control characters")
    return path


def _line(text: str) -> str:
    if not is_plain_line(text, len(text)):
        raise ValueError("expected one line without control characters")
    return text


Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=2**53)]
RemotePath = Annotated[str, Field(max_length=_LONGEST_PATH), AfterValidator(_path)]
RefName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_line)]
RepositoryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}$")]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on the Hub, a model or a dataset, by its id ``"lab/flowers"``."""

    id: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def path(self) -> str:
        """Its address on the Hub, without the server."""
        return self.id if self.kind == "model" else f"datasets/{self.id}"

    @property
    def api(self) -> str:
        """Its address in the Hub's API, without the server."""
        return f"/api/{self.kind}s/{self.id}"


class Answer(BaseModel):
    """Base of all answers: no conversions and no changes; what is not read is ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", validate_default=True)


class Head(Answer):
    """The newest commit of a repository's main branch.

    Attributes:
        commit: Its hash.
        files: Paths of all files.
        private: Whether only some may see it.
    """

    commit: Commit
    files: Annotated[tuple[RemotePath, ...], Field(max_length=_MAX_FILES)] = ()
    private: bool = False


class _Sibling(Answer):
    rfilename: RemotePath


class RepositoryInfo(Answer):
    """A repository; one without a commit has no ``sha``."""

    sha: Commit | None = None
    private: bool = False
    siblings: Annotated[tuple[_Sibling, ...], Field(max_length=_MAX_FILES)] | None = None

    @property
    def head(self) -> Head | None:
        """The newest commit of main; None where there is none."""
        if self.sha is None:
            return None
        files = sorted(sibling.rfilename for sibling in self.siblings or ())
        return Head(commit=self.sha, files=tuple(files), private=self.private)


class _Tag(Answer):
    name: RefName
    commit: Commit = Field(alias="targetCommit")


class References(Answer):
    """The tags of a repository."""

    tags: Annotated[tuple[_Tag, ...], Field(max_length=_MAX_TAGS)]


class ListedRepository(Answer):
    """A repository in a list."""

    id: RepositoryId
    sha: Commit | None = None
    private: bool = False


class HistoryEntry(Answer):
    """A commit in a history."""

    id: Commit
    title: Annotated[str, Field(max_length=10_000)]


class _LfsFile(Answer):
    sha256: Sha256 = Field(validation_alias=AliasChoices("sha256", "oid"))
    size: Size


class RemoteFile(Answer):
    """What the Hub says of a path before anything is fetched."""

    type: Literal["file", "directory"]
    path: RemotePath
    oid: Commit
    own_size: Size = Field(default=0, alias="size")
    lfs: _LfsFile | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.lfs.size if self.lfs else self.own_size

    @property
    def sha256(self) -> str | None:
        """Hash of an LFS file; None for another one."""
        return self.lfs.sha256 if self.lfs else None

    def is_content(self, content: bytes) -> bool:
        """Whether a content has the size and the hash that the Hub says."""
        if len(content) != self.size:
            return False
        if self.lfs:
            return hashlib.sha256(content).hexdigest() == self.lfs.sha256
        blob = b"blob %d\0%b" % (len(content), content)
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == self.oid


class _PlannedFile(Answer):
    path: RemotePath
    left_out: bool = Field(default=False, alias="shouldIgnore")


class UploadPlan(Answer):
    """How files are to be uploaded; the client reads more of it, and leaves some out silently."""

    files: Annotated[tuple[_PlannedFile, ...], Field(max_length=_MAX_FILES)]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The paths that a ``.gitignore`` in the repository keeps out."""
        return tuple(file.path for file in self.files if file.left_out)


HEAD = TypeAdapter(Head)
INFO = TypeAdapter(RepositoryInfo)
REFERENCES = TypeAdapter(References)
# A page of a list; the client counts the pages.
LISTED = TypeAdapter(Annotated[tuple[ListedRepository, ...], Field(max_length=10_000)])
HISTORY = TypeAdapter(Annotated[tuple[HistoryEntry, ...], Field(max_length=10_000)])
FILES = TypeAdapter(Annotated[tuple[RemoteFile, ...], Field(max_length=_MAX_FILES)])
PLAN = TypeAdapter(UploadPlan)
MADE = TypeAdapter(Commit)
# As they are remembered.
TAGS = TypeAdapter(Annotated[dict[RefName, Commit], Field(max_length=_MAX_TAGS)])
HEADS = TypeAdapter(dict[RepositoryId, tuple[Commit, bool]])
Heads = Mapping[str, tuple[str, bool]]


def checked(kind: TypeAdapter[_T], content: bytes) -> _T:
    """Read an answer.

    Raises:
        ProblemError: It is not what the Hub answers there; says what is wrong.
    """
    return _checked(kind.validate_json, content)


def checked_value(kind: TypeAdapter[_T], value: object) -> _T:
    """Check a value that the client read from an answer.

    Raises:
        ProblemError: As in ``checked``.
    """
    return _checked(kind.validate_python, value)


def _checked(read: Callable[[Any], _T], answer: object) -> _T:
    try:
        return read(answer)
    except ValidationError as error:
        raise ProblemError(Problem(kind="garbled", said=explain(error))) from None
