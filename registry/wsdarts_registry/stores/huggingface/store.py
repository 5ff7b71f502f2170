"""``HubStore``: a registry in a namespace on Hugging Face, ``hf://lab``.

Each artifact is a model repository, found by its tag. One artifact is read from its repository;
lists and rankings come from the namespace's index, updated in memory. Where HF_HUB_OFFLINE is set,
both come from the cache.

Pulled artifacts lie in ``artifacts/HEX`` of the cache, those without weights in ``outlines/HEX``.
Files are cached one by one, so that an interrupted pull continues, and are linked from there; a
directory appears by one rename after everything in it was verified.
"""

import os
import shutil
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub.constants import is_offline_mode

from wsdarts_registry._files import cache_directory, discarded_on_error, inside
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry._memory import thread_pool
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.artifact.reader import HEAVY, Artifact, parse_embedding, read_artifact
from wsdarts_registry.artifact.reference import Reference, check_name, is_name
from wsdarts_registry.artifact.writer import Edition, copied_out
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import ArtifactError, CacheError, RegistryError, RegistryWarning
from wsdarts_registry.stores._seen_states import names_to_read
from wsdarts_registry.stores.huggingface._artifact_repository import (
    ArtifactRepository,
    RepositoryRecord,
    State,
    check_publishable,
    signature_path,
    upload_operations,
)
from wsdarts_registry.stores.huggingface._catalogue import (
    LOGIN_HINT,
    Namespace,
    NamespaceCatalogue,
    index_entry,
    open_catalogue,
    update_index,
)
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import Content, ranking_records
from wsdarts_registry.stores.huggingface._index_repository import IndexRepository
from wsdarts_registry.stores.huggingface._retries import with_retries
from wsdarts_registry.stores.huggingface.location import SCHEME, namespace_of
from wsdarts_registry.stores.records import (
    Alias,
    DamagedVersion,
    Entry,
    RegistryConfig,
    VersionInfo,
    Yank,
)
from wsdarts_registry.stores.store import Store, published_version

if TYPE_CHECKING:
    from wsdarts_registry.embedding.embedding import TaskEmbedding

_AT_ONCE = 8  # files that are fetched


class Extent(Enum):
    """Part of an artifact that is fetched; its value is the folder in the cache."""

    WHOLE = "artifacts"
    WITHOUT_WEIGHTS = "outlines"

    @property
    def excluded(self) -> frozenset[str]:
        """Files that are not fetched."""
        return HEAVY if self is Extent.WITHOUT_WEIGHTS else frozenset()


