"""What the gallery says of one version, as names and values in words."""

from wsdarts_registry.amounts import count, duration, figure, setting, size
from wsdarts_registry.gallery.exhibit import Exhibit
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.provenance import provenance_facts
from wsdarts_registry.space import CELL_KINDS

Facts = list[tuple[str, str]]

_RATIO = "accuracy"


def at_a_glance(exhibit: Exhibit) -> Facts:
    """The few figures that stand at the top of a page."""
    tasks = exhibit.entry.manifest.tasks
    facts = [("images", count(exhibit.images)), ("classes", count(exhibit.classes))]
    if len(tasks) > 1:
        facts.insert(0, ("tasks", count(len(tasks))))
    return [
        *facts,
        ("search time", duration(exhibit.entry.manifest.provenance.seconds)),
        ("made", exhibit.entry.manifest.provenance.created[:10]),
        ("all files", size(sum(r.size for r in exhibit.entry.manifest.files.values()))),
    ]


def identity(exhibit: Exhibit) -> Facts:
    """What it is called and may be used for."""
    entry, manifest = exhibit.entry, exhibit.entry.manifest
    return [
        ("reference", exhibit.reference),
        ("digest", entry.digest),
        ("other names", ", ".join(f"{entry.name}@{a}" for a in entry.status.aliases) or "none"),
        ("signature", "there is one; `verify` checks it" if entry.status.signed else "none"),
        ("kind", exhibit.kind_title),
        ("licence", manifest.license or "not stated"),
    ]


def search(exhibit: Exhibit) -> Facts:
    """How it was searched: space, supernet, masks and every setting."""
    manifest = exhibit.entry.manifest
    network = manifest.network
    supernet = f"{network.cells} cells, {network.channels} channels"
    stages = enumerate(exhibit.artifact.stage_masks, start=1)
    return [
        ("search space", str(manifest.search_space)),
        ("supernet", f"{supernet}, images of {network.image_size} pixels"),
        ("masks", "; ".join(f"after stage {i}: {_kept(masks)}" for i, masks in stages)),
        *((key, setting(value)) for key, value in manifest.config.items() if key != "space"),
    ]


def figures(exhibit: Exhibit) -> Facts:
    """Every measured figure by the name that the artifact gives it."""
    metrics = exhibit.entry.manifest.metrics
    return [(key.replace("_", " "), _figure(key, value)) for key, value in metrics.items()]


def provenance(exhibit: Exhibit) -> Facts:
    """When, where and by what it was made."""
    return provenance_facts(exhibit.entry.manifest.provenance)


def compared(exhibit: Exhibit) -> Facts:
    """What stands side by side when several are compared; names are equal for all."""
    manifest = exhibit.entry.manifest
    genotype = exhibit.artifact.genotype
    facts = [
        ("kind", exhibit.kind_title),
        ("tasks", ", ".join(task.name for task in manifest.tasks)),
        ("images", count(exhibit.images)),
        ("classes", count(exhibit.classes)),
        ("operations used", ", ".join(exhibit.operations)),
        *(
            (f"skip-connects, {kind} cell", count(genotype.count("skip_connect", kind)))
            for kind in CELL_KINDS
        ),
        ("search time", duration(manifest.provenance.seconds)),
        ("seed", str(manifest.provenance.seed)),
        ("started", _started(exhibit)),
        ("preset", setting(manifest.config.get("preset"))),
        ("hardware", manifest.provenance.hardware),
        ("made", manifest.provenance.created[:10]),
        ("licence", manifest.license or "not stated"),
    ]
    return [*facts, *((f"figure: {name}", value) for name, value in figures(exhibit))]


def _started(exhibit: Exhibit) -> str:
    lineage = exhibit.entry.manifest.lineage
    parents = ", ".join(parent.reference for parent in lineage.parents)
    return f"{lineage.mode} from {parents}" if parents else lineage.mode


def _kept(masks: OperationMasks) -> str:
    return f"at most {masks.widest} operations an edge"


def _figure(key: str, value: float) -> str:
    return figure(value, "ratio" if key.endswith(_RATIO) else "")
