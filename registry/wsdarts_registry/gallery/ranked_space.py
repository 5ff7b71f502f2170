"""The artifacts that rank in one embedding space, and how far their tasks are from each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.distance import distance_matrix, symmetric_distance
from wsdarts_registry.embedding import TaskEmbedding, check_comparable
from wsdarts_registry.embedding_space import EmbeddingSpace, NearThreshold
from wsdarts_registry.gallery.arrangement import side_by_side
from wsdarts_registry.gallery.exhibit import Exhibit
from wsdarts_registry.gallery.scaling import PointMap, point_map
from wsdarts_registry.nearness import Figures, figures


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedSpace:
    """An embedding space of a registry.

    Attributes:
        space: Probe and estimator.
        members: The latest version of each name that has an embedding in it.
        embeddings: Of each member, the one that it is ranked by.
        distances: Of the members' tasks from each other, shape ``(members, members)``.
        order: The members such that near ones stand side by side.
        map: The members as points in the plane.
        threshold: Up to which distance a task is near; None where that was not measured.
    """

    space: EmbeddingSpace
    members: tuple[Exhibit, ...]
    embeddings: tuple[TaskEmbedding, ...]
    distances: NDArray[np.float64]
    order: tuple[int, ...]
    map: PointMap
    threshold: NearThreshold | None

    @classmethod
    def of(
        cls, space: EmbeddingSpace, members: tuple[Exhibit, ...], threshold: NearThreshold | None
    ) -> Self:
        """Measure at least one member.

        Raises:
            EmbeddingError: Their embeddings have different widths.
        """
        embeddings = tuple(member.artifact.embedding(space) for member in members)
        check_comparable(embeddings[0], embeddings[1:])
        distances = distance_matrix(np.stack([e.values for e in embeddings]))
        return cls(
            space=space,
            members=members,
            embeddings=embeddings,
            distances=distances,
            order=side_by_side(distances),
            map=point_map(distances),
            threshold=threshold,
        )

    @property
    def key(self) -> str:
        """Short name that is safe in a file name and as an element's id."""
        return self.space.key

    def figures(self, distances: Iterable[float], *, digits: int = 4) -> Figures:
        """Distances and the threshold as text that orders them as their verdicts do."""
        limit = self.threshold.distance if self.threshold else None
        return figures(distances, limit, digits=digits)

    def neighbours(self, exhibit: Exhibit, k: int) -> tuple[tuple[Exhibit, float], ...] | None:
        """The nearest other names, nearest first; None if it has no embedding here."""
        if exhibit in self.members:
            distances = self.distances[self.members.index(exhibit)]
        elif exhibit.entry.manifest.ranking_record(self.space) is not None:
            embedding = exhibit.artifact.embedding(self.space)
            check_comparable(embedding, self.embeddings[:1])
            distances = symmetric_distance(
                embedding.values, np.stack([e.values for e in self.embeddings])
            )
        else:
            return None
        others = [
            (member, float(distance))
            for member, distance in zip(self.members, distances, strict=True)
            if member.entry.name != exhibit.entry.name
        ]
        return tuple(sorted(others, key=lambda other: (other[1], other[0].reference))[:k])
