"""HTML pages of one run and of one evaluation: each is one file without scripts and requests.

A Content-Security-Policy in the page forbids both. It suits light and dark screens, narrow ones and
paper; all text in it that comes from outside is escaped.

An evaluation has its figures, classes, confusions and worst mistakes, on a page of its own and in
the report of its training. ``_charts`` draws the confusion matrix. Where that has numbers in place
of classes' names, the table of classes says which is which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from wsdarts_registry._format import (
    count,
    duration,
    metric_difference,
    percent,
    percent_if_known,
    pluralize,
    size,
)
from wsdarts_registry._templates import html_page
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.architecture.search_verdicts import Collapse, find_collapses
from wsdarts_registry.drawing.cells import cell_svg, cell_text, masks_svg
from wsdarts_registry.embedding.embedding_space import figures
from wsdarts_sdk.reports._charts import (
    MOST_NAMED_CLASSES,
    Band,
    Series,
    alpha_tiles,
    confusion_svg,
    edge_markup,
    line_chart,
    mean_even,
    mean_strongest,
    short_number,
    short_percent,
    tone_of,
    tone_styles,
    trade_off_chart,
)
from wsdarts_sdk.reports.facts import (
    EpochRow,
    RunReport,
    TrainingEpoch,
    cost_bars,
    cost_rows,
    named_costs,
    saving,
    total_seconds,
)
from wsdarts_sdk.reports.rows import candidate_rows, skip_counts
from wsdarts_sdk.runs.result_records import Evaluation, Interval

_LONGEST_GENOTYPE = 100_000
_UNTRAINED = "wsdarts-hub train RUN DATA trains them, and measures a baseline on the same images."
# Of an evaluation: classes from which on the table is folded, and pairs of confused classes.
_LONG_TABLE = 20
_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """A part of the verdict: what it is about, its figure, and the figure in words."""

    title: str
    value: str
    words: str


def render_report(report: RunReport, trainings: Sequence[RunReport] = ()) -> str:
    """Write the report as HTML; equal reports give equal text.

    Args:
        report: The facts of the run.
        trainings: Reports of the finished trainings of what a search found.
    """
    bands = stage_bands(report.epochs)
    return html_page(
        "report.html.j2",
        report=report,
        title=sanitize(report.title, 160),
        kinds=CELL_KINDS,
        given=any(task.given_split for task in report.tasks),
        tested=any(task.test_images for task in report.tasks),
        tone_styles=tone_styles(),
        verdict=_verdict(report, trainings),
        tiles_at_top=_headline(report),
        warnings=_warnings(report),
        neighbours=_neighbours(report),
        cells=_cells(report),
        darts_text=escape(
            sanitize(report.genotype.to_darts(), _LONGEST_GENOTYPE) if report.genotype else ""
        ),
        masks=Markup(masks_svg(report.masks)) if report.masks else None,  # noqa: S704
        charts=search_charts(report.epochs, bands),
        training_charts=training_charts(report.training.epochs, report.training.accuracy)
        if report.training
        else (),
        candidates=candidate_rows(report.choice) if report.choice else (),
        trade_off=trade_off_chart(report.choice) if report.choice else None,
        alpha=_alpha(report, bands),
        bars=cost_bars(named_costs(report)),
        cost_rows=cost_rows(named_costs(report)),
        saving=saving(report),
        evaluation=evaluation_values(report.evaluation),
        points=lambda value: metric_difference("accuracy", value),
        decimals=lambda value: f"{value:.4g}",
    )


def _verdict(report: RunReport, trainings: Sequence[RunReport]) -> list[_Finding]:
    """Return what a run found, against which baseline, at what cost; nothing if unfinished."""
    if report.unfinished or not report.costs:
        return []
    within = max(trainings, key=lambda each: each.created, default=None)
    trained = within if report.training is None else report
    found = _found(report) if trained is None else _accuracy(trained, len(trainings))
    return [*found, *_beside(report if trained is None else trained), _cost(report, within)]


def _found(report: RunReport) -> list[_Finding]:
    """Return what a search found whose cells were not trained: the supernet's accuracy."""
    known = [row.alpha_accuracy for row in report.epochs if row.alpha_accuracy is not None]
    if not known:
        return []
    words = "of the images that α learned from, by the supernet; its cells are not trained yet"
    return [_Finding(title="Found", value=percent(known[-1]), words=words)]


def _accuracy(trained: RunReport, trainings: int) -> list[_Finding]:
    """Return the accuracy of a training, of the last one of several."""
    training, evaluation = trained.training, trained.evaluation
    if training is None or training.accuracy is None:
        return []
    images = f"{pluralize(evaluation.images, 'image')} of the" if evaluation else "the"
    words = f"of {images} {sanitize(training.held_out)} right, by the trained network"
    if trainings > 1:
        words += f" (the last of {trainings} trainings)"
    return [_Finding(title="Found", value=percent(training.accuracy), words=words)]


