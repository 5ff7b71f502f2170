"""Ranking of a registry's artifacts by the distance of their tasks."""

import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from wsdarts_registry._arguments import check_whole
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.distance import TOLERANCE
from wsdarts_registry.embedding.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.embedding.ranking import (
    Candidate,
    Neighbour,
    Ranking,
    judge,
    matrix_path,
    rank,
    read_matrix,
    shortlist,
)
from wsdarts_registry.errors import NoCommonSpaceError, RegistryError, RegistryWarning, WsdartsError
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue, damaged_version
from wsdarts_registry.stores.records import DamagedVersion, Entry

# For each digest the names whose latest version has it.
_Names = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class _Query:
    """The task of a ranking.

    Attributes:
        store: The registry.
        embedding: Embedding of the task.
        latest: For each digest the names whose latest version has it; one that is yanked is none.
        damaged: Latest versions that turned out to be damaged, by name.
    """

    store: Catalogue
    embedding: TaskEmbedding
    latest: _Names
    damaged: dict[str, DamagedVersion]

    @property
    def valid(self) -> _Names:
        """The latest versions that are not known to be damaged."""
        return _without(self.latest, self.damaged)

    def read(self, name: str) -> tuple[str, TaskEmbedding | None] | None:
        """Return the kind of the latest version of a name, and its embedding in the task's space.

        Return None for a version that is damaged, and add it to ``damaged``.
        """
        info = self.store.latest_version(name)
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
        """Read the first version with that digest that is not damaged; see ``read``."""
        answers = (self.read(name) for name in self.latest[digest])
        return next((answer for answer in answers if answer is not None), None)


