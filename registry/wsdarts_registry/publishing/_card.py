"""The model card of an artifact, its ``README.md``: Markdown with a YAML head.

The Hugging Face Hub reads the head to list, link and find an artifact. The picture of the cells
is a file beside the card, ``cells.svg``; the same cells follow as text. The card also lists what
is nearest in the registry on the day of publication, which ``neighbourhood`` ranks.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal

import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup

from wsdarts_registry._format import count, duration, percent, pluralize, setting
from wsdarts_registry._memory import shortage
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span, sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS
from wsdarts_registry.architecture.search_verdicts import ChanceTest, candidate_count
from wsdarts_registry.artifact.facts import (
    Facts,
    Metric,
    TrainedResult,
    TransferGain,
    explained_metrics,
    hub_licence,
    image_count,
    licence_text,
    result_facts,
)
from wsdarts_registry.artifact.manifest import (
    WEIGHTS,
    Manifest,
    TaskRecord,
    is_dataset_id,
    own_files,
)
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.embedding_space import Figures, figures, is_near
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import CacheError, NoCommonSpaceError, WsdartsError
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_registry.stores.nearest_artifacts import rank_registry
from wsdarts_registry.stores.records import Entry

PRESET_NAMES = ("tiny", "small", "medium", "paper")
"""Presets that a command can name. Weights fit a network of the preset that they were made by."""

_TASK_TYPE = "image-classification"
_PAPER_IMAGE_SIZE = 84
# The Hub shows a score without the card around it, so its name says what it is.
_SUPERNET_SCORE = (
    "supernet accuracy on the α half of the train part, last epoch, one seed; no trained classifier"
)
_SHOWN_SETTINGS = ("order", "steps_per_epoch", "skip_connects")
_SHOWN = 5  # neighbours
# Some that are ranked are not shown: other versions of the name, and copies under other names.
_RANKED = 2 * _SHOWN


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the search: its supernet, and how long it was trained."""

    cells: int
    operations: int
    epochs: int
    weights_only_epochs: int

    def __str__(self) -> str:
        text = (
            f"{pluralize(self.cells, 'cell')} × {pluralize(self.operations, 'operation')} an edge, "
            f"{pluralize(self.epochs, 'epoch')}"
        )
        if self.weights_only_epochs:
            text += f" ({self.weights_only_epochs} of weights only)"
        return text


