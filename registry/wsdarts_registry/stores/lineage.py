"""Lineage trees of artifacts: their ancestors and descendants.

An artifact names its parents by digest, so whatever they are called in a registry, they are
found. A digest covers the digests of the parents, so nobody can be their own ancestor.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wsdarts_registry._arguments import check_whole
from wsdarts_registry._text import sanitize
from wsdarts_registry._views import Viewable
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.catalogue import ScanResult
from wsdarts_registry.stores.opening import open_for, shipped_version
from wsdarts_registry.stores.records import DamagedVersion, Entry
from wsdarts_registry.stores.store import Store

DEPTH = 10
MAX_DEPTH = 100

# Digests of the next generation, each with what the artifact that names it calls it.
_Next = Callable[[str], list[tuple[str, str]]]


@dataclass(frozen=True, kw_only=True)
class LineageNode:
    """An ancestor or a descendant in a lineage tree.

    Attributes:
        digest: ``"sha256:…"``, which identifies it.
        reference: What it is called in this registry, ``"NAME@3"``; where it is not in it, what
            its child calls it, which another registry may understand.
        entries: Every version of this registry with that content; none where it is not in it.
        damaged: Versions of this registry that claim that content, and are damaged.
        shipped: The version of the shipped zoo with that content, ``"NAME@3"``; None where this
            registry has it, or the zoo has not.
        relatives: The next generation in the same direction.
        omitted: Why there may be more relatives than these: they are ``"deeper"`` than was
            asked for, or stand ``"above"``, where this artifact is met for the first time.
    """

    digest: str
    reference: str
    entries: tuple[Entry, ...]
    relatives: tuple["LineageNode", ...] = ()
    omitted: Literal["deeper", "above"] | None = None
    damaged: tuple[DamagedVersion, ...] = ()
    shipped: str | None = None

    @property
    def mode(self) -> str | None:
        """The start of its own search, such as ``"cold"``; None if it is in another registry."""
        return self.entries[0].manifest.lineage.mode if self.entries else None

    def to_json(self, generation: str) -> dict[str, Any]:
        """Return plain JSON data, the next generation under the key ``generation``."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "in_registry": bool(self.entries),
            "shipped": self.shipped,
            "also": [str(e.reference) for e in self.entries if str(e.reference) != self.reference],
            "yanked": bool(self.entries) and self.entries[0].yanked is not None,
            "mode": self.mode,
            "omitted": self.omitted,
            "damaged": [str(version.reference) for version in self.damaged],
            generation: [relative.to_json(generation) for relative in self.relatives],
        }


@dataclass(frozen=True, kw_only=True)
class LineageTree(Viewable):
    """An artifact with its ancestors and its descendants in one registry.

    Attributes:
        entry: The artifact.
        parents: What it was started from, in the order of its manifest.
        children: What was started from it, by name and version, what is yanked last.
    """

    entry: Entry
    parents: tuple[LineageNode, ...]
    children: tuple[LineageNode, ...]

    def __repr__(self) -> str:
        parents, children = (
            ", ".join(sanitize(relative.reference, 80) for relative in relatives) or "none"
            for relatives in (self.parents, self.children)
        )
        return f"<LineageTree of {self.entry.reference}: parents {parents}; children {children}>"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "reference": str(self.entry.reference),
            "digest": self.entry.digest,
            "mode": self.entry.manifest.lineage.mode,
            "parents": [relative.to_json("parents") for relative in self.parents],
            "children": [relative.to_json("children") for relative in self.children],
        }


def lineage(
    reference: str, *, registry: str | Path | Store | None = None, depth: int = DEPTH
) -> LineageTree:
    """Find what an artifact was started from, and what was started from it.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
        registry: Directory of a registry; the shipped zoo by default.
        depth: How many generations to follow in each direction, 1 to 100.

    Raises:
        ReferenceNotFoundError: There is no such artifact.
        RegistryError: The registry cannot be read, or the depth is out of range.
        ArtifactError: The artifact itself is damaged; others that are, are passed over with a
            RegistryWarning.
    """
    check_whole(depth, "depth")
    if not 1 <= depth <= MAX_DEPTH:
        raise RegistryError(f"depth {depth}", expected=f"1 to {MAX_DEPTH} generations")
    store, within = open_for(reference, registry)
    entry = store.resolve(within)
    scan = store.scan(include_yanked=True)
    store.warn_damaged(scan.damaged)
    known = _by_digest(scan)
    children: dict[str, dict[str, str]] = {}
    for digest, (first, *_) in known.items():
        for parent in first.manifest.lineage.parents:
            children.setdefault(parent.digest, {})[digest] = ""

    def parents_of(digest: str) -> list[tuple[str, str]]:
        entries = known.get(digest, ())
        parents = entries[0].manifest.lineage.parents if entries else ()
        return list({parent.digest: parent.reference for parent in parents}.items())

    def children_of(digest: str) -> list[tuple[str, str]]:
        return list(children.get(digest, {}).items())

    def damaged_as(digest: str) -> tuple[DamagedVersion, ...]:
        return tuple(version for version in scan.damaged if version.digest == digest)

    def completed(relatives: tuple[LineageNode, ...]) -> tuple[LineageNode, ...]:
        return tuple(
            replace(
                r,
                relatives=completed(r.relatives),
                damaged=damaged_as(r.digest),
                shipped=None if r.entries else _shipped_as(r.digest),
            )
            for r in relatives
        )

    return LineageTree(
        entry=entry,
        parents=completed(_generation(entry.digest, known, parents_of, depth, set())),
        children=completed(_generation(entry.digest, known, children_of, depth, set())),
    )


def _shipped_as(digest: str) -> str | None:
    entry = shipped_version(digest)
    return None if entry is None else str(entry.reference)


def _by_digest(scan: ScanResult) -> dict[str, tuple[Entry, ...]]:
    """Return the versions with each content, those that are not yanked first."""
    found: dict[str, tuple[Entry, ...]] = {}
    for entry in sorted(scan.entries, key=lambda entry: entry.yanked is not None):
        found[entry.digest] = (*found.get(entry.digest, ()), entry)
    return found


def _generation(
    digest: str,
    known: dict[str, tuple[Entry, ...]],
    following: _Next,
    depth: int,
    seen: set[str],
) -> tuple[LineageNode, ...]:
    """Return the next generation after ``digest`` with its descendants; fills ``seen``."""
    found = []
    for other, hint in following(digest):
        entries = known.get(other, ())
        omitted: Literal["deeper", "above"] | None = None
        relatives: tuple[LineageNode, ...] = ()
        if following(other):
            if other in seen:
                omitted = "above"
            elif depth == 1:
                omitted = "deeper"
            else:
                seen.add(other)
                relatives = _generation(other, known, following, depth - 1, seen)
        found.append(
            LineageNode(
                digest=other,
                reference=_called(entries, hint),
                entries=entries,
                relatives=relatives,
                omitted=omitted,
            )
        )
    return tuple(found)


def _called(entries: tuple[Entry, ...], hint: str) -> str:
    """Return the reference that the child knows if it is right, else the first."""
    references = [str(entry.reference) for entry in entries]
    return hint if hint in references or not references else references[0]
