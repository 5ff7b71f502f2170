"""What a namespace on the Hub holds at one moment: its index, and whatever that does not know yet.

The index is compared with the list of the namespace's repositories, which costs one call. Names
that the index does not have, or whose main branch has moved since it was written, are read from
the artifacts themselves. So what is listed and ranked is what is there, whatever the index says.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from wsdarts_registry.artifact.manifest import EmbeddingRecord, Manifest
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.space import EmbeddingSpace
from wsdarts_registry.errors import ArtifactError, RecordError, RegistryWarning
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_registry.stores.huggingface.answers import State
from wsdarts_registry.stores.huggingface.client import HubClient
from wsdarts_registry.stores.huggingface.index import (
    Content,
    Index,
    IndexedName,
    IndexedVersion,
    ranking_records,
)
from wsdarts_registry.stores.huggingface.repository import ArtifactRepository
from wsdarts_registry.stores.records import Entry, RegistryConfig, VersionInfo

_AT_ONCE = 8
PRIVATE = "if it is private, log in with `hf auth login`"
"""What may help who named an artifact that is not there."""


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A user or an organisation on the Hub, whose models are artifacts."""

    client: HubClient
    name: str

    def artifact(self, name: str) -> ArtifactRepository:
        """The repository of an artifact."""
        return ArtifactRepository(self.client, self.name, name)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """An index, brought up to date in memory.

    Attributes:
        names: Every name as it is now.
        private: Names of artifacts that not everybody may see.
        behind: Names that the index did not know, or not as they are now.
        contents: What was in the index, by digest.
    """

    names: Mapping[str, IndexedName]
    private: frozenset[str]
    behind: tuple[str, ...]
    contents: Mapping[str, Content]

    def index(self, namespace: Namespace, known: Mapping[str, Content], *, private: bool) -> Index:
        """A whole index of it; what no index had is fetched.

        Args:
            namespace: Where the artifacts are.
            known: Contents that need not be fetched, by digest.
            private: Whether artifacts may be in it that not everybody may see.
        """
        names = {
            name: entry for name, entry in self.names.items() if private or name not in self.private
        }
        contents = {**self.contents, **known}
        wanted = {
            version.digest: (name, version)
            for name, entry in names.items()
            for version in entry.versions
        }
        missing = {digest: wanted[digest] for digest in wanted if digest not in contents}

        def fetch(item: tuple[str, IndexedVersion]) -> Content | None:
            with suppress(ArtifactError):  # damaged ones are left out, and read by themselves
                return fetch_content(namespace.artifact(item[0]), item[1])
            return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            fetched = dict(zip(missing, pool.map(fetch, missing.values()), strict=True))
        contents.update({digest: found for digest, found in fetched.items() if found is not None})
        return Index(
            names=names,
            contents={digest: contents[digest] for digest in wanted if digest in contents},
        )


def merge(
    namespace: Namespace,
    index: Index,
    always: Iterable[str] = (),
    known: Mapping[str, IndexedName] | None = None,
) -> Merged:
    """Bring an index up to date.

    Args:
        namespace: What it is the index of.
        index: What was read; it has to be older than this call.
        always: Names that are read whatever the list says, which may lag behind.
        known: What was just written, by name; taken where the list agrees.

    Raises:
        RegistryError: The Hub cannot be asked.
    """
    listed = namespace.client.heads(namespace.name)
    heads = {name: head for name, head in listed.items() if is_name(name)}
    current: dict[str, IndexedName] = {}
    for name, (commit, _) in heads.items():
        for source in (known or {}, {} if name in always else index.names):
            if name in source and source[name].commit == commit:
                current.setdefault(name, source[name])
    asked = sorted({*heads, *index.names, *always} - current.keys())
    states = _states(namespace, asked)
    read = {name: found for name, state in states.items() if (found := indexed(name, state))}
    names = {**current, **read}
    private = {name for name, (_, private) in heads.items() if private}
    private |= {name for name, state in states.items() if state.head and state.head.private}
    behind = [name for name in asked if index.names.get(name) != names.get(name)]
    return Merged(
        names=names,
        private=frozenset(private),
        behind=tuple(behind),
        contents=index.contents,
    )


