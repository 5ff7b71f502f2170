"""One of several runs that are compared: its letter, its name, and what it says.

The figures that runs are compared by: of each run one value, or none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase

from wsdarts_registry._files import as_path
from wsdarts_registry._format import count, duration, percent
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports.charts import total_seconds
from wsdarts_sdk.reports.facts import RunReport
from wsdarts_sdk.reports.reading import read_run, trainings_within

MOST_RUNS = 12


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run among others.

    Attributes:
        letter: ``A``, ``B``, … in the order in which they were named.
        name: Of its directory, with that of the one above where two are called the same.
        report: What its own report says.
        trainings: Finished trainings of what a search found, that lie in its directory.
    """

    letter: str
    name: str
    report: RunReport
    trainings: tuple[tuple[str, RunReport], ...] = field(default=(), repr=False)

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
        """What it did, in a word or two."""
        if self.report.asked is not None and self.report.asked.command == "train":
            return "training"
        return (
            f"{self.started} {'start' if self.started == 'warm' else 'search'}"
            if (self.started)
            else "search"
        )

    @property
    def state(self) -> str:
        """Whether it has finished."""
        return "not finished" if self.report.unfinished else "finished"

    @property
    def mode(self) -> str:
        """What it took over; empty where there was nothing to choose."""
        return self.report.decision.mode if self.report.decision else ""

    @property
    def source(self) -> str:
        """What it started from; empty for nothing."""
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
    def trained_as(self) -> tuple[str, ...] | None:
        """All that decides the figures of that training but for cells and seed, if known."""
        asked = self.trained.asked if self.trained else None
        return (asked.preset, asked.settings, asked.hardware) if asked else None

    @property
    def apart_from_seed(self) -> tuple[object, ...] | None:
        """All that decides a result but for the seed; None where that is not known, or no end."""
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
            f"{len(paths)} runs were named",
            expected=f"1 to {MOST_RUNS}, as many as a page can tell apart: compare a part of them",
        )
    names = _names([as_path(path, "the run").absolute() for path in paths])
    found = []
    for letter, name, path in zip(ascii_uppercase, names, paths, strict=False):
        report = read_run(path)
        within = () if report.training else trainings_within(path, report)
        found.append(ComparedRun(letter=letter, name=name, report=report, trainings=within))
    return tuple(found)


def _names(paths: Sequence[Path]) -> list[str]:
    short = [path.name for path in paths]
    return [
        sanitize(f"{path.parent.name}/{name}" if short.count(name) > 1 else name, 80)
        for path, name in zip(paths, short, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How a figure is called and written.

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
    "train_accuracy": _accuracy("accuracy, train part"),
    "train_loss": _loss("loss, train part"),
    "weights_loss": _loss("loss, weights half"),
    "weights_accuracy": _accuracy("accuracy, weights half"),
    "alpha_loss": _loss("loss, α half"),
    "alpha_accuracy": _accuracy("accuracy, α half"),
    "skip_connects": _skips("skip-connects, normal cell"),
    "skip_connects_reduction": _skips("skip-connects, reduction cell"),
    "parameters": _size("parameters, as trained"),
    "final_parameters": _size("parameters, final network"),
    "seconds": Figure(title="wall time", write=duration, mean=duration, deviation=duration),
}
OF_TRAINING = frozenset({"accuracy", "parameters"})
"""Figures that a search has of its training."""


def figures(run: ComparedRun) -> dict[str, float]:
    """Values of one run by their keys in ``FIGURES``; losses are those of the last epoch.

    Accuracy and size of a search are those of the training that lies in its directory, if there
    is exactly one.
    """
    report = run.report
    found: dict[str, float | None] = {}
    if run.trained is not None and run.trained.training is not None:
        training = run.trained.training
        found |= {"accuracy": training.accuracy, "parameters": training.parameters}
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


def figure_table(runs: Sequence[ComparedRun]) -> list[tuple[str, ...]]:
    """A row for each figure that any of the runs has: its title, and its value in each run."""
    known = [figures(run) for run in runs]
    return [
        (figure.title, *(figure.write(each[name]) if name in each else "–" for each in known))
        for name, figure in FIGURES.items()
        if any(name in each for each in known)
    ]