PAPER_STAGES = tuple(
    Stage(cells=cells, operations=operations, epochs=25, weights_only_epochs=10)
    for cells, operations in ((5, 8), (11, 5), (17, 3))
)


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
    """Nearest artifacts of the registry on the day of publication.

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
    """All facts of a model card.

    A setting or a metric that the artifact does not state is left out.

    Attributes:
        manifest: Manifest of the artifact.
        genotype: Its genotype.
        name: Name in the registry.
        home: Its registry on the Hub, ``hf://OWNER``; None for one in a directory, whose place
            means nothing to others.
        base_models: Ids on the Hub of the parents that are there.
        neighbourhood: What was nearest when it was published; None where nothing can be said.
    """

    manifest: Manifest
    genotype: Genotype
    name: str
    home: str | None = None
    base_models: tuple[str, ...] = ()
    neighbourhood: NeighbourhoodFacts | None = None

    @property
    def reference(self) -> str:
        """The name in a command: with its registry, where that is on the Hub."""
        return self.name if self.home is None else f"{self.home}/{self.name}"

    @property
    def weights(self) -> bool:
        """Whether supernet weights and α are part of the artifact (λ̂)."""
        return WEIGHTS in self.manifest.files

    @property
    def preset(self) -> str:
        """Preset of the search's settings."""
        return str(self.manifest.config.get("preset", "custom"))

    @property
    def batch_size(self) -> int:
        """Images in a batch of the search; 0 where that is not known."""
        return _whole(self.manifest.config.get("batch_size"))

    @property
    def steps(self) -> int:
        """Steps of the weights' optimiser in all stages; 0 where that is not known."""
        return int(self.manifest.metrics.get("steps", 0))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Stages as the search settings write them; free JSON from elsewhere gives none."""
        stages = self.manifest.config.get("stages")
        names = ("cells", "operations", "epochs", "weights_only_epochs")
        if not isinstance(stages, list):
            return ()
        settings = [stage for stage in stages if isinstance(stage, dict)]
        if len(settings) < len(stages):
            return ()
        return tuple(Stage(**{name: _whole(each.get(name)) for name in names}) for each in settings)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def paper_stages(self) -> tuple[Stage, ...]:
        """Stages of the paper: three from cold, the last one in a warm start."""
        return PAPER_STAGES[-1:] if self.manifest.lineage.parents else PAPER_STAGES

    @property
    def paper_epochs(self) -> int:
        """Epochs of the paper's search."""
        return sum(stage.epochs for stage in self.paper_stages)

    @property
    def small(self) -> bool:
        """Whether the search had fewer epochs or smaller images than the paper's."""
        size = self.manifest.network.image_size
        return self.epochs < self.paper_epochs or size < _PAPER_IMAGE_SIZE

    @property
    def settings(self) -> Facts:
        """Further settings; a limit of "none" would read as a limit of zero."""
        config = self.manifest.config
        none = {"skip_connects": "no limit"}
        return [
            (key, none[key] if key in none and config[key] is None else setting(config[key]))
            for key in _SHOWN_SETTINGS
            if key in config
        ]

    @property
    def choice(self) -> str:
        """Choice of the cells, in sentences."""
        metrics = self.manifest.metrics
        if "choice" not in self.manifest.config:
            return "The cells are the genotype derived from the final α."
        candidates = candidate_count(metrics)
        if candidates <= 1:
            return "The cells are the likeliest under the final α that keep the limits asked for."
        test = ChanceTest.from_metrics(metrics)
        return (
            f"The cells were chosen among {count(candidates)} candidates drawn from the final α, "
            "each trained briefly from the supernet's weights and judged on images of the train "
            "part that it was not trained on." + ("" if test is None else f" {test}")
        )

    @property
    def probes(self) -> tuple[str, ...]:
        """Probes of the embeddings in it."""
        records = self.manifest.embeddings
        return tuple(dict.fromkeys(record.space.probe for record in records))

    @property
    def result(self) -> TrainedResult | None:
        """Accuracy of a network trained with its cells, beside the linear baseline."""
        return TrainedResult.of(self.manifest)

    @property
    def transfer(self) -> TransferGain | None:
        """Gain of warm starts from it, compared with other artifacts; None if not stated."""
        return TransferGain.of(self.manifest)

    @property
    def worth(self) -> Facts:
        """Accuracy, baseline, cost and size, by which people choose."""
        return result_facts(self.manifest)

    @property
    def figures(self) -> list[Metric]:
        """Measured figures that this library knows; others could say anything."""
        return [metric for metric in explained_metrics(self.manifest) if metric.explanation]

    @property
    def scores(self) -> tuple[tuple[str, float], ...]:
        """Labels and accuracies for the Hub; one over several tasks is that of no dataset."""
        if self.manifest.kind != "transfer":
            return ()
        found = []
        if self.result is not None:
            label = f"accuracy {self.result.conditions}, one seed; not in this repository"
            if self.result.baseline is not None:
                label += f"; linear baseline {percent(self.result.baseline)}"
            found.append((label, self.result.accuracy))
        alpha = self.manifest.metrics.get("alpha_accuracy", -1)
        if 0 <= alpha <= 1:
            found.append((_SUPERNET_SCORE, float(alpha)))
        return tuple(found)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def render_card(facts: CardFacts) -> str:
    """Return the model card as Markdown with a YAML head; equal facts give equal text.

    Text from outside, such as the names of tasks, comes out as literal text.
    """
    manifest, genotype = facts.manifest, facts.genotype
    return markdown_page(
        "artifact_card.md.j2",
        head=Markup(card_head(facts)),  # noqa: S704 - safe YAML of plain text
        facts=facts,
        manifest=manifest,
        shell_reference=shlex.quote(sanitize(facts.reference)),
        python_reference=json.dumps(sanitize(facts.reference), ensure_ascii=False),
        preset=facts.preset if facts.preset in PRESET_NAMES else "small",
        cells="\n\n".join(cell_text(genotype, kind) for kind in CELL_KINDS),
        candidates=", ".join(genotype.space.candidates),
        is_darts=genotype.space == DARTS,
        images=count(image_count(manifest)),
        skips={kind: genotype.count("skip_connect", kind) for kind in CELL_KINDS},
        task_names=_listed([code_span(task.name) for task in manifest.tasks]),
        probes=_listed([code_span(probe) for probe in facts.probes]),
        stages=[
            (number, here or "", paper or "")
            for number, (here, paper) in enumerate(
                zip_longest(facts.stages, facts.paper_stages), start=1
            )
        ],
        given=sum(task.split is not None for task in manifest.tasks),
        near=facts.neighbourhood,
        cost=duration(manifest.provenance.seconds),
        licence=licence_text(manifest),
        count=count,
        links=[
            f"https://huggingface.co/datasets/{task.dataset}" if _is_from_hub(task) else None
            for task in manifest.tasks
        ],
    )


def _listed(spans: list[str]) -> Markup:
    """Return code spans as a list within a sentence."""
    *head, last = spans or [""]
    text = f"{', '.join(head)} and {last}" if head else last
    return Markup(text)  # noqa: S704 - code spans


def card_head(facts: CardFacts) -> str:
    """Return the YAML head, without its fences; equal facts give equal text."""
    manifest = facts.manifest
    data: dict[str, Any] = {
        **hub_licence(manifest.license),
        "library_name": "wsdarts-hub",  # no pipeline_tag: a supernet classifies nothing
    }
    tags = ["wsdarts-hub", "neural-architecture-search", "darts", manifest.kind]
    if facts.weights:
        tags.append("supernet-weights")
    data["tags"] = [sanitize(tag, 80) for tag in tags]
    datasets = [task.dataset for task in manifest.tasks if _is_from_hub(task)]
    if datasets:
        data["datasets"] = list(dict.fromkeys(datasets))
    if facts.base_models:
        data["base_model"] = list(dict.fromkeys(facts.base_models))
    if facts.scores:
        data["model-index"] = _model_index(facts)
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def _is_from_hub(task: TaskRecord) -> bool:
    """Return whether a task's dataset has a page on the Hub that can be linked to."""
    return task.dataset is not None and is_dataset_id(task.dataset)