def _states(namespace: Namespace, names: Sequence[str]) -> dict[str, State]:
    """What is there of each name; one whose record is damaged is left out with a warning."""

    def ask(name: str) -> State | RecordError:
        try:
            return namespace.artifact(name).state()
        except RecordError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(names, pool.map(ask, names), strict=True))
    for name, state in found.items():
        if isinstance(state, RecordError):
            warnings.warn(f"{name} is left out: {state}", RegistryWarning, stacklevel=5)
    return {name: state for name, state in found.items() if isinstance(state, State)}


def indexed(name: str, state: State) -> IndexedName | None:
    """What an index says of a name; None where there is no repository."""
    if state.head is None:
        return None
    versions = tuple(
        IndexedVersion(
            version=info.version,
            digest=info.digest or "",
            commit=state.tags[info.version],
            yank=info.status.yank,
            aliases=info.status.aliases,
            signed=info.status.signed,
        )
        for info in state.versions
    )
    return IndexedName(name=name, commit=state.head.commit, versions=versions)


def fetch_content(repository: ArtifactRepository, version: IndexedVersion) -> Content:
    """What an index holds of a version, fetched and verified.

    Raises:
        ArtifactError: It is damaged.
    """
    manifest = repository.manifest_bytes(version.commit, version.digest)
    parsed = Manifest.from_bytes(manifest, what=f"the manifest of {repository.name}")
    embeddings = {
        record.file: repository.file_bytes(version.commit, parsed, record.file)
        for record in ranking_records(parsed)
    }
    return Content(manifest=manifest, parsed=parsed, embeddings=embeddings)


class HubCatalogue(Catalogue):
    """The artifacts of a namespace at one moment.

    Args:
        namespace: Where they are.
        location: What ``open_registry`` was given.
        config: Name, default probe and thresholds.
        merged: What is there.
    """

    def __init__(
        self, *, namespace: Namespace, location: str, config: RegistryConfig, merged: Merged
    ) -> None:
        self._namespace = namespace
        self._location = location
        self._config = config
        self._merged = merged
        self._fetched: dict[str, Content] = {}

    @property
    def location(self) -> str:
        """What ``open_registry`` was given."""
        return self._location

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""
        return self._config

    def names(self) -> tuple[str, ...]:
        """Names with at least one version, yanked or not, sorted."""
        return tuple(sorted(name for name, entry in self._merged.names.items() if entry.versions))

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """The versions of a name, ascending; none for an unknown name."""
        entry = self._merged.names.get(name)
        return tuple(version.info for version in entry.versions) if entry else ()

    def entry(self, name: str, version: int) -> Entry:
        """One version with its manifest."""
        found = self._version(name, version)
        return Entry(
            name=name,
            version=version,
            digest=found.digest,
            manifest=self._content(name, found).parsed,
            status=found.info.status,
        )

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> TaskEmbedding | None:
        """The embedding that ranks an entry in a space; None if it has none there."""
        record = entry.manifest.ranking_record(space)
        if record is None:
            return None
        found = self._version(entry.name, entry.version)
        return embedding_of(self._content(entry.name, found), record, entry)

    def _unknown_name(self, name: str) -> str:
        return f"{super()._unknown_name(name)}; {PRIVATE}"

    def _version(self, name: str, number: int) -> IndexedVersion:
        entry = self._merged.names.get(name)
        found = entry.version(number) if entry else None
        if found is None:
            raise ArtifactError(f"{self._location} has no {name}@{number}")
        return found

    def _content(self, name: str, version: IndexedVersion) -> Content:
        digest = version.digest
        if digest in self._merged.contents:
            return self._merged.contents[digest]
        if digest not in self._fetched:
            self._fetched[digest] = fetch_content(self._namespace.artifact(name), version)
        return self._fetched[digest]


def embedding_of(content: Content, record: EmbeddingRecord, entry: Entry) -> TaskEmbedding:
    """Read a verified embedding.

    Raises:
        ArtifactError: It is malformed, or of another space or task than recorded.
    """
    # Imported here: listing a registry needs no numpy.
    from wsdarts_registry.artifact.reader import parse_embedding  # noqa: PLC0415

    return parse_embedding(content.embeddings[record.file], record, where=str(entry.reference))
