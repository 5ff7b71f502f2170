"""Facts about a trained model: accuracy, data and origin.

They lie in the model's file and in the ``config.json`` of a folder for timm, and its card says
them. They name no path of this machine. Files from elsewhere may have more keys, or none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsdarts_registry import _json
from wsdarts_registry._files import is_file
from wsdarts_registry._json import MAX_RECORD_BYTES, Count, Digest, Line
from wsdarts_registry.artifact.checked_files import read_limited
from wsdarts_registry.artifact.manifest import Parent
from wsdarts_registry.errors import WsdartsError
from wsdarts_sdk.runs.directory import CONFIG_FILE, RESULT_FILE

Share = Annotated[float, Field(ge=0, le=1)]
_EVALUATED = ("top_5", "balanced_accuracy", "macro_f1", "calibration_error")


class _Facts(BaseModel):
    """Base: strict and frozen; unknown keys are ignored, as later versions may write more."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class DataFacts(_Facts):
    """A dataset that a model was trained on.

    Attributes:
        name: Its name.
        digest: Its identity.
        images: How many it has.
        classes: How many it has.
        trained_on: How many images the model was trained on.
        dataset: Its id on the Hugging Face Hub, if it was read from there.
        given_split: Whether it came with the split that was used.
        groups: How many groups of images the split kept together; None where there were none.
    """

    name: Line
    digest: Digest
    images: Count
    classes: Count
    trained_on: Count
    dataset: Line | None = None
    given_split: bool = False
    groups: Count | None = None


class LineageFacts(_Facts):
    """The search that found a model's cells.

    Attributes:
        digest: Of the artifact of the search that found them.
        reference: Its exact reference, where it was taken from a registry.
        repository: Its repository on the Hugging Face Hub, if it has one.
        mode: How that search started.
        parents: Artifacts that it was started from.
    """

    digest: Digest
    reference: Line | None = None
    repository: Line | None = None
    mode: Line
    parents: Annotated[tuple[Parent, ...], Field(max_length=64, strict=False)] = ()


class InheritedFacts(_Facts):
    """Initial weights of the training, and their share of the network."""

    source: Line
    share: Share


class BaselineFacts(_Facts):
    """A simpler classifier on the same images."""

    name: Line
    accuracy: Share
    parameters: Count | None = None
    multiply_adds: Count | None = None


class ModelFacts(_Facts):
    """Facts about a trained model.

    Attributes:
        accuracy: Share of the held-out images that it labels right.
        images: How many those are.
        held_out: Which part they are.
        parameters: Number of its parameters.
        multiply_adds: Its multiply-adds for one image, as ``count`` counts them.
        epochs: How many it was trained for.
        preset: Whose settings.
        seed: Seed of everything random.
        data: What it was trained on.
        lineage: What found its cells; None for a genotype alone.
        inherited: What its weights began with; None where all were random.
        evaluation: Further shares that were measured on the held-out images, by name.
        baseline: What a simpler classifier does on them.
    """

    accuracy: Share
    images: Count
    held_out: Line
    parameters: Count | None = None
    multiply_adds: Count | None = None
    epochs: Count | None = None
    preset: Line | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    data: DataFacts | None = None
    lineage: LineageFacts | None = None
    inherited: InheritedFacts | None = None
    evaluation: Annotated[dict[Line, Share], Field(max_length=20)] = {}
    baseline: BaselineFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_facts(data: object) -> ModelFacts | None:
    """Return the facts in JSON data from a file; None where there are none that fit."""
    try:
        return ModelFacts.model_validate_json(_json.dump(data))
    except (ValidationError, WsdartsError, TypeError, ValueError):
        return None


def facts_of_run(training: Path, known: ModelFacts | None = None) -> ModelFacts | None:
    """Return the facts that a training's run directory adds to those of its model.

    Args:
        training: The run directory.
        known: Those in its model's file; earlier versions wrote none.
    """
    result, config = (_read(training, name) for name in (RESULT_FILE, CONFIG_FILE))
    settings = config.get("training")
    settings = settings if isinstance(settings, dict) else {}
    asked = {"epochs": settings.get("epochs"), "seed": settings.get("seed")}
    data = {
        **{name: result.get(name) for name in ("accuracy", "images", "held_out", "parameters")},
        **asked,
        "preset": config.get("preset"),
        **({} if known is None else known.to_json()),
    }
    evaluation, baseline = result.get("evaluation"), result.get("baseline")
    if isinstance(evaluation, dict):
        shares = {name: _share(evaluation.get(name)) for name in _EVALUATED}
        data["evaluation"] = {name: share for name, share in shares.items() if share is not None}
    if isinstance(baseline, dict):
        data["baseline"] = {
            "name": baseline.get("name") or baseline.get("kind") or "linear",
            "accuracy": _share(baseline.get("accuracy")),
            "parameters": baseline.get("parameters"),
            "multiply_adds": baseline.get("multiply_adds"),
        }
    return parse_facts(data) or known


def _share(value: Any) -> Any:
    """Return a measured share, which may come with its interval."""
    return value.get("value") if isinstance(value, dict) else value


def _read(directory: Path, name: str) -> Mapping[str, Any]:
    if not is_file(directory / name):
        return {}
    try:
        data = _json.load(read_limited(directory, name, 8 * MAX_RECORD_BYTES), what=name)
    except WsdartsError:
        return {}
    return data if isinstance(data, dict) else {}
