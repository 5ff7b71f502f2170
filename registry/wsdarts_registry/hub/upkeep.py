"""Keeping the index of a namespace up to date, and saying where it is not."""

import warnings
from collections.abc import Iterable, Mapping

from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.hub.catalogue import Merged, Namespace, merge
from wsdarts_registry.hub.index import EMPTY, Content, IndexedName
from wsdarts_registry.hub.index_repository import FoundIndex, IndexRepository
from wsdarts_registry.hub.patience import Patience, UnsettledError


def current(namespace: Namespace, found: FoundIndex, location: str) -> Merged:
    """What the namespace holds now; warns where its index is missing, damaged or behind.

    Args:
        namespace: Where the artifacts are.
        found: Its index, read just before.
        location: What the registry is called.

    Raises:
        RegistryError: The Hub cannot be asked.
    """
    merged = merge(namespace, found.index or EMPTY)
    reason = _reason(found, merged, location)
    if reason:
        remedy = f"`wsdarts-hub index rebuild --registry {location}` makes it anew"
        warnings.warn(f"{reason}; {remedy}", RegistryWarning, stacklevel=4)
    return merged


def update(
    namespace: Namespace,
    repository: IndexRepository,
    *,
    always: Iterable[str] = (),
    written: Mapping[str, IndexedName] | None = None,
    known: Mapping[str, Content] | None = None,
    anew: bool = False,
) -> tuple[str, ...]:
    """Write an index of what the namespace holds now, unless there is one.

    Of several that write at once the first wins, and the others look again: what they wanted to
    write is often there by then, since each writes everything that it finds behind.

    Args:
        namespace: What it is the index of.
        repository: Where it lies.
        always: Names that are read whatever the list of the namespace says.
        written: What was just written, by name; taken where the list agrees.
        known: Contents that need not be fetched, by digest.
        anew: Take nothing from the index that is there.

    Returns:
        The names in it.

    Raises:
        RegistryError: The Hub cannot be asked, or the index cannot be written.
    """
    names = tuple(always)
    patience = Patience()
    while True:
        try:
            # The index is read before the list, so that the list is never older.
            found = repository.find()
            head = found.head or repository.made()
            before = EMPTY if anew else found.index
            merged = merge(namespace, before or EMPTY, names, written)
            index = merged.index(namespace, known or {}, private=head.private)
            if found.index != index:
                repository.write(index, head)
            return tuple(sorted(name for name, entry in index.names.items() if entry.versions))
        except UnsettledError as error:
            patience.after(error)


def _reason(found: FoundIndex, merged: Merged, location: str) -> str:
    behind = [name for name in merged.behind if name not in merged.private]
    if found.problem:
        return (
            f"the index of {location} cannot be used ({found.problem}), so each artifact was read "
            "by itself"
        )
    if not behind:
        return ""
    if found.index is None:
        return f"{location} has no index, so each artifact was read by itself"
    listed = ", ".join(behind[:3])
    more = f" and {len(behind) - 3} more" if len(behind) > 3 else ""
    return f"the index of {location} is behind, so {listed}{more} had to be read directly"
