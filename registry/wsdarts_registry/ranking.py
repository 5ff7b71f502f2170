"""Ranking a registry: which of its artifacts are nearest to a task."""

import shlex
from dataclasses import dataclass, replace

from wsdarts_registry.catalogue import DAMAGE, Catalogue, damaged_version
from wsdarts_registry.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding_matrix import matrix_path, read_matrix
from wsdarts_registry.entry import DamagedVersion, Entry, VersionInfo
from wsdarts_registry.errors import NoCommonSpaceError, RegistryError
from wsdarts_registry.nearest import Candidate, Neighbour, Ranking, judge, rank, shortlist
from wsdarts_registry.reference import Reference
from wsdarts_registry.scan import TOLERANCE


@dataclass(frozen=True, kw_only=True)
class _Query:
    """A task that looks for its neighbours in a registry.

    Attributes:
        store: The registry.
        embedding: Embedding of the task.
        latest: For each digest the names whose latest version has it, and that version; one
            that is yanked is none.
        damaged: Latest versions that turned out to be damaged, by name.
    """

    store: Catalogue
    embedding: TaskEmbedding
    latest: dict[str, list[tuple[str, VersionInfo]]]
    damaged: dict[str, DamagedVersion]

    @property
    def sound(self) -> dict[str, list[tuple[str, VersionInfo]]]:
        """The latest versions that are not known to be damaged."""
        left = {
            digest: [(name, info) for name, info in versions if name not in self.damaged]
            for digest, versions in self.latest.items()
        }
        return {digest: versions for digest, versions in left.items() if versions}

    def read(self, name: str, info: VersionInfo) -> tuple[str, TaskEmbedding | None] | None:
        """Kind of a version, and its embedding in the task's space if it has one there.

        None for a version that is damaged, which is kept in mind.
        """
        try:
            entry = self.store.entry(name, info.version)
            found = self.store.embedding(entry, self.embedding.space)
        except DAMAGE as error:
            self.damaged[name] = damaged_version(name, info, error)
            return None
        if found is not None:
            check_comparable(self.embedding, [found])
        return entry.manifest.kind, found

    def read_any(self, digest: str) -> tuple[str, TaskEmbedding | None] | None:
        """As ``read``, of whichever version with that digest is not damaged."""
        answers = (self.read(name, info) for name, info in self.latest[digest])
        return next((answer for answer in answers if answer is not None), None)


def rank_registry(store: Catalogue, embedding: TaskEmbedding, k: int) -> Ranking:
    """Rank the latest version of each name by the distance of its task.

    The artifacts that are read are those that can be among the nearest, and those that were
    not ranked here before; see ``embedding_matrix``. Those of them that are damaged are left out
    with a RegistryWarning.

    Args:
        store: The registry.
        embedding: Embedding of the task that looks for a neighbour.
        k: How many neighbours to return.

    Raises:
        RegistryError: The registry has no artifacts, ``k`` is below 1, or what was kept of the
            registry in the cache is damaged.
        NoCommonSpaceError: No artifact has an embedding in the query's space; names the spaces
            that there are.
    """
    if k < 1:
        raise RegistryError(f"{k} neighbours were asked for; expected at least 1")
    query = _query(store, embedding)
    if not query.latest and not query.damaged:
        raise RegistryError(
            f"the registry {store.location} has no artifacts; publish one with "
            f"`wsdarts-hub push RUN NAME{store.option}`, or search cold"
        )
    threshold = store.config.threshold(embedding.space)
    try:
        ranking = judge(_nearest(query, k), threshold, images=embedding.images).first(k)
    finally:
        damaged = tuple(query.damaged[name] for name in sorted(query.damaged))
        store.warn_of(damaged)
    return replace(ranking, damaged=damaged)


def _nearest(query: _Query, k: int) -> tuple[Neighbour, ...]:
    """All artifacts that can be among the ``k`` nearest, in order, by what they hold."""
    while True:
        matrix = read_matrix(
            matrix_path(query.store.location, query.embedding.space),
            query.sound,
            len(query.embedding.values),
            query.read_any,
        )
        sound = query.sound
        listed = shortlist(query.embedding, matrix, sound, k)
        if not listed:
            raise NoCommonSpaceError(_no_common_space(query))
        scanned, candidates = {}, []
        for digest, distance in listed.items():
            for name, info in sound[digest]:
                reference = str(Reference(name=name, version=info.version))
                answer = query.read(name, info)
                if answer is not None and answer[1] is not None:
                    scanned[reference] = distance
                    candidates.append(
                        Candidate(reference=reference, kind=answer[0], embedding=answer[1])
                    )
        if sound == query.sound:  # else others are among the nearest
            break
    neighbours = rank(query.embedding, candidates)
    if any(abs(n.distance - scanned[n.reference]) > TOLERANCE for n in neighbours):
        raise RegistryError(
            f"the cached embeddings in {matrix.path} are not those of {query.store.location}; "
            f"remove the file (`rm {shlex.quote(str(matrix.path))}`), it is made again"
        )
    return neighbours


def _query(store: Catalogue, embedding: TaskEmbedding) -> _Query:
    latest: dict[str, list[tuple[str, VersionInfo]]] = {}
    damaged: dict[str, DamagedVersion] = {}
    for name in store.names():
        versions = [info for info in store.versions(name) if info.yanked is None]
        if versions:
            last = versions[-1]
            found = store.examined(name, last) if last.digest is None else None
            if isinstance(found, DamagedVersion):
                damaged[name] = found
                continue
            digest = last.digest or (found.digest if found else "")
            latest.setdefault(digest, []).append((name, last))
    return _Query(store=store, embedding=embedding, latest=latest, damaged=damaged)


def _no_common_space(query: _Query) -> str:
    found = [query.store.examined(*versions[0]) for versions in query.sound.values()]
    spaces = {
        str(record.space.embedding_space)
        for entry in found
        if isinstance(entry, Entry)
        for record in entry.manifest.embeddings
    }
    if not query.sound:
        listed = [str(query.damaged[name].reference) for name in sorted(query.damaged)]
        return (
            f"all that could be ranked of {query.store.location} is damaged "
            f"({', '.join(listed[:5])}{' …' if listed[5:] else ''}); restore it, or search cold"
        )
    return (
        f"the embedding of {query.embedding.task_name} was made by {query.embedding.space}, but "
        f"the artifacts of {query.store.location} have embeddings by "
        f"{'; '.join(sorted(spaces)) or 'no probe at all'}: embed the task with one of those "
        "(--probe, --estimator)"
    )
