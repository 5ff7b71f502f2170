"""The catalogue of a namespace at one moment, and the update of its index.

The index is compared with the list of the namespace's repositories, which takes one request. Names
that the index lacks, or whose main branch has moved since, are read from their repositories, so
that lists and rankings are right even if the index is outdated.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from wsdarts_registry._memory import thread_pool
from wsdarts_registry.artifact.manifest import Manifest
from wsdarts_registry.artifact.reader import parse_embedding
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import ArtifactError, RecordError, RegistryWarning
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_registry.stores.huggingface._artifact_repository import ArtifactRepository, State
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import (
    EMPTY_INDEX,
    Content,
    DamagedPartError,
    Index,
    IndexedName,
    IndexedVersion,
    ranking_records,
)
from wsdarts_registry.stores.huggingface._index_repository import FoundIndex, IndexRepository
from wsdarts_registry.stores.huggingface._retries import with_retries
from wsdarts_registry.stores.records import Entry, RegistryConfig, VersionInfo

_AT_ONCE = 8
_FETCHED_AHEAD = 64
# Hint where a named artifact is not found.
LOGIN_HINT = "if it is private, log in with `hf auth login`"


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A user or organisation whose models are artifacts."""

    client: HuggingFaceClient
    name: str

    def artifact(self, name: str) -> ArtifactRepository:
        """Return the repository of an artifact."""
        return ArtifactRepository(self.client, self.name, name)


@dataclass(frozen=True, kw_only=True)
class MergedIndex:
    """An index that was updated in memory.

    Attributes:
        names: All names with their current versions.
        private: Names of private artifacts.
        read: Names whose state was read from their own repositories.
        outdated: Names that the index lacked, or had in an older state.
        wrong: Names of which the index says something else than their repositories at the same
            commit. It was forged, or a version was tagged later.
        contents: Contents of the index by digest.
    """

    names: Mapping[str, IndexedName]
    private: frozenset[str]
    read: frozenset[str]
    outdated: tuple[str, ...]
    wrong: tuple[str, ...]
    contents: Mapping[str, Content]

    def public(self) -> dict[str, IndexedName]:
        """Return the names without those of private artifacts."""
        return {name: entry for name, entry in self.names.items() if name not in self.private}

    def load(
        self, namespace: Namespace, known: Mapping[str, Content], digests: Sequence[str]
    ) -> Iterator[tuple[str, Content]]:
        """Yield contents of versions; those of damaged artifacts are left out, and read one by one.

        Args:
            namespace: Namespace of the artifacts.
            known: Contents that need not be fetched, by digest.
            digests: What to yield.
        """
        wanted = set(digests) - known.keys()
        versions = {
            version.digest: (name, version)
            for name, entry in self.names.items()
            for version in entry.versions
            if version.digest in wanted
        }

        def fetch(digest: str) -> Content | None:
            if digest in known:
                return known[digest]
            name, version = versions[digest]
            with suppress(ArtifactError):
                return fetch_content(namespace.artifact(name), version)
            return None

        with thread_pool(_AT_ONCE) as pool:
            for start in range(0, len(digests), _FETCHED_AHEAD):
                part = digests[start : start + _FETCHED_AHEAD]
                for digest, found in zip(part, pool.map(fetch, part), strict=True):
                    if found is not None:
                        yield digest, found


