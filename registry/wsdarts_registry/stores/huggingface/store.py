"""A registry in a namespace on the Hugging Face Hub, ``hf://lab``.

Each artifact is a model repository, found by its tag; see ``repository``. What is asked of one
name is asked of its repository; lists and rankings come from the namespace's index, brought up to
date; see ``catalogue``. Where HF_HUB_OFFLINE is set, both come from the caches.
"""

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.artifact.reader import Artifact, parse_embedding
from wsdarts_registry.artifact.reference import Reference, check_name, is_name
from wsdarts_registry.artifact.writer import Edition, copied_out
from wsdarts_registry.embedding.space import EmbeddingSpace
from wsdarts_registry.errors import RegistryError, RegistryWarning
from wsdarts_registry.stores.catalogue import Survey
from wsdarts_registry.stores.huggingface.answers import State
from wsdarts_registry.stores.huggingface.catalogue import PRIVATE, HubCatalogue, Namespace, indexed
from wsdarts_registry.stores.huggingface.client import HubClient
from wsdarts_registry.stores.huggingface.download import Extent, fetch_artifact, read_pulled
from wsdarts_registry.stores.huggingface.index import Content, ranking_records
from wsdarts_registry.stores.huggingface.index_repository import IndexRepository, current, update
from wsdarts_registry.stores.huggingface.location import SCHEME, namespace_of
from wsdarts_registry.stores.huggingface.record import signature_path
from wsdarts_registry.stores.huggingface.retry import Patience, UnsettledError
from wsdarts_registry.stores.huggingface.upload import check_publishable, next_version, operations
from wsdarts_registry.stores.records import Alias, Entry, RegistryConfig, VersionInfo, Yank
from wsdarts_registry.stores.store import Store
from wsdarts_registry.stores.version_rules import published_version

if TYPE_CHECKING:
    from wsdarts_registry.embedding.embedding import TaskEmbedding


