"""A client of one repository in memory, and artifacts' contents, for many updates of an index."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import CommitOperationAdd

from tests.registry.factories import make_artifact, make_embedding
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.stores.huggingface._index_format import Content, IndexedName, IndexedVersion
from wsdarts_registry.stores.huggingface._responses import Head, Repository
from wsdarts_registry.stores.huggingface._retries import RetryableError


class MemoryClient:
    """Commits of one repository; files that were fetched lie in a directory.

    Attributes:
        written: Bytes of each commit.
        fetched: Bytes of each file that was fetched.
    """

    def __init__(self, cache: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.written: list[int] = []
        self.fetched: list[int] = []
        self._commits = 0
        self._cache = cache

    def head(self, repository: Repository, revision: str | None = None) -> Head | None:
        """Return the newest commit."""
        return Head(commit=f"{self._commits:040x}", files=tuple(sorted(self.files)))

    def read(self, repository: Repository, commit: str, path: str, limit: int) -> bytes:
        """Return a file of the newest commit."""
        if len(self.files[path]) > limit:
            raise ArtifactError(f"{path} is too long")
        self.fetched.append(len(self.files[path]))
        return self.files[path]

    def cached(self, record: FileRecord) -> Path | None:
        """Return a file that was fetched before."""
        path = self._cache / record.sha256
        return path if path.exists() else None

    def fetch(self, repository: Repository, commit: str, path: str, record: FileRecord) -> Path:
        """Fetch a file."""
        content = self.files[path]
        if file_record(content) != record:
            raise ArtifactError(f"{path} arrives damaged")
        self.fetched.append(len(content))
        target = self._cache / record.sha256
        target.write_bytes(content)
        return target

    def commit(
        self,
        repository: Repository,
        parent: str,
        title: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str] = (),
    ) -> str:
        """Make a commit on the newest one."""
        if parent != f"{self._commits:040x}":
            raise RetryableError(RegistryError("main has moved"), conflict=True)
        size = 0
        for addition in additions:
            content = addition.path_or_fileobj
            assert isinstance(content, bytes)
            size += len(content)
            self.files[addition.path_in_repo] = content
        for path in deletions:
            del self.files[path]
        self.written.append(size)
        self._commits += 1
        return f"{self._commits:040x}"


class Contents:
    """Contents of small artifacts, each another.

    Args:
        directory: Where one is made.
        filters: Width of their embeddings.
    """

    def __init__(self, directory: Path, filters: int = 2) -> None:
        make_artifact(directory, "flowers", weights=False)
        self._base = read_artifact(directory).manifest
        self._path = self._base.embeddings[0].file
        self._filters = filters

    def content(self, number: int) -> tuple[str, Content]:
        """Return digest and content of an artifact."""
        values = np.random.default_rng(number).lognormal(size=self._filters)
        embedding = make_embedding("flowers", values=values).to_bytes()
        files = {**self._base.files, self._path: file_record(embedding)}
        manifest = self._base.model_copy(update={"files": files, "description": f"{number}"})
        content = manifest.to_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return digest, Content(
            manifest=content, parsed=manifest, embeddings={self._path: embedding}
        )

    def load(
        self, digests: Sequence[str], numbers: dict[str, int]
    ) -> Iterator[tuple[str, Content]]:
        """Yield contents by digest."""
        for digest in digests:
            yield self.content(numbers[digest])


def entry(name: str, digests: Sequence[str], commit: int) -> IndexedName:
    """Return the entry of a name with these versions."""
    return IndexedName(
        name=name,
        commit=f"{commit:040x}",
        versions=tuple(
            IndexedVersion(version=number, digest=digest, commit=f"{commit:040x}")
            for number, digest in enumerate(digests, 1)
        ),
    )
