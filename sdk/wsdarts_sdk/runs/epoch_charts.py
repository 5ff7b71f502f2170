"""The curves of a run, epoch by epoch."""

from collections.abc import Callable
from itertools import groupby

from markupsafe import Markup

from wsdarts_registry.amounts import size
from wsdarts_sdk.runs.charts import Band, Series, line_chart
from wsdarts_sdk.runs.report_facts import EpochRow, RunReport


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
