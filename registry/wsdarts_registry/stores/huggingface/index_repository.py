"""Where the settings and the index of a registry on the Hub lie: dataset ``wsdarts-registry``.

Keeping the index of a namespace up to date, and saying where it is not.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd

from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.errors import ArtifactError, RegistryError, RegistryWarning, WsdartsError
from wsdarts_registry.stores.huggingface.answers import Head, Repository
from wsdarts_registry.stores.huggingface.catalogue import Merged, Namespace, merge
from wsdarts_registry.stores.huggingface.client import HubClient
from wsdarts_registry.stores.huggingface.index import (
    EMPTY,
    FILE,
    MAX_BYTES,
    Content,
    Index,
    IndexedName,
)
from wsdarts_registry.stores.huggingface.retry import Patience, UnsettledError
from wsdarts_registry.stores.records import RegistryConfig

NAME = "wsdarts-registry"
CONFIG = "registry.json"
CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FoundIndex:
    """The index that is there.

    Attributes:
        head: Newest commit of its repository; None where there is none.
        index: The index; None where there is none that can be used.
        problem: Why it cannot be used; empty where it can, or is missing.
    """

    head: Head | None
    index: Index | None
    problem: str = ""


class IndexRepository:
    """Settings and index of one namespace.

    Args:
        client: The Hub.
        namespace: Whose registry it is.
    """

    def __init__(self, client: HubClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._last: tuple[str, Index] | None = None  # commit and what was read there
        self.place = Repository(id=f"{namespace}/{NAME}", kind="dataset")

    def config(self, head: Head | None) -> RegistryConfig:
        """The settings at a commit; where there are none, those of a new registry.

        Raises:
            RegistryError: They are malformed, or the Hub cannot be asked.
        """
        if head is None or CONFIG not in head.files:
            return RegistryConfig(name=self._namespace)
        content = self._client.read(self.place, head.commit, CONFIG, MAX_RECORD_BYTES)
        what = f"{CONFIG} of {self.place.path}"
        return RegistryConfig.from_bytes(content, what=what, error=RegistryError)

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """
        patience = Patience()
        while True:
            additions = [CommitOperationAdd(CONFIG, config.to_bytes())]
            try:
                self._client.commit(
                    self.place, self.made().commit, "Change the settings", additions
                )
            except UnsettledError as error:
                patience.after(error)
            else:
                return

    def head(self) -> Head | None:
        """The head of main; None where there is no such repository."""
        return self._client.head(self.place)

    def find(self) -> FoundIndex:
        """Read and verify the index.

        Raises:
            RegistryError: The Hub cannot be asked.
        """
        head = self.head()
        if head is None or FILE not in head.files:
            return FoundIndex(head=head, index=None)
        last = self._last
        if last is not None and last[0] == head.commit:
            return FoundIndex(head=head, index=last[1])
        try:
            content = self._client.read(self.place, head.commit, FILE, MAX_BYTES)
        except ArtifactError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        try:
            index = Index.from_bytes(content)
        except WsdartsError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        self._last = (head.commit, index)
        return FoundIndex(head=head, index=index)

    def made(self) -> Head:
        """The head of main; the repository is created where it is missing.

        Raises:
            RegistryError: It cannot be.
        """
        return self.head() or self._client.create(self.place)

    def write(self, index: Index, head: Head) -> None:
        """Replace the index that was read at a commit.

        Raises:
            UnsettledError: It was replaced since, or the answer was lost.
            RegistryError: It cannot be written.
        """
        additions = [CommitOperationAdd(FILE, index.to_bytes())]
        if CONFIG not in head.files:
            config = RegistryConfig(name=self._namespace)
            additions.append(CommitOperationAdd(CONFIG, config.to_bytes()))
        if CARD not in head.files:
            additions.append(CommitOperationAdd(CARD, _card(self._namespace).encode()))
        self._client.commit(self.place, head.commit, "Update the index", additions)


def _card(namespace: str) -> str:
    return (
        "---\ntags:\n- wsdarts-hub\nviewer: false\n---\n\n"
        f"# The index of hf://{namespace}\n\n"
        "What `wsdarts-hub` reads to rank the artifacts of this namespace. It is written by "
        f"`wsdarts-hub push`, and made anew by `wsdarts-hub index rebuild --registry "
        f"hf://{namespace}`.\n"
    )


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
