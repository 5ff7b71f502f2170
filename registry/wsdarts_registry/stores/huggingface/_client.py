"""The calls of the Hub that a registry needs.

What reads goes through ``Connection``; repositories, commits and tags are made by the client's own
``HfApi``, guarded. Each call is tried again after trouble that passes, and ends in a RegistryError
of one line. What a call to read learns of a repository's head, its tags and a namespace's list is
remembered in the cache, and is the answer where HF_HUB_OFFLINE is set; so are the files that were
fetched.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants
from pydantic import TypeAdapter

from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.stores.huggingface._errors import (
    CALL_ERRORS,
    Problem,
    ProblemError,
    explained,
    is_harmless,
    problem_of,
)
from wsdarts_registry.stores.huggingface._offline_cache import KeptFiles, Memory
from wsdarts_registry.stores.huggingface._responses import (
    FILES,
    HEAD,
    HEADS,
    HISTORY,
    INFO,
    LISTED,
    MADE,
    REFERENCES,
    TAGS,
    Head,
    Heads,
    RemoteFile,
    Repository,
    checked,
    checked_value,
)
from wsdarts_registry.stores.huggingface._transport import Connection, guarded
from wsdarts_registry.stores.huggingface.location import HubAddress, is_insecure_allowed
from wsdarts_registry.stores.huggingface.retry import Patience, UnsettledError

TAG = "wsdarts-hub"
_PASSING = ("busy", "network", "garbled")
_FILE_RECORD = TypeAdapter(FileRecord)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_MAX_REPOSITORIES = 100_000
_T = TypeVar("_T")


class HubClient:
    """The Hub at one address.

    Args:
        endpoint: Its address; None for what the client reads from HF_ENDPOINT, else the official.
        token: A token; None for what the client finds.
        insecure: Allow plain http beyond this machine, as WSDARTS_HUB_INSECURE does.

    Raises:
        RegistryError: The address is malformed, or not encrypted and that is not allowed.
    """

    def __init__(
        self, endpoint: str | None = None, token: str | None = None, *, insecure: bool = False
    ) -> None:
        self.url = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._address = HubAddress(url=self.url, insecure=insecure or is_insecure_allowed())
        self._token = token
        self._connection = Connection(self._address, token)
        self._memory = Memory(self.url)
        self._files = KeptFiles()

    def head(self, repository: Repository) -> Head | None:
        """The newest commit of main; None where there is no such repository, or it is hidden."""
        return self._memory.recall(
            f"head of {repository.path}",
            HEAD,
            lambda: self._head(repository),
            _offline(repository.id),
        )

    def _head(self, repository: Repository) -> Head | None:
        def ask() -> Head | None:
            reply = self._connection.ask("GET", self._connection.url(repository.api))
            return checked(INFO, reply.content).head

        try:
            return self._ask("read", repository, ask)
        except _AbsentError:
            return None

    def tags(self, repository: Repository) -> Mapping[str, str]:
        """The commit of each tag."""

        def ask() -> dict[str, str]:
            reply = self._connection.ask("GET", self._connection.url(f"{repository.api}/refs"))
            return {tag.name: tag.commit for tag in checked(REFERENCES, reply.content).tags}

        found = self._memory.recall(
            f"tags of {repository.path}",
            TAGS,
            lambda: self._ask("read", repository, ask),
            _offline(repository.id),
        )
        return found or {}

    def heads(self, namespace: str) -> Heads:
        """The models of a namespace that are tagged as ours: head of main, and whether private."""
        asked = [("author", namespace), ("filter", TAG), ("expand", "sha"), ("expand", "private")]

        def ask() -> dict[str, tuple[str, bool]]:
            found = {}
            for reply in self._connection.pages(self._connection.url("/api/models", asked)):
                for item in checked(LISTED, reply.content):
                    if item.sha and item.id.partition("/")[0].lower() == namespace.lower():
                        found[item.id] = (item.sha, item.private)
                if len(found) > _MAX_REPOSITORIES:
                    said = f"it lists more than {_MAX_REPOSITORIES} repositories"
                    raise ProblemError(Problem(kind="refused", said=said))
            return found

        found = self._memory.recall(
            f"list of {namespace}",
            HEADS,
            lambda: self._ask("list", Repository(id=namespace), ask),
            _offline(namespace),
        )
        return {name.partition("/")[2]: head for name, head in (found or {}).items()}

    def history(self, repository: Repository) -> Iterator[tuple[str, str]]:
        """Hash and title of the commits of main, newest first."""

        def ask() -> list[tuple[str, str]]:
            url = self._connection.url(f"{repository.api}/commits/main")
            return [
                (item.id, item.title)
                for reply in self._connection.pages(url)
                for item in checked(HISTORY, reply.content)
            ]

        return iter(self._ask("read", repository, ask))

    def describe(
        self, repository: Repository, commit: str, paths: Sequence[str]
    ) -> dict[str, RemoteFile]:
        """What the Hub says of files at a commit; those that are missing are left out."""
        body = urlencode([("expand", "false"), *(("paths", path) for path in paths)]).encode()

        def ask() -> dict[str, RemoteFile]:
            url = self._connection.url(f"{repository.api}/paths-info/{commit}")
            reply = self._connection.ask("POST", url, body, headers=_FORM)
            return {
                item.path: item
                for item in checked(FILES, reply.content)
                if item.type == "file" and item.path in paths
            }

        return self._ask("read", repository, ask)

    def read(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        """Content of a small file at a commit, which is fetched once.

        Raises:
            ArtifactError: It has more than ``limit`` bytes, or is missing.
        """
        question = f"file {path} of {repository.path} at {commit}"
        known = self._memory.known(question, _FILE_RECORD)
        content = None
        if known is not None and known.size <= limit:
            content = self._files.read(known)
        if content is None:
            if constants.is_offline_mode():
                raise _offline(repository.id)
            content = self._fetched(repository, commit, path, limit)
            record = file_record(content)
            self._keep(repository, record, content)
            self._memory.remember(question, _FILE_RECORD, record)
        return content

    def _fetched(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        remote = self.describe(repository, commit, [path]).get(path)
        if remote is None:
            raise ArtifactError(f"{repository.id} at {commit[:12]} has no {path}")
        if remote.size > limit:
            raise ArtifactError(
                f"{path} of {repository.id} is too long", expected=f"at most {limit} bytes"
            )
        url = self._file_url(repository, commit, path)

        def get() -> bytes:
            blocks: list[bytes] = []
            self._connection.download(url, remote.size, blocks.append, path)
            return b"".join(blocks)

        for _ in range(2):
            content = self._ask("fetch from", repository, get)
            if remote.is_content(content):
                return content
        raise _damaged(repository, path)

    def _keep(self, repository: Repository, record: FileRecord, content: bytes) -> None:
        try:
            self._files.keep(record, lambda write: write(content))
        except OSError as error:
            raise self._error(problem_of(error), "keep a file of", repository) from error

    def kept(self, record: FileRecord) -> Path | None:
        """Where a file with that content is in the cache, verified; None if it is not there."""
        return self._files.find(record)

    def fetch(self, repository: Repository, commit: str, path: str, record: FileRecord) -> Path:
        """Fetch a file at a commit into the cache, and return its path there.

        Args:
            repository: Where it is.
            commit: Whole hash of a commit.
            path: Of the file.
            record: Its size and sha256; nothing else is kept.

        Raises:
            ArtifactError: It is not what its record says.
        """
        if constants.is_offline_mode():
            raise _offline(repository.id)
        url = self._file_url(repository, commit, path)

        def get() -> Path | None:
            return self._files.keep(
                record, lambda write: self._connection.download(url, record.size, write, path)
            )

        found = self._ask("fetch from", repository, get) or self._ask("fetch from", repository, get)
        if found is None:
            raise _damaged(repository, path)
        return found

    def _file_url(self, repository: Repository, commit: str, path: str) -> str:
        return self._connection.url(f"/{repository.path}/resolve/{commit}/{quote(path)}")

    def create(self, repository: Repository) -> Head:
        """Create a repository, unless it exists, and return the head of its main branch."""

        def make() -> None:
            with guarded(self._address, self._token) as api:
                api.create_repo(repository.id, repo_type=repository.kind, exist_ok=True)

        self._ask("create", repository, make)
        patience = Patience()
        while (head := self._head(repository)) is None:
            reason = RegistryError(f"{repository.path} was created, but cannot be seen")
            patience.after(UnsettledError(reason))
        return head

    def commit(
        self,
        repository: Repository,
        parent: str,
        title: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str] = (),
    ) -> str:
        """Make one commit on main, all or nothing, and return its hash.

        Raises:
            UnsettledError: Main has moved, or it is not known whether the commit was made.
            RegistryError: It was refused.
        """
        operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions]
        for path in deletions:
            operations += _deletion(path)

        def make() -> str:
            with guarded(self._address, self._token) as api:
                made = api.create_commit(
                    repository.id,
                    operations,
                    commit_message=title,
                    parent_commit=parent,
                    repo_type=repository.kind,
                )
            return checked_value(MADE, made.oid)

        return self._once("write to", repository, make)

    def tag(self, repository: Repository, name: str, commit: str) -> str:
        """Let a tag mean a commit, unless there is such a tag; return the commit that it means."""

        def make() -> None:
            with guarded(self._address, self._token) as api:
                api.create_tag(
                    repository.id,
                    tag=name,
                    revision=commit,
                    repo_type=repository.kind,
                    exist_ok=True,
                )

        self._ask("tag", repository, make)
        patience = Patience()
        while True:
            found = self.tags(repository)
            if name in found:
                return found[name]
            reason = RegistryError(f"{repository.id} was tagged {name}, but shows no such tag")
            patience.after(UnsettledError(reason))

    def _ask(self, doing: str, repository: Repository, work: Callable[[], _T]) -> _T:
        """Do what may be done twice, and again after trouble that passes."""
        patience = Patience()
        while True:
            try:
                return self._once(doing, repository, work)
            except UnsettledError as error:
                patience.after(error)

    def _once(self, doing: str, repository: Repository, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except CALL_ERRORS as error:
            problem = problem_of(error, self._token)
            shown = error if is_harmless(error) else None
            raise self._error(problem, doing, repository) from shown

    def _error(self, problem: Problem, doing: str, repository: Repository) -> Exception:
        reason = explained(problem, doing=doing, repository=repository.path, url=self.url)
        if problem.kind == "unknown" and doing == "read":
            return _AbsentError(str(reason))
        if problem.kind == "moved":
            return UnsettledError(reason, contested=True)
        if problem.kind in _PASSING:
            return UnsettledError(reason, wait=problem.wait)
        return reason


class _AbsentError(RegistryError):
    """A repository is not there, or hidden."""


def _deletion(path: str) -> list[CommitOperationDelete]:
    """The deletion of a file; none of one that the client does not touch, such as ``.cache/x``."""
    try:
        return [CommitOperationDelete(path, is_folder=False)]
    except ValueError:
        return []


def _damaged(repository: Repository, path: str) -> ArtifactError:
    return ArtifactError(
        f"{path} of {repository.id} arrives damaged, twice", hint="try again later"
    )


def _offline(repository: str) -> RegistryError:
    return explained(Problem(kind="offline"), doing="read", repository=repository, url="")