def _beside(trained: RunReport) -> list[_Finding]:
    """Return the baseline of a training, or why there is none."""
    title, baseline = "Baseline", trained.baseline
    if trained.training is None:
        return [_Finding(title=title, value="–", words=f"none of untrained cells: {_UNTRAINED}")]
    if baseline is None:
        words = "none was measured: --baseline linear measures one"
        return [_Finding(title=title, value="–", words=words)]
    difference = baseline.difference
    word = "more" if difference.value < 0 else "fewer"
    words = f"by a {sanitize(baseline.short_name)}"
    if difference.value:
        words += f": {100 * abs(difference.value):.1f} points {word}"
        words += ", which may be chance" if difference.low <= 0 <= difference.high else ""
    return [_Finding(title=title, value=percent(baseline.accuracy.value), words=words)]


def _cost(report: RunReport, training: RunReport | None) -> _Finding:
    """Return the clock's time of a run, beside a cold search's, and that of its training."""
    total, words = total_seconds(report.costs), ["by the clock"]
    cold = total_seconds(report.cold.phases) if report.cold else 0.0
    if cold > 0:
        share, word = percent(abs(1 - total / cold)), "less" if total < cold else "more"
        words.append(f"{share} {word} than a cold search ({duration(cold)})")
    if training is not None:
        words.append(f"and {duration(total_seconds(training.costs))} for its training")
    return _Finding(title="Cost", value=duration(total), words=", ".join(words))


def _headline(report: RunReport) -> list[tuple[str, str]]:
    """Return names and values of the few figures below the verdict."""
    found = []
    if report.asked:
        found.append(("preset", sanitize(report.asked.preset)))
    if len(report.tasks) == 1:
        (task,) = report.tasks
        images = task.weights_images + task.alpha_images
        images += task.validation_images + task.test_images
        found.append((f"images, {pluralize(task.classes, 'class')}", count(images)))
    if report.training and report.training.parameters is not None:
        found.append(("parameters", count(report.training.parameters)))
    if report.training and report.training.epochs:
        found.append(("epochs trained", count(len(report.training.epochs))))
    if report.epochs:
        found.append(("epochs searched", count(len(report.epochs))))
    if report.final_parameters is not None:
        found.append(("parameters of the paper's network", count(report.final_parameters)))
    return found


def _warnings(report: RunReport) -> list[str]:
    return [
        *([f"This run has not finished. {report.unfinished}"] if report.unfinished else []),
        *report.warnings,
        *([report.choice.warning] if report.choice and report.choice.warning else []),
        *([report.baseline.verdict] if report.baseline and report.baseline.is_better else []),
        *map(str, collapses(report)),
    ]


def collapses(report: RunReport) -> tuple[Collapse, ...]:
    """Return the cells that have collapsed to skip-connects, since when if epochs are known."""
    if report.genotype is None:
        return ()
    return find_collapses(report.genotype, skip_counts(report.epochs))


def _neighbours(report: RunReport) -> dict[str, object] | None:
    """Return rows with the lengths of their bars, and the place of the threshold, in percent."""
    decision = report.decision
    if decision is None or not decision.neighbours:
        return None
    largest = max([row.distance for row in decision.neighbours] + [decision.threshold or 0.0])
    scale = 100 / (1.05 * largest) if largest > 0 else 0.0
    shown = figures((row.distance for row in decision.neighbours), decision.threshold)
    return {
        "rows": [
            (row, round(row.distance * scale, 2), text)
            for row, text in zip(decision.neighbours, shown.distances, strict=True)
        ],
        "limit": shown.threshold,
        "threshold": None if decision.threshold is None else round(decision.threshold * scale, 2),
    }


def _cells(report: RunReport) -> list[tuple[str, Markup, Markup]]:
    """Return kind, drawing and text of both cells; the text keeps its lines."""
    genotype = report.genotype
    if genotype is None:
        return []
    return [
        (kind, Markup(cell_svg(genotype, kind)), escape(cell_text(genotype, kind)))  # noqa: S704
        for kind in CELL_KINDS
    ]


def _alpha(report: RunReport, bands: list[Band]) -> dict[str, object] | None:
    """Return tiles of each cell kind, the legend, and the shares at the end as a table."""
    history = report.alpha
    if history is None or not report.epochs:
        return None
    candidates = history.space.candidates
    edges = [edge_markup(source, target) for source, target in history.space.edges]
    return {
        "tiles": {kind: alpha_tiles(history, kind, bands) for kind in CELL_KINDS},
        "columns": history.space.nodes + 1,
        "legend": [(name, tone_of(name, candidates)) for name in candidates],
        "decided": {kind: percent(mean_strongest(history, kind)) for kind in CELL_KINDS},
        "level": {kind: percent(mean_even(history, kind)) for kind in CELL_KINDS},
        "last": {
            kind: [
                (edge, [percent(float(value)) if value > 0 else "–" for value in values])
                for edge, values in zip(edges, history.cell(kind)[-1], strict=True)
            ]
            for kind in CELL_KINDS
        },
    }