class HubStore(Store):
    """A registry in a namespace on Hugging Face; sends no request before it is used.

    Args:
        location: ``hf://lab``.
        endpoint: Address of the Hub; None for HF_ENDPOINT, else the official one.
        token: A token; None for the one that huggingface_hub finds.
        insecure: Allow plain http beyond this machine, as WSDARTS_HUB_INSECURE does.

    Raises:
        RegistryError: The location or the address is malformed, or the address is not encrypted.
    """

    access_hint = LOGIN_HINT

    def __init__(
        self,
        location: str,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        insecure: bool = False,
    ) -> None:
        namespace = namespace_of(location)
        self._client = HuggingFaceClient(endpoint, token, insecure=insecure)
        self._namespace = Namespace(client=self._client, name=namespace)
        self._index = IndexRepository(self._client, namespace)
        self._snapshots = threading.local()

    @property
    def location(self) -> str:
        """``hf://`` and the namespace."""
        return f"{SCHEME}{self._namespace.name}"

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds; by default those of a new registry."""
        return self._index.config(self._index.head())

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """
        self._index.configure(config)

    def names(self) -> tuple[str, ...]:
        """Return the names with at least one version, yanked or not, sorted."""
        return self.catalogue().names()

    def iter_read(self, include_yanked: bool = False) -> Iterator[Entry | DamagedVersion]:
        """Yield all versions by name and version, as they were when the first was asked for."""
        yield from self.catalogue().iter_read(include_yanked)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name, ascending; none for an unknown name."""
        return self._state(name).versions

    def entry(self, name: str, version: int) -> Entry:
        """Return a version with its manifest."""
        return self._namespace.artifact(name).entry(self._state(name), version)

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """Return the embedding that ranks an entry in a space; None if it has none there."""
        record = entry.manifest.ranking_record(space)
        if record is None:
            return None
        content = self.read(entry, record.file)
        return parse_embedding(content, record, where=str(entry.reference))

    def read(self, entry: Entry, path: str) -> bytes:
        """Return a small file of a published version, verified."""
        commit = self._state(entry.name).tags[entry.version]
        return self._namespace.artifact(entry.name).file_bytes(commit, entry.manifest, path)

    def resolve(self, reference: str | Reference) -> Entry:
        """Return the version of a reference: for a plain name the latest not yanked."""
        with self._snapshot():
            return super().resolve(reference)

    def pull(self, reference: str | Reference, out: str | Path | None = None) -> Artifact:
        """Fetch an artifact into the cache, unless it is there, and verify it."""
        artifact = self._fetched(reference, Extent.WHOLE)
        return artifact if out is None else copied_out(artifact, Path(out))

    def pull_without_weights(self, reference: str | Reference) -> Artifact:
        """Fetch an artifact without its weights, unless it is there, and verify it."""
        return self._fetched(reference, Extent.WITHOUT_WEIGHTS)

    def publish(
        self, artifact: str | Path | Edition, name: str, version: int | None = None
    ) -> Entry:
        """Commit an artifact, tag it, and update the index."""
        Reference(name=name, version=version)  # refuses bad names and numbers
        edition = artifact if isinstance(artifact, Edition) else Edition.of(artifact)
        check_publishable(edition)
        published, state = self._published(edition, name, version)
        self.remember(name, state.versions)
        self._update_index(name, state, {edition.digest: _content(edition)})
        return Entry(
            name=name,
            version=published,
            digest=edition.digest,
            manifest=edition.manifest,
            status=state.status(published),
        )

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the version of each alias of a name."""
        check_name(name)
        return {
            alias: record.version
            for alias, record in sorted(self._state(name).record.aliases.items())
        }

    def signature(self, name: str, version: int) -> bytes | None:
        """Return the signature of a version; None if it was not signed."""
        state = self._state(name)
        path = signature_path(version)
        if state.head is None or path not in state.head.files:
            return None
        remote = self._namespace.artifact(name).remote
        return self._client.read(remote, state.head.commit, path, MAX_RECORD_BYTES)

    def write_yank(self, name: str, version: int, change: Callable[[Yank | None], Yank]) -> None:
        """Write a yank into the record; the version itself does not change."""

        def changed(record: RepositoryRecord) -> RepositoryRecord:
            return record.with_yank(version, change(record.yanked.get(str(version))))

        self._namespace.artifact(name).edit(f"Yank or restore {name}@{version}", changed)
        self._update_index(name)

    def write_alias(self, name: str, alias: str, record: Alias | None) -> None:
        """Write an alias into the record."""
        title = f"Let {name}@{alias} mean version {record.version}" if record else f"Drop {alias}"
        repository = self._namespace.artifact(name)
        repository.edit(title, lambda found: found.with_alias(alias, record))
        self._update_index(name)

    def write_signature(self, name: str, version: int, signature: bytes) -> None:
        """Write a signature beside the record on main."""
        files = {signature_path(version): signature}
        repository = self._namespace.artifact(name)
        repository.edit(f"Sign {name}@{version}", lambda record: record, files)
        self._update_index(name)

    def hub_id(self, name: str) -> str:
        """Return the id of the repository of a name."""
        return self._namespace.artifact(name).remote.id

    @property
    def state_key(self) -> str | None:
        """Address and namespace; None offline, where nothing of the registry itself is seen."""
        return None if is_offline_mode() else f"{self._client.url} {self._namespace.name}"

    def snapshot(self) -> NamespaceCatalogue:
        """Return the current catalogue of the namespace.

        Raises:
            RegistryError: A request to the Hub failed.
        """
        return open_catalogue(self._namespace, self._index, self.location, self._doubts)

    def _doubts(self, listed: Mapping[str, Sequence[VersionInfo]]) -> Sequence[str]:
        states = self._seen_states()
        return () if states is None else names_to_read(states, listed)

    def finish_push(self, name: str) -> None:
        """Finish the pending pushes of a name."""
        repository = self._namespace.artifact(name)
        repository.finish_pending(repository.state())

    def rebuild_index(self) -> tuple[str, ...]:
        """Rebuild the index from the artifacts, finish pending pushes, and return the names.

        Raises:
            RegistryError: A request to the Hub failed, or the index cannot be written.
        """
        for name in filter(is_name, self._client.heads(self._namespace.name)):
            repository = self._namespace.artifact(name)
            repository.finish_pending(repository.state())
        return update_index(self._namespace, self._index, rebuild=True)

    def _fetched(self, reference: str | Reference, extent: Extent) -> Artifact:
        with self._snapshot():
            entry = self.resolve(reference)
            commit = self._state(entry.name).tags[entry.version]
            # A complete artifact serves both extents.
            kept = read_pulled(entry.digest) or read_pulled(entry.digest, extent)
            repository = self._namespace.artifact(entry.name)
            artifact = kept or fetch_artifact(self._client, repository, commit, entry, extent)
            self.check_trusted(entry.name, entry.info, artifact)
            return artifact

    def _update_index(
        self,
        name: str,
        state: State | None = None,
        known: Mapping[str, Content] | None = None,
    ) -> None:
        """Update the index after a change, which is kept even if the update fails."""
        # A version that was pending may have been tagged since: the commit would not tell.
        entry = None if state is None or state.pending else index_entry(name, state)
        written = {} if entry is None else {name: entry}
        try:
            update_index(
                self._namespace, self._index, always=(name,), written=written, known=known or {}
            )
        except RegistryError as error:
            warnings.warn(
                f"{name} was changed, but not the index of {self.location}: {error}; "
                f"`wsdarts-hub index rebuild{self.option}` rebuilds it",
                RegistryWarning,
                stacklevel=3,
            )

    def _published(self, edition: Edition, name: str, version: int | None) -> tuple[int, State]:
        """Publish an artifact as a version, unless it is one; return number and new state."""
        repository = self._namespace.artifact(name)

        def attempt() -> tuple[int, State]:
            with self._snapshot():
                if repository.finish_pending(self._state(name)):
                    self._snapshots.states.pop(name)
                published = published_version(self, name, version, edition.digest)
                state = self._state(name)
                if published is not None:
                    edition.check_bytes()
                    return published, state
            number = state.next_version(version, edition.digest, name)
            files = upload_operations(edition)
            return number, repository.add(state, number, edition.digest, files)

        return with_retries(attempt)

    def _unknown_name_hint(self, name: str) -> str:
        with warnings.catch_warnings():
            # An outdated index does not matter to a user who mistyped a name.
            warnings.simplefilter("ignore", RegistryWarning)
            return super()._unknown_name_hint(name)

    def _state(self, name: str) -> State:
        check_name(name)
        states: dict[str, State] | None = getattr(self._snapshots, "states", None)
        if states is None:
            return self._namespace.artifact(name).state()
        if name not in states:
            states[name] = self._namespace.artifact(name).state()
        return states[name]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read each repository once within the context."""
        states = getattr(self._snapshots, "states", None)
        with self._reading_through({} if states is None else states):
            yield

    def reread(self) -> AbstractContextManager[None]:
        """Within this context, read each repository whenever it is asked for."""
        return self._reading_through(None)

    @contextmanager
    def _reading_through(self, states: dict[str, State] | None) -> Iterator[None]:
        outer = getattr(self._snapshots, "states", None)
        self._snapshots.states = states
        try:
            yield
        finally:
            self._snapshots.states = outer


def _content(edition: Edition) -> Content:
    """Return the content of an artifact for an index."""
    manifest = edition.manifest
    return Content(
        manifest=edition.content,
        parsed=manifest,
        embeddings={r.file: edition.read(r.file) for r in ranking_records(manifest)},
    )


def pulled_path(digest: str, extent: Extent = Extent.WHOLE) -> Path:
    """Return the path of a pulled artifact with that digest."""
    return cache_directory() / extent.value / digest.removeprefix("sha256:")


def read_pulled(digest: str, extent: Extent = Extent.WHOLE) -> Artifact | None:
    """Return a pulled artifact, verified; None if it is missing or damaged."""
    with suppress(ArtifactError):
        return read_artifact(pulled_path(digest, extent), digest, without=extent.excluded)
    return None


def fetch_artifact(
    client: HuggingFaceClient,
    repository: ArtifactRepository,
    commit: str,
    entry: Entry,
    extent: Extent = Extent.WHOLE,
) -> Artifact:
    """Fetch an artifact into the cache and verify it; two processes may do so at once.

    Args:
        client: Client of the Hub.
        repository: Its repository.
        commit: Commit of its tag.
        entry: Its verified manifest.
        extent: Part to fetch.

    Raises:
        ArtifactError: A file is missing, or does not match the manifest.
        RegistryError: A request to the Hub failed, or the cache cannot be written.
    """
    wanted = {
        path: record for path, record in entry.manifest.files.items() if path not in extent.excluded
    }
    manifest = repository.manifest_bytes(commit, entry.digest)
    found = {path: kept for path, record in wanted.items() if (kept := client.cached(record))}
    missing = [path for path in wanted if path not in found]
    if missing:
        repository.check_files(commit, entry.manifest, entry.digest)

    def fetch(path: str) -> Path:
        return client.fetch(repository.remote, commit, path, wanted[path])

    with thread_pool(_AT_ONCE) as pool:
        found |= zip(missing, pool.map(fetch, missing), strict=True)
    try:
        return _place(found, manifest, entry, extent)
    except OSError as error:
        raise CacheError(
            f"cannot keep {entry.reference} in {cache_directory()}: {error.strerror}",
            hint="free some space, or name another cache in WSDARTS_HUB_CACHE",
        ) from error


def _place(found: Mapping[str, Path], manifest: bytes, entry: Entry, extent: Extent) -> Artifact:
    target = pulled_path(entry.digest, extent)
    temporary = target.parent / f".{target.name[:12]}.{uuid.uuid4().hex}"
    with discarded_on_error(temporary):
        (temporary / MANIFEST).write_bytes(manifest)
        (temporary / CHECKSUM).write_bytes(checksum_line(entry.digest.removeprefix("sha256:")))
        for path, source in found.items():
            _link(source, inside(temporary, path))
        artifact = read_artifact(temporary, entry.digest, without=extent.excluded)
        _move(temporary, target, entry.digest, extent)
    return replace(artifact, directory=target)


def _move(temporary: Path, target: Path, digest: str, extent: Extent) -> None:
    """Rename a verified directory to its place, unless another process was faster."""
    try:
        temporary.rename(target)
    except OSError:
        if read_pulled(digest, extent) is None:
            # The old one is damaged; moved away first, so that nobody reads a part of it.
            away = temporary.with_name(f"{temporary.name}.damaged")
            target.rename(away)
            temporary.rename(target)
            shutil.rmtree(away, ignore_errors=True)
        else:
            shutil.rmtree(temporary, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
