"""From the rows of a journal to the rows of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsdarts_registry.collapse import SkipCounts
from wsdarts_registry.space import CELL_KINDS, SearchSpace
from wsdarts_sdk.runs.report_facts import AlphaHistory, EpochRow, TrainingEpoch

_AS_THEY_ARE = (
    *("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy", "learning_rate"),
    *("skip_dropout", "peak_memory", "needed_memory", "skip_connects"),
)


def search_epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[EpochRow, ...]:
    """The epochs of a search; journals count from 0, reports from 1."""
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
    """Softmax of α after each epoch of a search."""
    cells = {
        kind: np.array(
            [row["probabilities"][kind] for row in rows] or np.zeros((0, *space.shape)),
            dtype=np.float64,
        )
        for kind in CELL_KINDS
    }
    return AlphaHistory(space=space, normal=cells["normal"], reduction=cells["reduction"])


def training_epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[TrainingEpoch, ...]:
    """The epochs of a training."""
    return tuple(
        TrainingEpoch(
            epoch=row["epoch"] + 1,
            loss=row["loss"],
            accuracy=row["accuracy"],
            learning_rate=row["learning_rate"],
            seconds=seconds,
        )
        for row, seconds in zip(rows, epoch_seconds(rows), strict=True)
    )


def skip_counts(epochs: Sequence[EpochRow]) -> tuple[SkipCounts, ...]:
    """Skip-connects that α would choose after each epoch; none where that has left α alone."""
    return tuple(
        SkipCounts(
            stage=row.stage,
            epoch=row.epoch,
            normal=row.skip_connects if row.alpha_loss is not None else None,
            reduction=row.skip_connects_reduction if row.alpha_loss is not None else None,
        )
        for row in epochs
    )


def epoch_seconds(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Seconds of each epoch; a row holds the seconds of its stage (or training) so far."""
    found: list[float] = []
    stage, before = None, 0.0
    for row in rows:
        if row.get("stage") != stage:
            stage, before = row.get("stage"), 0.0
        found.append(max(0.0, row["seconds"] - before))
        before = row["seconds"]
    return found
