"""Rows of reports: the epochs of a run from its journal, and the candidates of a choice."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsdarts_registry import _json
from wsdarts_registry._format import count, percent, pluralize, setting
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.architecture.search_verdicts import SkipCounts
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.reports.facts import (
    AlphaHistory,
    Asked,
    Command,
    EpochRow,
    Pairs,
    TaskRow,
    TrainingEpoch,
)
from wsdarts_sdk.runs.directory import ROLL_BACKS
from wsdarts_sdk.runs.records import PhaseCost
from wsdarts_sdk.runs.result_records import GenotypeChoice


def created() -> str:
    """Return date and time, UTC, as a report shows them."""
    return f"{_json.now()[:16].replace('T', ' ')} UTC"


def task_row(task: ImageTask) -> TaskRow:
    """Return the row of a task with the number of images in each part."""
    weights, alpha, validation, test = (len(task.indices(part)) for part in Part)
    return TaskRow(
        name=task.name,
        digest=task.digest,
        classes=task.classes,
        weights_images=weights,
        alpha_images=alpha,
        validation_images=validation,
        test_images=test,
        given_split=task.given_split,
        groups=task.group_count,
    )


def held_out_words(task: ImageTask) -> str:
    """Return the images that a training on a task is evaluated on, in words."""
    return f"{task.held_out} {'part' if task.given_split else 'third'}"


def phase_costs(seconds: Mapping[str, float], cached: Mapping[str, float]) -> tuple[PhaseCost, ...]:
    """Return rows of wall time by phase, and of what came from a cache."""
    return tuple(
        PhaseCost(phase=phase, seconds=value, cached=cached.get(phase))
        for phase, value in seconds.items()
    )


def pairs(data: dict[str, Any]) -> Pairs:
    """Return settings as names and values, named and written as ``--set`` takes them."""
    return tuple((name, setting(value)) for name, value in _json.flattened(data).items())


def asked(
    command: Command, preset: Preset, settings: dict[str, Any], environment: dict[str, Any]
) -> Asked:
    """Return the request that runs are compared by; ``settings`` of the preset for the command."""
    unseeded = {name: value for name, value in settings.items() if name != "seed"}
    if command != "train":
        unseeded |= preset.choice_json()
    return Asked(
        command=command,
        preset=preset.name,
        settings=f"sha256:{hashlib.sha256(_json.dump(unseeded)).hexdigest()}",
        seed=settings["seed"],
        hardware=environment["hardware"],
    )


TITLES: dict[Command, str] = {
    "search": "Transfer Architecture Search",
    "warm-start": "Warm start",
    "train": "Training",
}


def title(what: str, tasks: Sequence[ImageTask]) -> str:
    """Return the heading of a report."""
    return f"{what} on {' and '.join(task.name for task in tasks)}"


_AS_THEY_ARE = (
    *("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy", "learning_rate"),
    *("skip_dropout", "peak_memory", "needed_memory", "skip_connects"),
)


def search_epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[EpochRow, ...]:
    """Return the epochs of a search; journals count from 0, reports from 1."""
    return tuple(
        EpochRow(
            stage=row["stage"] + 1,
            epoch=row["epoch"] + 1,
            seconds=seconds,
            # Journals of version 0.1 before it was counted have none.
            skip_connects_reduction=row.get("skip_connects_reduction"),
            **{name: row[name] for name in _AS_THEY_ARE},
        )
        for row, seconds in zip(rows, epoch_seconds(rows), strict=True)
    )


def alpha_history(rows: Sequence[Mapping[str, Any]], space: SearchSpace) -> AlphaHistory:
    """Return the softmax of α after each epoch of a search."""
    cells = {
        kind: np.array(
            [row["probabilities"][kind] for row in rows] or np.zeros((0, *space.shape)),
            dtype=np.float64,
        )
        for kind in CELL_KINDS
    }
    return AlphaHistory(space=space, normal=cells["normal"], reduction=cells["reduction"])


def training_epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[TrainingEpoch, ...]:
    """Return the epochs of a training."""
    return tuple(
        TrainingEpoch(
            epoch=row["epoch"] + 1,
            loss=row["loss"],
            accuracy=row["accuracy"],
            learning_rate=row["learning_rate"],
            seconds=seconds,
            stopping_accuracy=row.get("stopping_accuracy"),
            stopping_loss=row.get("stopping_loss"),
        )
        for row, seconds in zip(rows, epoch_seconds(rows), strict=True)
    )


def skip_counts(epochs: Sequence[EpochRow]) -> tuple[SkipCounts, ...]:
    """Return the skip-connects that α would choose after each epoch; None where α rested."""
    return tuple(
        SkipCounts(
            stage=row.stage,
            epoch=row.epoch,
            normal=row.skip_connects if row.alpha_loss is not None else None,
            reduction=row.skip_connects_reduction if row.alpha_loss is not None else None,
        )
        for row in epochs
    )


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate as a table shows it.

    Attributes:
        name: Its number from 1, and what is special about it.
        accuracies: After each training; a dash where it was struck out before.
        parameters: Of the network of the preset's training.
        multiply_adds: Of that network, for one image.
        chosen: Whether it is the chosen one.
    """

    name: str
    accuracies: tuple[str, ...]
    parameters: str
    multiply_adds: str
    chosen: bool


def candidate_rows(choice: GenotypeChoice) -> tuple[CandidateRow, ...]:
    """Return the candidates, the one that was trained longest and best first."""
    order = sorted(
        range(len(choice.candidates)), key=lambda place: _standing(choice, place), reverse=True
    )
    return tuple(
        CandidateRow(
            name=f"{place + 1}{' (α)' if choice.own and place == 0 else ''}",
            accuracies=tuple(map(percent, each.accuracies))
            + ("–",) * (len(choice.steps) - len(each.accuracies)),
            parameters=count(each.parameters),
            multiply_adds=count(each.multiply_adds),
            chosen=place == choice.chosen,
        )
        for place, each in ((place, choice.candidates[place]) for place in order)
    )


def _standing(choice: GenotypeChoice, place: int) -> tuple[bool, int, float]:
    each = choice.candidates[place]
    last = each.accuracies[-1] if each.accuracies else 0.0
    return place == choice.chosen, len(each.accuracies), last


def roll_back_warnings(rows: Sequence[Mapping[str, Any]], what: str) -> tuple[str, ...]:
    """Return a sentence on epochs that were done again because numbers were not finite, if any.

    Args:
        rows: Of a journal.
        what: What was done, such as ``search``.
    """
    counts = [row.get(ROLL_BACKS) or 0 for row in rows]
    again = [
        row for row, one, before in zip(rows, counts, [0, *counts], strict=False) if one > before
    ]
    if not again:
        return ()
    names = [
        f"epoch {row['epoch'] + 1}" + (f" of stage {row['stage'] + 1}" if "stage" in row else "")
        for row in again
    ]
    sentence = (
        f"The {what} had a loss, gradient or weight that was not finite, and went back "
        f"{pluralize(counts[-1], 'time')}, each time with halved learning rates: to the beginning "
        f"of {', '.join(names)}. Its result depends on that."
    )
    return (sentence,)


def epoch_seconds(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the seconds of each epoch; a row holds those of its stage or training so far."""
    found: list[float] = []
    stage, before = None, 0.0
    for row in rows:
        if row.get("stage") != stage:
            stage, before = row.get("stage"), 0.0
        found.append(max(0.0, row["seconds"] - before))
        before = row["seconds"]
    return found
