"""The report of a run: one HTML file that needs nothing but itself.

No scripts, no requests (a Content-Security-Policy in the page forbids both), light and dark,
for narrow screens and for paper. All text in it that comes from outside is escaped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape

from wsdarts_registry.amounts import count, duration, share, size
from wsdarts_registry.drawing import cell_svg, cell_text
from wsdarts_registry.inert import plain_text
from wsdarts_registry.mask_drawing import masks_svg
from wsdarts_registry.space import CELL_KINDS
from wsdarts_registry.templates import html_page
from wsdarts_sdk.runs.alpha_chart import (
    alpha_tiles,
    edge_markup,
    mean_even,
    mean_strongest,
    tone_of,
    tone_styles,
)
from wsdarts_sdk.runs.charts import Band, Series, line_chart
from wsdarts_sdk.runs.report_facts import EpochRow, PhaseCost, RunReport

_PHASE_TONES = 8


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """A row of the cost picture: its segments as (phase, share of the longest bar, tone)."""

    name: str
    total: str
    segments: list[tuple[str, float, int]]


def render_report(report: RunReport) -> str:
    """Write the report as HTML; equal reports give equal text."""
    bands = _bands(report.epochs)
    return html_page(
        "report.html.j2",
        report=report,
        title=plain_text(report.title, 160),
        kinds=CELL_KINDS,
        tone_styles=tone_styles(),
        tiles_at_top=_headline(report),
        warnings=_warnings(report),
        neighbours=_neighbours(report),
        cells=_cells(report),
        darts_text=_darts_text(report),
        masks=Markup(masks_svg(report.masks)) if report.masks else None,  # noqa: S704
        charts=_charts(report.epochs, bands),
        training_charts=_training_charts(report),
        alpha=_alpha(report, bands),
        bars=_bars(report),
        cost_rows=_cost_rows(report),
        saving=_saving(report),
        count=count,
        duration=duration,
        share=share,
        size=size,
        decimals=lambda value: f"{value:.4g}",
    )


def _bands(rows: tuple[EpochRow, ...]) -> list[Band]:
    """Runs of epochs of the same stage."""
    bands: list[Band] = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        first = bands[-1].last + 1 if bands else 1
        last = first + len(list(group)) - 1
        bands.append(Band(first=first, last=last, label=f"stage {stage}"))
    return bands


def _headline(report: RunReport) -> list[tuple[str, str]]:
    """The few figures at the top: name and value."""
    found = []
    if report.training and report.training.accuracy is not None:
        found.append(("accuracy on the validation third", share(report.training.accuracy)))
    if report.training:
        found.append(("parameters", count(report.training.parameters)))
    if report.genotype:
        skips = [str(report.genotype.count("skip_connect", kind)) for kind in CELL_KINDS]
        found.append(("skip-connects, normal and reduction cell", " and ".join(skips)))
    if report.epochs:
        found.append(("epochs searched", count(len(report.epochs))))
    if report.costs:
        found.append(("wall time", duration(_total(report.costs))))
    if report.costs and report.cold:
        found.append(("a cold search", duration(_total(report.cold.phases))))
    return found


def _warnings(report: RunReport) -> list[str]:
    found = list(report.warnings)
    if report.genotype:
        for kind in CELL_KINDS:
            skips = report.genotype.count("skip_connect", kind)
            chosen = sum(len(node) for node in report.genotype.cell(kind))
            if skips > chosen / 2:
                found.append(
                    f"The {kind} cell has collapsed to skip-connects: {skips} of its {chosen} "
                    "operations only pass their input on. A higher skip-connect dropout, or "
                    "fewer skip-connects allowed in the refinement, works against that."
                )
    return found


def _neighbours(report: RunReport) -> dict[str, object] | None:
    """Rows with the length of their bars, and where the threshold stands, in percent."""
    decision = report.decision
    if decision is None or not decision.neighbours:
        return None
    largest = max([row.distance for row in decision.neighbours] + [decision.threshold or 0.0])
    scale = 100 / (1.05 * largest) if largest > 0 else 0.0
    return {
        "rows": [(row, round(row.distance * scale, 2)) for row in decision.neighbours],
        "threshold": None if decision.threshold is None else round(decision.threshold * scale, 2),
    }


def _cells(report: RunReport) -> list[tuple[str, Markup, Markup]]:
    """Kind, drawing and text of both cells; the text keeps its lines."""
    genotype = report.genotype
    if genotype is None:
        return []
    return [
        (kind, Markup(cell_svg(genotype, kind)), escape(cell_text(genotype, kind)))  # noqa: S704
        for kind in CELL_KINDS
    ]


def _darts_text(report: RunReport) -> Markup:
    """The genotype in full, in the format of the public DARTS code."""
    return escape(plain_text(report.genotype.to_darts(), 100_000) if report.genotype else "")


def _charts(rows: tuple[EpochRow, ...], bands: list[Band]) -> list[tuple[str, Markup]]:
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


def _training_charts(report: RunReport) -> list[tuple[str, Markup]]:
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


def _alpha(report: RunReport, bands: list[Band]) -> dict[str, object] | None:
    """Tiles of each cell kind, the legend, and the shares at the end as a table."""
    history = report.alpha
    if history is None or not report.epochs:
        return None
    candidates = history.space.candidates
    edges = [edge_markup(source, target) for source, target in history.space.edges]
    return {
        "tiles": {kind: alpha_tiles(history, kind, bands) for kind in CELL_KINDS},
        "columns": history.space.nodes + 1,
        "legend": [(name, tone_of(name, candidates)) for name in candidates],
        "decided": {kind: share(mean_strongest(history, kind)) for kind in CELL_KINDS},
        "level": {kind: share(mean_even(history, kind)) for kind in CELL_KINDS},
        "last": {
            kind: [
                (edge, [share(float(value)) if value > 0 else "–" for value in values])
                for edge, values in zip(edges, history.cell(kind)[-1], strict=True)
            ]
            for kind in CELL_KINDS
        },
    }


def _total(costs: tuple[PhaseCost, ...]) -> float:
    return sum(cost.seconds for cost in costs)


def _phases(report: RunReport) -> list[str]:
    """Names of all phases, this run's first."""
    cold = report.cold.phases if report.cold else ()
    return list(dict.fromkeys(cost.phase for cost in (*report.costs, *cold)))


