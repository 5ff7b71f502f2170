"""The head of a model card: YAML metadata, by which the Hub lists, links and finds an artifact."""

import re
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from wsdarts_registry.card_statements import CardFacts, TaskFacts
from wsdarts_registry.dataset_id import is_dataset_id
from wsdarts_registry.inert import plain_text

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
    data["tags"] = [plain_text(tag, 80) for tag in tags]
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
            dataset_type=known or plain_text(task.digest, 80),
            dataset_name=plain_text(task.name),
            metric_type="accuracy",
            metric_value=score.accuracy,
            metric_name=plain_text(score.label),
        )
        for score in facts.scores
    ]
    return eval_results_to_model_index(plain_text(facts.name), results)
