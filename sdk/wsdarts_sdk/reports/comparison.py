"""Several runs compared: their figures, costs, spread over seeds, and cells, as plain values."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from string import ascii_uppercase

from wsdarts_registry._files import as_path
from wsdarts_registry._format import count, duration, percent, pluralize
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports.facts import RunReport, search_alone, total_seconds
from wsdarts_sdk.reports.report_files import read_run, trainings_within
from wsdarts_sdk.runs.records import OTHER
from wsdarts_sdk.runs.result_records import Baseline

MOST_RUNS = 12


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run that is compared with others.

    Attributes:
        letter: ``A``, ``B``, … in the order in which they were named.
        name: Name of its directory, after that of its parent where two are called the same.
        report: The facts of its own report.
        trainings: Finished trainings of what a search found, that lie in its directory.
        path: Its directory; None where it was not read from one.
    """

    letter: str
    name: str
    report: RunReport
    trainings: tuple[tuple[str, RunReport], ...] = field(default=(), repr=False)
    path: Path | None = None

    @property
    def started(self) -> str | None:
        """``"cold"`` or ``"warm"`` for a search of one task; None for everything else."""
        report = self.report
        if report.asked is None or report.asked.command == "train" or len(report.tasks) != 1:
            return None
        decision = report.decision
        if report.asked.command == "search" or (decision and decision.mode == "cold"):
            return "cold"
        return "warm" if decision else None

    @property
    def what(self) -> str:
        """Kind of job, in a word or two."""
        if self.report.asked is not None and self.report.asked.command == "train":
            return "training"
        return {"warm": "warm start", "cold": "cold search", None: "search"}[self.started]

    @property
    def state(self) -> str:
        """``"finished"`` or ``"not finished"``."""
        return "not finished" if self.report.unfinished else "finished"

    @property
    def mode(self) -> str:
        """Mode of the start; empty where there was nothing to choose."""
        return self.report.decision.mode if self.report.decision else ""

    @property
    def source(self) -> str:
        """References of the artifacts that it started from; empty for none."""
        return " + ".join(self.report.decision.sources) if self.report.decision else ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Digests of its tasks."""
        return tuple(task.digest for task in self.report.tasks)

    @property
    def seed(self) -> int | None:
        """Seed of everything random."""
        return self.report.asked.seed if self.report.asked else None

    @property
    def trained(self) -> RunReport | None:
        """The training whose figures are the run's: itself, or the only one within."""
        if self.report.training is not None:
            return self.report
        return self.trainings[0][1] if len(self.trainings) == 1 else None

    @property
    def baseline(self) -> Baseline | None:
        """The baseline of that training, if there is one."""
        return self.trained.baseline if self.trained else None

    @property
    def trained_as(self) -> tuple[str, ...] | None:
        """Settings of that training that decide its figures, apart from the seed, if known."""
        asked = self.trained.asked if self.trained else None
        return (asked.preset, asked.settings, asked.hardware) if asked else None

    @property
    def apart_from_seed(self) -> tuple[object, ...] | None:
        """Everything but the seed that decides the result; None if unknown or not finished."""
        report = self.report
        if report.asked is None or report.unfinished:
            return None
        asked = report.asked
        trained = report.genotype.to_darts() if asked.command == "train" and report.genotype else ""
        named = (asked.command, asked.preset, asked.settings, asked.hardware)
        return (*named, self.tasks, self.mode, self.source, trained)


def read_runs(paths: Sequence[str | Path]) -> tuple[ComparedRun, ...]:
    """Read runs, and the trainings within them.

    Raises:
        RunError: None is named, too many are, or one cannot be read.
    """
    if not 1 <= len(paths) <= MOST_RUNS:
        raise RunError(
            "the number of runs",
            found=str(len(paths)),
            expected=f"1 to {MOST_RUNS}",
            hint="compare a part of them: a page cannot tell more apart",
        )
    names = _names([as_path(path, "the run").absolute() for path in paths])
    found = []
    for letter, name, path in zip(ascii_uppercase, names, paths, strict=False):
        report = read_run(path)
        within = trainings_within(path, report)
        place = as_path(path, "the run")
        found.append(
            ComparedRun(letter=letter, name=name, report=report, trainings=within, path=place)
        )
    return tuple(found)


