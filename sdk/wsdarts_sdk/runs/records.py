"""Records of a run directory: metrics by epoch, costs, and the starting point of a warm start.

The total cost is the clock's: the sum over all sessions, each from the start of its process or
call. Phases are a part of it; the rest (imports, compiling, repeated work after a stop) has the
key ``other``, so that all of them add up to the total. A result that came from a cache costs
nothing: what computing it had cost is recorded apart.

Decision and ranking of a warm start are written at once, so that a continued run starts from the
same artifacts and its report shows the neighbours of which the reason speaks.

Runs of the first version have phases alone, and decisions without digests and ranking.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ValidationError, model_validator

from wsdarts_registry import _json
from wsdarts_registry._files import exists, open_regular, read_at_most
from wsdarts_registry._json import Digest, Record, explain
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import RunError
from wsdarts_sdk.progress import Clock, Progress
from wsdarts_sdk.runs.directory import (
    COSTS_FILE,
    DECISION_FILE,
    MOST_ROWS,
    Rows,
    RunDirectory,
    Seconds,
    Whole,
    Words,
    read_json,
)

OTHER = "other"
"""The phase of what is in no other: imports, compiling, repeated work after a stop."""
_COSTS_FORMAT = 2
_SAVE_SECONDS = 20.0
_MAX_METRICS_BYTES = 64 * 2**20
_Kind = TypeVar("_Kind", bound=Record)
_log = logging.getLogger("wsdarts_hub.runs")


def read_rows(path: Path, kind: type[Record] | None = None) -> list[dict[str, Any]]:
    """Return the whole rows of a metrics file; a last line that a kill has cut off does not count.

    Args:
        path: The file; without it there are no rows.
        kind: The fields that each row has to have; any by default.

    Raises:
        RunError: The file cannot be read, is too long, or holds a row that is not valid.
    """
    if not exists(path):
        return []
    try:
        with open_regular(path) as file:
            content = read_at_most(file, _MAX_METRICS_BYTES + 1)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    lines = content.split(b"\n")[:-1]
    if len(content) > _MAX_METRICS_BYTES or len(lines) > MOST_ROWS:
        raise RunError(str(path), found="too long", expected=f"at most {MOST_ROWS} rows")
    return [_row(line, f"row {number} of {path}", kind) for number, line in enumerate(lines, 1)]


def _row(line: bytes, what: str, kind: type[Record] | None) -> Any:
    remedy = "delete the file to go on without the metrics so far"
    row = _json.load(line, what=what, error=RunError, remedy=remedy)
    if kind is None:
        return row
    try:
        return kind.model_validate_json(line).model_dump()
    except ValidationError as problem:
        raise _not_valid(what, problem) from problem


def _read(file: Path, kind: type[_Kind], data: Any) -> _Kind:
    """Return JSON data of a file as a record; lists in it become tuples."""
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as problem:
        raise _not_valid(str(file), problem) from problem


def _not_valid(what: str, problem: ValidationError) -> RunError:
    return RunError(f"{what} is not valid: {explain(problem)}")


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """Wall time of one phase, in seconds.

    Attributes:
        phase: Its name; ``OTHER`` for what is in no phase.
        seconds: What was spent on it in this run.
        cached: What computing its result had cost, where that came from a cache; not spent here.
    """

    phase: Words
    seconds: Seconds
    cached: Seconds | None = None


class _Phases(Record):
    phases: dict[Words, Seconds]


class _Costs(_Phases):
    format: Literal[2]
    cached: dict[Words, Seconds]
    total: Seconds
    finished: bool


@dataclass(kw_only=True)
class Costs:
    """Costs of a run so far.

    Attributes:
        phases: Seconds by phase, in the order in which the phases first ended.
        cached: What computing had cost what came from a cache, in seconds by phase.
        total: Seconds by the clock, over all sessions; None where the first version wrote none.
        finished: Whether the run had reached its end; what came later does not count.
    """

    phases: dict[str, float] = field(default_factory=dict)
    cached: dict[str, float] = field(default_factory=dict)
    total: float | None = 0.0
    finished: bool = False

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, with what is in no phase; they add up to the total."""
        rest = 0.0 if self.total is None else self.total - sum(self.phases.values())
        return {**self.phases, OTHER: rest} if rest > 0 else dict(self.phases)

    @property
    def rows(self) -> tuple[PhaseCost, ...]:
        """The same as rows of a report."""
        return tuple(
            PhaseCost(phase=phase, seconds=seconds, cached=self.cached.get(phase))
            for phase, seconds in self.seconds.items()
        )


def read_costs(path: Path) -> Costs:
    """Read the cost of a run so far; nothing if none was written.

    Args:
        path: The run directory.

    Raises:
        RunError: The file is damaged.
    """
    file = path / COSTS_FILE
    if not exists(file):
        return Costs()
    data = read_json(file)
    if isinstance(data, dict) and "format" in data:
        return Costs(**_read(file, _Costs, data).model_dump(exclude={"format"}))
    return Costs(phases=_read(file, _Phases, {"phases": data}).phases, total=None)


