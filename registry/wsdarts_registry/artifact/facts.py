"""Facts about an artifact, as labels and formatted values.

The model card, the gallery, the terminal and the notebook show the same facts; each takes them
from here, so that a fact has one label and one form.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsdarts_registry._format import count, duration, metric_text, pluralize, setting, size
from wsdarts_registry.artifact.manifest import Lineage, Manifest, Provenance

if TYPE_CHECKING:  # it loads numpy, which lists of artifacts do without
    from wsdarts_registry.architecture.masks import OperationMasks

Facts = list[tuple[str, str]]
SHOWN_DIGEST = 19  # "sha256:" and as many digits as a reference needs


def image_count(manifest: Manifest) -> int:
    """Return the number of images of all tasks."""
    return sum(task.images for task in manifest.tasks)


def class_count(manifest: Manifest) -> int:
    """Return the number of classes of all tasks."""
    return sum(task.classes for task in manifest.tasks)


def total_size(manifest: Manifest) -> int:
    """Return the bytes of all files, the manifest apart."""
    return sum(record.size for record in manifest.files.values())


def licence_text(manifest: Manifest) -> str:
    """Return the licence; ``"not stated"`` where there is none."""
    return manifest.license or "not stated"


def overview_facts(manifest: Manifest) -> Facts:
    """Return the few figures that stand at the top of a page."""
    tasks = [("tasks", count(len(manifest.tasks)))] if len(manifest.tasks) > 1 else []
    return [
        *tasks,
        ("images", count(image_count(manifest))),
        ("classes", count(class_count(manifest))),
        ("search time", duration(manifest.provenance.seconds)),
        ("made", manifest.provenance.created[:10]),
        ("all files", size(total_size(manifest))),
    ]


def search_facts(manifest: Manifest, stages: "Sequence[OperationMasks]") -> Facts:
    """Return search space, supernet, masks after each stage, and every setting."""
    network = manifest.network
    masks = (
        f"after stage {number}: at most {pluralize(stage.widest, 'operation')} an edge"
        for number, stage in enumerate(stages, start=1)
    )
    return [
        ("search space", str(manifest.search_space)),
        (
            "supernet",
            (
                f"{pluralize(network.cells, 'cell')}, {pluralize(network.channels, 'channel')}, "
                f"images of {pluralize(network.image_size, 'pixel')}"
            ),
        ),
        ("masks", "; ".join(masks)),
        *((key, setting(value)) for key, value in manifest.config.items() if key != "space"),
    ]


def metric_facts(manifest: Manifest) -> Facts:
    """Return every measured figure by the name that the artifact gives it."""
    return [
        (key.replace("_", " "), metric_text(key, value)) for key, value in manifest.metrics.items()
    ]


def provenance_facts(made: Provenance) -> Facts:
    """Return when, with which seed, on what and by which code an artifact was made."""
    return [
        ("created", made.created),
        ("seed", str(made.seed)),
        ("search time", duration(made.seconds)),
        ("hardware", made.hardware),
        ("code", made.code_version),
        ("libraries", ", ".join(f"{n} {v}" for n, v in sorted(made.libraries.items()))),
    ]


def start_text(lineage: Lineage, digits: int = 0) -> str:
    """Return the start of the search in words: ``cold``, ``topology from digits@1``.

    Args:
        lineage: Of the artifact.
        digits: Characters of each parent's digest to show after its reference.
    """
    if not lineage.parents:
        return lineage.mode
    parents = (_parent(each.reference, each.digest, digits) for each in lineage.parents)
    return f"{lineage.mode} from {', '.join(parents)}"


def _parent(reference: str, digest: str, digits: int) -> str:
    if not digits:
        return reference
    return f"{reference} ({digest[:digits]}{'…' if digits < len(digest) else ''})"