def stage_bands(rows: tuple[EpochRow, ...]) -> list[Band]:
    """Return the runs of epochs of each stage."""
    bands: list[Band] = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        first = bands[-1].last + 1 if bands else 1
        last = first + len(list(group)) - 1
        bands.append(Band(first=first, last=last, label=f"stage {stage}"))
    return bands


def search_charts(rows: tuple[EpochRow, ...], bands: list[Band]) -> list[tuple[str, Markup]]:
    """Return title and chart of each curve of a search that has values."""

    def series(name: str, column: str, tone: str = "a") -> Series:
        return Series(name=name, values=[getattr(row, column) for row in rows], tone=tone)

    def halves(measure: str) -> list[Series]:
        return [series("weights", f"weights_{measure}"), series("α", f"alpha_{measure}", "b")]

    draw = partial(line_chart, bands=bands)
    from_zero = partial(draw, write=short_number, zero=True)
    memory = [
        series("process at most", "peak_memory"),
        series("a step, estimated", "needed_memory", "b"),
    ]
    drawn = {
        "Loss": draw("Loss by epoch", halves("loss"), write=short_number),
        "Accuracy": draw("Accuracy by epoch", halves("accuracy"), write=short_percent),
        "Skip-connects before refinement": from_zero(
            "Skip-connects", [series("", "skip_connects")], whole=True
        ),
        "Learning rate of the weights": from_zero("Learning rate", [series("", "learning_rate")]),
        "Dropout on skip-connects": from_zero("Skip dropout", [series("", "skip_dropout")]),
        "Seconds an epoch": from_zero("Seconds", [series("", "seconds")]),
        "Memory": draw("Memory", memory, write=size, zero=True),
    }
    return [(title, chart) for title, chart in drawn.items() if chart is not None]


def training_charts(
    rows: Sequence[TrainingEpoch], held_out: float | None
) -> list[tuple[str, Markup]]:
    """Return title and chart of each curve of a training that has epochs.

    Args:
        rows: The epochs.
        held_out: Accuracy on the held-out images, which are evaluated once: a dot at the end.
    """

    def series(name: str, column: str, tone: str = "a") -> Series:
        return Series(name=name, values=[getattr(row, column) for row in rows], tone=tone)

    def both(measure: str) -> list[Series]:
        return [series("train", measure), series("judged", f"stopping_{measure}", "c")]

    at_end = Series(name="held out", values=[*[None] * (len(rows) - 1), held_out], tone="b")
    drawn = {
        "Accuracy": line_chart(
            "Accuracy by epoch", [*both("accuracy"), at_end], [], write=short_percent
        ),
        "Loss": line_chart("Loss by epoch", both("loss"), [], write=short_number),
        "Learning rate": line_chart(
            "Learning rate", [series("", "learning_rate")], [], write=short_number
        ),
    }
    return [(title, chart) for title, chart in drawn.items() if rows and chart is not None]


def render_evaluation(evaluation: Evaluation, model: str) -> str:
    """Write the page of an evaluation as HTML; equal evaluations give equal text.

    Args:
        evaluation: What was found.
        model: Name of the model, for the page.
    """
    return html_page(
        "evaluation.html.j2",
        title=f"Evaluation on {evaluation.dataset}",
        model=model,
        where=images_text(evaluation),
        note=evaluation.note,
        tiles=[(name, percent(figure.value)) for name, figure in evaluation.figures.items()],
        evaluation=evaluation_values(evaluation),
    )


def evaluation_values(evaluation: Evaluation | None) -> Mapping[str, Any] | None:
    """Return the values of an evaluation for the template's macro; None for none."""
    if evaluation is None:
        return None
    names = [scores.name for scores in evaluation.classes]
    return {
        "figures": [(name, *interval_texts(f)) for name, f in evaluation.figures.items()],
        "images": evaluation.images,
        "matrix": confusion_svg(evaluation),
        "numbered": len(names) > MOST_NAMED_CLASSES,
        "long": len(names) > _LONG_TABLE,
        "classes": [
            (
                place,
                scores.name,
                *(
                    percent_if_known(value, "–")
                    for value in (scores.precision, scores.recall, scores.f1)
                ),
                count(scores.images),
            )
            for place, scores in enumerate(evaluation.classes, start=1)
        ],
        "pairs": [(t, p, count(n)) for t, p, n in evaluation.confused_pairs(_PAIRS)],
        "mistakes": [
            (
                Markup(mistake.picture),  # noqa: S704 - base64, as its record has checked
                mistake.image,
                names[mistake.truth],
                names[mistake.predicted],
                percent(mistake.probability),
            )
            for mistake in evaluation.mistakes
        ],
    }


def interval_texts(figure: Interval) -> tuple[str, str]:
    """Return a figure and its interval as a table shows them."""
    return percent(figure.value), f"{percent(figure.low)} to {percent(figure.high)}"


def images_text(evaluation: Evaluation) -> str:
    """Return the images of an evaluation in words: ``400 images of the validation part``."""
    where = "the whole dataset" if evaluation.part == "all" else f"the {evaluation.part} part"
    return f"{pluralize(evaluation.images, 'image')} of {where}"
