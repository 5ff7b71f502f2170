"""From the rows of a journal to the rows of a report.

The curves of a run, epoch by epoch.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from wsdarts_registry._format import size
from wsdarts_registry.architecture.collapse import SkipCounts
from wsdarts_registry.architecture.space import CELL_KINDS, SearchSpace
from wsdarts_sdk.reports.charts import Band, Series, line_chart
from wsdarts_sdk.reports.facts import AlphaHistory, EpochRow, RunReport, TrainingEpoch

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


def stage_bands(rows: tuple[EpochRow, ...]) -> list[Band]:
    """Runs of epochs of the same stage."""
    bands: list[Band] = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        first = bands[-1].last + 1 if bands else 1
        last = first + len(list(group)) - 1
        bands.append(Band(first=first, last=last, label=f"stage {stage}"))
    return bands


def search_charts(rows: tuple[EpochRow, ...], bands: list[Band]) -> list[tuple[str, Markup]]:
    """Title and drawing of each curve of a search that has values."""

    def column(name: str) -> list[float | None]:
        return [getattr(row, name) for row in rows]

    def halves(measure: str) -> list[Series]:
        return [
            Series(name="weights", values=column(f"weights_{measure}"), tone="a"),
            Series(name="α", values=column(f"alpha_{measure}"), tone="b"),
        ]

    def alone(name: str) -> list[Series]:
        return [Series(name="", values=column(name), tone="a")]

    drawn = [
        (
            "Loss",
            line_chart("Loss by epoch", halves("loss"), bands, write=_short),
        ),
        (
            "Accuracy",
            line_chart("Accuracy by epoch", halves("accuracy"), bands, write=_percent),
        ),
        (
            "Skip-connects before refinement",
            line_chart(
                "Skip-connects", alone("skip_connects"), bands, write=_short, zero=True, whole=True
            ),
        ),
        (
            "Learning rate of the weights",
            line_chart("Learning rate", alone("learning_rate"), bands, write=_short, zero=True),
        ),
        (
            "Dropout on skip-connects",
            line_chart("Skip dropout", alone("skip_dropout"), bands, write=_short, zero=True),
        ),
        (
            "Seconds an epoch",
            line_chart("Seconds", alone("seconds"), bands, write=_short, zero=True),
        ),
        (
            "Memory",
            line_chart(
                "Memory",
                [
                    Series(name="process at most", values=column("peak_memory"), tone="a"),
                    Series(name="a step, estimated", values=column("needed_memory"), tone="b"),
                ],
                bands,
                write=size,
                zero=True,
            ),
        ),
    ]
    return [(title, chart) for title, chart in drawn if chart is not None]


def training_charts(report: RunReport) -> list[tuple[str, Markup]]:
    """The same of a training; none where there was none."""
    rows = report.training.epochs if report.training else ()

    def chart(title: str, name: str, write: Callable[[float], str]) -> tuple[str, Markup | None]:
        values = [float(getattr(row, name)) for row in rows]
        return title, line_chart(title, [Series(name="", values=values)], [], write=write)

    drawn = [
        chart("Loss on the train part", "loss", _short),
        chart("Accuracy on the train part", "accuracy", _percent),
        chart("Learning rate", "learning_rate", _short),
    ]
    return [(title, picture) for title, picture in drawn if picture is not None]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
