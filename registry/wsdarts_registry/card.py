"""The model card of an artifact, its ``README.md``: what it is, and how small it was.

The card is Markdown with a YAML head that the Hub reads. The artifact holds no file for the
picture of the cells, so the SVG stands in the card as an image with a ``data:`` address, and
the same cells follow as text: for those who cannot see the picture, and for viewers that
strip such addresses.
"""

import base64
import json
import shlex
from dataclasses import dataclass
from itertools import zip_longest

import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup

from wsdarts_registry.amounts import count, duration, figure
from wsdarts_registry.dataset_id import is_dataset_id
from wsdarts_registry.drawing import cell_text, genotype_svg
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.inert import code_span, plain_text
from wsdarts_registry.space import CELL_KINDS, DARTS
from wsdarts_registry.templates import markdown_page

# Licence identifiers of the Hub that are likely here; every other one is written as "other".
_HUB_LICENCES = frozenset(
    {
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "gpl-3.0",
        "lgpl-3.0",
        "mit",
        "mpl-2.0",
        "unlicense",
    }
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
    """

    name: str
    digest: str
    images: int
    classes: int
    dataset: str | None = None


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
class ParentFacts:
    """An artifact that the search started from."""

    reference: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Everything that a model card says, as plain values.

    Attributes:
        name: Name in the registry; ``version`` its version, None before it has one.
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
    licence: str = "apache-2.0"
    description: str = ""

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


def render_card(facts: CardFacts) -> str:
    """Write the model card as Markdown with a YAML head; equal facts give equal text.

    Text from outside, such as the names of tasks, comes out as literal text.
    """
    reference = facts.name if facts.version is None else f"{facts.name}@{facts.version}"
    picture = base64.b64encode(genotype_svg(facts.genotype).encode()).decode()
    return markdown_page(
        "card.md.j2",
        head=Markup(_metadata(facts)),  # noqa: S704 - safe YAML of plain text
        facts=facts,
        reference=reference,
        shell_reference=shlex.quote(plain_text(reference)),
        python_reference=json.dumps(plain_text(reference), ensure_ascii=False),
        picture=Markup(picture),  # noqa: S704 - base64
        cells="\n\n".join(cell_text(facts.genotype, kind) for kind in CELL_KINDS),
        candidates=", ".join(facts.genotype.space.candidates),
        is_darts=facts.genotype.space == DARTS,
        images=count(sum(task.images for task in facts.tasks)),
        skips={kind: facts.genotype.count("skip_connect", kind) for kind in CELL_KINDS},
        task_names=_listed([code_span(task.name) for task in facts.tasks]),
        probes=_listed([code_span(probe) for probe in facts.probes]),
        stages=_stage_rows(facts),
        figures=[(item.label, _figure(item)) for item in facts.figures],
        cost=duration(facts.seconds),
        count=count,
        links={task: _link(task) for task in facts.tasks},
    )


def _metadata(facts: CardFacts) -> str:
    """The YAML head, as the Hub reads it."""
    licence = plain_text(facts.licence, 80)
    known = licence.lower() in _HUB_LICENCES
    data: dict[str, object] = {"license": licence.lower() if known else "other"}
    if not known:
        data["license_name"] = licence
    data["library_name"] = "wsdarts-hub"
    data["pipeline_tag"] = "image-classification"
    tags = ["wsdarts-hub", "neural-architecture-search", "darts", facts.kind]
    if facts.weights:
        tags.append("supernet-weights")
    data["tags"] = [plain_text(tag, 80) for tag in tags]
    datasets = [task.dataset for task in facts.tasks if _is_from_hub(task)]
    if datasets:
        data["datasets"] = list(dict.fromkeys(datasets))
    if facts.base_models:
        data["base_model"] = list(dict.fromkeys(facts.base_models))
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def _is_from_hub(task: TaskFacts) -> bool:
    return task.dataset is not None and is_dataset_id(task.dataset)


def _link(task: TaskFacts) -> str | None:
    return f"https://huggingface.co/datasets/{task.dataset}" if _is_from_hub(task) else None


def _listed(spans: list[str]) -> Markup:
    """Code spans as a list within a sentence."""
    *head, last = spans or [""]
    text = f"{', '.join(head)} and {last}" if head else last
    return Markup(text)  # noqa: S704 - code spans


def _stage_rows(facts: CardFacts) -> list[tuple[int, str, str]]:
    """Number of each stage, what it was here, and what it is in the paper."""
    pairs = zip_longest(facts.stages, facts.paper_stages)
    return [
        (number, "" if here is None else _stage(here), "" if paper is None else _stage(paper))
        for number, (here, paper) in enumerate(pairs, start=1)
    ]


def _stage(stage: StageFacts) -> str:
    text = f"{stage.cells} cells × {stage.operations} operations an edge, {stage.epochs} epochs"
    if stage.weights_only_epochs:
        text += f" ({stage.weights_only_epochs} of weights only)"
    return text


def _figure(item: FigureFacts) -> str:
    text = figure(item.value, item.unit)
    if item.spread is not None:
        text += f" ± {figure(item.spread, item.unit)}"
    if item.seeds == 0:
        return text
    return f"{text} ({item.seeds} seeds)" if item.seeds > 1 else f"{text} (one seed)"