def _model_index(facts: CardFacts) -> list[dict[str, Any]]:
    """Return the scores as the Hub lists them: reported by the owner, never as verified."""
    # Imported here: who pulls from a directory needs no client of the Hub.
    from huggingface_hub import EvalResult  # noqa: PLC0415
    from huggingface_hub.repocard_data import eval_results_to_model_index  # noqa: PLC0415

    task = facts.manifest.tasks[0]
    # The Hub asks for the dataset's id. Where there is none, the task's digest says which images
    # these were, and its colon keeps it from being the id of somebody else's dataset.
    known = task.dataset if _is_from_hub(task) else None
    results = [
        EvalResult(
            task_type=_TASK_TYPE,
            dataset_type=known or sanitize(task.digest, 80),
            dataset_name=sanitize(task.name),
            metric_type="accuracy",
            metric_value=accuracy,
            metric_name=sanitize(label),
        )
        for label, accuracy in facts.scores
    ]
    return eval_results_to_model_index(sanitize(facts.name), results)


def neighbourhood(
    seen: Catalogue, name: str, artifact: Artifact, *, day: str
) -> NeighbourhoodFacts | None:
    """Rank a registry for the card of an artifact that will be published in it.

    Args:
        seen: What the registry holds.
        name: Name that the artifact will have; its own versions are no neighbours.
        artifact: The artifact, before it has a version.
        day: The day, UTC.

    Returns:
        At most five neighbours, or why there are none: a registry that cannot be ranked is no
        reason not to publish. None for an artifact without embeddings.

    Raises:
        CacheError: The cache of this machine cannot keep what it takes to rank the registry.
    """
    if not artifact.manifest.embeddings:
        return None
    try:
        if not any(other != name and _is_listed(seen, other) for other in seen.names()):
            return NeighbourhoodFacts(day=day, state="first")
        return _ranked(seen, name, artifact, day)
    except CacheError:
        raise  # a fault of this machine, not of the registry: a card is published once
    except (WsdartsError, OSError) as error:
        if shortage(error):
            raise
        return NeighbourhoodFacts(day=day, state="unknown")


def _is_listed(seen: Catalogue, name: str) -> bool:
    return any(info.yanked is None for info in seen.versions(name))


def _has_others(seen: Catalogue, name: str, manifest: Manifest) -> bool:
    """Return whether something is listed under another name that is no copy."""
    found = (
        seen.read_version(other, info)
        for other in seen.names()
        if other != name
        for info in seen.versions(other)
        if info.yanked is None
    )
    return any(isinstance(e, Entry) and own_files(e.manifest) != own_files(manifest) for e in found)


def _ranked(seen: Catalogue, name: str, artifact: Artifact, day: str) -> NeighbourhoodFacts:
    for embedding in _queries(seen, artifact):
        try:
            ranking = rank_registry(seen, embedding, _RANKED)
        except NoCommonSpaceError:
            continue
        found = [n for n in ranking.neighbours if _is_another(seen, n, name, artifact.manifest)]
        if not found:  # nothing but itself, as it was or copied
            continue
        judged = artifact.manifest.kind == "transfer"
        return NeighbourhoodFacts(
            day=day,
            state="ranked",
            rows=tuple(_neighbour_facts(n, ranking, judged=judged) for n in found[:_SHOWN]),
            probe=embedding.space.probe,
            threshold=ranking.threshold,
        )
    others = _has_others(seen, name, artifact.manifest)
    return NeighbourhoodFacts(day=day, state="strange" if others else "first")


def _queries(seen: Catalogue, artifact: Artifact) -> Iterator[TaskEmbedding]:
    """Yield the embeddings to rank it by, those first for which a threshold was measured."""
    config, manifest = seen.config, artifact.manifest
    spaces = list(dict.fromkeys(r.space.embedding_space for r in manifest.embeddings))
    for space in sorted(spaces, key=lambda space: config.threshold(space) is None):
        if manifest.ranking_record(space) is not None:
            yield artifact.embedding(space)


def _is_another(seen: Catalogue, neighbour: Neighbour, name: str, manifest: Manifest) -> bool:
    reference = Reference.parse(neighbour.reference)
    if reference.name == name or reference.version is None:
        return False
    other = seen.entry(reference.name, reference.version).manifest
    return own_files(other) != own_files(manifest)  # else a copy, whatever it is called


def _neighbour_facts(neighbour: Neighbour, ranking: Ranking, *, judged: bool) -> NeighbourFacts:
    near = None
    # Thresholds are measured between single tasks; a mean of several is near to everything.
    if judged and ranking.threshold is not None and neighbour.kind == "transfer":
        near = is_near(neighbour.distance, ranking.threshold)
    return NeighbourFacts(
        reference=neighbour.reference,
        distance=neighbour.distance,
        task=neighbour.task_name,
        near=near,
    )