def rank_registry(store: Catalogue, embedding: TaskEmbedding, k: int) -> Ranking:
    """Rank the latest version of each name by the distance of its task.

    The artifacts that are read are those that can be among the nearest, and those that were
    not ranked here before; see ``read_matrix``. Those of them that are damaged are left out
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
    check_k(k)
    latest, damaged = _latest(store)
    if not latest and not damaged:
        raise _no_artifacts(store)
    query = _Query(store=store, embedding=embedding, latest=latest, damaged=damaged)
    threshold = store.config.threshold(embedding.space)
    try:
        found, total = _nearest(query, k)
        if not found:
            what = f"the embedding of {embedding.task_name} was made"
            raise _no_common_space(store, query.valid, damaged, f"{what} by {embedding.space}")
        ranking = judge(found, threshold, images=embedding.images).first(k)
    finally:
        left_out = tuple(damaged[name] for name in sorted(damaged))
        store.warn_damaged(left_out)
    return replace(ranking, damaged=left_out, total=total)


def neighbours_of_kind(
    store: Catalogue, embedding: TaskEmbedding, kind: str, *, at_once: int = 1
) -> Iterator[Neighbour]:
    """Yield the latest versions of one kind, nearest first, reading a few at a time.

    Damaged ones are left out with a RegistryWarning.

    Args:
        store: The registry as it was at one moment.
        embedding: Embedding of the task that looks for a neighbour.
        kind: ``"transfer"`` or ``"meta-transfer"``.
        at_once: How many are read first, twice as many each time after that.

    Raises:
        RegistryError: What was kept of the registry in the cache is damaged.
    """
    latest, damaged = _latest(store)
    query = _Query(store=store, embedding=embedding, latest=latest, damaged=damaged)
    told = 0
    try:
        while True:
            found, _ = _nearest(query, at_once, kind)
            yield from found[told:at_once]
            if len(found) < at_once:
                return
            told, at_once = at_once, 2 * at_once
    finally:
        store.warn_damaged([damaged[name] for name in sorted(damaged)])


def nearest_so_far(catalogue: Catalogue) -> Callable[[TaskEmbedding], str]:
    """Return a preview of an embedding that names the two nearest artifacts.

    It says nothing where the registry cannot be ranked: that is left to the ranking itself.
    """

    def preview(embedding: TaskEmbedding) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RegistryWarning)
                ranking = rank_registry(catalogue, embedding, 2)
        except WsdartsError:
            return ""
        found = [
            f"{neighbour.reference} at {distance}"
            for neighbour, distance in zip(
                ranking.neighbours, ranking.figures.distances, strict=True
            )
        ]
        return f"nearest {' then '.join(found)}"

    return preview


def check_k(k: int) -> None:
    """Refuse a number of neighbours below 1.

    Raises:
        RegistryError: It is below 1.
    """
    check_whole(k, "k")
    if k < 1:
        raise RegistryError(f"{k} neighbours were asked for", expected="at least 1")


def check_rankable(store: Catalogue, space: EmbeddingSpace) -> None:
    """Refuse a registry that no embedding of a space can be ranked in; reads manifests alone.

    Raises:
        RegistryError: It has no artifacts.
        NoCommonSpaceError: No artifact has an embedding in the space; names the spaces that
            there are.
    """
    latest, damaged = _latest(store)
    if not latest and not damaged:
        raise _no_artifacts(store)
    for name in (name for names in latest.values() for name in names):
        found = store.read_version(name, store.latest_version(name))
        if isinstance(found, DamagedVersion):
            damaged[name] = found
        elif found.manifest.ranking_record(space) is not None:
            return
    valid = _without(latest, damaged)
    raise _no_common_space(store, valid, damaged, f"the task would be embedded by {space}")


def _no_artifacts(store: Catalogue) -> RegistryError:
    return RegistryError(
        f"the registry {store.location} has no artifacts",
        hint=f"publish one with `wsdarts-hub push RUN NAME{store.option}`, or search cold",
    )


def _nearest(query: _Query, k: int, kind: str | None = None) -> tuple[tuple[Neighbour, ...], int]:
    """Return all artifacts that can be among the ``k`` nearest, in order.

    The number is that of all names, of any kind, that have an embedding in the query's space.
    """
    while True:
        matrix = read_matrix(
            matrix_path(query.store.location, query.embedding.space),
            query.valid,
            len(query.embedding.values),
            query.read_any,
        )
        valid = query.valid
        listed = shortlist(query.embedding, matrix, valid, k, kind=kind)
        scanned, candidates = {}, []
        for digest, distance in listed.items():
            for name in valid[digest]:
                version = query.store.latest_version(name).version
                reference = str(Reference(name=name, version=version))
                answer = query.read(name)
                if answer is not None and answer[1] is not None:
                    scanned[reference] = distance
                    candidates.append(
                        Candidate(reference=reference, kind=answer[0], embedding=answer[1])
                    )
        if valid == query.valid:  # else others are among the nearest
            break
    neighbours = rank(query.embedding, candidates)
    if any(abs(n.distance - scanned[n.reference]) > TOLERANCE for n in neighbours):
        raise RegistryError(
            f"the cached embeddings in {matrix.path} are not those of {query.store.location}",
            hint=f"remove the file (`rm {shlex.quote(str(matrix.path))}`), it is made again",
        )
    embedded = matrix.digests[: len(matrix.rows)]
    return neighbours, sum(len(valid[digest]) for digest in embedded if digest in valid)


def _latest(store: Catalogue) -> tuple[_Names, dict[str, DamagedVersion]]:
    """Return the names by the digest of their latest version, and damaged ones by name."""
    latest: _Names = {}
    damaged: dict[str, DamagedVersion] = {}
    for name, listed in store.latest():
        digest = listed
        if digest is None:
            found = store.read_version(name, store.latest_version(name))
            if isinstance(found, DamagedVersion):
                damaged[name] = found
                continue
            digest = found.digest
        if digest in latest:
            latest[digest].append(name)
        else:  # nearly always
            latest[digest] = [name]
    return latest, damaged


def _without(latest: _Names, damaged: Mapping[str, DamagedVersion]) -> _Names:
    """Return the versions that are not known to be damaged."""
    if not damaged:
        return latest
    left = {
        digest: [name for name in names if name not in damaged] for digest, names in latest.items()
    }
    return {digest: names for digest, names in left.items() if names}


def _no_common_space(
    store: Catalogue, valid: _Names, damaged: Mapping[str, DamagedVersion], what: str
) -> NoCommonSpaceError:
    if not valid:
        listed = [str(damaged[name].reference) for name in sorted(damaged)]
        return NoCommonSpaceError(
            f"all that could be ranked of {store.location} is damaged "
            f"({', '.join(listed[:5])}{' …' if listed[5:] else ''})",
            hint="restore it, or search cold",
        )
    names = [names[0] for names in valid.values()]
    found = [store.read_version(name, store.latest_version(name)) for name in names]
    spaces = {
        str(record.space.embedding_space)
        for entry in found
        if isinstance(entry, Entry)
        for record in entry.manifest.embeddings
    }
    known = " or ".join(sorted(spaces)) or "there is none"
    return NoCommonSpaceError(
        what,
        expected=f"one of the spaces of {store.location}: {known}",
        hint="embed the task with one of those (--probe, --estimator)",
    )
