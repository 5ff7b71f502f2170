"""Output of ``show`` for one artifact."""

from typing import Any

from wsdarts_hub.cli.shared import display
from wsdarts_registry._format import count, size
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.architecture.search_verdicts import find_collapses
from wsdarts_registry.artifact.facts import (
    Facts,
    TrainedResult,
    licence_text,
    metric_facts,
    provenance_facts,
    result_facts,
    search_facts,
    start_text,
)
from wsdarts_registry.artifact.manifest import Manifest
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.catalogue import damaged_version
from wsdarts_registry.stores.query import damaged_json
from wsdarts_registry.stores.records import Entry, Status
from wsdarts_registry.stores.store import Store

_UNTRAINED = (
    "No network with these cells was trained; `wsdarts-hub train` measures its accuracy beside a "
    "linear baseline."
)


def damaged_as_json(store: Store, reference: str, error: WsdartsError) -> dict[str, Any]:
    """Return everything that is known of a damaged version as plain JSON data."""
    wanted = Reference.parse(reference)
    return damaged_json(damaged_version(wanted.name, store.find(wanted), error))


def as_json(entry: Entry, artifact: Artifact) -> dict[str, Any]:
    """Return everything about an artifact as plain JSON data."""
    yanked = entry.yanked
    return {
        "reference": str(entry.reference),
        "digest": entry.digest,
        "yanked": None if yanked is None else {"reason": yanked.reason, "when": yanked.when},
        "status": entry.status.to_json(),
        "directory": str(artifact.directory),
        "manifest": entry.manifest.model_dump(mode="json"),
        "genotype": artifact.genotype.to_json(),
        "collapses": [each.to_json() for each in find_collapses(artifact.genotype)],
        "masks": [masks.to_json() for masks in artifact.stage_masks],
    }


def show(entry: Entry, artifact: Artifact) -> None:
    """Print everything for people."""
    manifest = entry.manifest
    display.facts(_identity(entry, artifact), whole=("directory",))
    display.heading("result")
    display.facts(result_facts(manifest))
    result = TrainedResult.of(manifest)
    display.sentence(_UNTRAINED if result is None else result.sentence)
    display.heading("tasks")
    display.table(*_tasks(manifest), right=("images", "classes", "groups"), optional=("digest",))
    display.heading("genotype")
    for kind in CELL_KINDS:
        display.drawing(cell_text(artifact.genotype, kind))
    for collapse in find_collapses(artifact.genotype):
        display.sentence(f"warning: {collapse}")
    display.heading("search")
    display.facts(search_facts(manifest, artifact.stage_masks))
    if manifest.metrics:
        display.heading("figures")
        display.facts(metric_facts(manifest))
    if manifest.embeddings:
        display.heading("embeddings")
        spaces = dict.fromkeys(str(r.space.embedding_space) for r in manifest.embeddings)
        for space in spaces:
            display.sentence(space)
    display.heading("provenance")
    display.facts(_provenance(manifest))
    display.heading("files")
    display.table(
        ("file", "size", "sha256"),
        [(path, size(record.size), record.sha256) for path, record in manifest.files.items()],
        right=("size",),
        optional=("sha256",),
    )


def _identity(entry: Entry, artifact: Artifact) -> Facts:
    manifest = entry.manifest
    facts = [
        ("reference", str(entry.reference)),
        ("digest", entry.digest),
        ("kind", manifest.kind),
        ("weights", "yes (λ̂)" if artifact.has_weights else "no, masks alone (λ)"),
        ("directory", str(artifact.directory)),
        ("licence", licence_text(manifest)),
    ]
    if manifest.description:
        facts.append(("about", manifest.description))
    return [*facts, *_status(entry.status)]


def _tasks(manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns and rows; the dataset is given in the form of an argument, if it is known."""
    tasks = manifest.tasks
    columns = {
        "task": [task.name for task in tasks],
        "images": [count(task.images) for task in tasks],
        "classes": [count(task.classes) for task in tasks],
        "digest": [task.digest for task in tasks],
    }
    known = {
        "dataset": ["" if task.dataset is None else f"hf:{task.dataset}" for task in tasks],
        "given split": ["" if task.split is None else str(task.split) for task in tasks],
        "groups": ["" if task.groups is None else count(task.groups) for task in tasks],
    }
    columns |= {name: cells for name, cells in known.items() if any(cells)}
    return tuple(columns), list(zip(*columns.values(), strict=True))


def _status(status: Status) -> Facts:
    facts = []
    if status.aliases:
        facts.append(("aliases", ", ".join(status.aliases)))
    if status.signed:
        facts.append(
            ("signature", "signed; `wsdarts-hub verify --require-signature KEY` says by whom")
        )
    if status.yank:
        facts.append(("yanked", f"{status.yank.when}: {status.yank.reason}"))
        if status.yank.lifted:
            facts.append(("restored", f"{status.yank.lifted.when}: {status.yank.lifted.reason}"))
    return facts


def _provenance(manifest: Manifest) -> Facts:
    started = start_text(manifest.lineage, len(manifest.tasks[0].digest))
    return [*provenance_facts(manifest.provenance), ("started", started)]
