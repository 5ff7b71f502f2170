"""Nearest artifacts of the registry in which an artifact is about to be published."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from wsdarts_registry._memory import shortage
from wsdarts_registry.artifact.manifest import Manifest, own_files
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.embedding_space import Figures, figures, is_near
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import CacheError, NoCommonSpaceError, WsdartsError
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_registry.stores.nearest_artifacts import rank_registry
from wsdarts_registry.stores.records import Entry

_SHOWN = 5
# Some that are ranked are not shown: other versions of the name, and copies under other names.
_RANKED = 2 * _SHOWN


@dataclass(frozen=True, kw_only=True)
class NeighbourFacts:
    """An artifact whose task is near.

    Attributes:
        reference: Exact reference, ``"NAME@3"``.
        distance: Symmetric Task2Vec distance, in [0, 1].
        task: Name of its task, or of its tasks.
        near: Whether that counts as near; None where it is not judged.
    """

    reference: str
    distance: float
    task: str
    near: bool | None


@dataclass(frozen=True, kw_only=True)
class NeighbourhoodFacts:
    """Nearest artifacts of the registry on the day of publication.

    Attributes:
        day: The day, UTC, as ``YYYY-MM-DD``.
        state: ``"ranked"``; ``"first"`` where nothing else was there, ``"strange"`` where nothing
            had an embedding in its spaces, ``"unknown"`` where the registry could not be ranked.
        rows: Nearest first; none unless it is ranked.
        probe: Probe of the embeddings that were compared.
        threshold: Largest distance that counts as near; None where none was measured.
    """

    day: str
    state: Literal["ranked", "first", "strange", "unknown"]
    rows: tuple[NeighbourFacts, ...] = ()
    probe: str = ""
    threshold: float | None = None

    @property
    def figures(self) -> Figures:
        """The distances and the threshold as text that orders them as their verdicts do."""
        return figures((row.distance for row in self.rows), self.threshold)


def neighbourhood(
    seen: Catalogue, name: str, artifact: Artifact, *, day: str
) -> NeighbourhoodFacts | None:
    """Rank a registry for the card of an artifact that will be published in it.

    Args:
        seen: What the registry holds.
        name: Name that the artifact will have; its own versions are no neighbours.
        artifact: The artifact, before it has a version.
        day: The day, UTC.

    Returns:
        At most five neighbours, or why there are none: a registry that cannot be ranked is no
        reason not to publish. None for an artifact without embeddings.

    Raises:
        CacheError: The cache of this machine cannot keep what it takes to rank the registry.
    """
    if not artifact.manifest.embeddings:
        return None
    try:
        if not any(other != name and _is_listed(seen, other) for other in seen.names()):
            return NeighbourhoodFacts(day=day, state="first")
        return _ranked(seen, name, artifact, day)
    except CacheError:
        raise  # a fault of this machine, not of the registry: a card is published once
    except (WsdartsError, OSError) as error:
        if shortage(error):
            raise
        return NeighbourhoodFacts(day=day, state="unknown")


def _is_listed(seen: Catalogue, name: str) -> bool:
    return any(info.yanked is None for info in seen.versions(name))


def _has_others(seen: Catalogue, name: str, manifest: Manifest) -> bool:
    """Return whether something is listed under another name that is no copy."""
    found = (
        seen.read_version(other, info)
        for other in seen.names()
        if other != name
        for info in seen.versions(other)
        if info.yanked is None
    )
    return any(isinstance(e, Entry) and own_files(e.manifest) != own_files(manifest) for e in found)


def _ranked(seen: Catalogue, name: str, artifact: Artifact, day: str) -> NeighbourhoodFacts:
    for embedding in _queries(seen, artifact):
        try:
            ranking = rank_registry(seen, embedding, _RANKED)
        except NoCommonSpaceError:
            continue
        found = [n for n in ranking.neighbours if _is_another(seen, n, name, artifact.manifest)]
        if not found:  # nothing but itself, as it was or copied
            continue
        judged = artifact.manifest.kind == "transfer"
        return NeighbourhoodFacts(
            day=day,
            state="ranked",
            rows=tuple(_facts(n, ranking, judged=judged) for n in found[:_SHOWN]),
            probe=embedding.space.probe,
            threshold=ranking.threshold,
        )
    others = _has_others(seen, name, artifact.manifest)
    return NeighbourhoodFacts(day=day, state="strange" if others else "first")


def _queries(seen: Catalogue, artifact: Artifact) -> Iterator[TaskEmbedding]:
    """Yield the embeddings to rank it by, those first for which a threshold was measured."""
    config, manifest = seen.config, artifact.manifest
    spaces = list(dict.fromkeys(r.space.embedding_space for r in manifest.embeddings))
    for space in sorted(spaces, key=lambda space: config.threshold(space) is None):
        if manifest.ranking_record(space) is not None:
            yield artifact.embedding(space)


def _is_another(seen: Catalogue, neighbour: Neighbour, name: str, manifest: Manifest) -> bool:
    reference = Reference.parse(neighbour.reference)
    if reference.name == name or reference.version is None:
        return False
    other = seen.entry(reference.name, reference.version).manifest
    return own_files(other) != own_files(manifest)  # else a copy, whatever it is called


def _facts(neighbour: Neighbour, ranking: Ranking, *, judged: bool) -> NeighbourFacts:
    near = None
    # Thresholds are measured between single tasks; a mean of several is near to everything.
    if judged and ranking.threshold is not None and neighbour.kind == "transfer":
        near = is_near(neighbour.distance, ranking.threshold)
    return NeighbourFacts(
        reference=neighbour.reference,
        distance=neighbour.distance,
        task=neighbour.task_name,
        near=near,
    )
