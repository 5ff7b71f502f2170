"""Gallery items: one version of an artifact each, and its facts as names and values in words."""

from dataclasses import dataclass
from functools import cached_property

from wsdarts_registry._format import count, duration, setting
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.facts import (
    Facts,
    class_count,
    image_count,
    licence_text,
    metric_facts,
    start_text,
)
from wsdarts_registry.artifact.manifest import (
    CARD,
    CHECKSUM,
    GENOTYPE,
    MANIFEST,
    MASKS,
    PICTURE,
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
        """Images of all its tasks."""
        return image_count(self.entry.manifest)

    @cached_property
    def classes(self) -> int:
        """Classes of all its tasks."""
        return class_count(self.entry.manifest)

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


def identity(item: GalleryItem) -> Facts:
    """Return names, digest, signature, kind and licence of an artifact."""
    entry = item.entry
    return [
        ("reference", item.reference),
        ("digest", entry.digest),
        ("other names", ", ".join(f"{entry.name}@{a}" for a in entry.status.aliases) or "none"),
        ("signature", "there is one; `verify` checks it" if entry.status.signed else "none"),
        ("kind", item.kind_title),
        ("licence", licence_text(entry.manifest)),
    ]


def compared(item: GalleryItem) -> Facts:
    """Return the facts for a comparison of several items; names are equal for all."""
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
        ("started", start_text(manifest.lineage)),
        ("preset", setting(manifest.config.get("preset"))),
        ("hardware", manifest.provenance.hardware),
        ("made", manifest.provenance.created[:10]),
        ("licence", licence_text(manifest)),
    ]
    return [*facts, *((f"figure: {name}", value) for name, value in metric_facts(manifest))]
