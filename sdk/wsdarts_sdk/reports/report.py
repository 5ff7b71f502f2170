"""Reports of runs read back from disk: the page of one, or a comparison of several.

``page`` writes the page of one run. The other compares facts, figures, costs, curves and cells of
runs side by side; like that of one run it is a single file that loads nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from wsdarts_registry._files import (
    as_path,
    check_writable,
    exists,
    is_file,
    is_link,
    open_regular,
    write_atomically,
)
from wsdarts_registry._format import percent, pluralize
from wsdarts_registry._templates import html_page
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.drawing.cells import cell_svg
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports._charts import (
    Series,
    edge_markup,
    line_chart,
    short_number,
    short_percent,
)
from wsdarts_sdk.reports.comparison import (
    FIGURES,
    ComparedRun,
    SeedGroup,
    agreement,
    baseline_names,
    cost_comparisons,
    edge_rows,
    figure_table,
    figures,
    read_runs,
    seed_groups,
    with_cells,
)
from wsdarts_sdk.reports.facts import cost_bars, cost_rows
from wsdarts_sdk.reports.page import collapses, render_report, stage_bands
from wsdarts_sdk.runs.directory import REPORT_PAGE

_COMPARISON_PAGE = "comparison.html"
_OURS = b'<meta name="generator" content="wsdarts-hub report">'
_HEAD_BYTES = 4096
_TONES = 8
_SHOWN_NAMES = 3
Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Reports of runs on disk; made by :func:`report`.

    Attributes:
        runs: The runs, in the order in which they were named.
    """

    runs: tuple[ComparedRun, ...]

    def page(self) -> str:
        """Write one HTML page: the report of the only run, or a comparison of several."""
        if len(self.runs) == 1:
            (run,) = self.runs
            return render_report(run.report, [within for _, within in run.trainings])
        return render_comparison(self.runs)

    def save(self, out: str | Path | None = None) -> Path:
        """Write the page and return its path.

        Args:
            out: The file; by default ``report.html`` in the run's directory or, for several runs,
                ``comparison.html`` in the current one. Only a page of ours is written over.

        Raises:
            RunError: Something else is there, or it cannot be written.
        """
        path = as_path(out, "out") if out is not None else self._default_file()
        return write_page(path, self.page())

    def warnings(self) -> list[str]:
        """Return warnings about the figures: runs that did not finish, or collapsed."""
        return [sentence for run in self.runs for sentence in run_warnings(run)]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the page as plain JSON data."""
        compared = with_cells(self.runs)
        return {
            "runs": [_run_data(run) for run in self.runs],
            "costs": [
                {
                    "run": each.run,
                    "cold": each.cold,
                    "comparable": each.why_not is None,
                    "sentence": each.sentence,
                }
                for each in cost_comparisons(self.runs)
            ],
            "seeds": [_group_data(group) for group in seed_groups(self.runs)],
            "edges": {
                kind: [
                    {
                        "edge": [row.source, row.target],
                        "operations": {
                            run.letter: operation
                            for run, operation in zip(compared, row.operations, strict=True)
                        },
                        "same": row.same,
                    }
                    for row in edge_rows(compared, kind)
                ]
                for kind in CELL_KINDS
            },
        }

    def _default_file(self) -> Path:
        if len(self.runs) == 1 and self.runs[0].path is not None:
            return self.runs[0].path / REPORT_PAGE
        return Path(_COMPARISON_PAGE)


def report(*runs: str | Path) -> Report:
    """Read runs back, to write the report of one again or to compare several.

    A run that has not finished is read as far as it came.

    Args:
        runs: Run directories of searches, warm starts and trainings, 1 to 12.

    Raises:
        RunError: One is no run directory, is from before reports were kept, or is damaged.
    """
    return Report(runs=read_runs(runs))


def write_page(path: Path, page: str) -> Path:
    """Write a page, only over a page of ours, and return its path.

    Raises:
        RunError: Something else is there, or it cannot be written.
    """
    check_page(path)
    with _writing(path):
        return write_atomically(path, page.encode())


def check_page(path: Path) -> None:
    """Refuse a page that cannot be written, or in whose place is anything but a page of ours.

    Raises:
        RunError: Something else is there, or it cannot be written.
    """
    with _writing(path):
        if not exists(path) and not is_link(path):
            check_writable(path)
        elif not _is_ours(path):
            raise RunError(
                f"{path} is there and is no report of wsdarts-hub, so it stays",
                hint="name another file with --out",
            )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}",
            hint="name another file with --out",
        ) from error


def _is_ours(path: Path) -> bool:
    if is_file(path, follow_links=False):
        with open_regular(path) as file:
            return _OURS in file.read(_HEAD_BYTES)
    return False


def _run_data(run: ComparedRun) -> dict[str, Any]:
    report, asked = run.report, run.report.asked
    return {
        "letter": run.letter,
        "name": run.name,
        "title": report.title,
        "what": run.what,
        "tasks": [{"name": task.name, "digest": task.digest} for task in report.tasks],
        "mode": run.mode or None,
        "sources": list(report.decision.sources) if report.decision else [],
        "preset": asked.preset if asked else None,
        "seed": run.seed,
        "hardware": asked.hardware if asked else None,
        "finished": not report.unfinished,
        "unfinished": report.unfinished or None,
        "created": report.created,
        "figures": figures(run),
        "costs": {cost.phase: cost.seconds for cost in report.costs},
        "cached": {cost.phase: cost.cached for cost in report.costs if cost.cached is not None},
        "collapses": [each.to_json() for each in collapses(report)],
        "genotype": report.genotype.to_json() if report.genotype else None,
        "choice": report.choice.to_json() if report.choice else None,
        "baseline": run.baseline.to_json() if run.baseline else None,
        "trainings": [
            {
                "name": name,
                "accuracy": within.training.accuracy if within.training else None,
                "baseline": within.baseline.to_json() if within.baseline else None,
                "seed": within.asked.seed if within.asked else None,
                "preset": within.asked.preset if within.asked else None,
            }
            for name, within in run.trainings
        ],
    }


def _group_data(group: SeedGroup) -> dict[str, Any]:
    return {
        "runs": list(group.runs),
        "seeds": list(group.seeds),
        "figures": {
            each.figure: {
                "mean": each.mean,
                "standard_deviation": each.deviation,
                "smallest": each.smallest,
                "largest": each.largest,
            }
            for each in group.spreads
        },
    }


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """Formats of values in a chart and in a table."""

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


_LOSS = _Measure(chart=short_number, table=lambda value: f"{value:.4g}")
_ACCURACY = _Measure(chart=short_percent, table=percent)
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
    """Return the colour class of a run's line; those beyond the eighth are dashed."""
    return f"t{place % _TONES}" + (" dashed" if place >= _TONES else "")


