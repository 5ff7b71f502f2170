"""Pages of the gallery, from the templates of ``wsdarts_cards``, and what they show.

That is a ``Collection``: all versions of a registry, read and verified once.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup, escape

from wsdarts_registry._templates import html_environment
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.facts import (
    explained_metrics,
    provenance_facts,
    result_facts,
    supernet_facts,
)
from wsdarts_registry.drawing.cells import Drawing, cell_text
from wsdarts_registry.drawing.svg import family_of
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import VersionConflictError
from wsdarts_registry.gallery._distances import SHADES, RankedSpace, heat_map
from wsdarts_registry.gallery._items import (
    KIND_TEXTS,
    KIND_TITLES,
    GalleryItem,
    identity,
    setting_groups,
)
from wsdarts_registry.gallery._scripts import ROWS_A_SHARD, loader, policies
from wsdarts_registry.gallery._task_map import task_maps
from wsdarts_registry.stores.catalogue import DAMAGE, damaged_version
from wsdarts_registry.stores.records import DamagedVersion, shipped_zoo
from wsdarts_registry.stores.store import Store

CARDS_A_PAGE = 100  # a page of them has 150 KB; all are on the start page if there are no more
_MOST_OPTIONS = 500  # of a field to choose from; beyond, the reference is typed
_NEIGHBOURS = 8
_LONGEST = 10_000
_START = ("data", "task_map", "list", "choice")  # the boxes are no text to search in
_ARTIFACT = ("data", "copy")
_NEAREST = (
    "data",
    "copy",
    "strict_json",
    "safetensors",
    "embedding",
    "distance",
    "ranking",
    "nearest",
)
_COMPARE = ("data", "distance", "distances", "comparison")
_DISTANCES = ("data", "task_map")
_PAINTED = ("distances", "heat_map")
# What the list is ordered by at first: the first of these that an artifact states.
_FIRST_ORDERS: dict[str, Callable[[GalleryItem], float | None]] = {
    "-transfer": lambda item: None if item.transfer is None else item.transfer.gain,
    "-gain": lambda item: None if item.result is None else item.result.difference,
    "-accuracy": lambda item: None if item.result is None else item.result.accuracy,
}
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


@dataclass(frozen=True, kw_only=True)
class LineageLink:
    """An artifact in a lineage, with its page where the gallery has it."""

    reference: str
    digest: str
    page: str | None


class Pages:
    """The pages of a collection."""

    def __init__(self, collection: Collection, docs: str | None = None) -> None:
        self._collection = collection
        self._templates = html_environment("gallery")
        self._templates.globals.update(
            family=lambda operation: family_of(operation).key,
            registry=collection.title,
            docs=docs,
            kind_titles=KIND_TITLES,
            kind_texts=KIND_TEXTS,
        )
        self._macros: Any = self._templates.get_template("parts.html.j2").module
        self._maps: dict[RankedSpace, tuple[Markup, ...]] = {}

    @cached_property
    def operations(self) -> list[str]:
        """Operations that the cells of listed items use."""
        listed = self._collection.listed
        used = {operation for item in listed for operation in item.operations}
        candidates = [name for item in listed for name in item.artifact.genotype.space.candidates]
        return [name for name in dict.fromkeys(candidates) if name in used]

    @property
    def divided(self) -> bool:
        """Whether the list has more than one page: its scripts then load rows and cards."""
        return len(self._collection.listed) > CARDS_A_PAGE

    @cached_property
    def _order(self) -> str:
        """The first order of the list, as its field names it: by what is stated at all."""
        listed = self._collection.listed
        stated = (
            order
            for order, key in _FIRST_ORDERS.items()
            if any(key(item) is not None for item in listed)
        )
        return next(stated, "name")

    @cached_property
    def _ordered(self) -> list[tuple[GalleryItem, ...]]:
        """The listed items in the first order, page by page; all on one if they are few."""
        listed = self._collection.listed
        if not self.divided:
            return [listed]  # by name; the script orders them
        ordered = listed
        if self._order != "name":
            key = _FIRST_ORDERS[self._order]
            stated = [item for item in listed if key(item) is not None]
            stated.sort(key=lambda item: -(key(item) or 0.0))
            ordered = (*stated, *(item for item in listed if key(item) is None))
        starts = range(0, len(ordered), CARDS_A_PAGE)
        return [ordered[start : start + CARDS_A_PAGE] for start in starts]

    def start(self) -> bytes:
        """Write the start page."""
        listed = self._collection.listed
        space = self._collection.spaces[0] if self._collection.spaces else None
        return self._page(
            "start.html.j2",
            title=self._collection.title,
            scripts=_START,
            items=listed,
            cards=self._ordered[0],
            pages=len(self._ordered),
            shards=-(-len(listed) // ROWS_A_SHARD) if self.divided else 0,
            order=self._order,
            damaged=self._collection.damaged[:CARDS_A_PAGE],
            more_damaged=len(self._collection.damaged[CARDS_A_PAGE:]),
            operations=self.operations,
            tasks={t.digest for e in listed for t in e.entry.manifest.tasks},
            map_space=space,
            maps=() if space is None else self._drawn(space),
            signs=sorted({sign for item in listed for sign in item.signs}),
            transferred=any(item.transfer is not None for item in listed),
            measured=any(item.result is not None for item in listed),
            compared=[
                item.result.judgement
                for item in listed
                if item.result and item.result.difference is not None
            ],
            sorts={item.sort for item in listed},
        )

    def further(self) -> Iterator[tuple[str, bytes]]:
        """Yield the further pages of the list by their paths."""
        first = 1
        for number, cards in enumerate(self._ordered, start=1):
            if number > 1:
                yield (
                    f"list/{number}.html",
                    self._page(
                        "list.html.j2",
                        title=f"Artifacts, page {number}",
                        root="../",
                        number=number,
                        pages=len(self._ordered),
                        first=first,
                        cards=cards,
                        order=self._order,
                        operations=self.operations,
                        signs=sorted({sign for item in cards for sign in item.signs}),
                    ),
                )
            first += len(cards)

    def card(self, item: GalleryItem) -> str:
        """Return an item of the list as HTML, for scripts that show it."""
        return str(self._macros.card(item, self.operations)).strip()

    def _drawn(self, space: RankedSpace) -> tuple[Markup, ...]:
        if space not in self._maps:
            self._maps[space] = task_maps(space)
        return self._maps[space]

    def artifact(self, item: GalleryItem, cells: tuple[Drawing, ...], masks: Drawing) -> bytes:
        """The page of one version."""
        versions = self._collection.by_name[item.entry.name]
        reference, manifest = item.reference, item.entry.manifest
        location = self._collection.option.removeprefix(" --registry ")
        return self._page(
            "artifact.html.j2",
            title=reference,
            scripts=_ARTIFACT,
            root="../../",
            item=item,
            manifest=manifest,
            about=[
                escape(sanitize(paragraph, _LONGEST))
                for paragraph in manifest.description.split("\n\n")
                if paragraph.strip()
            ],
            glance=result_facts(manifest),
            identity=identity(item),
            supernet=supernet_facts(manifest, item.artifact.stage_masks),
            groups=setting_groups(item),
            figures=explained_metrics(manifest),
            provenance=provenance_facts(manifest.provenance),
            cells=[
                (kind, drawing, escape(cell_text(item.artifact.genotype, kind)))
                for kind, drawing in zip(CELL_KINDS, cells, strict=True)
            ],
            masks=masks,
            neighbours=[
                (
                    space,
                    [(other, d, space.is_judged(item, other)) for other, d in near],
                    space.figures(d for _, d in near),
                )
                for space in self._collection.spaces
                if (near := space.neighbours(item, _NEIGHBOURS))
            ],
            parents=self._parents(item),
            children=self._collection.children.get(item.entry.digest, ()),
            versions=versions if len(versions) > 1 else [],
            option=self._collection.option,
            shipped=self._collection.shipped,
            shell_reference=shlex.quote(reference),
            python_reference=json.dumps(reference),
            argument=f", registry={json.dumps(location)}" if location else "",
            inherited=', weights="inherited"' if item.artifact.has_weights else "",
        )

    def nearest(self) -> bytes:
        """Write the page that ranks an embedding."""
        return self._page(
            "nearest.html.j2",
            title="Find a start",
            scripts=_NEAREST,
            spaces=self._collection.spaces,
        )

    def compare(self) -> bytes:
        """Write the page that shows several versions side by side."""
        items = self._collection.items
        return self._page(
            "compare.html.j2",
            title="Compare",
            scripts=_COMPARE,
            items=items if len(items) <= _MOST_OPTIONS else (),
        )

    def distances(self) -> bytes:
        """Write the page of all distances: for each space a map and a heat map."""
        spaces = [(s, self._drawn(s), heat_map(s)) for s in self._collection.spaces]
        painted = _PAINTED if any(heat is None for _, _, heat in spaces) else ()
        return self._page(
            "distances.html.j2",
            title="Distances",
            scripts=(*_DISTANCES, *painted) if spaces else (),
            spaces=spaces,
            shades=SHADES,
        )

    def _parents(self, item: GalleryItem) -> list[LineageLink]:
        found = []
        for parent in item.entry.manifest.lineage.parents:
            known = self._collection.by_digest.get(parent.digest, ())
            page = known[-1].page if known else None
            reference = known[-1].reference if known else parent.reference
            found.append(LineageLink(reference=reference, digest=parent.digest, page=page))
        return found

    def _page(
        self, template: str, *, scripts: tuple[str, ...] = (), root: str = "", **values: object
    ) -> bytes:
        text = self._templates.get_template(template).render(
            policies=[Markup(policy) for policy in policies(scripts, root)],  # noqa: S704 - our own
            loader=Markup(loader(scripts, root)) if scripts else "",  # noqa: S704 - our own
            root=root,
            here=template,
            **values,
        )
        return text.encode()
