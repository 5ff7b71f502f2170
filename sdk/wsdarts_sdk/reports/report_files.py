"""Reports on disk: ``report.json`` and its page, written, and read back.

A run writes its request first and all facts at its end. The facts of a run that has not finished
are completed from its journals. Newer code can write the page of an older run again.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, JsonValue

from wsdarts_registry import _json
from wsdarts_registry._files import (
    entries,
    exists,
    matching,
    modified,
    open_regular,
    read_at_most,
    write_atomically,
)
from wsdarts_registry._format import pluralize
from wsdarts_registry._json import Document, Record
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.manifest import SpaceRecord
from wsdarts_registry.errors import RunError, SpaceError, WsdartsError
from wsdarts_registry.publishing.training_record import trainings_elsewhere
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.reports.facts import (
    AlphaHistory,
    Asked,
    ColdCost,
    Command,
    DecisionFacts,
    EpochRow,
    Pairs,
    RunReport,
    StageRow,
    Table,
    TaskRow,
    TrainingFacts,
)
from wsdarts_sdk.reports.page import render_report
from wsdarts_sdk.reports.rows import (
    TITLES,
    alpha_history,
    asked,
    created,
    epoch_seconds,
    pairs,
    roll_back_warnings,
    search_epochs,
    task_row,
    title,
    training_epochs,
)
from wsdarts_sdk.runs.directory import (
    BASELINE_JOURNAL,
    LONGEST_TEXT,
    METRICS_SUFFIX,
    REPORT_FILE,
    REPORT_PAGE,
    SEARCH_JOURNAL,
    SELECTION_JOURNAL,
    SPLIT_RULE,
    TRAINING_JOURNAL,
    Rows,
    RunDirectory,
    Seconds,
    Whole,
    Words,
    read_config,
)
from wsdarts_sdk.runs.records import PhaseCost, neighbour_rows, read_costs, read_rows, read_start
from wsdarts_sdk.runs.result_records import Baseline, Evaluation, GenotypeChoice, read_choice

_FORMAT = 1
_DECIMALS = 4  # a page shows three of them
_Share = Annotated[float, Field(ge=0, le=1)]
_History = Annotated[tuple[tuple[tuple[_Share, ...], ...], ...], Rows]
# What has a form of its own on disk; the other fields are written as they are.
_OWN = ("alpha", "genotype", "masks")


class AlphaRecord(Record):
    """Softmax of α after each epoch: by epoch, edge and candidate."""

    space: SpaceRecord
    normal: _History
    reduction: _History


class ReportFile(Document):
    """The fields of :class:`RunReport`, as JSON."""

    MAX_BYTES: ClassVar[int] = 16 * 2**20

    format: Literal[1]
    title: Words
    summary: Words
    created: Words
    asked: Asked | None
    unfinished: Words
    decision: DecisionFacts | None
    tasks: Annotated[tuple[TaskRow, ...], Rows]
    stages: Annotated[tuple[StageRow, ...], Rows]
    epochs: Annotated[tuple[EpochRow, ...], Rows]
    alpha: AlphaRecord | None
    genotype: dict[str, JsonValue] | None
    masks: dict[str, JsonValue] | None
    skip_limit: Whole | None
    final_parameters: Whole | None
    costs: Annotated[tuple[PhaseCost, ...], Rows]
    cold: ColdCost | None
    choice: GenotypeChoice | None = None
    warnings: Annotated[tuple[Words, ...], Rows]
    training: TrainingFacts | None
    evaluation: Evaluation | None = None  # runs of earlier versions have none, nor a baseline
    baseline: Baseline | None = None
    tables: Annotated[tuple[Table, ...], Rows]
    settings: Pairs
    environment: Pairs

    @classmethod
    def of(cls, report: RunReport, *, what: str) -> Self:
        """Return the file of a report, its texts sanitized and cut to what a page shows."""
        names = [field.name for field in dataclasses.fields(report) if field.name not in _OWN]
        data = {name: _plain(getattr(report, name)) for name in names}
        data |= {
            "format": _FORMAT,
            "alpha": _alpha_data(report.alpha),
            "genotype": report.genotype.to_json() if report.genotype else None,
            "masks": report.masks.to_json() if report.masks else None,
        }
        return cls.from_bytes(_json.dump(data), what=what, error=RunError)

    def report(self, *, what: str) -> RunReport:
        """Return the report as values.

        Raises:
            RunError: α, genotype or masks do not hold together.
        """
        names = [field.name for field in dataclasses.fields(RunReport) if field.name not in _OWN]
        try:
            return RunReport(
                **{name: getattr(self, name) for name in names},
                alpha=_alpha_history(self.alpha),
                genotype=Genotype.from_json(self.genotype) if self.genotype else None,
                masks=OperationMasks.from_json(self.masks) if self.masks else None,
            )
        except (SpaceError, RunError) as error:
            raise RunError(
                f"{what} does not hold together ({error})",
                hint="the same command with --resume writes it anew",
            ) from error


def save_report(run: RunDirectory, report: RunReport) -> Path:
    """Write ``report.json`` and the page made of it; return the page's path."""
    kept = keep_report(run, report)
    trainings = [within for _, within in trainings_within(run.path, kept)]
    return run.write_text(REPORT_PAGE, render_report(kept, trainings))


