"""Differences between two artifacts: masks, genotype, tasks, settings, figures and files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from wsdarts_registry import _json
from wsdarts_registry._format import pluralize, setting
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.genotype import Connection
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.manifest import Manifest, TaskRecord
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """A setting whose value differs, or that only one of two has.

    Attributes:
        key: Its place, ``"stages.2.epochs"``; entries of lists are counted from 1, as ``--set``
            counts them.
        before: Values of the first, one or, where it has no such setting, none.
        after: The same for the second.
    """

    key: str
    before: tuple[JsonValue, ...]
    after: tuple[JsonValue, ...]

    @property
    def row(self) -> tuple[str, str, str]:
        """Its place, and both values as they are shown in tables."""
        before, after = (
            setting(values[0]) if values else "(not there)" for values in (self.before, self.after)
        )
        return self.key, before, after

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; ``before`` or ``after`` is missing where there is no value."""
        sides = (("before", self.before), ("after", self.after))
        return {"key": self.key, **{side: values[0] for side, values in sides if values}}


def setting_changes(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> tuple[SettingChange, ...]:
    """List what differs between two sets of settings, by key.

    Settings within settings, and within the entries of a list of them, are compared one by
    one; other lists are one value. ``1`` and ``1.0`` differ, as they do on disk.
    """
    first, second = _json.flattened(before), _json.flattened(after)
    found = []
    for key in sorted(first.keys() | second.keys()):
        old = (first[key],) if key in first else ()
        new = (second[key],) if key in second else ()
        if _json.dump(list(old)) != _json.dump(list(new)):
            found.append(SettingChange(key=key, before=old, after=new))
    return tuple(found)


_Connections = tuple[Connection, ...]
# What is compared on its own.
_APART = {"format", "tasks", "embeddings", "config", "metrics", "files"}


@dataclass(frozen=True, kw_only=True)
class EdgeDifference:
    """An edge on which other operations are left after the last stage.

    Attributes:
        kind: ``"normal"`` or ``"reduction"``.
        edge: Source and target; nodes 0 and 1 are the inputs.
        lost: Operations that only the first has, in the order of its candidates.
        gained: Operations that only the second has.
    """

    kind: str
    edge: tuple[int, int]
    lost: tuple[str, ...]
    gained: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "cell": self.kind,
            "edge": list(self.edge),
            "lost": list(self.lost),
            "gained": list(self.gained),
        }


@dataclass(frozen=True, kw_only=True)
class NodeDifference:
    """A node of the genotype with other connections.

    Attributes:
        kind: ``"normal"`` or ``"reduction"``.
        node: The node, intermediate ones from 2.
        before: Its connections in the first; none where that has no such node.
        after: Its connections in the second.
    """

    kind: str
    node: int
    before: _Connections
    after: _Connections

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        before, after = ([[c.operation, c.source] for c in s] for s in (self.before, self.after))
        return {"cell": self.kind, "node": self.node, "before": before, "after": after}


@dataclass(frozen=True, kw_only=True)
class FigureDifference:
    """A figure that differs, or that only one of the two has.

    Attributes:
        name: Its name among the metrics.
        before: Its value in the first, or None.
        after: Its value in the second, or None.
    """

    name: str
    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """The second minus the first; None where one has no value."""
        return None if self.before is None or self.after is None else self.after - self.before

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "difference": self.difference,
        }


