"""The figures that runs are compared by: of each run one value, or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsdarts_registry.amounts import count, duration, share
from wsdarts_sdk.runs.compared_run import ComparedRun
from wsdarts_sdk.runs.cost_picture import total_seconds


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
    return Figure(title=title, write=share, mean=share, deviation=_points)


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
