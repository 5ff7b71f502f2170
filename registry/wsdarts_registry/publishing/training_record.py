"""Accuracy of a trained network with the found cells, for the artifact of a run.

The network is no part of an artifact, which holds a supernet, but its accuracy on unseen images is
what the cells are judged by. It is published as metrics, with the settings of the training in the
artifact's config. A run finds the trainings in its own directory, and others by the records
``trainings/HASH.json``; a training names its run in ``made_from.json``.
"""

import calendar
import hashlib
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from wsdarts_registry import _json
from wsdarts_registry._files import (
    entries,
    exists,
    is_directory,
    is_file,
    modified,
    write_atomically,
)
from wsdarts_registry._format import percent
from wsdarts_registry._json import MAX_RECORD_BYTES, Document, Moment, explain
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.artifact.checked_files import read_limited
from wsdarts_registry.artifact.facts import (
    BASELINE,
    BASELINE_ACCURACY,
    CLASSIFIER,
    CLASSIFIER_ACCURACY,
    CLASSIFIER_EPOCHS,
    CLASSIFIER_IMAGES,
    CLASSIFIER_PARAMETERS,
    DIFFERENCE_HIGH,
    DIFFERENCE_LOW,
)
from wsdarts_registry.artifact.manifest import Manifest
from wsdarts_registry.errors import RegistryWarning, RunError, WsdartsError

RUN_ARTIFACT, RUN_CONFIG, RUN_RESULT = "artifact", "config.json", "result.json"
_LONGEST_NAME = 1000
_RECORDS, _MADE_FROM = "trainings", "made_from.json"


class _Part(BaseModel):
    """Fields that are read of a training's files, which have more."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Settings(_Part):
    format: Literal[1]
    command: Literal["train"]
    tasks: list[str]
    training: dict[str, JsonValue]
    genotype: dict[str, JsonValue]


class _Interval(_Part):
    value: Annotated[float, Field(ge=-1, le=1)]
    low: Annotated[float, Field(ge=-1, le=1)]
    high: Annotated[float, Field(ge=-1, le=1)]


class _Baseline(_Part):
    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    kind: str
    accuracy: _Interval
    difference: _Interval


class _Result(_Part):
    accuracy: Annotated[float, Field(ge=0, le=1)]
    images: Annotated[int, Field(ge=1)]
    held_out: Literal["validation", "test"]
    parameters: Annotated[int, Field(ge=1)] | None = None
    baseline: _Baseline | None = None
    finished: Moment | None = None


class _Place(Document):
    """A directory: its absolute path, and its path relative to the record."""

    format: Literal[1] = 1
    path: str
    relative: str


@dataclass(frozen=True, kw_only=True)
class _Training:
    """A finished training.

    Attributes:
        place: Its directory.
        settings: What was asked for.
        result: What it measured.
        cells: What was trained.
        finished: When, in seconds since 1970.
    """

    place: Path
    settings: _Settings
    result: _Result
    cells: Genotype
    finished: float


def link_training(run: Path, training: Path) -> None:
    """Record a training in the run that it was made from, and the run in the training.

    Where one of them cannot be written, a warning says so; nothing that was measured is lost.

    Args:
        run: Directory of a search or a warm start.
        training: Directory of the training.
    """
    run, training = run.absolute(), training.absolute()
    name = hashlib.sha256(os.fsencode(training)).hexdigest()[:16]
    pairs = [(training / _MADE_FROM, run)]
    if training.parent != run:  # else it is found where it lies
        pairs.append((run / _RECORDS / f"{name}.json", training))
    try:
        for file, place in pairs:
            content = _Place(path=str(place), relative=os.path.relpath(place, file.parent))
            write_atomically(file, content.to_bytes())
    except (OSError, ValueError) as problem:
        warnings.warn(
            f"the run {run} cannot keep where its training {training} is ({problem}); name that "
            "when you publish the run, with --training",
            RegistryWarning,
            stacklevel=2,
        )


def run_of(training: Path) -> Path | None:
    """Return the run that a training was made from; None where that is not known or gone."""
    return _find(training / _MADE_FROM)


def trainings_elsewhere(run: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Find the trainings that a run keeps a record of.

    Returns:
        Directories of those that are there, and paths of those that are not.
    """
    there, gone = [], []
    for record in entries(run / _RECORDS):
        if record.suffix != ".json" or record.name.startswith("."):
            continue
        place = _find(record)
        if place is not None:
            there.append(place)
        else:
            gone.append(_recorded(record))
    return tuple(dict.fromkeys(there)), tuple(path for path in gone if path)


def finished_trainings(run: Path) -> tuple[Path, ...]:
    """Return the directories of the finished trainings that a run has or keeps a record of."""
    within = [place for place in entries(run) if is_directory(place) and _is_training(place)]
    places = (*within, *trainings_elsewhere(run)[0])
    return tuple(place for place in places if is_file(place / RUN_RESULT))


