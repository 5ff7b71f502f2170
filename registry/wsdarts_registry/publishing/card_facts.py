"""What a model card says of an artifact, as plain values.

What a model card says, read off an artifact's manifest.
"""

from dataclasses import dataclass
from typing import Any, Literal

from wsdarts_registry._format import setting
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.artifact.manifest import WEIGHTS, Manifest
from wsdarts_registry.embedding.space import Figures, figures
from wsdarts_registry.publishing.training import (
    CLASSIFIER_ACCURACY,
    CLASSIFIER_EPOCHS,
    CLASSIFIER_IMAGES,
)

_PAPER_IMAGE_SIZE = 84


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """A task that was searched on.

    Attributes:
        name: What it is called.
        digest: Its digest, ``sha256:…``.
        images: Number of images, all parts together.
        classes: Number of classes.
        dataset: Its id on the Hugging Face Hub, if it is from there.
        split: Sizes of the parts of a split that it came with, as text; None without one.
    """

    name: str
    digest: str
    images: int
    classes: int
    dataset: str | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """A stage of the search: its supernet, and how long it was trained."""

    cells: int
    operations: int
    epochs: int
    weights_only_epochs: int = 0


PAPER_STAGES = tuple(
    StageFacts(cells=cells, operations=operations, epochs=25, weights_only_epochs=10)
    for cells, operations in ((5, 8), (11, 5), (17, 3))
)


@dataclass(frozen=True, kw_only=True)
class FigureFacts:
    """A measured figure.

    Attributes:
        label: What was measured, on what.
        value: The value, or the mean over ``seeds``.
        unit: ``"ratio"``, ``"s"``, ``"B"``, ``"count"``, or a word that follows the number.
        spread: Standard deviation over the seeds, in the same unit; None for one seed.
        seeds: How many runs with different seeds; 0 where no seed has a part in it.
    """

    label: str
    value: float
    unit: str = ""
    spread: float | None = None
    seeds: int = 1


@dataclass(frozen=True, kw_only=True)
class ScoreFacts:
    """An accuracy that the Hub's own list of results shows.

    Attributes:
        label: What it is the accuracy of, on which images; stands beside it wherever it is shown.
        accuracy: Share that was labelled right, in [0, 1].
    """

    label: str
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ParentFacts:
    """An artifact that the search started from."""

    reference: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class NeighbourFacts:
    """An artifact whose task is near.

    Attributes:
        reference: Exact reference, ``"NAME@3"``.
        distance: Symmetric Task2Vec distance, in [0, 1].
        task: Name of its task, or of its tasks.
        near: Whether that counts as near; None where it is not judged.
    """

    reference: str
    distance: float
    task: str
    near: bool | None


@dataclass(frozen=True, kw_only=True)
class NeighbourhoodFacts:
    """What was nearest in the registry on the day of publication.

    Attributes:
        day: The day, UTC, as ``YYYY-MM-DD``.
        state: ``"ranked"``; ``"first"`` where nothing else was there, ``"strange"`` where nothing
            had an embedding in its spaces, ``"unknown"`` where the registry could not be ranked.
        rows: Nearest first; none unless it is ranked.
        probe: Probe of the embeddings that were compared.
        threshold: Largest distance that counts as near; None where none was measured.
    """

    day: str
    state: Literal["ranked", "first", "strange", "unknown"]
    rows: tuple[NeighbourFacts, ...] = ()
    probe: str = ""
    threshold: float | None = None

    @property
    def figures(self) -> Figures:
        """The distances and the threshold as text that orders them as their verdicts do."""
        return figures((row.distance for row in self.rows), self.threshold)


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Everything that a model card says, as plain values.

    Attributes:
        name: Name in the registry; ``version`` its version, None before it has one.
        home: Its registry on the Hub, ``hf://OWNER``; None for one in a directory, whose place
            means nothing to others.
        kind: ``"transfer"`` or ``"meta-transfer"``.
        description: A few words by who published it; may be empty.
        weights: Whether supernet weights and α are part of it (λ̂).
        stages: In order; ``steps`` counts the steps of the weights' optimiser in all of them,
            0 where that is not known.
        image_size: Side in pixels that the images were resized to.
        channels: Initial channels of the supernet.
        seconds: Wall time of the search.
        created: Date and time, UTC, as text.
        libraries: Names and versions.
        mode: What the search started from: ``"cold"``, ``"topology"``, ``"trained"``, ….
        probes: Embedding spaces, as text, of the embeddings in it.
        settings: Further settings, name and value.
        base_models: Ids on the Hub of the parents that are there.
        scores: Accuracies on the one task of a transfer artifact.
        neighbourhood: What was nearest when it was published; None where nothing can be said.
        licence: Licence of the artifact; empty where it is not stated.
    """

    name: str
    version: int | None
    kind: str
    genotype: Genotype
    tasks: tuple[TaskFacts, ...]
    weights: bool
    preset: str
    stages: tuple[StageFacts, ...]
    steps: int
    batch_size: int
    image_size: int
    channels: int
    seconds: float
    hardware: str
    seed: int
    created: str
    code_version: str
    libraries: tuple[tuple[str, str], ...] = ()
    figures: tuple[FigureFacts, ...] = ()
    mode: str = "cold"
    parents: tuple[ParentFacts, ...] = ()
    probes: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    base_models: tuple[str, ...] = ()
    scores: tuple[ScoreFacts, ...] = ()
    neighbourhood: NeighbourhoodFacts | None = None
    home: str | None = None
    licence: str = "apache-2.0"
    description: str = ""

    @property
    def reference(self) -> str:
        """What names it in a command: with its registry, where that is on the Hub."""
        name = self.name if self.version is None else f"{self.name}@{self.version}"
        return name if self.home is None else f"{self.home}/{name}"

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def paper_stages(self) -> tuple[StageFacts, ...]:
        """What the paper does here: three stages from cold, the last one in a warm start."""
        return PAPER_STAGES[-1:] if self.parents else PAPER_STAGES

    @property
    def paper_epochs(self) -> int:
        """Epochs of the paper's search."""
        return sum(stage.epochs for stage in self.paper_stages)

    @property
    def small(self) -> bool:
        """Whether the search had fewer epochs or smaller images than the paper's."""
        return self.epochs < self.paper_epochs or self.image_size < _PAPER_IMAGE_SIZE


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