class HubStore(Store):
    """A registry in a namespace on the Hub. Nothing is asked before it is used.

    Args:
        location: ``hf://lab``.
        endpoint: Address of the Hub; None for HF_ENDPOINT, else the official one.
        token: A token; None for the one that the client finds.
        insecure: Allow a Hub beyond this machine that is spoken to without encryption, as
            WSDARTS_HUB_INSECURE does.

    Raises:
        RegistryError: The location or the address is malformed, or the address is not encrypted.
    """

    def __init__(
        self,
        location: str,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        insecure: bool = False,
    ) -> None:
        namespace = namespace_of(location)
        self._client = HubClient(endpoint, token, insecure=insecure)
        self._namespace = Namespace(client=self._client, name=namespace)
        self._index = IndexRepository(self._client, namespace)
        self._moment = threading.local()

    @property
    def location(self) -> str:
        """``hf://`` and the namespace."""
        return f"{SCHEME}{self._namespace.name}"

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds; where there are none, those of a new registry."""
        return self._index.config(self._index.head())

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """
        self._index.configure(config)

    def names(self) -> tuple[str, ...]:
        """Names with at least one version, yanked or not, sorted."""
        return self.catalogue().names()

    def survey(self, include_yanked: bool = False) -> Survey:
        """All versions by name and version: those that can be read, and those that cannot."""
        return self.catalogue().survey(include_yanked)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """The versions of a name, ascending; none for an unknown name."""
        return self._state(name).versions

    def entry(self, name: str, version: int) -> Entry:
        """One version with its manifest."""
        return self._namespace.artifact(name).entry(self._state(name), version)

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> "TaskEmbedding | None":
        """The embedding that ranks an entry in a space; None if it has none there."""
        record = entry.manifest.ranking_record(space)
        if record is None:
            return None
        content = self.read(entry, record.file)
        return parse_embedding(content, record, where=str(entry.reference))

    def read(self, entry: Entry, path: str) -> bytes:
        """One small file of a published version, verified."""
        commit = self._state(entry.name).tags[entry.version]
        return self._namespace.artifact(entry.name).file_bytes(commit, entry.manifest, path)

    def resolve(self, reference: str | Reference) -> Entry:
        """Find the version that a reference means: for a plain name the latest not yanked."""
        with self._one_moment():
            return super().resolve(reference)

    def pull(self, reference: str | Reference, out: str | Path | None = None) -> Artifact:
        """Fetch an artifact into the cache, unless it is there, and verify it."""
        artifact = self._fetched(reference, Extent.WHOLE)
        return artifact if out is None else copied_out(artifact, Path(out))

    def look(self, reference: str | Reference) -> Artifact:
        """Fetch an artifact without its weights, unless it is there, and verify it."""
        return self._fetched(reference, Extent.WITHOUT_WEIGHTS)

    def publish(
        self, artifact: str | Path | Edition, name: str, version: int | None = None
    ) -> Entry:
        """Commit an artifact, tag it, and bring the index up to date."""
        Reference(name=name, version=version)  # refuses bad names and numbers
        edition = artifact if isinstance(artifact, Edition) else Edition.of(artifact)
        check_publishable(edition)
        published, state = self._published(edition, name, version)
        self._update_index(name, state, {edition.digest: _content(edition)})
        return Entry(
            name=name,
            version=published,
            digest=edition.digest,
            manifest=edition.manifest,
            status=state.status(published),
        )

    def aliases(self, name: str) -> Mapping[str, int]:
        """The aliases of a name and the version that each means."""
        check_name(name)
        return {
            alias: record.version
            for alias, record in sorted(self._state(name).record.aliases.items())
        }

    def signature(self, name: str, version: int) -> bytes | None:
        """The signature of a version; None if it was not signed."""
        state = self._state(name)
        path = signature_path(version)
        if state.head is None or path not in state.head.files:
            return None
        place = self._namespace.artifact(name).place
        return self._client.read(place, state.head.commit, path, MAX_RECORD_BYTES)

    def write_yank(self, name: str, version: int, yank: Yank) -> None:
        """Write the reason into the record; the version itself is not touched."""
        title = f"Restore {name}@{version}" if yank.lifted else f"Yank {name}@{version}"
        repository = self._namespace.artifact(name)
        repository.edit(title, lambda record: record.with_yank(version, yank))
        self._update_index(name)

    def write_alias(self, name: str, alias: str, record: Alias | None) -> None:
        """Write the alias into the record."""
        title = f"Let {name}@{alias} mean version {record.version}" if record else f"Drop {alias}"
        repository = self._namespace.artifact(name)
        repository.edit(title, lambda found: found.with_alias(alias, record))
        self._update_index(name)

    def write_signature(self, name: str, version: int, signature: bytes) -> None:
        """Write the signature beside the record on main."""
        files = {signature_path(version): signature}
        repository = self._namespace.artifact(name)
        repository.edit(f"Sign {name}@{version}", lambda record: record, files)
        self._update_index(name)

    def hub_id(self, name: str) -> str:
        """Id of the repository of a name."""
        return self._namespace.artifact(name).place.id

    def catalogue(self) -> HubCatalogue:
        """What the namespace holds now, for several questions about one moment.

        Raises:
            RegistryError: The Hub cannot be asked.
        """
        found = self._index.find()
        return HubCatalogue(
            namespace=self._namespace,
            location=self.location,
            config=self._index.config(found.head),
            merged=current(self._namespace, found, self.location),
        )

    def settle(self, name: str) -> None:
        """Tag the versions whose push ended before it could."""
        repository = self._namespace.artifact(name)
        repository.finish(repository.state())

    def rebuild_index(self) -> tuple[str, ...]:
        """Make the index anew from the artifacts; finish pushes that ended before their last step.

        Returns:
            The names in it.

        Raises:
            RegistryError: The Hub cannot be asked, or the index cannot be written.
        """
        for name in filter(is_name, self._client.heads(self._namespace.name)):
            repository = self._namespace.artifact(name)
            repository.finish(repository.state())
        return update(self._namespace, self._index, anew=True)

    def _fetched(self, reference: str | Reference, extent: Extent) -> Artifact:
        with self._one_moment():
            entry = self.resolve(reference)
            commit = self._state(entry.name).tags[entry.version]
            # One that was pulled whole serves who only looks, too.
            kept = read_pulled(entry.digest) or read_pulled(entry.digest, extent)
            repository = self._namespace.artifact(entry.name)
            artifact = kept or fetch_artifact(self._client, repository, commit, entry, extent)
            self.check_signed(entry.name, entry.version, artifact)
            return artifact

    def _update_index(
        self,
        name: str,
        state: State | None = None,
        known: Mapping[str, Content] | None = None,
    ) -> None:
        """Bring the index up to date after a change, which stands whether or not that succeeds."""
        entry = None if state is None else indexed(name, state)
        written = {} if entry is None else {name: entry}
        try:
            update(self._namespace, self._index, always=(name,), written=written, known=known or {})
        except RegistryError as error:
            warnings.warn(
                f"{name} was changed, but not the index of {self.location}: {error}; "
                f"`wsdarts-hub index rebuild{self.option}` makes it anew",
                RegistryWarning,
                stacklevel=3,
            )

    def _published(self, edition: Edition, name: str, version: int | None) -> tuple[int, State]:
        """Place an artifact as a version, unless it is one; whoever is first has the number.

        Returns:
            The version, and what the repository holds then.
        """
        repository = self._namespace.artifact(name)
        patience = Patience()
        while True:
            with self._one_moment():
                if repository.finish(self._state(name)):
                    self._forget(name)
                published = published_version(self, name, version, edition.digest)
                state = self._state(name)
                if published is not None:
                    edition.check_bytes()
                    return published, state
            number = next_version(state, version, edition.digest, name)
            try:
                state = repository.add(state, number, edition.digest, operations(edition))
            except UnsettledError as error:
                patience.after(error)
            else:
                return number, state

    def _unknown_name(self, name: str) -> str:
        with warnings.catch_warnings():
            # What the index lacks is of no interest to somebody who mistyped a name.
            warnings.simplefilter("ignore", RegistryWarning)
            return f"{super()._unknown_name(name)}; {PRIVATE}"

    def _state(self, name: str) -> State:
        check_name(name)
        states: dict[str, State] | None = getattr(self._moment, "states", None)
        if states is None:
            return self._namespace.artifact(name).state()
        if name not in states:
            states[name] = self._namespace.artifact(name).state()
        return states[name]

    def _forget(self, name: str) -> None:
        self._moment.states.pop(name)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Let everything within see a repository as it was when it was first read."""
        outer = getattr(self._moment, "states", None)
        self._moment.states = {} if outer is None else outer
        try:
            yield
        finally:
            self._moment.states = outer


def _content(edition: Edition) -> Content:
    """What an index holds of an artifact, read off its directory."""
    manifest = edition.manifest
    return Content(
        manifest=edition.content,
        parsed=manifest,
        embeddings={r.file: edition.read(r.file) for r in ranking_records(manifest)},
    )