def merge(
    namespace: Namespace,
    index: Index,
    always: Iterable[str] = (),
    known: Mapping[str, IndexedName] | None = None,
) -> MergedIndex:
    """Update an index in memory.

    Args:
        namespace: Namespace of the index.
        index: The index; read before this call.
        always: Names that are read even if the list, which may be late, shows no change.
        known: Entries that were just written, by name; used where the list agrees.

    Raises:
        RegistryError: A request to the Hub failed.
    """
    listed = namespace.client.heads(namespace.name)
    heads = {name: head for name, head in listed.items() if is_name(name)}
    current: dict[str, IndexedName] = {}
    for name, (commit, _) in heads.items():
        for source in (known or {}, {} if name in always else index.names):
            if name in source and source[name].commit == commit:
                current.setdefault(name, source[name])
    changed = sorted({*heads, *index.names, *always} - current.keys())
    states = _states(namespace, changed)
    read = {name: found for name, state in states.items() if (found := index_entry(name, state))}
    names = {**current, **read}
    private = {name for name, (_, private) in heads.items() if private}
    private |= {name for name, state in states.items() if state.head and state.head.private}
    other = [name for name in changed if index.names.get(name) != names.get(name)]
    wrong = [
        name
        for name in other
        if name in read and name in index.names and index.names[name].commit == read[name].commit
    ]
    return MergedIndex(
        names=names,
        private=frozenset(private),
        read=frozenset(read),
        outdated=tuple(name for name in other if name not in wrong),
        wrong=tuple(wrong),
        contents=index.contents,
    )


def _states(namespace: Namespace, names: Sequence[str]) -> dict[str, State]:
    """Return the state of each name; warn of damaged records and leave them out."""

    def read_state(name: str) -> State | RecordError:
        try:
            return namespace.artifact(name).state()
        except RecordError as error:
            return error

    with thread_pool(_AT_ONCE) as pool:
        found = dict(zip(names, pool.map(read_state, names), strict=True))
    for name, state in found.items():
        if isinstance(state, RecordError):
            warnings.warn(f"{name} is left out: {state}", RegistryWarning, stacklevel=5)
    return {name: state for name, state in found.items() if isinstance(state, State)}


def index_entry(name: str, state: State) -> IndexedName | None:
    """Return the index entry of a name; None without a repository."""
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
    """Fetch and verify the content of a version for an index.

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


def update_index(
    namespace: Namespace,
    repository: IndexRepository,
    *,
    always: Iterable[str] = (),
    written: Mapping[str, IndexedName] | None = None,
    known: Mapping[str, Content] | None = None,
    rebuild: bool = False,
) -> tuple[str, ...]:
    """Write the index of a namespace, unless it is up to date; return the names in it.

    Of several writers the first wins, and the others read the index again: it often holds their
    changes by then, since each writer adds everything that is outdated.

    Args:
        namespace: Namespace of the index.
        repository: Repository of the index.
        always: Names that are read even if the list of the namespace shows no change.
        written: Entries that were just written, by name; used where the list agrees.
        known: Contents that need not be fetched, by digest.
        rebuild: Read every name anew, and verify all that the index holds.

    Raises:
        RegistryError: A request to the Hub failed, or the index cannot be written.
    """
    names = tuple(always)

    def attempt() -> tuple[str, ...]:
        # The index is read before the list, so that the list is never older.
        found = repository.find()
        head = found.head or repository.ensure_head()
        before = EMPTY_INDEX if rebuild else found.index
        merged = merge(namespace, before or EMPTY_INDEX, names, written)
        entries = merged.names if head.private else merged.public()
        load = partial(merged.load, namespace, known or {})
        repository.write(found, head, entries, load, rebuild=rebuild)
        return tuple(sorted(name for name, entry in entries.items() if entry.versions))

    return with_retries(attempt)


class NamespaceCatalogue(Catalogue):
    """Catalogue of a namespace at one moment.

    Args:
        namespace: Namespace of the artifacts.
        location: Location of the registry.
        config: Name, default probe and thresholds.
        merged: Its updated index.
    """

    access_hint = LOGIN_HINT

    def __init__(
        self, *, namespace: Namespace, location: str, config: RegistryConfig, merged: MergedIndex
    ) -> None:
        self._namespace = namespace
        self._location = location
        self._config = config
        self._merged = merged
        self._fetched: dict[str, Content] = {}
        self._warned = False

    @property
    def location(self) -> str:
        """Location of the registry."""
        return self._location

    @property
    def config(self) -> RegistryConfig:
        """Name, default probe and thresholds."""
        return self._config

    def names(self) -> tuple[str, ...]:
        """Return the names with at least one version, yanked or not, sorted."""
        return tuple(sorted(name for name, entry in self._merged.names.items() if entry.versions))

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name, ascending; none for an unknown name."""
        entry = self._merged.names.get(name)
        return tuple(version.info for version in entry.versions) if entry else ()

    def is_first_hand(self, name: str) -> bool:
        """Return whether what is listed of a name was read from its repository."""
        return name in self._merged.read

    def entry(self, name: str, version: int) -> Entry:
        """Return a version with its manifest."""
        found = self._version(name, version)
        return Entry(
            name=name,
            version=version,
            digest=found.digest,
            manifest=self._content(name, found).parsed,
            status=found.info.status,
        )

    def embedding(self, entry: Entry, space: EmbeddingSpace) -> TaskEmbedding | None:
        """Return the embedding that ranks an entry in a space; None if it has none there."""
        record = entry.manifest.ranking_record(space)
        if record is None:
            return None
        found = self._version(entry.name, entry.version)
        content = self._content(entry.name, found).embeddings[record.file]
        return parse_embedding(content, record, where=str(entry.reference))

    def _version(self, name: str, number: int) -> IndexedVersion:
        entry = self._merged.names.get(name)
        found = entry.version(number) if entry else None
        if found is None:
            raise ArtifactError(f"{self._location} has no {name}@{number}")
        return found

    def _content(self, name: str, version: IndexedVersion) -> Content:
        digest = version.digest
        if digest in self._merged.contents:
            try:
                return self._merged.contents[digest]
            except DamagedPartError as error:
                self._warn_damaged(error)
        if digest not in self._fetched:
            self._fetched[digest] = fetch_content(self._namespace.artifact(name), version)
        return self._fetched[digest]

    def _warn_damaged(self, error: DamagedPartError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"a part of the index of {self._location} cannot be used ({error}), so the "
                f"artifacts in it are read by themselves; {_remedy(self._location)}",
                RegistryWarning,
                stacklevel=5,
            )


