"""Repositories of trained models: files that are pushed in one commit, and fetched verified.

A model is a model repository with a few files, none of which runs. What is fetched is bounded by
the sizes that the Hub names before, and verified by the hashes that it names or that the caller
knows. Requests are those of the registry's client.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from pydantic import TypeAdapter, ValidationError

from wsdarts_registry._format import size as size_text
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.errors import ArtifactError, RegistryError, RegistryWarning
from wsdarts_registry.stores.huggingface._artifact_repository import RECORD
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._responses import Head, Repository, RepositoryId
from wsdarts_registry.stores.huggingface._retries import with_retries
from wsdarts_registry.stores.huggingface.location import SCHEME

CARD = "README.md"
_ID = TypeAdapter(RepositoryId)
_MAX_SMALL_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class PushedModel:
    """Outcome of a push.

    Attributes:
        id: The repository, ``"lab/flowers"``.
        url: Its page.
        commit: The commit that has the content.
        made: Whether the commit was made now; False if the content was there already.
    """

    id: str
    url: str
    commit: str
    made: bool


class ModelRepository:
    """A model repository; sends no request before it is used.

    Args:
        name: ``"OWNER/NAME"``, or the same behind ``hf://``.
        token: A token; None for the one that huggingface_hub finds.
        endpoint: Address of the Hub; None for HF_ENDPOINT, else the official one.

    Raises:
        RegistryError: The name or the address is malformed.
    """

    def __init__(self, name: str, *, token: str | None = None, endpoint: str | None = None) -> None:
        try:
            self.id = _ID.validate_python(name.removeprefix(SCHEME))
        except ValidationError:
            raise RegistryError(
                f"the model repository {name[:120]!r} is malformed",
                expected="OWNER/NAME, such as lab/flowers",
            ) from None
        self._client = HuggingFaceClient(endpoint, token)
        self._remote = Repository(id=self.id)

    def push(
        self,
        files: Mapping[str, bytes],
        *,
        title: str,
        private: bool | None = None,
        branch: str | None = None,
        is_ours: Callable[[bytes | None, bytes | None], bool],
    ) -> PushedModel:
        """Commit files, all or nothing; content that is there already makes no commit.

        A card that somebody else wrote or edited is kept, with a warning.

        Args:
            files: Contents by path.
            title: Title of the commit.
            private: Visibility of a repository that is made; the Hub's default by default.
            branch: Made from main if it is missing; main by default.
            is_ours: Whether a model of ours may replace what is there, by its ``config.json`` and
                its card, either of which may be missing: False where the card has to be kept.
                Raises a WsdartsError where nothing may be replaced.

        Raises:
            RegistryError: It was refused, or the repository holds an artifact or another model.
        """

        def attempt() -> PushedModel:
            head = self._client.head(self._remote)
            if head is None:
                head = self._client.create(self._remote, private=private)
            if branch is not None:
                head = self._client.branch(self._remote, branch)
            wanted = self._wanted(head, files, is_ours)
            there = self._client.describe(self._remote, head.commit, list(wanted))
            new = {
                path: content
                for path, content in wanted.items()
                if path not in there or not there[path].is_content(content)
            }
            commit = head.commit
            if new:
                additions = [CommitOperationAdd(path, content) for path, content in new.items()]
                commit = self._client.commit(
                    self._remote, head.commit, title, additions, branch=branch
                )
            url = f"{self._client.url}/{self.id}"
            return PushedModel(id=self.id, url=url, commit=commit, made=bool(new))

        return with_retries(attempt)

    def _wanted(
        self,
        head: Head,
        files: Mapping[str, bytes],
        is_ours: Callable[[bytes | None, bytes | None], bool],
    ) -> Mapping[str, bytes]:
        """Return the files to be there, without the card where another one is kept."""
        if RECORD in head.files:
            raise RegistryError(
                f"{self.id} holds an artifact of a registry", hint="choose another name"
            )
        config, card = (
            self.read(head, path) if path in head.files else None for path in ("config.json", CARD)
        )
        if is_ours(config, card):
            return files
        warnings.warn(
            f"the card of {self.id} was written by somebody else, and is kept; its figures may be "
            f"those of another model (delete {CARD} there to have it written anew)",
            RegistryWarning,
            stacklevel=2,
        )
        return {path: content for path, content in files.items() if path != CARD}

    def head(self, revision: str | None = None) -> Head:
        """Return a commit with its files.

        Args:
            revision: A branch, a tag or the hash of a commit; main by default.

        Raises:
            RegistryError: There is no such repository or revision, or it may not be read.
        """
        head = self._client.head(self._remote, revision)
        if head is None:
            at = "" if revision is None else f" with the revision {revision!r}"
            raise RegistryError(
                f"there is no model repository {self.id}{at}, or this user may not see it",
                hint="check its name; where it is private, log in with `hf auth login`",
            )
        return head

    def read(self, head: Head, path: str) -> bytes:
        """Return the content of a small file, verified by the Hub's hash.

        Raises:
            ArtifactError: It is missing or too long.
        """
        return self._client.read(self._remote, head.commit, path, _MAX_SMALL_BYTES)

    def fetch(self, head: Head, path: str, limit: int, record: FileRecord | None = None) -> Path:
        """Fetch a file into the cache and return its path there, verified.

        Args:
            head: Where it is.
            path: Its path.
            limit: Most bytes that are fetched.
            record: Its size and sha256, where they are known; else the Hub names them.

        Raises:
            ArtifactError: It is missing, too long, or has another size or hash.
            RegistryError: A request failed.
        """
        known = None if record is None else self._client.cached(record)
        if known is not None:
            return known
        found = self._client.describe(self._remote, head.commit, [path]).get(path)
        if found is None:
            raise ArtifactError(f"{self.id} at {head.commit[:12]} has no {path}")
        if found.size > limit:
            raise ArtifactError(
                f"size of {path} of {self.id}",
                found=size_text(found.size),
                expected=f"at most {size_text(limit)}",
                hint="nothing was fetched",
            )
        if record is None:
            record = FileRecord(size=found.size, sha256=found.sha256 or self._hash(head, path))
        elif found.size != record.size or found.sha256 not in (None, record.sha256):
            raise ArtifactError(
                f"{path} of {self.id} at {head.commit[:12]} is another file than its config.json "
                "names",
                hint="nothing was fetched; push the model again",
            )
        return self._client.cached(record) or self._client.fetch(
            self._remote, head.commit, path, record
        )

    def _hash(self, head: Head, path: str) -> str:
        """Return the sha256 of a file that is small enough to be no LFS file."""
        return hashlib.sha256(self.read(head, path)).hexdigest()
