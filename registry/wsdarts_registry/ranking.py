"""Ranking a registry: which of its artifacts are nearest to a task."""

import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from wsdarts_registry.catalogue import Catalogue
from wsdarts_registry.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding_matrix import matrix_path, read_matrix
from wsdarts_registry.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import ArtifactError, NoCommonSpaceError, RegistryError
from wsdarts_registry.nearest import Candidate, Neighbour, Ranking, judge, rank, shortlist
from wsdarts_registry.reference import Reference
from wsdarts_registry.scan import TOLERANCE


@dataclass(frozen=True, kw_only=True)
class _Query:
    """A task that looks for its neighbours in a registry.

    Attributes:
        store: The registry.
        embedding: Embedding of the task.
        latest: For each digest the names, with versions, whose latest version has it; a version
            that is yanked is none.
    """

    store: Catalogue
    embedding: TaskEmbedding
    latest: dict[str, list[tuple[str, int]]]

    def read(self, name: str, version: int) -> tuple[str, TaskEmbedding | None]:
        """Kind of a version, and its embedding in the task's space if it has one there."""
        entry = self.store.entry_or_advice(name, version)
        found = self.store.embedding(entry, self.embedding.space)
        if found is not None:
            check_comparable(self.embedding, [found])
        return entry.manifest.kind, found


def rank_registry(store: Catalogue, embedding: TaskEmbedding, k: int) -> Ranking:
    """Rank the latest version of each name by the distance of its task.

    The artifacts that are read are those that can be among the nearest, and those that were
    not ranked here before; see ``embedding_matrix``.

    Args:
        store: The registry.
        embedding: Embedding of the task that looks for a neighbour.
        k: How many neighbours to return.

    Raises:
        RegistryError: The registry has no artifacts, ``k`` is below 1, or what was kept of the
            registry in the cache is damaged.
        NoCommonSpaceError: No artifact has an embedding in the query's space; names the spaces
            that there are.
        ArtifactError: An artifact that had to be read is damaged.
    """
    check_k(k)
    query = _Query(store=store, embedding=embedding, latest=_latest(store))
    if not query.latest:
        raise _no_artifacts(store)
    found = _nearest(query, k)
    if not found:
        what = f"the embedding of {embedding.task_name} was made"
        raise NoCommonSpaceError(_no_common_space(store, embedding.space, what))
    threshold = store.config.threshold(embedding.space)
    return judge(found, threshold, images=embedding.images).first(k)


def neighbours_of_kind(
    store: Catalogue, embedding: TaskEmbedding, kind: str, *, at_once: int = 1
) -> Iterator[Neighbour]:
    """Yield the latest versions of one kind, nearest first, reading a few at a time.

    Args:
        store: The registry as it was at one moment.
        embedding: Embedding of the task that looks for a neighbour.
        kind: ``"transfer"`` or ``"meta-transfer"``.
        at_once: How many are read first, twice as many each time after that.

    Raises:
        RegistryError: What was kept of the registry in the cache is damaged.
        ArtifactError: An artifact that had to be read is damaged.
    """
    query = _Query(store=store, embedding=embedding, latest=_latest(store))
    told = 0
    while True:
        found = _nearest(query, at_once, kind)
        yield from found[told:at_once]
        if len(found) < at_once:
            return
        told, at_once = at_once, 2 * at_once


def check_k(k: int) -> None:
    """Refuse a number of neighbours below 1.

    Raises:
        RegistryError: It is below 1.
    """
    if k < 1:
        raise RegistryError(f"{k} neighbours were asked for; expected at least 1")


def check_rankable(store: Catalogue, space: EmbeddingSpace) -> None:
    """Refuse a registry that no embedding of a space can be ranked in; reads manifests alone.

    Raises:
        RegistryError: It has no artifacts.
        NoCommonSpaceError: No artifact has an embedding in the space; names the spaces that
            there are.
    """
    latest = [meant for same in _latest(store).values() for meant in same]
    if not latest:
        raise _no_artifacts(store)
    for name, version in latest:
        with suppress(ArtifactError):  # a damaged one is told where it has to be read
            if store.entry(name, version).manifest.ranking_record(space) is not None:
                return
    raise NoCommonSpaceError(_no_common_space(store, space, "the task would be embedded"))


def _no_artifacts(store: Catalogue) -> RegistryError:
    return RegistryError(
        f"the registry {store.location} has no artifacts; publish one with "
        f"`wsdarts-hub push RUN NAME{store.option}`, or search cold"
    )


def _nearest(query: _Query, k: int, kind: str | None = None) -> tuple[Neighbour, ...]:
    """All artifacts that can be among the ``k`` nearest, in order, by what they hold."""
    matrix = read_matrix(
        matrix_path(query.store.location, query.embedding.space),
        query.latest,
        len(query.embedding.values),
        lambda digest: query.read(*query.latest[digest][0]),
    )
    listed = shortlist(query.embedding, matrix, query.latest, k, kind=kind)
    scanned, candidates = {}, []
    for digest, distance in listed.items():
        for name, version in query.latest[digest]:
            reference = str(Reference(name=name, version=version))
            kind, found = query.read(name, version)
            if found is not None:
                scanned[reference] = distance
                candidates.append(Candidate(reference=reference, kind=kind, embedding=found))
    neighbours = rank(query.embedding, candidates)
    if any(abs(n.distance - scanned[n.reference]) > TOLERANCE for n in neighbours):
        raise RegistryError(
            f"the cached embeddings in {matrix.path} are not those of {query.store.location}; "
            f"remove the file (`rm {shlex.quote(str(matrix.path))}`), it is made again"
        )
    return neighbours


def _latest(store: Catalogue) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for name in store.names():
        versions = [info for info in store.versions(name) if info.yanked is None]
        if versions:
            last = versions[-1]
            digest = last.digest or store.entry_or_advice(name, last.version).digest
            found.setdefault(digest, []).append((name, last.version))
    return found


def _no_common_space(store: Catalogue, space: EmbeddingSpace, what: str) -> str:
    spaces = {
        str(record.space.embedding_space)
        for ((name, version), *_) in _latest(store).values()
        for record in store.entry_or_advice(name, version).manifest.embeddings
    }
    return (
        f"{what} by {space}, but the artifacts of {store.location} have embeddings by "
        f"{'; '.join(sorted(spaces)) or 'no probe at all'}: embed the task with one of those "
        "(--probe, --estimator)"
    )