def with_training(
    manifest: Manifest, genotype: Genotype, run: Path, training: Path | None = None
) -> tuple[Manifest, Path | None]:
    """Add to a run's manifest what a training of its cells and on its task measured, if any.

    Of several the one that finished last is taken, and a warning says which. The best of them,
    chosen by the images that it was measured on, would be no measurement.

    Args:
        manifest: Of the run's artifact.
        genotype: Its genotype.
        run: The run directory.
        training: The training to take; by default one that the run knows of.

    Returns:
        The manifest, and the directory of the training; None without one.

    Raises:
        RunError: The training that was named is not finished, or is of other cells or another
            task.
    """
    if training is not None:
        named = _checked(training, manifest, genotype)
        if isinstance(named, str):
            raise RunError(
                f"{named}", expected=f"the --out of a finished `wsdarts-hub train {run} DATA`"
            )
        return _measured(manifest, named), named.place
    for path in trainings_elsewhere(run)[1]:
        _warn(f"a training of {run} is not in {path} any more; name its place with --training")
    found = [_checked(place, manifest, genotype) for place in finished_trainings(run)]
    fitting = [each for each in found if isinstance(each, _Training)]
    for reason in found:
        if isinstance(reason, str) and not fitting:
            _warn(f"the accuracy of a training was left out: {reason}")
    if not fitting:
        return manifest, None
    last = max(fitting, key=lambda each: (each.finished, str(each.place)))
    if len(fitting) > 1:
        _warn(
            f"{run} has {len(fitting)} trainings; the one that finished last goes along: "
            f"{last.place} ({percent(last.result.accuracy)}); name another with --training"
        )
    return _measured(manifest, last), last.place


def _measured(manifest: Manifest, training: _Training) -> Manifest:
    result, settings = training.result, training.settings.training
    epochs, baseline = settings.get("epochs"), result.baseline
    measured: dict[str, int | float] = {
        CLASSIFIER_ACCURACY: result.accuracy,
        CLASSIFIER_IMAGES: result.images,
    }
    if isinstance(epochs, int):
        measured[CLASSIFIER_EPOCHS] = epochs
    if result.parameters is not None:
        measured[CLASSIFIER_PARAMETERS] = result.parameters
    config: dict[str, JsonValue] = {**manifest.config, CLASSIFIER: settings}
    # Accuracies of other baselines, such as a fine-tuned network, are not comparable with it.
    if baseline is not None and baseline.kind == "linear":
        measured[BASELINE_ACCURACY] = baseline.accuracy.value
        measured[DIFFERENCE_LOW] = baseline.difference.low
        measured[DIFFERENCE_HIGH] = baseline.difference.high
        config[BASELINE] = baseline.name
    metrics = {**manifest.metrics, **measured}
    return manifest.model_copy(update={"metrics": metrics, "config": config})


def _checked(place: Path, manifest: Manifest, genotype: Genotype) -> _Training | str:
    """Return a training of these cells on this task, or the reason why it is none."""
    missing = [name for name in (RUN_CONFIG, RUN_RESULT) if not is_file(place / name)]
    if missing:
        return f"{place} is no finished training (it has no {' and no '.join(missing)})"
    try:
        found = _read_training(place)
    except ValidationError as problem:
        return f"{place} cannot be read: {explain(problem)}"
    except WsdartsError as problem:
        return f"{place} cannot be read: {problem}"
    tasks = [task.digest for task in manifest.tasks]
    if found.cells != genotype or found.settings.tasks != tasks:
        return f"{place} is one of other cells or another task"
    return found


def _read_training(place: Path) -> _Training:
    settings = _Settings.model_validate(_read(place, RUN_CONFIG))
    result = _Result.model_validate(_read(place, RUN_RESULT, _json.MAX_BYTES))
    if result.finished is None:  # made by an earlier version
        finished = modified(place / RUN_RESULT) / 1e9
    else:
        finished = calendar.timegm(time.strptime(result.finished, "%Y-%m-%dT%H:%M:%SZ"))
    return _Training(
        place=place,
        settings=settings,
        result=result,
        cells=Genotype.from_json(settings.genotype),
        finished=finished,
    )


def _is_training(place: Path) -> bool:
    """Return whether a directory in a run is a training, by its name or its config."""
    if place.name.startswith("training") and place.name != _RECORDS:
        return True
    try:
        data = _read(place, RUN_CONFIG) if is_file(place / RUN_CONFIG) else None
    except WsdartsError:
        return False
    return isinstance(data, dict) and data.get("command") == "train"


def _find(record: Path) -> Path | None:
    """Return the directory of a record, also where both were moved together."""
    try:
        content = read_limited(record.parent, record.name, MAX_RECORD_BYTES)
        known = _Place.from_bytes(content, what=str(record))
    except WsdartsError:
        return None
    for place in (Path(known.path), record.parent / known.relative):
        if exists(place / RUN_CONFIG):
            return Path(os.path.normpath(place))
    return None


def _recorded(record: Path) -> str:
    """Return the path that a record names; empty where it cannot be read."""
    try:
        content = read_limited(record.parent, record.name, MAX_RECORD_BYTES)
        return _Place.from_bytes(content, what=str(record)).path
    except WsdartsError:
        return ""


def _read(directory: Path, name: str, limit: int = MAX_RECORD_BYTES) -> object:
    return _json.load(read_limited(directory, name, limit), what=name, max_bytes=limit)


def _warn(text: str) -> None:
    warnings.warn(text, RegistryWarning, stacklevel=5)
