"""The client: the API calls that a registry needs.

Requests that read go through ``Connection``; repositories, commits and tags are made by the
guarded ``HfApi``. Each call is retried after a failure that may pass, and ends in a RegistryError.
Heads, tags, lists and files are kept in the offline cache, which replaces the Hub where
HF_HUB_OFFLINE is set.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
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
    Failure,
    RepositoryNotFoundError,
    RequestError,
    classify,
    has_no_token,
    registry_error,
)
from wsdarts_registry.stores.huggingface._responses import (
    COMMIT_HASH,
    FILES,
    HEAD,
    HEADS,
    HISTORY,
    REFERENCES,
    REPOSITORIES,
    REPOSITORY_INFO,
    TAGS,
    FileCache,
    Head,
    Heads,
    OfflineCache,
    RemoteFile,
    Repository,
    check_value,
    parse_response,
)
from wsdarts_registry.stores.huggingface._retries import RetryableError, with_retries
from wsdarts_registry.stores.huggingface._transport import Connection, guarded_api, untrusted
from wsdarts_registry.stores.huggingface.location import Endpoint, is_insecure_allowed

TAG = "wsdarts-hub"
_RETRIED = ("busy", "network", "malformed")
_FILE_RECORD = TypeAdapter(FileRecord)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_MAX_REPOSITORIES = 1_000_000
_T = TypeVar("_T")


class HuggingFaceClient:
    """Client of the Hub at one address.

    Args:
        endpoint: Its address; None for HF_ENDPOINT, else the official one.
        token: A token; None for the one that huggingface_hub finds.
        insecure: Allow plain http beyond this machine, as WSDARTS_HUB_INSECURE does.

    Raises:
        RegistryError: The address is malformed, or not encrypted and that is not allowed.
    """

    def __init__(
        self, endpoint: str | None = None, token: str | None = None, *, insecure: bool = False
    ) -> None:
        self.url = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._endpoint = Endpoint(url=self.url, insecure=insecure or is_insecure_allowed())
        self._token = token
        self._connection = Connection(self._endpoint, token)
        self._responses = OfflineCache(self.url)
        self._files = FileCache()

    def head(self, repository: Repository, revision: str | None = None) -> Head | None:
        """Return a commit; None for a repository that is missing or hidden.

        Args:
            repository: Repository of the commit.
            revision: A branch, a tag or a hash; the newest commit of main by default.
        """
        at = "" if revision is None else f" at {revision}"
        return self._responses.fetch(
            f"head of {repository.path}{at}",
            HEAD,
            lambda: self._head(repository, revision),
            _offline(repository.id),
        )

    def _head(self, repository: Repository, revision: str | None = None) -> Head | None:
        at = "" if revision is None else f"/revision/{quote(revision, safe='')}"

        def request() -> Head | None:
            url = self._connection.url(f"{repository.api}{at}")
            response = self._connection.request("GET", url)
            return parse_response(REPOSITORY_INFO, response.content).head

        try:
            return self._with_retries("read", repository, request)
        except RepositoryNotFoundError:
            return None

    def tags(self, repository: Repository) -> Mapping[str, str]:
        """Return the commit of each tag."""

        def request() -> dict[str, str]:
            url = self._connection.url(f"{repository.api}/refs")
            response = self._connection.request("GET", url)
            references = parse_response(REFERENCES, response.content)
            return {tag.name: tag.commit for tag in references.tags}

        found = self._responses.fetch(
            f"tags of {repository.path}",
            TAGS,
            lambda: self._with_retries("read", repository, request),
            _offline(repository.id),
        )
        return found or {}

    def heads(self, namespace: str) -> Heads:
        """Return head of main and privacy of the models of a namespace that have our tag."""
        query = [("author", namespace), ("filter", TAG), ("expand", "sha"), ("expand", "private")]

        def request() -> dict[str, tuple[str, bool]]:
            found = {}
            for page in self._connection.pages(self._connection.url("/api/models", query)):
                for item in parse_response(REPOSITORIES, page.content):
                    if item.sha and item.id.partition("/")[0].lower() == namespace.lower():
                        found[item.id] = (item.sha, item.private)
                if len(found) > _MAX_REPOSITORIES:
                    raise untrusted(f"it lists more than {_MAX_REPOSITORIES} repositories")
            return found

        found = self._responses.fetch(
            f"list of {namespace}",
            HEADS,
            lambda: self._with_retries("list", Repository(id=namespace), request),
            _offline(namespace),
        )
        return {name.partition("/")[2]: head for name, head in (found or {}).items()}

    def history(self, repository: Repository) -> Iterator[tuple[str, str]]:
        """Return hash and title of the commits of main, newest first."""

        def request() -> list[tuple[str, str]]:
            url = self._connection.url(f"{repository.api}/commits/main")
            return [
                (item.id, item.title)
                for page in self._connection.pages(url)
                for item in parse_response(HISTORY, page.content)
            ]

        return iter(self._with_retries("read", repository, request))

    def describe(
        self, repository: Repository, commit: str, paths: Sequence[str]
    ) -> dict[str, RemoteFile]:
        """Return size and hash of files at a commit; missing ones are left out."""
        body = urlencode([("expand", "false"), *(("paths", path) for path in paths)]).encode()

        def request() -> dict[str, RemoteFile]:
            url = self._connection.url(f"{repository.api}/paths-info/{commit}")
            response = self._connection.request("POST", url, body, headers=_FORM)
            return {
                item.path: item
                for item in parse_response(FILES, response.content)
                if item.type == "file" and item.path in paths
            }

        return self._with_retries("read", repository, request)

    def read(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        """Return the content of a small file at a commit; it is fetched once.

        Raises:
            ArtifactError: It has more than ``limit`` bytes, or is missing.
        """
        key = f"file {path} of {repository.path} at {commit}"
        known = self._responses.get(key, _FILE_RECORD)
        content = None
        if known is not None and known.size <= limit:
            content = self._files.read(known)
        if content is None:
            if constants.is_offline_mode():
                raise _offline(repository.id)
            content = self._fetch_small(repository, commit, path, limit)
            record = file_record(content)
            try:
                self._files.add(record, lambda write: write(content))
            except OSError as error:
                raise self._error(classify(error), "keep a file of", repository) from error
            self._responses.put(key, _FILE_RECORD, record)
        return content

    def _fetch_small(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        remote = self.describe(repository, commit, [path]).get(path)
        if remote is None:
            raise ArtifactError(f"{repository.id} at {commit[:12]} has no {path}")
        if remote.size > limit:
            raise ArtifactError(
                f"{path} of {repository.id} is too long", expected=f"at most {limit} bytes"
            )
        url = self._file_url(repository, commit, path)

        def request() -> bytes:
            blocks: list[bytes] = []
            self._connection.download(url, remote.size, blocks.append, path)
            return b"".join(blocks)

        for _ in range(2):
            content = self._with_retries("fetch from", repository, request)
            if remote.is_content(content):
                return content
        raise _damaged(repository, path)

    def cached(self, record: FileRecord) -> Path | None:
        """Return the path of a file in the cache, verified; None if it is not there."""
        return self._files.find(record)

    def fetch(self, repository: Repository, commit: str, path: str, record: FileRecord) -> Path:
        """Fetch a file at a commit into the cache, and return its path there.

        Args:
            repository: Repository of the file.
            commit: Whole hash of a commit.
            path: Path of the file.
            record: Its size and sha256; nothing else is kept.

        Raises:
            ArtifactError: It does not match its record.
        """
        if constants.is_offline_mode():
            raise _offline(repository.id)
        url = self._file_url(repository, commit, path)

        def request() -> Path | None:
            return self._files.add(
                record, lambda write: self._connection.download(url, record.size, write, path)
            )

        for _ in range(2):
            found = self._with_retries("fetch from", repository, request)
            if found is not None:
                return found
        raise _damaged(repository, path)

    def _file_url(self, repository: Repository, commit: str, path: str) -> str:
        return self._connection.url(f"/{repository.path}/resolve/{commit}/{quote(path)}")

    def create(self, repository: Repository, *, private: bool | None = None) -> Head:
        """Create a repository, unless it exists, and return the head of its main branch.

        Args:
            repository: What to create.
            private: Whether others may not see it; the Hub's default by default.
        """

        def request() -> None:
            with guarded_api(self._endpoint, self._token) as api:
                api.create_repo(
                    repository.id, repo_type=repository.kind, private=private, exist_ok=True
                )

        def created() -> Head:
            head = self._head(repository)
            if head is None:
                reason = RegistryError(f"{repository.path} was created, but cannot be seen")
                raise RetryableError(reason)
            return head

        self._with_retries("create", repository, request)
        return with_retries(created)

    def branch(self, repository: Repository, name: str) -> Head:
        """Create a branch at the head of main, unless it exists, and return its head."""

        def request() -> None:
            with guarded_api(self._endpoint, self._token) as api:
                api.create_branch(
                    repository.id, branch=name, repo_type=repository.kind, exist_ok=True
                )

        def branched() -> Head:
            head = self._head(repository, name)
            if head is None:
                reason = RegistryError(f"{repository.id} shows no branch {name!r}")
                raise RetryableError(reason)
            return head

        self._with_retries("branch", repository, request)
        return with_retries(branched)

    def commit(
        self,
        repository: Repository,
        parent: str,
        title: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str] = (),
        *,
        branch: str | None = None,
    ) -> str:
        """Make one commit on a branch, main by default, all or nothing, and return its hash.

        Where the parent has all of it already, no commit is made, and the parent's hash returned.

        Raises:
            RetryableError: Main has moved, or it is not known whether the commit was made.
            RegistryError: It was refused.
        """
        operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions]
        for path in deletions:
            with suppress(ValueError):  # a path that huggingface_hub never touches, as ``.cache/x``
                operations.append(CommitOperationDelete(path, is_folder=False))

        def request() -> str:
            with guarded_api(self._endpoint, self._token) as api:
                made = api.create_commit(
                    repository.id,
                    operations,
                    commit_message=title,
                    parent_commit=parent,
                    repo_type=repository.kind,
                    revision=branch,
                )
            # Where main has all files already, huggingface_hub ignores the parent and returns the
            # newest commit, whosoever it is.
            if not api.commits and made.oid != parent:
                raise RequestError(Failure(kind="conflict"))
            return check_value(COMMIT_HASH, made.oid)

        return self._once("write to", repository, request)

    def tag(self, repository: Repository, name: str, commit: str) -> str:
        """Tag a commit, unless there is such a tag; return the commit of the tag."""

        def request() -> None:
            with guarded_api(self._endpoint, self._token) as api:
                api.create_tag(
                    repository.id,
                    tag=name,
                    revision=commit,
                    repo_type=repository.kind,
                    exist_ok=True,
                )

        def tagged() -> str:
            found = self.tags(repository)
            if name not in found:
                reason = f"{repository.id} was tagged {name}, but shows no such tag"
                raise RetryableError(RegistryError(reason))
            return found[name]

        self._with_retries("tag", repository, request)
        return with_retries(tagged)

    def _with_retries(self, action: str, repository: Repository, request: Callable[[], _T]) -> _T:
        """Send a request that may be repeated without harm."""
        return with_retries(lambda: self._once(action, repository, request))

    def _once(self, action: str, repository: Repository, request: Callable[[], _T]) -> _T:
        try:
            return request()
        except CALL_ERRORS as error:
            failure = classify(error, self._token)
            cause = error if has_no_token(error) else None
            raise self._error(failure, action, repository) from cause

    def _error(self, failure: Failure, action: str, repository: Repository) -> Exception:
        reason = registry_error(failure, action=action, repository=repository.path, url=self.url)
        if failure.kind == "conflict":
            return RetryableError(reason, conflict=True)
        if failure.kind in _RETRIED:
            return RetryableError(reason, retry_after=failure.retry_after)
        return reason


def _damaged(repository: Repository, path: str) -> ArtifactError:
    return ArtifactError(
        f"{path} of {repository.id} arrives damaged, twice", hint="try again later"
    )


def _offline(repository: str) -> RegistryError:
    return registry_error(Failure(kind="offline"), action="read", repository=repository, url="")