def _bars(report: RunReport) -> list[_Bar]:
    runs = [("This run", report.costs)]
    if report.cold:
        runs.append(("A cold search", report.cold.phases))
    longest = max(_total(costs) for _, costs in runs)
    phases = _phases(report)
    return [
        _Bar(
            name=name,
            total=duration(_total(costs)),
            segments=[
                (
                    f"{cost.phase}: {duration(cost.seconds)}",
                    round(100 * cost.seconds / longest, 2),
                    phases.index(cost.phase) % _PHASE_TONES,
                )
                for cost in costs
            ],
        )
        for name, costs in runs
        if longest > 0
    ]


def _cost_rows(report: RunReport) -> list[tuple[str, int, str, str]]:
    """Phase, tone, and its cost in this run and in the cold search."""

    def written(costs: tuple[PhaseCost, ...], phase: str) -> str:
        found = [cost.seconds for cost in costs if cost.phase == phase]
        return duration(sum(found)) if found else "–"

    cold = report.cold.phases if report.cold else ()
    return [
        (phase, place % _PHASE_TONES, written(report.costs, phase), written(cold, phase))
        for place, phase in enumerate(_phases(report))
    ]


def _saving(report: RunReport) -> str | None:
    """What this run cost beside the cold search, as a sentence."""
    if report.cold is None or not report.costs:
        return None
    here, there = _total(report.costs), _total(report.cold.phases)
    if there <= 0:
        return None
    difference = share(abs(1 - here / there))
    word = "less" if here < there else "more"
    return f"This run took {duration(here)}: {difference} {word} than a cold search."


def _short(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
