"""``report.json``: what the report of a run says, so that newer code can write its page anew."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from wsdarts_registry import _json
from wsdarts_registry._files import open_regular
from wsdarts_registry._json import Document, Record
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact.manifest import SpaceRecord
from wsdarts_registry.errors import RunError, SpaceError
from wsdarts_sdk.reports.facts import (
    AlphaHistory,
    Asked,
    ColdCost,
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
from wsdarts_sdk.runs.directory import LONGEST_TEXT, Rows, Whole, Words
from wsdarts_sdk.runs.files import REPORT_FILE, REPORT_PAGE
from wsdarts_sdk.runs.records import PhaseCost

if TYPE_CHECKING:
    from wsdarts_sdk.runs.directory import RunDirectory

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
    warnings: Annotated[tuple[Words, ...], Rows]
    training: TrainingFacts | None
    tables: Annotated[tuple[Table, ...], Rows]
    settings: Pairs
    environment: Pairs

    @classmethod
    def of(cls, report: RunReport, *, what: str) -> Self:
        """What a report says, its texts made harmless and cut to what a page shows."""
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
        """The report as values.

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


def save_report(run: "RunDirectory", report: RunReport) -> Path:
    """Write ``report.json`` and the page made of it; return the page's path."""
    kept = keep_report(run, report)
    return run.write_text(REPORT_PAGE, render_report(kept))


def keep_report(run: "RunDirectory", report: RunReport) -> RunReport:
    """Write ``report.json`` alone; return what it says, as it will be read."""
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
            content = file.read(ReportFile.MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return ReportFile.from_bytes(content, what=str(path), error=RunError).report(what=str(path))


def _plain(value: Any) -> Any:
    """Values of a report as JSON data."""
    if isinstance(value, str):
        return sanitize(value, LONGEST_TEXT)
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
    """Shares with few decimals; one above 0 stays above it, since 0 means dropped."""
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
                f"an α history has rows of other lengths than {space.shape} or none"
            ) from error

    return AlphaHistory(space=space, normal=cell(record.normal), reduction=cell(record.reduction))
