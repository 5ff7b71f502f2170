"""Curves of several runs in one chart each, and the same as tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wsdarts_registry.amounts import share
from wsdarts_sdk.runs.charts import Series, line_chart
from wsdarts_sdk.runs.compared_run import ComparedRun
from wsdarts_sdk.runs.epoch_charts import stage_bands

_TONES = 8
Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """How values are written, in a chart and in a table."""

    chart: Callable[[float], str]
    table: Callable[[float], str]
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class _Curve:
    title: str
    column: str
    measure: _Measure
    trained: bool = False


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """The values of one chart: a column for each run that has any, a row for each epoch."""

    title: str
    runs: tuple[ComparedRun, ...]
    rows: tuple[tuple[str, ...], ...]


_LOSS = _Measure(chart=lambda value: f"{value:.3g}", table=lambda value: f"{value:.4g}")
_ACCURACY = _Measure(chart=lambda value: f"{100 * value:.3g} %", table=share)
_COUNT = _Measure(
    chart=lambda value: f"{value:.0f}", table=lambda value: f"{value:.0f}", whole=True
)
_CURVES = (
    _Curve(title="Loss, weights half", column="weights_loss", measure=_LOSS),
    _Curve(title="Loss, α half", column="alpha_loss", measure=_LOSS),
    _Curve(title="Accuracy, weights half", column="weights_accuracy", measure=_ACCURACY),
    _Curve(title="Accuracy, α half", column="alpha_accuracy", measure=_ACCURACY),
    _Curve(title="Skip-connects of the normal cell", column="skip_connects", measure=_COUNT),
    _Curve(
        title="Skip-connects of the reduction cell",
        column="skip_connects_reduction",
        measure=_COUNT,
    ),
    _Curve(title="Loss of training", column="loss", measure=_LOSS, trained=True),
    _Curve(title="Accuracy of training", column="accuracy", measure=_ACCURACY, trained=True),
)


def tone_of_run(place: int) -> str:
    """Class that gives the line of a run its colour; those beyond the eighth are dashed."""
    return f"t{place % _TONES}" + (" dashed" if place >= _TONES else "")


def overlaid_charts(runs: Sequence[ComparedRun]) -> list[tuple[str, Markup]]:
    """Title and drawing of each curve that at least one run has."""
    drawn = []
    for curve in _CURVES:
        columns = [_values(run, curve) for run in runs]
        longest = max(map(len, columns), default=0)
        lines = [
            Series(
                name=run.letter,
                values=[*column, *[None] * (longest - len(column))],
                tone=tone_of_run(place),
                breaks=_breaks(run, curve),
            )
            for place, (run, column) in enumerate(zip(runs, columns, strict=True))
        ]
        measure = curve.measure
        chart = line_chart(
            curve.title, lines, [], write=measure.chart, zero=measure.whole, whole=measure.whole
        )
        if chart is not None:
            drawn.append((curve.title, chart))
    return drawn


def curve_tables(runs: Sequence[ComparedRun]) -> list[CurveTable]:
    """The values of each of these charts."""
    tables = []
    for curve in _CURVES:
        known = [(run, _values(run, curve)) for run in runs]
        known = [(run, values) for run, values in known if any(v is not None for v in values)]
        write = curve.measure.table
        epochs = range(max((len(values) for _, values in known), default=0))
        rows = tuple(
            tuple(_written(values, epoch, write) for _, values in known) for epoch in epochs
        )
        if known:
            tables.append(
                CurveTable(title=curve.title, runs=tuple(run for run, _ in known), rows=rows)
            )
    return tables


def _written(values: Values, epoch: int, write: Callable[[float], str]) -> str:
    value = values[epoch] if epoch < len(values) else None
    return "–" if value is None else write(value)


def _values(run: ComparedRun, curve: _Curve) -> Values:
    if not curve.trained:
        return [getattr(row, curve.column) for row in run.report.epochs]
    training = run.trained.training if run.trained else None
    return [getattr(row, curve.column) for row in training.epochs] if training else []


def _breaks(run: ComparedRun, curve: _Curve) -> frozenset[int]:
    """Where a stage of the search begins, as α and weights begin anew there."""
    if curve.trained:
        return frozenset()
    return frozenset(band.first for band in stage_bands(run.report.epochs))
