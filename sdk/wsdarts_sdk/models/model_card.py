"""The model card of a trained model, its ``README.md``: Markdown with a YAML head.

The Hugging Face Hub reads the head to list and find a model, and offers timm to load it.
"""

from collections.abc import Sequence
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup

from wsdarts_registry._format import count
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span, sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.manifest import is_dataset_id
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.publishing.card import hub_licence
from wsdarts_sdk.models.facts import ModelFacts
from wsdarts_sdk.models.prediction import TrainedModel

_TASK_TYPE = "image-classification"
_TAGS = ("timm", _TASK_TYPE, "wsdarts-hub", "neural-architecture-search", "darts")
_MOST_NAMES, _MOST_TAGS = 50, 50
_UNNAMED = "path/to/this/folder"


def render_model_card(
    model: TrainedModel,
    *,
    name: str | None = None,
    license: str | None = None,  # noqa: A002
    tags: Sequence[str] = (),
    description: str | None = None,
) -> str:
    """Return the card of a model.

    Args:
        model: The trained model.
        name: Its repository on the Hub; by default the card is that of a folder.
        license: Its licence, such as ``"cc-by-4.0"``; left to the author by default.
        tags: Further tags.
        description: A few words, as plain text.

    Raises:
        SettingsError: A tag is no text, or there are too many.
    """
    if isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
        raise SettingsError("tags", found=repr(tags)[:80], expected="a list of words")
    if len(tags) > _MOST_TAGS:
        raise SettingsError("tags", found=f"{len(tags)} of them", expected=f"at most {_MOST_TAGS}")
    config, names = model.network.config, model.class_names
    genotype = Genotype.from_json(config["genotype"])
    listed = ", ".join(code_span(each, 100) for each in names[:_MOST_NAMES])
    more = f" and {count(len(names) - _MOST_NAMES)} more" if len(names) > _MOST_NAMES else ""
    head = _head(model.facts, name=name, license=license, tags=tags)
    return markdown_page(
        "model_card.md.j2",
        head=Markup(yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)),  # noqa: S704 - YAML quotes
        title=None if name is None else name.partition("/")[2],
        place=name or _UNNAMED,
        timm_place=f"local-dir:{_UNNAMED}" if name is None else f"hf-hub:{name}",
        description=description,
        license=license,
        facts=model.facts,
        classes=len(names),
        cells=config["cells"],
        channels=config["channels"],
        size=model.image_size,
        drawn="\n\n".join(cell_text(genotype, kind) for kind in CELL_KINDS),
        names=Markup(listed + more),  # noqa: S704 - code spans
    )


def _head(
    facts: ModelFacts | None,
    *,
    name: str | None,
    license: str | None,  # noqa: A002
    tags: Sequence[str],
) -> dict[str, Any]:
    data: dict[str, Any] = {} if license is None else dict(hub_licence(license))
    data |= {"library_name": "timm", "pipeline_tag": _TASK_TYPE}
    data["tags"] = list(dict.fromkeys([*_TAGS, *(sanitize(tag, 80) for tag in tags)]))
    if facts is None:
        return data
    data["metrics"] = ["accuracy"]
    if facts.lineage is not None and facts.lineage.repository is not None:
        data["base_model"] = facts.lineage.repository
    if facts.data is not None:
        if _dataset_id(facts) is not None:
            data["datasets"] = [_dataset_id(facts)]
        data["model-index"] = _model_index(name or "model", facts)
    return data


def _dataset_id(facts: ModelFacts) -> str | None:
    known = None if facts.data is None else facts.data.dataset
    return known if known is not None and is_dataset_id(known) else None


def _model_index(name: str, facts: ModelFacts) -> list[dict[str, Any]]:
    """Return the accuracy as the Hub lists it: reported by the author, never as verified."""
    from huggingface_hub import EvalResult  # noqa: PLC0415 - it takes long to load
    from huggingface_hub.repocard_data import eval_results_to_model_index  # noqa: PLC0415

    assert facts.data is not None  # noqa: S101
    part = f"{facts.held_out} part, {count(facts.images)} images"
    result = EvalResult(
        task_type=_TASK_TYPE,
        # A digest's colon keeps it from being the id of somebody else's dataset.
        dataset_type=_dataset_id(facts) or facts.data.digest,
        dataset_name=sanitize(facts.data.name),
        metric_type="accuracy",
        metric_value=facts.accuracy,
        metric_name=f"accuracy on the {sanitize(part)}, one training",
    )
    return eval_results_to_model_index(name.partition("/")[2] or name, [result])
