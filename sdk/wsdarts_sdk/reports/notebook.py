"""Notebook views of searches, warm starts and trainings.

They are written from values in memory, so a run whose directory was removed since is shown as well,
with a note on the files that are gone; trainings of what a search found are read from there.
``pipelines`` registers them by name for its results.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from wsdarts_registry._files import exists
from wsdarts_registry._format import count, duration, percent, percent_if_known, pluralize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.errors import FileAccessError, WsdartsError
from wsdarts_registry.notebook import Bars, Panel, Table, cell_panels, neighbours_panel, view
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.reports._charts import trade_off_chart
from wsdarts_sdk.reports.facts import phase_amount, phase_title
from wsdarts_sdk.reports.page import search_charts, stage_bands, training_charts
from wsdarts_sdk.reports.report_files import read_run, trainings_within
from wsdarts_sdk.reports.rows import candidate_rows, search_epochs, training_epochs
from wsdarts_sdk.runs.result_records import Baseline, GenotypeChoice
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings

_SHOWN_CURVES = ("Loss", "Accuracy", "Skip-connects before refinement")


# ``pipelines`` lies above this package: the protocols name what the views take of its results.
class _Found(Protocol):
    ranking: Ranking | None


class _Trial(Protocol):
    rate: float
    genotype: Genotype
    accuracy: float
    seconds: float


class _Run(Protocol):
    choice: GenotypeChoice | None
    genotype: Genotype
    result: SearchResult
    path: Path
    artifact: Path
    report: Path
    seconds: dict[str, float]
    cached: dict[str, float]


class _WarmStart(_Run, Protocol):
    source: str
    mode: str
    why: str
    task: ImageTask
    trials: tuple[_Trial, ...]
    found: _Found


class _SearchRun(_Run, Protocol):
    tasks: tuple[ImageTask, ...]
    settings: SearchSettings
    masks: OperationMasks


class _TrainingRun(Protocol):
    model: Classifier
    result: TrainingResult
    path: Path
    model_file: Path
    report: Path
    baseline: Baseline | None
    seconds: dict[str, float]


def warm_start_view(found: _WarmStart) -> str:
    """Show the start and its reason, cells, curves and cost of a warm start."""
    if found.mode == "cold":
        start = f"on {found.task.name}, from cold: {found.why}."
    else:
        start = f"on {found.task.name} from {found.source}, mode {found.mode}: {found.why}."
    ranking = found.found.ranking
    chosen = tuple(found.source.split(" + "))
    panels = [neighbours_panel(ranking, chosen)] if ranking else []
    if found.trials:
        panels.append(_sweep(found.trials))
    panels += _trainings(found.path)
    return _run_view("Warm start", start, found, panels)


def search_view(found: _SearchRun) -> str:
    """Show tasks, cells, curves and cost of a search."""
    tasks = ", ".join(task.name for task in found.tasks)
    what = "λ_meta, over several tasks" if len(found.tasks) > 1 else "λ and λ̂"
    stages = pluralize(len(found.settings.stages), "stage")
    start = f"on {tasks}, in {stages}, for {what}. {found.masks.in_words}"
    return _run_view("Search from cold", start, found)


def training_view(found: _TrainingRun) -> str:
    """Show accuracy, curves and cells of a training."""
    result = found.result
    return view(
        "Training",
        f"of a genotype's network for {pluralize(len(result.rows), 'epoch')}: it labels "
        f"{percent(result.accuracy)} of {pluralize(result.images, 'image')} right that nothing had "
        "seen. One training with one seed; another seed gives another figure.",
        figures=[
            ("accuracy on the held-out images", percent(result.accuracy)),
            *_baseline_figure(found.baseline),
            ("classes", count(len(found.model.class_names))),
            ("parameters", count(result.parameters)),
            ("wall time", duration(sum(found.seconds.values()) or result.seconds)),
        ],
        panels=[
            *_beside(result.accuracy, found.baseline),
            *_curves(training_charts(training_epochs(result.rows), result.accuracy)[:2]),
            *cell_panels(result.genotype),
            _files(run=found.path, report=found.report, model=found.model_file),
        ],
    )


def _baseline_figure(baseline: Baseline | None) -> list[tuple[str, str]]:
    if baseline is None:
        return []
    return [(f"a {baseline.short_name}", percent(baseline.accuracy.value))]


def _beside(accuracy: float, baseline: Baseline | None) -> list[Panel]:
    """Show the network and its baseline, and which is better."""
    if baseline is None:
        return []
    network = (
        accuracy,
        baseline.network_parameters,
        baseline.network_multiply_adds,
        baseline.network_image_size,
    )
    other = (
        baseline.accuracy.value,
        baseline.parameters,
        baseline.multiply_adds,
        baseline.image_size,
    )
    rows = (("this network", *network), (baseline.name, *other))
    table = Table(
        header=("", "accuracy", "parameters", "multiply-adds", "images"),
        rows=tuple(
            (name, percent(share), count(size), count(adds), f"{side}×{side}")
            for name, share, size, adds, side in rows
        ),
        right=frozenset({1, 2, 3, 4}),
    )
    text = (f"{baseline.verdict} {baseline.trained_on}",)
    return [Panel(title="Beside a baseline", text=text, table=table)]


def _trainings(path: Path) -> list[Panel]:
    """Show the finished trainings that lie in a search's directory, with their baselines."""
    try:
        found = trainings_within(path, read_run(path))
    except (WsdartsError, OSError):  # the directory is gone, or was never written
        return []
    rows = tuple(
        (
            name,
            percent_if_known(within.training.accuracy if within.training else None),
            percent_if_known(within.baseline.accuracy.value if within.baseline else None),
            within.baseline.name if within.baseline else "",
        )
        for name, within in found
    )
    if not rows:
        return []
    header = ("training", "accuracy", "its baseline", "which is")
    table = Table(header=header, rows=rows, right=frozenset({1, 2}))
    return [Panel(title="Trainings of these cells", table=table)]


def _run_view(what: str, start: str, found: _Run, panels: Sequence[Panel] = ()) -> str:
    """Show a run that searched: its cells, the given panels, curves, cost and files."""
    skips = [count(found.genotype.count("skip_connect", kind)) for kind in CELL_KINDS]
    rows = search_epochs(found.result.rows)
    charts = search_charts(rows, stage_bands(rows))
    return view(
        what,
        start,
        figures=[
            ("skip-connects, normal and reduction cell", " and ".join(skips)),
            ("epochs", count(len(rows))),
            ("wall time", duration(sum(found.seconds.values()))),
        ],
        panels=[
            *cell_panels(found.genotype),
            *panels,
            *_choice(found.choice),
            *_curves([(title, chart) for title, chart in charts if title in _SHOWN_CURVES]),
            *_cost(found.seconds, found.cached),
            _files(run=found.path, report=found.report, artifact=found.artifact),
        ],
    )


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


def _sweep(trials: Sequence[_Trial]) -> Panel:
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


def _choice(choice: GenotypeChoice | None) -> list[Panel]:
    if choice is None:
        return []
    steps = tuple(pluralize(each, "step") for each in choice.steps)
    chart = trade_off_chart(choice)
    table = Table(
        header=("candidate", *steps, "parameters", "multiply-adds"),
        rows=tuple(
            (row.name, *row.accuracies, row.parameters, row.multiply_adds)
            for row in candidate_rows(choice)
        ),
        right=frozenset(range(1, len(steps) + 3)),
    )
    charts = () if chart is None else (("Accuracy after the first training, by parameters", chart),)
    return [Panel(title=f"Choice among {len(choice.candidates)}", table=table, charts=charts)]


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