class CostMeter:
    """Measurement of the cost of one session of a run, added to the cost of earlier ones.

    A session that finds the run finished adds nothing.

    Args:
        run: The open run directory.
        began: When the session began, by the clock.
        clock: Tells seconds.
        writes: Whether the costs are written into the run.

    Raises:
        RunError: The costs of earlier sessions are damaged.
    """

    def __init__(
        self,
        run: RunDirectory,
        began: float | None = None,
        clock: Clock = time.monotonic,
        *,
        writes: bool = True,
    ) -> None:
        self._run, self._clock, self._writes = run, clock, writes
        self._began = clock() if began is None else began
        self._costs = read_costs(run.path)
        self._before = self._costs.total or 0.0
        self._due = clock() + _SAVE_SECONDS

    @property
    def costs(self) -> Costs:
        """The costs so far."""
        if not self._costs.finished:
            spent = self._before + self._clock() - self._began
            self._costs.total = max(spent, sum(self._costs.phases.values()))
        return self._costs

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, with what is in no phase; they add up to the clock's total."""
        return self.costs.seconds

    @property
    def cached(self) -> dict[str, float]:
        """Cost of computing what came from a cache, by phase; no part of ``seconds``."""
        return dict(self._costs.cached)

    @property
    def search_seconds(self) -> float:
        """Seconds of the search and of the choice of a genotype."""
        return self._costs.phases["search"] + self._costs.phases.get("choice", 0.0)

    @contextmanager
    def phase(
        self, name: str, *, known: Callable[[], float | None] | None = None
    ) -> Iterator[None]:
        """Add what a block takes to a phase, also where the block is stopped.

        Args:
            name: What the phase is called.
            known: Returns what computing the result had cost, if a cache has it; called first.
        """
        _log.info("phase: %s", name)
        if self._costs.finished:
            yield
            return
        cost = known() if known and name not in self._costs.phases else None
        if cost is not None:
            self._costs.cached[name] = cost
            _log.info("%s comes from the cache", name)
        started = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - started
            self._costs.phases[name] = self._costs.phases.get(name, 0.0) + spent
        self.save()

    def record(self, name: str, seconds: float) -> None:
        """Set the seconds of a phase that measures itself, over all sessions."""
        if not self._costs.finished:
            self._costs.phases[name] = seconds
            self.save()

    def finish(self) -> None:
        """Mark the run as finished: what comes after that is no part of it."""
        if not self._costs.finished:
            self.costs.finished = True
            self.save()

    def save(self) -> None:
        """Write the costs so far into the run."""
        if self._writes:
            data = {"format": _COSTS_FORMAT, **asdict(self.costs)}
            self._run.write_json(COSTS_FILE, data)
        self._due = self._clock() + _SAVE_SECONDS

    def saving(self, progress: Progress) -> Progress:
        """Return a progress that saves the costs at intervals, for a session that is killed."""

        def told(what: str, done: int, total: int, /) -> None:
            if self._clock() >= self._due:
                self.save()
            progress(what, done, total)

        return told

    @contextmanager
    def session(self) -> Iterator[None]:
        """Save the costs when the block ends, however it ends."""
        try:
            yield
        except BaseException:
            with suppress(OSError):  # such as a full disk, of which the block's error tells
                self.save()
            raise
        if not self._costs.finished:
            self.save()


@dataclass(frozen=True, kw_only=True)
class NeighbourRow:
    """An artifact of the registry with the distance of its task."""

    reference: Words
    distance: float
    task: Words
    chosen: bool = False


class _Neighbour(Record):
    reference: Words
    distance: float
    kind: Words
    task_name: Words
    images: Whole
    classes: Whole


class _Ranking(Record):
    neighbours: Annotated[tuple[_Neighbour, ...], Rows]
    threshold: float | None
    near: bool | None
    why: Words


class StartRecord(Record):
    """The content of ``decision.json``.

    Attributes:
        mode: ``topology``, ``trained``, ``meta``, ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, in words.
        digests: Digest of each source; none where the first version wrote it.
        ranking: The nearest artifacts when it was decided; None where nothing was ranked.
    """

    mode: Words
    sources: Annotated[tuple[Words, ...], Rows]
    why: Words
    digests: Annotated[tuple[Digest, ...], Rows] = ()
    ranking: _Ranking | None = None

    @model_validator(mode="after")
    def _check(self) -> "StartRecord":
        if self.digests and len(self.digests) != len(self.sources):
            raise ValueError(
                f"there are {len(self.digests)} digests for {len(self.sources)} sources"
            )
        return self

    @property
    def neighbours(self) -> Ranking | None:
        """The ranking as the registry gave it."""
        if self.ranking is None:
            return None
        return Ranking(
            neighbours=tuple(Neighbour(**each.model_dump()) for each in self.ranking.neighbours),
            threshold=self.ranking.threshold,
            near=self.ranking.near,
            why=self.ranking.why,
        )


def read_start(path: Path) -> StartRecord | None:
    """Read the starting point of a run; None before it is decided.

    Args:
        path: The run directory.

    Raises:
        RunError: The file is damaged.
    """
    file = path / DECISION_FILE
    return _read(file, StartRecord, read_json(file)) if exists(file) else None


def write_start(
    run: RunDirectory,
    *,
    mode: str,
    sources: tuple[str, ...],
    why: str,
    digests: tuple[str, ...],
    ranking: Ranking | None,
) -> None:
    """Write a decision with the ranking that it was made by."""
    ranked = None if ranking is None else asdict(replace(ranking, damaged=()))
    if ranked is not None:
        del ranked["damaged"], ranked["total"]  # the registry's state, and no part of the decision
    decision = {"mode": mode, "sources": sources, "why": why, "digests": digests}
    run.write_json(DECISION_FILE, {**decision, "ranking": ranked})


def neighbour_rows(ranking: Ranking | None, sources: tuple[str, ...]) -> tuple[NeighbourRow, ...]:
    """Return the rows that a report shows of a ranking."""
    return tuple(
        NeighbourRow(
            reference=neighbour.reference,
            distance=neighbour.distance,
            task=neighbour.task_name,
            chosen=neighbour.reference in sources,
        )
        for neighbour in (ranking.neighbours if ranking else ())
    )
