"""The page that compares several runs; like the report of one it is complete in itself."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from wsdarts_registry.amounts import several
from wsdarts_registry.drawing import cell_svg
from wsdarts_registry.inert import plain_text
from wsdarts_registry.space import CELL_KINDS
from wsdarts_registry.templates import html_page
from wsdarts_sdk.runs.alpha_chart import edge_markup
from wsdarts_sdk.runs.compared_run import ComparedRun
from wsdarts_sdk.runs.comparison import (
    SeedGroup,
    agreement,
    cost_comparisons,
    edge_rows,
    seed_groups,
    with_cells,
)
from wsdarts_sdk.runs.cost_picture import cost_bars, cost_rows
from wsdarts_sdk.runs.figures import FIGURES, figure_table
from wsdarts_sdk.runs.overlaid_charts import curve_tables, overlaid_charts, tone_of_run
from wsdarts_sdk.runs.report import collapses

_SHOWN_NAMES = 3


def render_comparison(runs: Sequence[ComparedRun]) -> str:
    """Write the comparison as HTML; equal runs give equal text.

    Args:
        runs: Two or more, with the letters ``A``, ``B``, ….
    """
    costs = [(f"{run.letter} {run.name}", run.report.costs) for run in runs]
    charts = overlaid_charts(runs)
    return html_page(
        "report_comparison.html.j2",
        title=f"{several(len(runs), 'run')} compared",
        summary=_summary(runs),
        runs=runs,
        tones={run.letter: tone_of_run(place) for place, run in enumerate(runs)},
        warnings=[sentence for run in runs for sentence in run_warnings(run)],
        facts=[_facts(run) for run in runs],
        figures=_figures(runs),
        bars=cost_bars(costs),
        cost_rows=cost_rows(costs),
        cost_comparisons=cost_comparisons(runs),
        charts=charts,
        curve_tables=curve_tables(runs),
        cells=_cells(runs),
        cells_missing=[run.letter for run in runs if run.report.genotype is None],
        groups=[_group(group) for group in seed_groups(runs)],
    )


def _summary(runs: Sequence[ComparedRun]) -> str:
    names = list(dict.fromkeys(task.name for run in runs for task in run.report.tasks))
    listed = ", ".join(plain_text(name, 60) for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    if len({run.tasks for run in runs}) == 1:
        return f"All on the same task: {listed}{more}."
    return f"Not all on the same task: {listed}{more}. Figures of different tasks do not compare."


def run_warnings(run: ComparedRun) -> list[str]:
    """What to know before the figures of a run are believed, each with its letter."""
    report = run.report
    return [
        *([f"{run.letter} has not finished. {report.unfinished}"] if report.unfinished else []),
        *(f"{run.letter}: {warning}" for warning in report.warnings),
        *(f"{run.letter}: {collapse}" for collapse in collapses(report)),
    ]


def _facts(run: ComparedRun) -> dict[str, object]:
    """What a run was."""
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


def _figures(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """A row for each figure that any run has, and what there is to know about accuracies."""
    return {
        "rows": [(title, values) for title, *values in figure_table(runs)],
        "within": [(run, _accuracies(run)) for run in runs if len(run.trainings) > 1],
        "trained_within": any(len(run.trainings) == 1 for run in runs),
    }


def _accuracies(run: ComparedRun) -> str:
    """The accuracies of all trainings within a search's run, which has no one accuracy then."""
    write = FIGURES["accuracy"].write
    found = [
        f"{name} {write(training.training.accuracy)}"
        for name, training in run.trainings
        if training.training is not None and training.training.accuracy is not None
    ]
    return ", ".join(found)


def _cells(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Of each kind the drawings, equal ones once, and the edges with what each run has there."""
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


def _group(group: SeedGroup) -> dict[str, Any]:
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
