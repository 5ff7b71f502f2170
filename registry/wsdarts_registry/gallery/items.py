"""Gallery items: one version of an artifact each, and its facts as names and values in words."""

from dataclasses import dataclass
from functools import cached_property

from wsdarts_registry._format import count, duration, figure, setting, pluralize, size
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.space import CELL_KINDS
from wsdarts_registry.artifact.manifest import (
    CARD,
    CHECKSUM,
    GENOTYPE,
    MANIFEST,
    MASKS,
    PICTURE,
    provenance_facts,
)
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.stores.records import Entry

KIND_TITLES = {
    "masks": "λ, operation masks",
    "weights": "λ̂, with weights",
    "meta": "λ_meta, several tasks",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryItem:
    """A version of an artifact with all that the gallery shows of it.

    Attributes:
        entry: Its entry in the registry.
        artifact: Its verified content.
        latest: Whether a plain ``NAME`` means this version, so that it can be ranked.
    """

    entry: Entry
    artifact: Artifact
    latest: bool

    @cached_property
    def reference(self) -> str:
        """The exact reference, ``NAME@3``."""
        return str(self.entry.reference)

    @property
    def folder(self) -> str:
        """Folder of its files, from the gallery's root."""
        return f"artifacts/{self.entry.name}/v{self.entry.version}"

    @property
    def page(self) -> str:
        """Path of its page, from the gallery's root."""
        return f"{self.folder}.html"

    @property
    def sort(self) -> str:
        """``"masks"`` (λ), ``"weights"`` (λ̂) or ``"meta"`` (λ_meta)."""
        if self.entry.manifest.kind == "meta-transfer":
            return "meta"
        return "weights" if self.artifact.has_weights else "masks"

    @property
    def kind_title(self) -> str:
        """Kind in words."""
        return KIND_TITLES[self.sort]

    @cached_property
    def images(self) -> int:
        """Number of images of all its tasks."""
        return sum(task.images for task in self.entry.manifest.tasks)

    @cached_property
    def classes(self) -> int:
        """Number of classes of all its tasks."""
        return sum(task.classes for task in self.entry.manifest.tasks)

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """Operations that its cells use, in the order of the search space."""
        genotype = self.artifact.genotype
        used = {c.operation for kind in CELL_KINDS for node in genotype.cell(kind) for c in node}
        return tuple(name for name in genotype.space.candidates if name in used)

    @property
    def raw_files(self) -> tuple[str, ...]:
        """Files that the gallery copies: all but the weights and their checksums."""
        files = self.entry.manifest.files
        own = [MANIFEST, CHECKSUM, GENOTYPE, MASKS]
        own += [record.file for record in self.entry.manifest.embeddings]
        return (*own, *(path for path in (CARD, PICTURE) if path in files))


Facts = list[tuple[str, str]]
_RATIO = "accuracy"


def at_a_glance(item: GalleryItem) -> Facts:
    """Return the few figures at the top of a page."""
    tasks = item.entry.manifest.tasks
    facts = [("images", count(item.images)), ("classes", count(item.classes))]
    if len(tasks) > 1:
        facts.insert(0, ("tasks", count(len(tasks))))
    return [
        *facts,
        ("search time", duration(item.entry.manifest.provenance.seconds)),
        ("made", item.entry.manifest.provenance.created[:10]),
        ("all files", size(sum(r.size for r in item.entry.manifest.files.values()))),
    ]


def identity(item: GalleryItem) -> Facts:
    """Return names, digest, signature, kind and licence."""
    entry, manifest = item.entry, item.entry.manifest
    return [
        ("reference", item.reference),
        ("digest", entry.digest),
        ("other names", ", ".join(f"{entry.name}@{a}" for a in entry.status.aliases) or "none"),
        ("signature", "there is one; `verify` checks it" if entry.status.signed else "none"),
        ("kind", item.kind_title),
        ("licence", manifest.license or "not stated"),
    ]


def search(item: GalleryItem) -> Facts:
    """Return how it was searched: space, supernet, masks and every setting."""
    manifest = item.entry.manifest
    network = manifest.network
    supernet = f"{pluralize(network.cells, 'cell')}, {pluralize(network.channels, 'channel')}"
    stages = enumerate(item.artifact.stage_masks, start=1)
    return [
        ("search space", str(manifest.search_space)),
        ("supernet", f"{supernet}, images of {pluralize(network.image_size, 'pixel')}"),
        ("masks", "; ".join(f"after stage {i}: {_kept(masks)}" for i, masks in stages)),
        *((key, setting(value)) for key, value in manifest.config.items() if key != "space"),
    ]


def figures(item: GalleryItem) -> Facts:
    """Return every measured figure by the name that the artifact gives it."""
    metrics = item.entry.manifest.metrics
    return [(key.replace("_", " "), _figure(key, value)) for key, value in metrics.items()]


def provenance(item: GalleryItem) -> Facts:
    """Return when, where and by what it was made."""
    return provenance_facts(item.entry.manifest.provenance)


def compared(item: GalleryItem) -> Facts:
    """Return the facts of a side-by-side comparison; their names are equal for all items."""
    manifest = item.entry.manifest
    genotype = item.artifact.genotype
    facts = [
        ("kind", item.kind_title),
        ("tasks", ", ".join(task.name for task in manifest.tasks)),
        ("images", count(item.images)),
        ("classes", count(item.classes)),
        ("operations used", ", ".join(item.operations)),
        *(
            (f"skip-connects, {kind} cell", count(genotype.count("skip_connect", kind)))
            for kind in CELL_KINDS
        ),
        ("search time", duration(manifest.provenance.seconds)),
        ("seed", str(manifest.provenance.seed)),
        ("started", _started(item)),
        ("preset", setting(manifest.config.get("preset"))),
        ("hardware", manifest.provenance.hardware),
        ("made", manifest.provenance.created[:10]),
        ("licence", manifest.license or "not stated"),
    ]
    return [*facts, *((f"figure: {name}", value) for name, value in figures(item))]


def _started(item: GalleryItem) -> str:
    lineage = item.entry.manifest.lineage
    parents = ", ".join(parent.reference for parent in lineage.parents)
    return f"{lineage.mode} from {parents}" if parents else lineage.mode


def _kept(masks: OperationMasks) -> str:
    return f"at most {pluralize(masks.widest, 'operation')} an edge"


def _figure(key: str, value: float) -> str:
    return figure(value, "ratio" if key.endswith(_RATIO) else "")
