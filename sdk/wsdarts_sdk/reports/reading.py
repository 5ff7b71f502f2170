"""Reading runs back from disk: what was asked for, what was found, how far they came.

A run that has not finished, as far as its journals tell.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from wsdarts_registry._files import entries, exists, matching, modified
from wsdarts_registry._json import Record
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import RunError, WsdartsError
from wsdarts_registry.publishing.training import trainings_elsewhere
from wsdarts_sdk.reports.epochs import (
    alpha_history,
    epoch_seconds,
    search_epochs,
    training_epochs,
)
from wsdarts_sdk.reports.facts import AlphaHistory, DecisionFacts, RunReport, TrainingFacts
from wsdarts_sdk.reports.file import read_report
from wsdarts_sdk.runs.directory import SPLIT_RULE, Seconds, Whole, read_config
from wsdarts_sdk.runs.files import (
    METRICS_SUFFIX,
    REPORT_FILE,
    SEARCH_JOURNAL,
    SELECTION_JOURNAL,
    TRAINING_JOURNAL,
)
from wsdarts_sdk.runs.records import PhaseCost, neighbour_rows, read_costs, read_rows, read_start

_Shares = tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
_NO_EPOCH = "It has no whole epoch yet."
_GOES_ON = "It was stopped or is still at work; the same command with --resume goes on with it."
_STAYS_SO = "It was begun by an earlier version; this one cannot go on with it."


class _Row(Record):
    model_config = ConfigDict(extra="ignore")

    epoch: Whole
    learning_rate: float
    seconds: Seconds


class _SearchRow(_Row):
    stage: Whole
    weights_loss: float | None
    weights_accuracy: float | None
    alpha_loss: float | None
    alpha_accuracy: float | None
    skip_dropout: float
    peak_memory: float | None = None
    needed_memory: float | None = None
    skip_connects: Whole | None = None
    skip_connects_reduction: Whole | None = None
    probabilities: dict[str, _Shares]


class _TrainingRow(_Row):
    loss: float
    accuracy: float


def filled_in(begun: RunReport, path: Path, *, resumable: bool) -> RunReport:
    """The report of a run that has begun, with what it has done so far.

    Args:
        begun: What was written when it began.
        path: The run directory.
        resumable: Whether this version can go on with it.

    Raises:
        RunError: A file of the run is damaged.
    """
    train = begun.asked is not None and begun.asked.command == "train"
    found = (_training if train else _search)(begun, path)
    return replace(found, unfinished=f"{found.unfinished} {_GOES_ON if resumable else _STAYS_SO}")


def _training(begun: RunReport, path: Path) -> RunReport:
    rows = read_rows(path / f"{TRAINING_JOURNAL}{METRICS_SUFFIX}", _TrainingRow)
    epochs = training_epochs(rows)
    seconds = sum(row.seconds for row in epochs)
    where = f"Its last whole epoch is {epochs[-1].epoch}." if epochs else _NO_EPOCH
    facts = TrainingFacts(accuracy=None, parameters=None, seconds=seconds, epochs=epochs)
    return replace(
        begun,
        unfinished=where,
        training=facts if epochs else None,
        costs=_costs(path, "training", seconds),
    )


def _search(begun: RunReport, path: Path) -> RunReport:
    journals = _search_journals(path)
    rows = read_rows(journals[-1], _SearchRow) if journals else []
    epochs = search_epochs(rows)
    where = (
        f"Its last whole epoch is epoch {epochs[-1].epoch} of stage {epochs[-1].stage}."
        if epochs
        else _NO_EPOCH
    )
    if len(journals) > 1 or (journals and journals[-1].name != f"{SEARCH_JOURNAL}{METRICS_SUFFIX}"):
        rate = journals[-1].name.removeprefix(f"{SEARCH_JOURNAL}-").removesuffix(METRICS_SUFFIX)
        where = (
            f"Its sweep has begun {len(journals)} of its searches; shown is the one with a "
            f"skip-connect dropout of {sanitize(rate, 20)}. {where}"
        )
    decision = _decision(path)
    return replace(
        begun,
        unfinished=where,
        decision=decision,
        epochs=epochs,
        alpha=_alpha(rows, begun, path),
        costs=_costs(path, "search", _searched_seconds(path, journals)),
    )


def _searched_seconds(path: Path, journals: Sequence[Path]) -> float:
    """What the search took so far; in a sweep all searches, and the trainings that rank them."""
    try:
        selections = matching(path, f"{SELECTION_JOURNAL}-*{METRICS_SUFFIX}")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    rows = [read_rows(file, _SearchRow) for file in journals]
    rows += [read_rows(file, _TrainingRow) for file in selections]
    return sum(sum(epoch_seconds(each)) for each in rows)


def _alpha(rows: Sequence[dict[str, Any]], begun: RunReport, path: Path) -> AlphaHistory | None:
    """α over time, in the space that the run was begun in."""
    if begun.alpha is None:
        return None
    try:
        return alpha_history(rows, begun.alpha.space)
    except (KeyError, ValueError) as error:
        raise RunError(
            f"the metrics in {path} hold α of another shape than the run's search space",
            hint="they are damaged: delete them to go on without",
        ) from error


def _search_journals(path: Path) -> list[Path]:
    """The journal of a search, or those of a sweep's searches, the one written last at the end."""
    try:
        single = path / f"{SEARCH_JOURNAL}{METRICS_SUFFIX}"
        found = (
            (single,) if exists(single) else matching(path, f"{SEARCH_JOURNAL}-*{METRICS_SUFFIX}")
        )
        return sorted(found, key=lambda file: (modified(file), file.name))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def _decision(path: Path) -> DecisionFacts | None:
    found = read_start(path)
    if found is None:
        return None
    ranking = found.neighbours
    return DecisionFacts(
        mode=found.mode,
        sources=found.sources,
        why=found.why,
        neighbours=neighbour_rows(ranking, found.sources),
        threshold=ranking.threshold if ranking else None,
        near=ranking.near if ranking else None,
    )


