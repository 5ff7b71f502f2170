"""The model card of an artifact, its ``README.md``: what it is, and how small it was.

The card is Markdown with a YAML head that the Hub reads. The picture of the cells is a file
beside it, ``cells.svg``, and the same cells follow as text for those who cannot see it.

The head of a model card: YAML metadata, by which the Hub lists, links and finds an artifact.

What ``push`` adds to an artifact: the model card, and the picture that it shows.
"""

import json
import re
import shlex
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup

from wsdarts_registry._format import count, duration, figure
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span, sanitize
from wsdarts_registry.architecture.space import CELL_KINDS, DARTS
from wsdarts_registry.artifact.manifest import (
    CARD,
    PICTURE,
    Manifest,
    is_dataset_id,
    same_but_for_card,
)
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.drawing.cells import cell_text, genotype_svg
from wsdarts_registry.errors import RegistryError, RegistryWarning
from wsdarts_registry.publishing.card_facts import (
    CardFacts,
    FigureFacts,
    StageFacts,
    TaskFacts,
    card_facts,
)
from wsdarts_registry.publishing.neighbours import neighbourhood
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.records import Entry
from wsdarts_registry.stores.reference import is_name
from wsdarts_registry.stores.store import Store

# Licence identifiers of the Hub (huggingface.co/docs/hub/repositories-licenses) that fit data and
# weights; every other licence is written as "other" with a name.
_HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "isc", "unlicense", "wtfpl", "bsd-2-clause", "bsd-3-clause"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
        *("cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0"),
        *("cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0"),
        *("odc-by", "odbl", "pddl", "openrail", "openmdw-1.0", "openmdw-1.1", "artistic-2.0"),
        *("epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl-2.0", "gpl-3.0"),
        *("lgpl-2.1", "lgpl-3.0", "mpl-2.0", "osl-3.0", "ncsa", "unknown"),
    )
)
_TASK_TYPE = "image-classification"


def card_head(facts: CardFacts) -> str:
    """Write the YAML head, without its fences; equal facts give equal text."""
    data: dict[str, Any] = {
        **_licence(facts.licence),
        "library_name": "wsdarts-hub",
        "pipeline_tag": _TASK_TYPE,
    }
    tags = ["wsdarts-hub", "neural-architecture-search", "darts", facts.kind]
    if facts.weights:
        tags.append("supernet-weights")
    data["tags"] = [sanitize(tag, 80) for tag in tags]
    datasets = [task.dataset for task in facts.tasks if is_from_hub(task)]
    if datasets:
        data["datasets"] = list(dict.fromkeys(datasets))
    if facts.base_models:
        data["base_model"] = list(dict.fromkeys(facts.base_models))
    if facts.scores:
        data["model-index"] = _model_index(facts, facts.tasks[0])
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def is_from_hub(task: TaskFacts) -> bool:
    """Whether a task's dataset has a page on the Hub that can be linked to."""
    return task.dataset is not None and is_dataset_id(task.dataset)


def _licence(licence: str) -> dict[str, str]:
    known = licence.lower() or "unknown"
    if known in _HUB_LICENCES:
        return {"license": known}
    # The name has to be an identifier; the licence's own words stand at the end of the card.
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower())[:80].strip("-.")
    return {"license": "other", "license_name": name or "see-the-card"}


def _model_index(facts: CardFacts, task: TaskFacts) -> list[dict[str, Any]]:
    """The scores as the Hub lists them: reported by the owner, never as verified."""
    # Imported here: who pulls from a directory needs no client of the Hub.
    from huggingface_hub import EvalResult  # noqa: PLC0415
    from huggingface_hub.repocard_data import eval_results_to_model_index  # noqa: PLC0415

    # The Hub asks for the dataset's id. Where there is none, the task's digest says which images
    # these were, and its colon keeps it from being the id of somebody else's dataset.
    known = task.dataset if is_from_hub(task) else None
    results = [
        EvalResult(
            task_type=_TASK_TYPE,
            dataset_type=known or sanitize(task.digest, 80),
            dataset_name=sanitize(task.name),
            metric_type="accuracy",
            metric_value=score.accuracy,
            metric_name=sanitize(score.label),
        )
        for score in facts.scores
    ]
    return eval_results_to_model_index(sanitize(facts.name), results)


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
        shell_reference=shlex.quote(sanitize(facts.reference)),
        python_reference=json.dumps(sanitize(facts.reference), ensure_ascii=False),
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


def written_files(
    artifact: Artifact, manifest: Manifest, store: Store, name: str, version: int | None
) -> dict[str, bytes]:
    """The card and the picture for an artifact, by path.

    The card says what else was in the registry, and when. So that pushing a run once more finds
    what is there already, whatever was published since, a version with the same content lends
    its card.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        name: Name to publish under.
        version: The version that was asked for; None for the next one.

    Raises:
        RegistryError: The registry cannot be asked.
    """
    store.settle(name)
    seen = _seen(store)
    twin = _twin(store, seen, manifest, name, version)
    if twin is not None:
        return {p: store.read(twin, p) for p in (CARD, PICTURE) if p in twin.manifest.files}
    return new_files(artifact, manifest, store, seen, name)


def new_files(
    artifact: Artifact, manifest: Manifest, store: Store, seen: Catalogue | None, name: str
) -> dict[str, bytes]:
    """Card and picture as they are written today; see ``written_files``.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        seen: What that holds now; None if it cannot be had.
        name: Name to publish under.
    """
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    facts = card_facts(
        manifest,
        artifact.genotype,
        name=name,
        home=None if store.hub_id(name) is None else store.location,
        base_models=_base_models(store, manifest),
        neighbourhood=None if seen is None else neighbourhood(seen, name, artifact, day=day),
    )
    return {
        CARD: render_card(facts).encode(),
        PICTURE: genotype_svg(artifact.genotype).encode(),
    }


def _seen(store: Store) -> Catalogue | None:
    """What the registry holds; None where only single names can be asked for."""
    with warnings.catch_warnings(), suppress(RegistryError):
        # Pushing brings an index up to date that is behind, and says where that fails.
        warnings.simplefilter("ignore", RegistryWarning)
        return store.catalogue()
    return None


def _twin(
    store: Store, seen: Catalogue | None, manifest: Manifest, name: str, version: int | None
) -> Entry | None:
    """The published version that differs in nothing but what ``push`` writes."""
    twins = []
    # What was listed may lag behind the name itself.
    listed = {} if seen is None else {info.version: info.digest for info in seen.versions(name)}
    for info in store.versions(name):
        known = listed.get(info.version) == info.digest
        source: Catalogue = seen if seen is not None and known else store
        with suppress(*DAMAGE):  # so not the same
            entry = source.entry(name, info.version)
            if CARD in entry.manifest.files and same_but_for_card(entry.manifest, manifest):
                twins.append(entry)
    best = sorted(twins, key=lambda e: (e.version == version, e.yanked is None, e.version))
    return best[-1] if best else None


def _base_models(store: Store, manifest: Manifest) -> tuple[str, ...]:
    """Ids on the Hub of the artifacts that a search started from, where they are in a registry."""
    found = []
    for parent in manifest.lineage.parents:
        name = parent.reference.partition("@")[0]
        repository = store.hub_id(name) if is_name(name) else None
        if repository and any(info.digest == parent.digest for info in store.versions(name)):
            found.append(repository)
    return tuple(found)
