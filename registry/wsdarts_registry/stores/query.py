"""Finding artifacts of a registry by their manifests."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from wsdarts_registry._arguments import (
    check_kind,
    check_text,
    check_whole,
    did_you_mean,
    nearest_names,
)
from wsdarts_registry.architecture.search_space import DARTS_CANDIDATES
from wsdarts_registry.artifact.facts import (
    TrainedResult,
    TransferGain,
    class_count,
    final_parameters,
    image_count,
    total_size,
)
from wsdarts_registry.artifact.manifest import WEIGHTS
from wsdarts_registry.errors import ArgumentError, ArtifactError, RegistryError
from wsdarts_registry.stores.catalogue import damaged_version
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import DamagedVersion, Entry, VersionInfo
from wsdarts_registry.stores.store import Store

Kind = Literal["transfer", "meta-transfer"]
Order = Literal[
    "name",
    "created",
    "images",
    "classes",
    "size",
    "accuracy",
    "gain",
    "transfer-gain",
    "cost",
    "parameters",
    "alpha-accuracy",
]
# Smallest and largest, both included; None for no limit.
Range = tuple[int | None, int | None]
Shares = tuple[float | None, float | None]

_ALPHA_ACCURACY = "alpha_accuracy"
_MOST_OPERATIONS = 64
_MOMENTS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class EntryFacts:
    """Facts of an artifact by which it is listed, sorted and found.

    Attributes:
        entry: The artifact.
    """

    entry: Entry

    @property
    def images(self) -> int:
        """Images of all its tasks."""
        return image_count(self.entry.manifest)

    @property
    def classes(self) -> int:
        """Classes of all its tasks."""
        return class_count(self.entry.manifest)

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the probes that it has embeddings by."""
        return tuple(dict.fromkeys(r.space.probe for r in self.entry.manifest.embeddings))

    @property
    def created(self) -> str:
        """The time when its search ended, UTC, ``"2026-01-02T03:04:05Z"``."""
        return self.entry.manifest.provenance.created

    @property
    def size(self) -> int:
        """Bytes of its files, the manifest apart."""
        return total_size(self.entry.manifest)

    @property
    def result(self) -> TrainedResult | None:
        """Accuracy of a trained network beside its baseline; None if not stated."""
        return TrainedResult.of(self.entry.manifest)

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the trained network, in [0, 1]; None if not stated."""
        return None if self.result is None else self.result.accuracy

    @property
    def gain(self) -> float | None:
        """That accuracy less the one of the linear baseline; None if one is not stated."""
        return None if self.result is None else self.result.difference

    @property
    def transfer_gain(self) -> float | None:
        """Gain of warm starts from it, compared with other artifacts; None if not stated."""
        transfer = TransferGain.of(self.entry.manifest)
        return None if transfer is None else transfer.gain

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the network at full size; None if it is not stated."""
        return final_parameters(self.entry.manifest)

    @property
    def alpha_accuracy(self) -> float | None:
        """Accuracy of the supernet on the α half, in [0, 1]; None if not stated."""
        return self.entry.manifest.metrics.get(_ALPHA_ACCURACY)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; the keys stay the same from version to version."""
        entry, manifest = self.entry, self.entry.manifest
        return {
            "reference": str(entry.reference),
            "name": entry.name,
            "version": entry.version,
            "digest": entry.digest,
            "kind": manifest.kind,
            "tasks": [task.model_dump() for task in manifest.tasks],
            "images": self.images,
            "classes": self.classes,
            "probes": list(self.probes),
            "created": self.created,
            "bytes": self.size,
            "weights": WEIGHTS in manifest.files,
            "license": manifest.license,
            "description": manifest.description,
            "metrics": dict(manifest.metrics),
            "lineage": manifest.lineage.model_dump(mode="json"),
            "status": entry.status.to_json(),
            "damaged": None,
        }


def damaged_json(version: DamagedVersion) -> dict[str, Any]:
    """Return plain JSON data with the keys of a version that can be read, null where unknown."""
    return {
        "reference": str(version.reference),
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        **dict.fromkeys(("kind", "tasks", "images", "classes", "probes", "created", "bytes")),
        **dict.fromkeys(("weights", "license", "description", "metrics", "lineage")),
        "status": version.status.to_json(),
        "damaged": version.why,
    }


def find(
    *,
    registry: str | Path | Store | None = None,
    kind: Kind | None = None,
    task: str | None = None,
    probe: str | None = None,
    images: Range = (None, None),
    classes: Range = (None, None),
    accuracy: Shares = (None, None),
    operation: str | None = None,
    since: str | None = None,
    signed: bool = False,
    yanked: bool = False,
    sort: Order = "name",
    reverse: bool = False,
    limit: int | None = None,
    damaged: Callable[[DamagedVersion], object] | None = None,
) -> tuple[Entry, ...]:
    """Find the artifacts of a registry that meet all conditions.

    Damaged versions, whose manifests cannot be compared, are left out with a RegistryWarning.

    Args:
        registry: Directory of a registry; the shipped zoo by default.
        kind: ``"transfer"`` or ``"meta-transfer"``.
        task: A part of the name of one of its tasks, in any case.
        probe: A part of the name of a probe that it has an embedding by, in any case.
        images: Smallest and largest number of images of all its tasks; None for no limit.
        classes: The same for classes.
        accuracy: Smallest and largest accuracy of a trained network with its cells, in [0, 1];
            with a limit, artifacts that state none are left out.
        operation: An operation that its genotype uses, one of the candidates of DARTS or of an
            artifact; reads more than manifests.
        since: A day ``"2026-01-31"`` or a moment ``"2026-01-31T12:00:00Z"`` (UTC); created then
            or later.
        signed: Only what is signed; says nothing about whose signature it is.
        yanked: Yanked versions, too.
        sort: By ``"name"`` and version; when it was ``"created"``; number of ``"images"`` or
            ``"classes"``; ``"size"`` of its files; ``"accuracy"`` of a trained network with its
            cells; ``"gain"``, that accuracy less its linear baseline's; ``"transfer-gain"``, by
            how much it was better than others as a source for other tasks; ``"cost"``, the time
            of its search; ``"parameters"`` at full size; ``"alpha-accuracy"`` of its supernet. The
            smallest first, and last what does not state it.
        reverse: The largest first; last what does not state it, all the same.
        limit: At most so many. In order of names no more is read than has to be, so damaged
            versions are told only where they come before the last one.
        damaged: Is called with each damaged version, instead of a warning.

    Raises:
        RegistryError: The registry cannot be read, or an argument makes no sense.
    """
    _check(kind, since, sort, limit)
    _check_texts(task=task, probe=probe, operation=operation)
    _check_limits(images, "images", Integral, "whole numbers")
    _check_limits(classes, "classes", Integral, "whole numbers")
    _check_limits(accuracy, "accuracy", Real, "numbers in [0, 1]", largest=1.0)
    store = open_registry(registry)
    conditions = _Conditions(
        kind=kind,
        task=task,
        probe=probe,
        images=images,
        classes=classes,
        accuracy=accuracy,
        since=since,
        signed=signed,
    )
    broken: list[DamagedVersion] = []
    ordered: Iterable[Entry]
    if sort == "name" and not reverse and operation is None:
        # In the order in which they are read: the rest of a large registry is not.
        ordered = _fitting(store.iter_read(yanked), conditions, broken)
    else:
        scan = store.scan(include_yanked=yanked)
        if operation is not None:
            _check_operation(operation, scan.entries)
        broken += scan.damaged
        fitting = [EntryFacts(entry=e) for e in _fitting(scan.entries, conditions, broken)]
        ordered = (facts.entry for facts in _sorted(fitting, sort, reverse=reverse))
    # Last, and one by one, since this reads more than manifests.
    fits = (e for e in ordered if operation is None or _uses(store, e, operation, broken))
    found = tuple(islice(fits, limit))
    if damaged is None:
        store.warn_damaged(broken)
    else:
        for version in broken:
            damaged(version)
    return found


def _fitting(
    versions: Iterable[Entry | DamagedVersion],
    conditions: "_Conditions",
    broken: list[DamagedVersion],
) -> Iterator[Entry]:
    """Yield the entries that meet all conditions; add damaged ones to ``broken``."""
    for version in versions:
        if isinstance(version, DamagedVersion):
            broken.append(version)
        elif conditions.are_met(EntryFacts(entry=version)):
            yield version


@dataclass(frozen=True, kw_only=True)
class _Conditions:
    """Conditions that a manifest and its status meet or not; see ``find``."""

    kind: Kind | None
    task: str | None
    probe: str | None
    images: Range
    classes: Range
    accuracy: Shares
    since: str | None
    signed: bool

    def are_met(self, facts: EntryFacts) -> bool:
        """Return whether an artifact meets all of them."""
        entry = facts.entry
        return (
            self.kind in (None, entry.manifest.kind)
            and _named(self.task, (task.name for task in entry.manifest.tasks))
            and _named(self.probe, facts.probes)
            and _within(facts.images, self.images)
            and _within(facts.classes, self.classes)
            and _within(facts.accuracy, self.accuracy)
            and (self.since is None or facts.created >= self.since)
            and (entry.status.signed or not self.signed)
        )


_KEYS: dict[str, Callable[[EntryFacts], Any]] = {
    "created": lambda facts: facts.created,
    "images": lambda facts: facts.images,
    "classes": lambda facts: facts.classes,
    "size": lambda facts: facts.size,
    "accuracy": lambda facts: facts.accuracy,
    "gain": lambda facts: facts.gain,
    "transfer-gain": lambda facts: facts.transfer_gain,
    "cost": lambda facts: facts.entry.manifest.provenance.seconds,
    "parameters": lambda facts: facts.parameters,
    "alpha-accuracy": lambda facts: facts.alpha_accuracy,
}


def _sorted(found: list[EntryFacts], order: Order, *, reverse: bool) -> list[EntryFacts]:
    """Return the facts in that order; equal ones stay in theirs, by name and version."""
    if order == "name":
        return found[::-1] if reverse else found
    key = _KEYS[order]
    stated = sorted((f for f in found if key(f) is not None), key=key, reverse=reverse)
    return [*stated, *(f for f in found if key(f) is None)]


def _check(kind: str | None, since: str | None, sort: str, limit: int | None) -> None:
    for name, value in {"kind": kind, "since": since}.items():
        check_text(value, name, optional=True)
    check_text(sort, "sort")
    if limit is not None:
        check_whole(limit, "limit")
    if kind is not None and kind not in get_args(Kind):
        raise RegistryError(f"kind {kind[:40]!r}", expected=f"{' or '.join(get_args(Kind))}")
    if since is not None and not any(_is_moment(since, form) for form in _MOMENTS):
        raise RegistryError(
            f"date {since[:40]!r}", expected="a day such as 2026-01-31, or 2026-01-31T12:00:00Z"
        )
    if sort not in get_args(Order):
        raise RegistryError(f"order {sort[:40]!r}", expected=f"one of {', '.join(get_args(Order))}")
    if limit is not None and limit < 1:
        raise RegistryError(f"limit {limit}", expected="1 or more")


def _check_texts(**texts: str | None) -> None:
    """Refuse arguments of another kind."""
    for name, text in texts.items():
        check_text(text, name, optional=True)


def _check_limits(
    limits: Shares, name: str, kind: type, numbers: str, *, largest: float | None = None
) -> None:
    """Refuse a range of another kind, and limits that no value reaches."""
    expected = f"(smallest, largest) as {numbers}, None for no limit"
    check_kind(limits, (tuple, list), name, expected)
    if len(limits) != 2:
        raise ArgumentError(name, found=repr(limits), expected=expected)
    for limit in limits:
        check_kind(limit, (kind, type(None)), f"a limit of {name}", expected)
        if limit is not None and largest is not None and not 0 <= limit <= largest:
            raise RegistryError(f"limit {limit} of {name}", expected=expected)


def _check_operation(operation: str, entries: Iterable[Entry]) -> None:
    known = dict.fromkeys(DARTS_CANDIDATES)
    for entry in entries:
        known |= dict.fromkeys(entry.manifest.space.candidates)
    if operation not in known:
        close = did_you_mean(nearest_names(operation, known))
        raise RegistryError(
            f"no artifact has the operation {operation[:40]!r} as a candidate",
            expected=f"one of {', '.join(list(known)[:_MOST_OPERATIONS])}",
            hint=close.rstrip(),
        )


def _is_moment(text: str, form: str) -> bool:
    try:
        # Read and written again: "2026-1-2" is read, too, but does not compare as text.
        return datetime.strptime(text, form).strftime(form) == text
    except ValueError:
        return False


def _named(wanted: str | None, names: Iterable[str]) -> bool:
    return wanted is None or any(wanted.casefold() in name.casefold() for name in names)


def _within(value: float | None, limits: Shares) -> bool:
    smallest, largest = limits
    if value is None:
        return smallest is None and largest is None
    return (smallest is None or smallest <= value) and (largest is None or value <= largest)


def _uses(store: Store, entry: Entry, operation: str, broken: list[DamagedVersion]) -> bool:
    """Return whether a genotype uses an operation; add an unreadable one to ``broken``."""
    if operation not in entry.manifest.space.candidates:
        return False
    try:
        genotype = store.genotype(entry)
    except ArtifactError as error:
        info = VersionInfo(version=entry.version, digest=entry.digest, status=entry.status)
        broken.append(damaged_version(entry.name, info, error))
        return False
    return any(genotype.count(operation, kind) for kind in ("normal", "reduction"))
