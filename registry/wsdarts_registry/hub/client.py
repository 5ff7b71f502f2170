"""The calls of the Hub that a registry needs, through `huggingface_hub`.

Each call is tried again after trouble that passes, and ends in a RegistryError of one line. What a
call to read learns of a repository's head, its tags and a namespace's list is remembered in the
cache, and is the answer where HF_HUB_OFFLINE is set; files are in the client's own cache.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_session,
    try_to_load_from_cache,
)
from huggingface_hub.hf_api import RepoFile

from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.files import open_regular
from wsdarts_registry.hub.answers import Head, RemoteFile, Repository, is_intact
from wsdarts_registry.hub.errors import (
    CLIENT_ERRORS,
    Problem,
    explained,
    is_harmless,
    problem_of,
)
from wsdarts_registry.hub.memory import Memory
from wsdarts_registry.hub.patience import Patience, UnsettledError

# Seconds after which a Hub that says nothing is given up; the client itself would wait for ever.
SILENCE = 120.0
TAG = "wsdarts-hub"
_OFFICIAL = "https://huggingface.co"
_PASSING = ("busy", "network")
_T = TypeVar("_T")
Operation = CommitOperationAdd | CommitOperationDelete


class HubClient:
    """The Hub at one address.

    Args:
        endpoint: Its address; None for what the client reads from HF_ENDPOINT, else the official.
        token: A token; None for what the client finds.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.url = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self._api = HfApi(
            endpoint=self.url, token=token, library_name="wsdarts-hub", library_version=_version()
        )
        self._memory = Memory(self.url)

    def head(self, repository: Repository) -> Head | None:
        """The newest commit of main; None where there is no such repository, or it is hidden."""
        data = self._memory.recall(
            f"head of {repository.path}",
            lambda: self._head(repository),
            _offline(repository.id),
        )
        return None if data is None else _parsed_head(data)

    def _head(self, repository: Repository) -> dict[str, Any] | None:
        try:
            # Of some kinds of repository there is more to know than of others.
            info: Any = self._ask(
                "read",
                repository,
                lambda: self._api.repo_info(repository.id, repo_type=repository.kind),
            )
        except _AbsentError:
            return None
        if not info.sha:
            return None
        files = sorted(sibling.rfilename for sibling in info.siblings or ())
        return {"commit": info.sha, "files": files, "private": bool(info.private)}

    def tags(self, repository: Repository) -> dict[str, str]:
        """The commit of each tag."""

        def found() -> dict[str, str]:
            refs = self._ask(
                "read",
                repository,
                lambda: self._api.list_repo_refs(repository.id, repo_type=repository.kind),
            )
            return {tag.name: tag.target_commit for tag in refs.tags}

        return self._memory.recall(f"tags of {repository.path}", found, _offline(repository.id))

    def heads(self, namespace: str) -> dict[str, tuple[str, bool]]:
        """The models of a namespace that are tagged as ours: head of main, and whether private."""

        def ask() -> dict[str, list[Any]]:
            listed = self._api.list_models(author=namespace, filter=TAG, expand=["sha", "private"])
            return {info.id: [info.sha, bool(info.private)] for info in listed if info.sha}

        def found() -> dict[str, list[Any]]:
            return self._ask("list", Repository(id=namespace), ask)

        data = self._memory.recall(f"list of {namespace}", found, _offline(namespace))
        return {
            name.partition("/")[2]: (str(commit), bool(private))
            for name, (commit, private) in data.items()
        }

    def history(self, repository: Repository) -> Iterator[tuple[str, str]]:
        """Hash and title of the commits of main, newest first."""
        commits = self._ask(
            "read",
            repository,
            lambda: self._api.list_repo_commits(repository.id, repo_type=repository.kind),
        )
        return ((commit.commit_id, commit.title) for commit in commits)

    def describe(
        self, repository: Repository, commit: str, paths: Sequence[str]
    ) -> dict[str, RemoteFile]:
        """What the Hub says of files at a commit; those that are missing are left out."""
        entries = self._ask(
            "read",
            repository,
            lambda: self._api.get_paths_info(
                repository.id, list(paths), revision=commit, repo_type=repository.kind
            ),
        )
        return {
            entry.path: RemoteFile(
                size=entry.lfs.size if entry.lfs else entry.size,
                sha256=entry.lfs.sha256 if entry.lfs else None,
            )
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def read(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        """Content of a small file at a commit, which is fetched once.

        Raises:
            ArtifactError: It has more than ``limit`` bytes, or is missing.
        """
        if not self.is_cached(repository, commit, path):
            known = {} if _is_offline() else self.describe(repository, commit, [path])
            if not _is_offline() and path not in known:
                raise ArtifactError(f"{repository.id} at {commit[:12]} has no {path}")
            if path in known and known[path].size > limit:
                raise _too_long(repository, path, limit)
        for again in (False, True):
            found = self.fetch(repository, commit, path, again=again)
            with open_regular(found) as file:
                content = file.read(limit + 1)
            if len(content) > limit:
                raise _too_long(repository, path, limit)
            if is_intact(found, content):
                return content
        raise ArtifactError(f"{path} of {repository.id} arrives damaged, twice; try again later")

    def is_cached(self, repository: Repository, commit: str, path: str) -> bool:
        """Whether a file at a commit is in the client's cache."""
        found = try_to_load_from_cache(
            repository.id, path, revision=commit, repo_type=repository.kind
        )
        return isinstance(found, str)

    def fetch(self, repository: Repository, commit: str, path: str, *, again: bool = False) -> Path:
        """Fetch a file at a commit into the client's cache, and return its path there.

        Args:
            repository: Where it is.
            commit: Whole hash of a commit.
            path: Of the file.
            again: Fetch it even if it is there, because it is damaged.
        """
        found = self._ask(
            "fetch from",
            repository,
            lambda: self._api.hf_hub_download(
                repository.id,
                path,
                revision=commit,
                repo_type=repository.kind,
                force_download=again,
            ),
        )
        return Path(found)

    def create(self, repository: Repository) -> Head:
        """Create a repository, unless it exists, and return the head of its main branch."""
        self._ask(
            "create",
            repository,
            lambda: self._api.create_repo(repository.id, repo_type=repository.kind, exist_ok=True),
        )
        patience = Patience()
        while (data := self._head(repository)) is None:
            reason = RegistryError(f"{repository.path} was created, but cannot be seen")
            patience.after(UnsettledError(reason))
        return _parsed_head(data)

    def commit(
        self, repository: Repository, parent: str, title: str, operations: Sequence[Operation]
    ) -> str:
        """Make one commit on main, all or nothing, and return its hash.

        Raises:
            UnsettledError: Main has moved, or it is not known whether the commit was made.
            RegistryError: It was refused.
        """

        def make() -> str:
            made = self._api.create_commit(
                repository.id,
                list(operations),
                commit_message=title,
                parent_commit=parent,
                repo_type=repository.kind,
            )
            return str(made.oid)

        with self._plain_uploads():
            return self._once("write to", repository, make)

    def tag(self, repository: Repository, name: str, commit: str) -> str:
        """Let a tag mean a commit, unless there is such a tag; return the commit that it means."""
        self._ask(
            "tag",
            repository,
            lambda: self._api.create_tag(
                repository.id, tag=name, revision=commit, repo_type=repository.kind, exist_ok=True
            ),
        )
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
        session = get_session()
        if session.timeout.read is None:  # for calls that set no limit of their own
            session.timeout = SILENCE
        try:
            return work()
        except CLIENT_ERRORS as error:
            problem = problem_of(error)
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

    @contextmanager
    def _plain_uploads(self) -> Iterator[None]:
        """Upload by LFS where the Hub is not the official one.

        The client takes Xet wherever it is installed, without asking the server, and says so in
        this constant alone.
        """
        before = constants.HF_HUB_DISABLE_XET
        constants.HF_HUB_DISABLE_XET = before or self.url != _OFFICIAL
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_XET = before


class _AbsentError(RegistryError):
    """A repository is not there, or hidden."""


def _parsed_head(data: dict[str, Any]) -> Head:
    return Head(
        commit=str(data["commit"]), files=tuple(data["files"]), private=bool(data["private"])
    )


def _offline(repository: str) -> RegistryError:
    return explained(Problem(kind="offline"), doing="read", repository=repository, url="")


def _is_offline() -> bool:
    return bool(constants.is_offline_mode())


def _too_long(repository: Repository, path: str, limit: int) -> ArtifactError:
    return ArtifactError(f"{path} of {repository.id} is too long; expected at most {limit} bytes")


def _version() -> str:
    try:
        return version("wsdarts-hub")
    except PackageNotFoundError:
        return "0"