@dataclass(frozen=True, kw_only=True)
class Difference(Viewable):
    """The differences of a second artifact from a first.

    Attributes:
        before: Digest of the first.
        after: Digest of the second.
        masks: Edges with other operations after the last stage.
        genotype: Nodes with other connections.
        common_tasks: Tasks that both were searched on, by digest.
        lost_tasks: Tasks of the first alone.
        gained_tasks: Tasks of the second alone.
        distances: Distance of their tasks, in [0, 1], in each embedding space of both.
        config: Settings of the search that differ.
        metrics: Figures that differ.
        facts: Everything else in the manifest that differs.
        files: Names of files with other content, or that only one has.
    """

    before: str
    after: str
    masks: tuple[EdgeDifference, ...]
    genotype: tuple[NodeDifference, ...]
    common_tasks: tuple[TaskRecord, ...]
    lost_tasks: tuple[TaskRecord, ...]
    gained_tasks: tuple[TaskRecord, ...]
    distances: tuple[tuple[EmbeddingSpace, float], ...]
    config: tuple[SettingChange, ...]
    metrics: tuple[FigureDifference, ...]
    facts: tuple[SettingChange, ...]
    files: tuple[str, ...]

    def __repr__(self) -> str:
        parts = {
            "edge": self.masks,
            "node": self.genotype,
            "task": (*self.lost_tasks, *self.gained_tasks),
            "setting": self.config,
            "figure": self.metrics,
            "other fact": self.facts,
            "file": self.files,
        }
        differ = ", ".join(pluralize(len(found), what) for what, found in parts.items() if found)
        both = f"{self.before[:19]}… and {self.after[:19]}…"
        return f"<Difference between {both}: {differ or 'none'}>"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        tasks = {
            "common": self.common_tasks,
            "lost": self.lost_tasks,
            "gained": self.gained_tasks,
        }
        return {
            "before": self.before,
            "after": self.after,
            "masks": [edge.to_json() for edge in self.masks],
            "genotype": [node.to_json() for node in self.genotype],
            "tasks": {key: [task.model_dump() for task in of] for key, of in tasks.items()},
            "distances": [
                {"space": space.to_json(), "distance": distance}
                for space, distance in self.distances
            ],
            "config": [change.to_json() for change in self.config],
            "metrics": [figure.to_json() for figure in self.metrics],
            "facts": [change.to_json() for change in self.facts],
            "files": list(self.files),
        }


def difference(before: Artifact, after: Artifact) -> Difference:
    """Compare two artifacts, whatever their search spaces.

    An edge or a node that only one search space has lost or gained all that is there.

    Args:
        before: The first.
        after: The second.
    """
    first, second = before.manifest, after.manifest
    ours, theirs = ({task.digest for task in m.tasks} for m in (first, second))
    return Difference(
        before=before.digest,
        after=after.digest,
        masks=_masks(before.masks, after.masks),
        genotype=_genotype(before, after),
        common_tasks=tuple(task for task in first.tasks if task.digest in theirs),
        lost_tasks=tuple(task for task in first.tasks if task.digest not in theirs),
        gained_tasks=tuple(task for task in second.tasks if task.digest not in ours),
        distances=_distances(before, after),
        config=setting_changes(first.config, second.config),
        metrics=_metrics(first, second),
        facts=setting_changes(_facts(first), _facts(second)),
        files=tuple(
            path
            for path in sorted(first.files.keys() | second.files.keys())
            if first.files.get(path) != second.files.get(path)
        ),
    )


def _masks(before: OperationMasks, after: OperationMasks) -> tuple[EdgeDifference, ...]:
    found = []
    for kind in CELL_KINDS:
        old, new = _left(before, kind), _left(after, kind)
        for edge in {**old, **new}:  # by target, then by source, as in both spaces
            had, has = old.get(edge, ()), new.get(edge, ())
            lost = tuple(operation for operation in had if operation not in has)
            gained = tuple(operation for operation in has if operation not in had)
            if lost or gained:
                found.append(EdgeDifference(kind=kind, edge=edge, lost=lost, gained=gained))
    return tuple(found)


def _left(masks: OperationMasks, kind: str) -> dict[tuple[int, int], tuple[str, ...]]:
    return {edge: masks.operations(kind, index) for index, edge in enumerate(masks.space.edges)}


def _genotype(before: Artifact, after: Artifact) -> tuple[NodeDifference, ...]:
    found = []
    for kind in CELL_KINDS:
        old, new = (dict(enumerate(a.genotype.cell(kind), start=2)) for a in (before, after))
        for node in {**old, **new}:
            had, has = old.get(node, ()), new.get(node, ())
            if had != has:
                found.append(NodeDifference(kind=kind, node=node, before=had, after=has))
    return tuple(found)


def _distances(before: Artifact, after: Artifact) -> tuple[tuple[EmbeddingSpace, float], ...]:
    found = []
    for space in dict.fromkeys(
        record.space.embedding_space for record in before.manifest.embeddings
    ):
        if all(a.manifest.ranking_record(space) for a in (before, after)):
            query, key = (np.asarray(a.embedding(space).values) for a in (before, after))
            found.append((space, float(symmetric_distance(query, key[None])[0])))
    return tuple(found)


def _metrics(before: Manifest, after: Manifest) -> tuple[FigureDifference, ...]:
    names = {**before.metrics, **after.metrics}
    pairs = ((name, before.metrics.get(name), after.metrics.get(name)) for name in names)
    return tuple(FigureDifference(name=n, before=a, after=b) for n, a, b in pairs if a != b)


def _facts(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude=_APART)