def add_training(path: Path) -> None:
    """Write the page of a search again, with the trainings that it has by now.

    A run without a report, or one that cannot be read or written, stays as it is.
    """
    with suppress(OSError, WsdartsError):
        report = read_run(path)
        trainings = [within for _, within in trainings_within(path, report)]
        write_atomically(path / REPORT_PAGE, render_report(report, trainings).encode())


def keep_report(run: RunDirectory, report: RunReport) -> RunReport:
    """Write ``report.json`` alone; return the report as it will be read."""
    what = str(run.path / REPORT_FILE)
    file = ReportFile.of(report, what=what)
    run.write_text(REPORT_FILE, file.to_bytes().decode())
    return file.report(what=what)


def read_report(path: Path) -> RunReport:
    """Read a ``report.json``.

    Raises:
        RunError: It cannot be read, is of an unknown format version, or is not valid.
    """
    try:
        with open_regular(path) as file:
            content = read_at_most(file, ReportFile.MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return ReportFile.from_bytes(content, what=str(path), error=RunError).report(what=str(path))


def _plain(value: Any) -> Any:
    """Return values of a report as JSON data."""
    if isinstance(value, str):
        return sanitize(value, LONGEST_TEXT)
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _alpha_data(history: AlphaHistory | None) -> dict[str, Any] | None:
    if history is None:
        return None
    return {
        "space": history.space.to_json(),
        "normal": _rounded(history.normal),
        "reduction": _rounded(history.reduction),
    }


def _rounded(shares: NDArray[np.float64]) -> Any:
    """Round shares; one above 0 stays above it, since 0 means dropped."""
    known = np.nan_to_num(shares)
    smallest = 10.0**-_DECIMALS
    return np.where(known > 0, np.maximum(known.round(_DECIMALS), smallest), 0.0).tolist()


def _alpha_history(record: AlphaRecord | None) -> AlphaHistory | None:
    if record is None:
        return None
    space = record.space.search_space

    def cell(shares: _History) -> NDArray[np.float64]:
        try:
            # Without epochs there would be no axes to tell by; AlphaHistory checks the others.
            return np.array(shares or np.zeros((0, *space.shape)), dtype=np.float64)
        except ValueError as error:
            raise RunError(
                "an α history has rows of different lengths", expected=f"shape {space.shape}"
            ) from error

    return AlphaHistory(space=space, normal=cell(record.normal), reduction=cell(record.reduction))


def begin_report(
    run: RunDirectory,
    command: Command,
    tasks: Sequence[ImageTask],
    preset: Preset,
    config: dict[str, Any],
    environment: dict[str, Any],
) -> None:
    """Write ``report.json`` of a run that has none yet, so that it can be read before its end.

    Args:
        run: The run directory.
        command: Name of the job on the command line.
        tasks: The datasets.
        preset: The preset of the settings.
        config: The configuration of the run, with its settings and perhaps a genotype.
        environment: Facts of the machine that it runs on.
    """
    if exists(run.path / REPORT_FILE):
        return
    settings = config["training"] if command == "train" else config["search"]
    keep_report(
        run,
        RunReport(
            title=title(TITLES[command], tasks),
            summary="This run has not finished.",
            created=created(),
            asked=asked(command, preset, settings, environment),
            unfinished="It has only begun.",
            tasks=tuple(map(task_row, tasks)),
            alpha=None
            if command == "train"
            else alpha_history((), SearchSpace.from_json(settings["space"])),
            genotype=Genotype.from_json(config["genotype"]) if command == "train" else None,
            settings=(("preset", preset.name), *pairs(settings)),
            environment=pairs(environment),
        ),
    )


_Shares = tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
_NO_EPOCH = "It has no whole epoch yet."
_GOES_ON = "It was stopped or is still at work; the same command with --resume goes on with it."
_STAYS_SO = "It was begun by an earlier version; this one cannot go on with it."


class _Row(Record):
    model_config = ConfigDict(extra="ignore")

    epoch: Whole
    learning_rate: float
    seconds: Seconds
    roll_backs: Whole = 0


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
    stopping_accuracy: float | None = None
    stopping_loss: float | None = None


def complete_from_journals(begun: RunReport, path: Path, *, resumable: bool) -> RunReport:
    """Complete the report of a run that has begun with what it has done so far.

    Args:
        begun: The report that was written when it began.
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
    beside = training_epochs(read_rows(path / f"{BASELINE_JOURNAL}{METRICS_SUFFIX}", _TrainingRow))
    if beside and not epochs:
        where = f"{where} The last whole epoch of its baseline is {beside[-1].epoch}."
    facts = TrainingFacts(accuracy=None, parameters=None, seconds=seconds, epochs=epochs)
    return replace(
        begun,
        unfinished=where,
        warnings=roll_back_warnings(rows, "training"),
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
    made = read_choice(path)
    if made is not None:
        trained = sum(len(each.accuracies) for each in made.choice.candidates)
        where = f"{where} Its choice of a genotype has done {pluralize(trained, 'training')}."
    decision = _decision(path)
    return replace(
        begun,
        unfinished=where,
        decision=decision,
        epochs=epochs,
        warnings=roll_back_warnings(rows, "search"),
        alpha=_alpha(rows, begun, path),
        costs=_costs(path, "search", _searched_seconds(path, journals)),
    )


def _searched_seconds(path: Path, journals: Sequence[Path]) -> float:
    """Return the seconds of the search so far; in a sweep of all searches and trainings."""
    try:
        selections = matching(path, f"{SELECTION_JOURNAL}-*{METRICS_SUFFIX}")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    rows = [read_rows(file, _SearchRow) for file in journals]
    rows += [read_rows(file, _TrainingRow) for file in selections]
    return sum(sum(epoch_seconds(each)) for each in rows)


def _alpha(rows: Sequence[dict[str, Any]], begun: RunReport, path: Path) -> AlphaHistory | None:
    """Return α over time, in the space that the run was begun in."""
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
    """Return the journals of a search, or of all of a sweep, in the order of their last writing."""
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
    """Return the costs of ended phases, of this one so far, and the rest by the clock."""
    known = read_costs(path)
    if seconds > 0:
        known.phases.setdefault(phase, seconds)
    return known.rows


def read_run(path: str | Path) -> RunReport:
    """Read the report of a run; that of an unfinished one with all that it has done.

    Raises:
        RunError: There is no run, it is from before reports were kept, or a file is damaged.
    """
    path = Path(path)
    current = SPLIT_RULE in read_config(path)
    if not exists(path / REPORT_FILE):
        if current:
            why = "it was stopped when it had hardly begun"
            hint = f"the command that made it, with --out {path} --resume, computes nothing twice"
        else:
            why, hint = "it was made by an earlier version", "repeat it with another --out"
        raise RunError(f"{path} has no {REPORT_FILE}: {why}", hint=hint)
    report = read_report(path / REPORT_FILE)
    return complete_from_journals(report, path, resumable=current) if report.unfinished else report


def trainings_within(path: str | Path, report: RunReport) -> tuple[tuple[str, RunReport], ...]:
    """Return the finished trainings of the genotype that a search found, on its task.

    Returns:
        Name of the directory and report of each, by name: those in directories of the run, and
        then those elsewhere of which it keeps a record.
    """
    if report.genotype is None or report.training is not None:
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
    """Return the cost of a run so far; 0 where there is none, or none that can be read."""
    try:
        return sum(cost.seconds for cost in read_run(path).costs)
    except WsdartsError:
        return 0.0
