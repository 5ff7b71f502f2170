"""What a model card says, read off an artifact's manifest."""

from typing import Any

from wsdarts_registry.amounts import setting
from wsdarts_registry.card_statements import (
    CardFacts,
    FigureFacts,
    NeighbourhoodFacts,
    ParentFacts,
    ScoreFacts,
    StageFacts,
    TaskFacts,
)
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.manifest import WEIGHTS, Manifest
from wsdarts_registry.training_record import (
    CLASSIFIER_ACCURACY,
    CLASSIFIER_EPOCHS,
    CLASSIFIER_IMAGES,
)

_LABELS = {
    "weights_accuracy": ("accuracy on the weights half, last epoch", "ratio"),
    "alpha_accuracy": ("accuracy on the α half, last epoch", "ratio"),
    "weights_loss": ("loss on the weights half, last epoch", ""),
    "alpha_loss": ("loss on the α half, last epoch", ""),
}
# Of the network that the paper trains in the end; these depend on the genotype alone.
_FINAL = "the final network (20 cells of 16 channels, without its last layer)"
_SIZES = {
    "final_parameters": f"parameters of {_FINAL}",
    "final_multiply_adds_32": "its multiply-adds for an image of 32×32",
    "final_multiply_adds_224": "its multiply-adds for an image of 224×224",
}
# The Hub shows a score without the card around it, so its name says what it is.
_SUPERNET_SCORE = (
    "supernet accuracy on the α half of the train part, last epoch, one seed; no trained classifier"
)
_SHOWN_SETTINGS = ("order", "steps_per_epoch", "skip_connects")


def card_facts(
    manifest: Manifest,
    genotype: Genotype,
    *,
    name: str,
    home: str | None = None,
    base_models: tuple[str, ...] = (),
    neighbourhood: NeighbourhoodFacts | None = None,
) -> CardFacts:
    """Gather the facts of a card; a setting that the artifact does not state is left out."""
    config: dict[str, Any] = dict(manifest.config)
    provenance = manifest.provenance
    return CardFacts(
        name=name,
        version=None,
        home=home,
        kind=manifest.kind,
        description=manifest.description,
        genotype=genotype,
        tasks=tuple(
            TaskFacts(
                name=task.name,
                digest=task.digest,
                images=task.images,
                classes=task.classes,
                dataset=task.dataset,
                split=None if task.split is None else str(task.split),
            )
            for task in manifest.tasks
        ),
        weights=WEIGHTS in manifest.files,
        preset=str(config.get("preset", "custom")),
        stages=_stages(config.get("stages")),
        steps=int(manifest.metrics.get("steps", 0)),
        batch_size=_whole(config.get("batch_size")),
        image_size=manifest.network.image_size,
        channels=manifest.network.channels,
        seconds=provenance.seconds,
        hardware=provenance.hardware,
        seed=provenance.seed,
        created=provenance.created,
        code_version=provenance.code_version,
        libraries=tuple(sorted(provenance.libraries.items())),
        figures=_figures(manifest),
        mode=manifest.lineage.mode,
        parents=tuple(
            ParentFacts(reference=parent.reference, digest=parent.digest)
            for parent in manifest.lineage.parents
        ),
        probes=tuple(
            dict.fromkeys(str(r.space.embedding_space.probe) for r in manifest.embeddings)
        ),
        settings=tuple((key, _shown(key, config[key])) for key in _SHOWN_SETTINGS if key in config),
        base_models=base_models,
        scores=_scores(manifest),
        neighbourhood=neighbourhood,
        licence=manifest.license,
    )


def _shown(name: str, value: Any) -> str:
    """A setting as a card shows it; a limit of none would read as a limit of zero."""
    return "no limit" if name == "skip_connects" and value is None else setting(value)


def _figures(manifest: Manifest) -> tuple[FigureFacts, ...]:
    classifier = f"{_classifier(manifest)}; it is not part of the artifact"
    labels = {**_LABELS, CLASSIFIER_ACCURACY: (classifier, "ratio")}
    measured = (
        FigureFacts(label=label, value=manifest.metrics[key], unit=unit)
        for key, (label, unit) in labels.items()
        if key in manifest.metrics
    )
    sizes = (
        FigureFacts(label=label, value=manifest.metrics[key], unit="count", seeds=0)
        for key, label in _SIZES.items()
        if key in manifest.metrics
    )
    return (*measured, *sizes)


def _scores(manifest: Manifest) -> tuple[ScoreFacts, ...]:
    """What the Hub lists; an accuracy over several tasks is that of no dataset."""
    named = (
        (CLASSIFIER_ACCURACY, f"{_classifier(manifest)}, one seed; not in this repository"),
        ("alpha_accuracy", _SUPERNET_SCORE),
    )
    return tuple(
        ScoreFacts(label=label, accuracy=float(manifest.metrics[key]))
        for key, label in named
        if manifest.kind == "transfer" and 0 <= manifest.metrics.get(key, -1) <= 1
    )


def _classifier(manifest: Manifest) -> str:
    """Which network ``CLASSIFIER_ACCURACY`` is of, and on which images."""
    images = manifest.metrics.get(CLASSIFIER_IMAGES)
    epochs = manifest.metrics.get(CLASSIFIER_EPOCHS)
    length = "" if epochs is None else f" for {epochs:,} epochs"
    these = "" if images is None else f" ({images:,} images)"
    split = manifest.tasks[0].split
    part = "validation third" if split is None else f"given {split.held_out} part"
    return (
        f"accuracy on the {part}{these} of a classifier with these cells, trained from "
        f"scratch{length}"
    )


def _stages(stages: Any) -> tuple[StageFacts, ...]:
    """Stages as the search settings write them; free JSON from elsewhere gives none."""
    names = ("cells", "operations", "epochs", "weights_only_epochs")
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        return ()
    return tuple(
        StageFacts(**{name: _whole(stage.get(name)) for name in names}) for stage in stages
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
