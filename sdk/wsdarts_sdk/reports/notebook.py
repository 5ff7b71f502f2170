"""Views of runs: what searches, warm starts and trainings show of themselves in a notebook.

Everything is told from memory, so a run whose directory was removed since is shown as well;
it is said what is gone.
"""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from wsdarts_registry._files import exists
from wsdarts_registry._format import count, duration, percent, pluralize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.space import CELL_KINDS
from wsdarts_registry.errors import FileAccessError
from wsdarts_registry.notebook.html import Bars, Pairs, Panel, Table, view
from wsdarts_registry.notebook.views import cell_panels, neighbours_panel
from wsdarts_sdk.pipelines.search import SearchRun
from wsdarts_sdk.pipelines.sweep import Trial
from wsdarts_sdk.pipelines.train import TrainingRun
from wsdarts_sdk.pipelines.warm_start import WarmStart
from wsdarts_sdk.reports.charts import phase_amount, phase_title
from wsdarts_sdk.reports.facts import RunReport, TrainingFacts
from wsdarts_sdk.reports.page import search_charts, stage_bands, training_charts
from wsdarts_sdk.reports.rows import search_epochs, training_epochs
from wsdarts_sdk.search.loop import SearchResult

_SHOWN_CURVES = ("Loss", "Accuracy", "Skip-connects before refinement")


def warm_start_view(found: WarmStart) -> str:
    """What it started from and why, its cells, curves and cost."""
    if found.mode == "cold":
        start = f"on {found.task.name}, from cold: {found.why}."
    else:
        start = f"on {found.task.name} from {found.source}, mode {found.mode}: {found.why}."
    ranking = found.found.ranking
    chosen = tuple(found.source.split(" + "))
    panels = [neighbours_panel(ranking, chosen)] if ranking else []
    if found.trials:
        panels.append(_sweep(found.trials))
    return view(
        "Warm start",
        start,
        figures=_figures(found.genotype, found.result, found.seconds),
        panels=[
            *cell_panels(found.genotype),
            *panels,
            *_search_panels(found.result, found.seconds, found.cached),
            _files(run=found.path, report=found.report, artifact=found.artifact),
        ],
    )


def search_view(found: SearchRun) -> str:
    """What it searched on, its cells, curves and cost."""
    tasks = ", ".join(task.name for task in found.tasks)
    what = "λ_meta, over several tasks" if len(found.tasks) > 1 else "λ and λ̂"
    return view(
        "Search from cold",
        f"on {tasks}, in {len(found.settings.stages)} stages, for {what}. {found.masks.in_words}",
        figures=_figures(found.genotype, found.result, found.seconds),
        panels=[
            *cell_panels(found.genotype),
            *_search_panels(found.result, found.seconds, found.cached),
            _files(run=found.path, report=found.report, artifact=found.artifact),
        ],
    )


def training_view(found: TrainingRun) -> str:
    """How good the network is, its curves and cells."""
    result = found.result
    facts = TrainingFacts(
        accuracy=result.accuracy,
        parameters=result.parameters,
        seconds=result.seconds,
        epochs=training_epochs(result.rows),
    )
    report = RunReport(title="", summary="", created="", training=facts)
    return view(
        "Training",
        f"of a genotype's network for {pluralize(len(result.rows), 'epoch')}: it labels "
        f"{percent(result.accuracy)} of {pluralize(result.images, 'image')} right that nothing had "
        "seen. One training with one seed; another seed gives another figure.",
        figures=[
            ("accuracy on the held-out images", percent(result.accuracy)),
            ("classes", count(len(found.model.class_names))),
            ("parameters", count(result.parameters)),
            ("wall time", duration(sum(found.seconds.values()) or result.seconds)),
        ],
        panels=[
            *_curves(training_charts(report)[:2]),
            *cell_panels(result.genotype),
            _files(run=found.path, report=found.report, model=found.model_file),
        ],
    )


def _figures(genotype: Genotype, result: SearchResult, seconds: dict[str, float]) -> Pairs:
    skips = [count(genotype.count("skip_connect", kind)) for kind in CELL_KINDS]
    return [
        ("skip-connects, normal and reduction cell", " and ".join(skips)),
        ("epochs", count(len(result.rows))),
        ("wall time", duration(sum(seconds.values()))),
    ]


def _search_panels(
    result: SearchResult, seconds: dict[str, float], cached: dict[str, float]
) -> list[Panel]:
    rows = search_epochs(result.rows)
    charts = search_charts(rows, stage_bands(rows))
    shown = [(title, chart) for title, chart in charts if title in _SHOWN_CURVES]
    return [*_curves(shown), *_cost(seconds, cached)]


def _curves(charts: Sequence[tuple[str, Markup]]) -> list[Panel]:
    return [Panel(title="Curves", charts=tuple(charts))] if charts else []


def _cost(seconds: dict[str, float], cached: dict[str, float]) -> list[Panel]:
    longest = max(seconds.values(), default=0.0)
    if longest <= 0:
        return []
    table = Table(
        header=("phase", "wall time"),
        rows=tuple(
            (phase_title(phase), phase_amount(spent, cached.get(phase)))
            for phase, spent in seconds.items()
        ),
        right=frozenset({1}),
        bars=Bars(
            column=1,
            lengths=tuple(round(100 * spent / longest, 2) for spent in seconds.values()),
        ),
    )
    return [Panel(title="Cost", table=table)]


def _sweep(trials: Sequence[Trial]) -> Panel:
    return Panel(
        title="Sweep over skip-connect dropout, best first",
        table=Table(
            header=("dropout", "accuracy on the α half", "skip-connects", "cost"),
            rows=tuple(
                (
                    f"{trial.rate:g}",
                    percent(trial.accuracy),
                    count(trial.genotype.count("skip_connect")),
                    duration(trial.seconds),
                )
                for trial in trials
            ),
            right=frozenset({1, 2, 3}),
        ),
    )


def _files(**paths: Path) -> Panel:
    rows = tuple(
        (name, str(path) if _is_there(path) else f"{path} (not there any more)")
        for name, path in paths.items()
    )
    return Panel(title="Files", table=Table(header=("what", "where"), rows=rows))


def _is_there(path: Path) -> bool:
    try:
        return exists(path)
    except FileAccessError:  # such as a directory that may not be entered
        return False
