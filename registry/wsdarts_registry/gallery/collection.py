"""Everything that a gallery shows of a registry, read and verified once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from wsdarts_registry.embedding.space import EmbeddingSpace
from wsdarts_registry.gallery.distances import RankedSpace
from wsdarts_registry.gallery.items import Exhibit
from wsdarts_registry.stores.catalogue import DAMAGE, damaged_version
from wsdarts_registry.stores.records import DamagedVersion, shipped_zoo
from wsdarts_registry.stores.store import Store

# Is told what is done, how much of it, and of how much.
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """The exhibits of a registry.

    Attributes:
        name: What the registry is called.
        option: What commands need to find it, such as `` --registry hf://lab``; empty where that is
            for the reader to say, or not needed.
        shipped: Whether it is the zoo that commands look into by default.
        exhibits: Every version, yanked ones too, by name and version.
        damaged: Versions that cannot be shown, but for those that are yanked.
        spaces: Embedding spaces with what ranks in them, the fullest first.
    """

    name: str
    option: str
    shipped: bool
    exhibits: tuple[Exhibit, ...]
    damaged: tuple[DamagedVersion, ...]
    spaces: tuple[RankedSpace, ...]

    @property
    def listed(self) -> tuple[Exhibit, ...]:
        """Those that are not yanked."""
        return tuple(e for e in self.exhibits if e.entry.yanked is None)

    @cached_property
    def by_digest(self) -> dict[str, tuple[Exhibit, ...]]:
        """The versions that have a content."""
        found: dict[str, tuple[Exhibit, ...]] = {}
        for exhibit in self.exhibits:
            digest = exhibit.entry.digest
            found[digest] = (*found.get(digest, ()), exhibit)
        return found

    @cached_property
    def children(self) -> dict[str, tuple[Exhibit, ...]]:
        """The versions that were started from a content, by its digest."""
        found: dict[str, tuple[Exhibit, ...]] = {}
        for exhibit in self.exhibits:
            for parent in exhibit.entry.manifest.lineage.parents:
                found[parent.digest] = (*found.get(parent.digest, ()), exhibit)
        return found


def read_collection(store: Store, progress: Progress) -> Collection:
    """Read every version of a registry; of a damaged one there is only what is wrong with it.

    Raises:
        EmbeddingError: Embeddings of one space have different widths.
    """
    infos = [(name, info) for name in store.names() for info in store.versions(name)]
    latest = {name: info.version for name, info in infos if info.yanked is None}
    exhibits, damaged = [], []
    for done, (name, info) in enumerate(infos):
        progress("reading artifacts", done, len(infos))
        try:
            entry = store.entry(name, info.version)
            artifact = store.pull_without_weights(entry.reference)
        except DAMAGE as error:
            if info.yanked is None:
                damaged.append(damaged_version(name, info, error))
            continue
        is_latest = latest.get(name) == info.version
        exhibits.append(Exhibit(entry=entry, artifact=artifact, latest=is_latest))
    shown = tuple(exhibits)
    store.warn_damaged(damaged)
    return Collection(
        name=store.config.name,
        # A directory of this machine means nothing to a reader, and is no reader's business.
        option=store.option if "://" in store.location else "",
        shipped=store.location == str(shipped_zoo()),
        exhibits=shown,
        damaged=tuple(damaged),
        spaces=_spaces(store, shown, progress),
    )


def _spaces(
    store: Store, exhibits: tuple[Exhibit, ...], progress: Progress
) -> tuple[RankedSpace, ...]:
    ranked: dict[EmbeddingSpace, list[Exhibit]] = {}
    for exhibit in exhibits:
        manifest = exhibit.entry.manifest
        own = dict.fromkeys(record.space.embedding_space for record in manifest.embeddings)
        for space in own:
            if exhibit.latest and manifest.ranking_record(space) is not None:
                ranked.setdefault(space, []).append(exhibit)
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
