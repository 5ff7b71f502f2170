"""How good the network of a found genotype is, where its run holds a finished training.

That network is no part of an artifact, which holds a supernet. But its accuracy on images that
nothing before had seen is what the cells are judged by, so it goes along as metrics, with the
settings of the training in the artifact's config.
"""

import warnings
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from wsdarts_registry import strict_json
from wsdarts_registry.checked_files import read_limited
from wsdarts_registry.errors import RegistryWarning, WsdartsError
from wsdarts_registry.files import is_file, matching
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.manifest import Manifest
from wsdarts_registry.records import MAX_RECORD_BYTES, explain

CLASSIFIER_ACCURACY = "classifier_accuracy"
CLASSIFIER_IMAGES = "classifier_images"
CLASSIFIER_EPOCHS = "classifier_epochs"
_CONFIG, _RESULT = "config.json", "result.json"
_SETTINGS = "classifier"


class _Part(BaseModel):
    """What is read of a training; it holds more."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Settings(_Part):
    format: Literal[1]
    command: Literal["train"]
    tasks: list[str]
    training: dict[str, JsonValue]
    genotype: dict[str, JsonValue]


class _Result(_Part):
    accuracy: Annotated[float, Field(ge=0, le=1)]
    images: Annotated[int, Field(ge=1)]
    held_out: Literal["validation", "test"]


def with_training(manifest: Manifest, genotype: Genotype, run: Path) -> Manifest:
    """A run's manifest with what its training measured, if there is one of these cells and task.

    It is the one in ``RUN/training``; without that the only ``RUN/training-…``. Of several none
    is taken: the best of them, chosen by the images that it was measured on, would be no
    measurement.

    Args:
        manifest: Of the run's artifact.
        genotype: Its genotype.
        run: The run directory.
    """
    finished = [place for place in matching(run, "training*") if is_file(place / _RESULT)]
    named = [place for place in finished if place.name == "training"]
    chosen = named or finished
    if not chosen:
        return manifest
    if len(chosen) > 1:
        listed = ", ".join(place.name for place in chosen[:3])
        return _left_out(manifest, f"{run} has several ({listed}); rename one to `training`")
    try:
        settings = _Settings.model_validate(_read(chosen[0], _CONFIG))
        result = _Result.model_validate(_read(chosen[0], _RESULT))
        cells = Genotype.from_json(settings.genotype)
    except ValidationError as problem:
        return _left_out(manifest, f"{chosen[0]} cannot be read: {explain(problem)}")
    except WsdartsError as problem:
        return _left_out(manifest, f"{chosen[0]} cannot be read: {problem}")
    if cells != genotype or settings.tasks != [task.digest for task in manifest.tasks]:
        return _left_out(manifest, f"{chosen[0]} is one of other cells or another task")
    measured = {CLASSIFIER_ACCURACY: result.accuracy, CLASSIFIER_IMAGES: result.images}
    epochs = settings.training.get("epochs")
    if isinstance(epochs, int):
        measured[CLASSIFIER_EPOCHS] = epochs
    return manifest.model_copy(
        update={
            "metrics": {**manifest.metrics, **measured},
            "config": {**manifest.config, _SETTINGS: settings.training},
        }
    )


def _read(directory: Path, name: str) -> object:
    return strict_json.load(read_limited(directory, name, MAX_RECORD_BYTES), what=name)


def _left_out(manifest: Manifest, reason: str) -> Manifest:
    text = f"the accuracy of a training was left out: {reason}"
    warnings.warn(text, RegistryWarning, stacklevel=4)
    return manifest
