"""Content of a registry that a gallery shows, read and verified once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import VersionConflictError
from wsdarts_registry.gallery._distances import RankedSpace
from wsdarts_registry.gallery._items import GalleryItem
from wsdarts_registry.stores.catalogue import DAMAGE, damaged_version
from wsdarts_registry.stores.records import DamagedVersion, shipped_zoo
from wsdarts_registry.stores.store import Store

# Called with a task, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """All gallery items of a registry.

    Attributes:
        name: What the registry is called.
        option: Option by which commands find it, such as `` --registry hf://lab``; empty where the
            reader has to fill it in, or none is needed.
        shipped: Whether it is the zoo that commands look into by default.
        items: Every version, yanked ones too, by name and version.
        damaged: Versions that cannot be shown, but for those that are yanked.
        spaces: Embedding spaces with what ranks in them, the fullest first.
    """

    name: str
    option: str
    shipped: bool
    items: tuple[GalleryItem, ...]
    damaged: tuple[DamagedVersion, ...]
    spaces: tuple[RankedSpace, ...]

    @property
    def title(self) -> str:
        """Name of the gallery: that of the registry, or of the zoo that comes with the package."""
        return "wsdarts-hub zoo" if self.shipped else self.name

    @cached_property
    def listed(self) -> tuple[GalleryItem, ...]:
        """Items that are not yanked."""
        return tuple(e for e in self.items if e.entry.yanked is None)

    @cached_property
    def by_name(self) -> dict[str, list[GalleryItem]]:
        """Items by their name."""
        found: dict[str, list[GalleryItem]] = {}
        for item in self.items:
            found.setdefault(item.entry.name, []).append(item)
        return found

    @cached_property
    def by_digest(self) -> dict[str, tuple[GalleryItem, ...]]:
        """Items by the digest of their content."""
        found: dict[str, tuple[GalleryItem, ...]] = {}
        for item in self.items:
            digest = item.entry.digest
            found[digest] = (*found.get(digest, ()), item)
        return found

    @cached_property
    def children(self) -> dict[str, tuple[GalleryItem, ...]]:
        """Items that were started from a content, by its digest."""
        found: dict[str, tuple[GalleryItem, ...]] = {}
        for item in self.items:
            for parent in item.entry.manifest.lineage.parents:
                found[parent.digest] = (*found.get(parent.digest, ()), item)
        return found


def read_collection(store: Store, progress: Progress) -> Collection:
    """Read every version of a registry; a damaged one only with what is wrong with it.

    Raises:
        EmbeddingError: Embeddings of one space have different widths.
    """
    infos = list(store.iter_versions(include_yanked=True))
    latest = {name: info.version for name, info in infos if info.yanked is None}
    items, damaged = [], []
    for done, (name, info) in enumerate(infos):
        progress("reading artifacts", done, len(infos))
        try:
            entry = store.entry(name, info.version)
            artifact = store.pull_without_weights(entry.reference)
        except (*DAMAGE, VersionConflictError) as error:
            if info.yanked is None:
                damaged.append(damaged_version(name, info, error))
            continue
        is_latest = latest.get(name) == info.version
        items.append(GalleryItem(entry=entry, artifact=artifact, latest=is_latest))
    shown = tuple(items)
    store.warn_damaged(damaged)
    return Collection(
        name=store.config.name,
        # A directory of this machine means nothing to a reader, and is no reader's business.
        option=store.option if "://" in store.location else "",
        shipped=store.location == str(shipped_zoo()),
        items=shown,
        damaged=tuple(damaged),
        spaces=_spaces(store, shown, progress),
    )


def _spaces(
    store: Store, items: tuple[GalleryItem, ...], progress: Progress
) -> tuple[RankedSpace, ...]:
    ranked: dict[EmbeddingSpace, list[GalleryItem]] = {}
    for item in items:
        manifest = item.entry.manifest
        own = dict.fromkeys(record.space.embedding_space for record in manifest.embeddings)
        for space in own:
            if item.latest and manifest.ranking_record(space) is not None:
                ranked.setdefault(space, []).append(item)
    found = []
    for done, (space, members) in enumerate(ranked.items()):
        progress("measuring distances", done, len(ranked))
        found.append(RankedSpace.of(space, tuple(members), store.config.threshold(space)))
    known = [record.space.embedding_space for record in store.config.near]
    place = {space: number for number, space in enumerate(known)}
    return tuple(
        sorted(
            found,
            key=lambda s: (-len(s.members), place.get(s.space, len(known)), str(s.space)),
        )
    )
