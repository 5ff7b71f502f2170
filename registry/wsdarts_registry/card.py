"""The model card of an artifact, its ``README.md``: what it is, and how small it was.

The card is Markdown with a YAML head that the Hub reads. The picture of the cells is a file
beside it, ``cells.svg``, and the same cells follow as text for those who cannot see it.
"""

import json
import shlex
from itertools import zip_longest

from markupsafe import Markup

from wsdarts_registry.amounts import count, duration, figure
from wsdarts_registry.card_head import card_head, is_from_hub
from wsdarts_registry.card_statements import CardFacts, FigureFacts, StageFacts, TaskFacts
from wsdarts_registry.drawing import cell_text
from wsdarts_registry.inert import code_span, plain_text
from wsdarts_registry.space import CELL_KINDS, DARTS
from wsdarts_registry.templates import markdown_page

PRESET_NAMES = ("tiny", "small", "paper")
"""Presets that a command can name. Weights fit a network of the preset that they were made by."""


def render_card(facts: CardFacts) -> str:
    """Write the model card as Markdown with a YAML head; equal facts give equal text.

    Text from outside, such as the names of tasks, comes out as literal text.
    """
    return markdown_page(
        "card.md.j2",
        head=Markup(card_head(facts)),  # noqa: S704 - safe YAML of plain text
        facts=facts,
        shell_reference=shlex.quote(plain_text(facts.reference)),
        python_reference=json.dumps(plain_text(facts.reference), ensure_ascii=False),
        preset=facts.preset if facts.preset in PRESET_NAMES else "small",
        cells="\n\n".join(cell_text(facts.genotype, kind) for kind in CELL_KINDS),
        candidates=", ".join(facts.genotype.space.candidates),
        is_darts=facts.genotype.space == DARTS,
        images=count(sum(task.images for task in facts.tasks)),
        skips={kind: facts.genotype.count("skip_connect", kind) for kind in CELL_KINDS},
        task_names=_listed([code_span(task.name) for task in facts.tasks]),
        probes=_listed([code_span(probe) for probe in facts.probes]),
        stages=_stage_rows(facts),
        figures=[(item.label, _figure(item)) for item in facts.figures],
        given=sum(task.split is not None for task in facts.tasks),
        near=facts.neighbourhood,
        cost=duration(facts.seconds),
        count=count,
        links={task: _link(task) for task in facts.tasks},
    )


def _link(task: TaskFacts) -> str | None:
    return f"https://huggingface.co/datasets/{task.dataset}" if is_from_hub(task) else None


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