def _costs(path: Path, phase: str, seconds: float) -> tuple[PhaseCost, ...]:
    """The phases that have ended, what this one took so far, and the rest by the clock."""
    known = read_costs(path)
    if seconds > 0:
        known.phases.setdefault(phase, seconds)
    return known.rows


def read_run(path: str | Path) -> RunReport:
    """What the report of a run says; of an unfinished one as far as it came.

    Raises:
        RunError: There is no run, it is from before reports were kept, or a file is damaged.
    """
    path = Path(path)
    current = SPLIT_RULE in read_config(path)
    if not exists(path / REPORT_FILE):
        why = (
            f"it was stopped when it had hardly begun; the command that made it, with --out {path} "
            "--resume, writes it and computes nothing twice"
            if current
            else "it was made by an earlier version; repeat it with another --out"
        )
        raise RunError(f"{path} has no {REPORT_FILE}: {why}")
    report = read_report(path / REPORT_FILE)
    return filled_in(report, path, resumable=current) if report.unfinished else report


def trainings_within(path: str | Path, report: RunReport) -> tuple[tuple[str, RunReport], ...]:
    """The finished trainings that a search's run knows of: of what it found, on its task.

    Returns:
        Name of the directory and report of each, by name: those in directories of the run, and
        then those elsewhere of which it keeps a record.
    """
    if report.genotype is None:
        return ()
    found, tasks = [], _digests(report)
    places = (*entries(Path(path)), *trainings_elsewhere(Path(path))[0])
    for file in filter(exists, (place / REPORT_FILE for place in places)):
        within = read_report(file)
        finished = within.training is not None and not within.unfinished
        if finished and within.genotype == report.genotype and _digests(within) == tasks:
            found.append((file.parent.name, within))
    return tuple(found)


def _digests(report: RunReport) -> list[str]:
    return [task.digest for task in report.tasks]


def seconds_spent(path: str | Path) -> float:
    """What a run has cost so far; 0 where there is none, or none that can be read."""
    try:
        return sum(cost.seconds for cost in read_run(path).costs)
    except WsdartsError:
        return 0.0