def _remedy(location: str) -> str:
    return f"`wsdarts-hub index rebuild --registry {location}` rebuilds it"


# Names to be read from their repositories, of those that an index has.
Doubts = Callable[[Mapping[str, Sequence[VersionInfo]]], Sequence[str]]


def open_catalogue(
    namespace: Namespace, repository: IndexRepository, location: str, doubts: Doubts
) -> NamespaceCatalogue:
    """Return the current catalogue; warn if the index is missing, damaged or outdated.

    Args:
        namespace: Namespace of the artifacts.
        repository: Repository of the index.
        location: Location of the registry.
        doubts: Says of which names the index is not believed.

    Raises:
        RegistryError: A request to the Hub failed.
    """
    found = repository.find()
    config = repository.config(found.head)
    index = found.index or EMPTY_INDEX
    listed = {
        name: [version.info for version in entry.versions] for name, entry in index.names.items()
    }
    merged = merge(namespace, index, doubts(listed))
    reason = _index_problem(found, merged, location)
    if reason:
        warnings.warn(f"{reason}; {_remedy(location)}", RegistryWarning, stacklevel=4)
    return NamespaceCatalogue(namespace=namespace, location=location, config=config, merged=merged)


def _index_problem(found: FoundIndex, merged: MergedIndex, location: str) -> str:
    outdated = [name for name in merged.outdated if name not in merged.private]
    if merged.wrong:
        return (
            f"the index of {location} does not say what the repositories of "
            f"{_listed(merged.wrong)} say at the same commit, so these were read directly"
        )
    if found.problem:
        return (
            f"the index of {location} cannot be used ({found.problem}), so each artifact was read "
            "by itself"
        )
    if not outdated:
        return ""
    if found.index is None:
        return f"{location} has no index, so each artifact was read by itself"
    return f"the index of {location} is behind, so {_listed(outdated)} had to be read directly"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