def _names(paths: Sequence[Path]) -> list[str]:
    short = [path.name for path in paths]
    return [
        sanitize(f"{path.parent.name}/{name}" if short.count(name) > 1 else name, 80)
        for path, name in zip(paths, short, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Title and format of a figure.

    Attributes:
        title: Heading of its column.
        write: Writes a value of one run.
        mean: Writes a mean, which need not be whole.
        deviation: Writes a standard deviation.
    """

    title: str
    write: Callable[[float], str]
    mean: Callable[[float], str]
    deviation: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _whole(value: float) -> str:
    return count(round(value))


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def _loss(title: str) -> Figure:
    return Figure(title=title, write=_number, mean=_number, deviation=_number)


def _accuracy(title: str) -> Figure:
    return Figure(title=title, write=percent, mean=percent, deviation=_points)


def _skips(title: str) -> Figure:
    return Figure(title=title, write=_whole, mean=_number, deviation=_number)


def _size(title: str) -> Figure:
    return Figure(title=title, write=_whole, mean=_whole, deviation=_whole)


FIGURES = {
    "accuracy": _accuracy("accuracy, held-out images"),
    "baseline_accuracy": _accuracy("accuracy of the baseline"),
    "train_accuracy": _accuracy("accuracy, train part"),
    "train_loss": _loss("loss, train part"),
    "weights_loss": _loss("loss, weights half"),
    "weights_accuracy": _accuracy("accuracy, weights half"),
    "alpha_loss": _loss("loss, α half"),
    "alpha_accuracy": _accuracy("accuracy, α half"),
    "skip_connects": _skips("skip-connects, normal cell"),
    "skip_connects_reduction": _skips("skip-connects, reduction cell"),
    "parameters": _size("parameters, as trained"),
    "baseline_parameters": _size("parameters, baseline"),
    "final_parameters": _size("parameters, final network"),
    "seconds": Figure(title="wall time", write=duration, mean=duration, deviation=duration),
}
OF_TRAINING = frozenset({"accuracy", "baseline_accuracy", "parameters", "baseline_parameters"})
"""Figures of a search that are those of its training."""


def figures(run: ComparedRun) -> dict[str, float]:
    """Return the values of one run by their keys in ``FIGURES``; losses of the last epoch.

    Accuracy and size of a search are those of the training that lies in its directory, if there
    is exactly one.
    """
    report = run.report
    found: dict[str, float | None] = {}
    if run.trained is not None and run.trained.training is not None:
        training = run.trained.training
        found |= {"accuracy": training.accuracy, "parameters": training.parameters}
    if run.baseline is not None:
        found["baseline_accuracy"] = run.baseline.accuracy.value
        found["baseline_parameters"] = run.baseline.parameters
    if report.training is not None and report.training.epochs:
        last = report.training.epochs[-1]
        found |= {"train_accuracy": last.accuracy, "train_loss": last.loss}
    for name in ("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy"):
        known = [getattr(row, name) for row in report.epochs]
        found[name] = next((value for value in reversed(known) if value is not None), None)
    if report.genotype is not None:
        found["skip_connects"] = report.genotype.count("skip_connect", "normal")
        found["skip_connects_reduction"] = report.genotype.count("skip_connect", "reduction")
    found["final_parameters"] = report.final_parameters
    found["seconds"] = total_seconds(report.costs) if report.costs else None
    values = ((name, found.get(name)) for name in FIGURES)
    return {name: value for name, value in values if value is not None}


def baseline_names(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Describe each baseline, and name its runs."""
    letters: dict[str, list[str]] = {}
    for run in runs:
        if run.baseline is not None:
            letters.setdefault(run.baseline.name, []).append(run.letter)
    return tuple(f"Baseline of {', '.join(of)}: {name}." for name, of in letters.items())


def figure_table(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    """Return a row for each figure that any run has: its title, and its value in each run."""
    known = [figures(run) for run in runs]
    return [
        (figure.title, *(figure.write(each[name]) if name in each else "–" for each in known))
        for name, figure in FIGURES.items()
        if any(name in each for each in known)
    ]


@dataclass(frozen=True, kw_only=True)
class CostComparison:
    """The cost of a warm start beside that of a cold search of the same task.

    Attributes:
        run: Letter of the warm start.
        cold: Letter of the cold search.
        why_not: Why their costs cannot be compared; None if they can.
        sentence: The comparison in words, or why there is none.
    """

    run: str
    cold: str
    why_not: str | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Statistics of a figure over runs that differ in the seed alone.

    Attributes:
        figure: Its key, as in ``FIGURES``.
        mean: Over the runs.
        deviation: Sample standard deviation, with n − 1.
        smallest: Of the runs; ``largest`` the same.
    """

    figure: str
    mean: float
    deviation: float
    smallest: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Runs that differ in the seed alone: their letters, their seeds, and each figure."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    spreads: tuple[Spread, ...]


@dataclass(frozen=True, kw_only=True)
class EdgeRow:
    """An edge that a genotype uses, with the operation of each run there; None for none."""

    source: int
    target: int
    operations: tuple[str | None, ...]

    @property
    def same(self) -> bool:
        """Whether all runs have the same operation there."""
        return len(set(self.operations)) == 1

    @property
    def shared(self) -> bool:
        """Whether all runs have an operation there, the same or not."""
        return None not in self.operations


def cost_comparisons(runs: Sequence[ComparedRun]) -> tuple[CostComparison, ...]:
    """Compare each finished warm start with each finished cold search of the same task."""
    finished = [run for run in runs if not run.report.unfinished and run.report.costs]
    return tuple(
        _cost_comparison(run, cold)
        for run in finished
        for cold in finished
        if run.started == "warm" and cold.started == "cold" and run.tasks == cold.tasks
    )


def _cost_comparison(run: ComparedRun, cold: ComparedRun) -> CostComparison:
    why_not = _why_not_comparable(run, cold)
    here, there = total_seconds(run.report.costs), total_seconds(cold.report.costs)
    if why_not is None and there > 0:
        word = "less" if here < there else "more"
        sentence = (
            f"{run.letter} took {duration(here)}{search_alone(run.report.costs)}, the cold search "
            f"{cold.letter} {duration(there)}{search_alone(cold.report.costs)}: "
            f"{percent(abs(1 - here / there))} {word}. Task, preset and hardware are the same."
        )
    else:
        sentence = (
            f"What {run.letter} cost is not comparable with the cold search {cold.letter}: "
            f"{why_not or 'it took no time'}."
        )
    return CostComparison(run=run.letter, cold=cold.letter, why_not=why_not, sentence=sentence)


def _why_not_comparable(run: ComparedRun, cold: ComparedRun) -> str | None:
    here, there = run.report.asked, cold.report.asked
    if here is None or there is None:
        return "what was asked for is not known"
    if here.preset != there.preset:
        return f"their presets differ ({here.preset} and {there.preset})"
    if here.settings != there.settings:
        return f"both are preset {here.preset}, but with other settings"
    if here.hardware != there.hardware:
        return f"they ran on other hardware ({here.hardware}; {there.hardware})"
    if _by_the_clock(run) != _by_the_clock(cold):
        return "one of them was measured by an earlier version, which left out what is in no phase"
    return None


def _by_the_clock(run: ComparedRun) -> bool:
    """Return whether the costs of a run add up to the clock's total."""
    return any(cost.phase == OTHER for cost in run.report.costs)


def seed_groups(runs: Sequence[ComparedRun]) -> tuple[SeedGroup, ...]:
    """Group runs that differ in the seed alone, two or more, in the order of their letters.

    Of several with one seed the first one counts. Figures of trainings that lie in the directories
    of searches are left out where those were not trained alike.
    """
    known = sorted(
        (run for run in runs if run.apart_from_seed is not None),
        key=lambda run: (str(run.apart_from_seed), run.letter),
    )
    groups = []
    for _, members in groupby(known, key=lambda run: str(run.apart_from_seed)):
        first: dict[int | None, ComparedRun] = {}
        for run in members:
            first.setdefault(run.seed, run)
        if len(first) > 1:
            groups.append(_seed_group(list(first.values())))
    return tuple(sorted(groups, key=lambda group: group.runs))


def _seed_group(group: Sequence[ComparedRun]) -> SeedGroup:
    known = [figures(run) for run in group]
    alike = len({run.trained_as for run in group}) == 1
    names = [name for name in FIGURES if alike or name not in OF_TRAINING]
    columns = {name: [each.get(name) for each in known] for name in names}
    return SeedGroup(
        runs=tuple(run.letter for run in group),
        seeds=tuple(run.seed for run in group if run.seed is not None),
        spreads=tuple(
            _spread(name, [value for value in values if value is not None])
            for name, values in columns.items()
            if None not in values
        ),
    )


def _spread(name: str, values: list[float]) -> Spread:
    return Spread(
        figure=name,
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values),
        smallest=min(values),
        largest=max(values),
    )


def edge_rows(runs: Sequence[ComparedRun], kind: str) -> tuple[EdgeRow, ...]:
    """Return every edge that a genotype uses, in the order of the search space.

    Args:
        runs: Runs with a genotype, all of one search space.
        kind: ``"normal"`` or ``"reduction"``.
    """
    chosen = [
        {
            (connection.source, target): connection.operation
            for target, node in enumerate(run.report.genotype.cell(kind), start=2)
            for connection in node
        }
        for run in runs
        if run.report.genotype is not None
    ]
    edges = sorted({edge for cell in chosen for edge in cell}, key=lambda edge: (edge[1], edge[0]))
    return tuple(
        EdgeRow(source=s, target=t, operations=tuple(cell.get((s, t)) for cell in chosen))
        for s, t in edges
    )


def with_cells(runs: Sequence[ComparedRun]) -> tuple[ComparedRun, ...]:
    """Return the runs whose cells can be compared: those with cells, if all have one space."""
    found = tuple(run for run in runs if run.report.genotype is not None)
    spaces = {run.report.genotype.space for run in found if run.report.genotype is not None}
    return found if len(found) > 1 and len(spaces) == 1 else ()


def agreement(rows: Sequence[EdgeRow]) -> str:
    """Return the agreement of the cells of all runs, as a sentence."""
    same = sum(row.same for row in rows)
    other = sum(row.shared and not row.same for row in rows)
    return (
        f"Of the {pluralize(len(rows), 'edge')} that any of them uses, {same} "
        f"{'has' if same == 1 else 'have'} the same operation in all, and {other} further "
        f"{'is' if other == 1 else 'are'} used by all with different ones."
    )