def overlaid_charts(runs: Sequence[ComparedRun]) -> list[tuple[str, Markup]]:
    """Return title and chart of each curve that at least one run has."""
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
    """Return the values of each of these charts."""
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
    """Return the first epochs of stages, where α and weights begin anew."""
    if curve.trained:
        return frozenset()
    return frozenset(band.first for band in stage_bands(run.report.epochs))


def render_comparison(runs: Sequence[ComparedRun]) -> str:
    """Write the comparison as HTML; equal runs give equal text.

    Args:
        runs: Two or more, with the letters ``A``, ``B``, ….
    """
    costs = [(f"{run.letter} {run.name}", run.report.costs) for run in runs]
    charts = overlaid_charts(runs)
    return html_page(
        "report_comparison.html.j2",
        title=f"{pluralize(len(runs), 'run')} compared",
        summary=_summary(runs),
        runs=runs,
        tones={run.letter: tone_of_run(place) for place, run in enumerate(runs)},
        warnings=[sentence for run in runs for sentence in run_warnings(run)],
        facts=[_shown_facts(run) for run in runs],
        figures=_shown_figures(runs),
        bars=cost_bars(costs),
        cost_rows=cost_rows(costs),
        cost_comparisons=cost_comparisons(runs),
        charts=charts,
        curve_tables=curve_tables(runs),
        cells=_shown_cells(runs),
        cells_missing=[run.letter for run in runs if run.report.genotype is None],
        groups=[_shown_group(group) for group in seed_groups(runs)],
    )


def _summary(runs: Sequence[ComparedRun]) -> str:
    names = list(dict.fromkeys(task.name for run in runs for task in run.report.tasks))
    listed = ", ".join(sanitize(name, 60) for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    if len({run.tasks for run in runs}) == 1:
        return f"All on the same task: {listed}{more}."
    return f"Not all on the same task: {listed}{more}. Figures of different tasks do not compare."


def run_warnings(run: ComparedRun) -> list[str]:
    """Return warnings about the figures of a run, each with its letter."""
    report, beside = run.report, run.baseline
    return [
        *([f"{run.letter} has not finished. {report.unfinished}"] if report.unfinished else []),
        *(f"{run.letter}: {warning}" for warning in report.warnings),
        *([f"{run.letter}: {beside.verdict}"] if beside and beside.is_better else []),
        *(f"{run.letter}: {collapse}" for collapse in collapses(report)),
    ]


def _shown_facts(run: ComparedRun) -> dict[str, object]:
    """Return the row of a run in the table of runs."""
    report, asked = run.report, run.report.asked
    return {
        "run": run,
        "tasks": ", ".join(task.name for task in report.tasks) or "–",
        "mode": run.mode or "–",
        "source": run.source or "–",
        "preset": asked.preset if asked else "–",
        "seed": "–" if run.seed is None else str(run.seed),
        "hardware": asked.hardware if asked else "–",
        "state": run.state,
        "created": report.created,
    }


def _shown_figures(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Return a row for each figure that any run has, and remarks about accuracies."""
    return {
        "rows": [(title, values) for title, *values in figure_table(runs)],
        "within": [(run, _accuracies(run)) for run in runs if len(run.trainings) > 1],
        "trained_within": any(len(run.trainings) == 1 for run in runs),
        "baselines": baseline_names(runs),
    }


def _accuracies(run: ComparedRun) -> str:
    """List the accuracies of all trainings within a search's run."""
    write = FIGURES["accuracy"].write
    found = [
        f"{name} {write(training.training.accuracy)}"
        for name, training in run.trainings
        if training.training is not None and training.training.accuracy is not None
    ]
    return ", ".join(found)


def _shown_cells(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Return of each kind the drawings, equal ones once, and the edges run by run."""
    compared = with_cells(runs)
    found = []
    for kind in CELL_KINDS:
        rows = edge_rows(compared, kind)
        drawings: dict[object, tuple[list[ComparedRun], Markup]] = {}
        for run in compared:
            genotype = run.report.genotype
            if genotype is not None:
                drawn = Markup(cell_svg(genotype, kind))  # noqa: S704 - drawn by our own code
                drawings.setdefault(genotype.cell(kind), ([], drawn))[0].append(run)
        found.append(
            {
                "kind": kind,
                "runs": compared,
                "drawings": list(drawings.values()),
                "agreement": agreement(rows),
                "edges": [(edge_markup(row.source, row.target), row) for row in rows],
            }
        )
    return found if compared else []


def _shown_group(group: SeedGroup) -> dict[str, Any]:
    return {
        "runs": ", ".join(group.runs),
        "seeds": ", ".join(map(str, group.seeds)),
        "rows": [
            (
                FIGURES[each.figure].title,
                FIGURES[each.figure].mean(each.mean),
                FIGURES[each.figure].deviation(each.deviation),
                FIGURES[each.figure].write(each.smallest),
                FIGURES[each.figure].write(each.largest),
            )
            for each in group.spreads
        ],
    }
