"""What a run costs: wall time by phase and in all, kept across interruptions.

What a run has cost so far, kept in it as ``costs.json``.

The total is the clock's: the sum over all sessions, each from the start of its process or call.
Phases are a part of it; the rest (imports, compiling, work that a stop undid) has the key
``other``, so that all of them add up to the total. What came from a cache was not spent: what
computing it had cost is kept beside it, and not counted. Earlier versions kept phases alone, and
counted what came from a cache.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from wsdarts_registry._files import exists
from wsdarts_registry._json import Record, explain
from wsdarts_registry.errors import RunError
from wsdarts_sdk.progress import Clock, Progress
from wsdarts_sdk.runs.directory import RunDirectory, Seconds, Words, read_json

OTHER = "other"
"""The phase of what is in no other: imports, compiling, work that a stop undid."""
_FILE = "costs.json"
_FORMAT = 2


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


class _Record(Record):
    format: Literal[2]
    phases: dict[Words, Seconds]
    cached: dict[Words, Seconds]
    total: Seconds
    finished: bool


class _Phases(Record):
    phases: dict[Words, Seconds]


@dataclass(kw_only=True)
class KeptCosts:
    """Costs of a run so far.

    Attributes:
        phases: Seconds by phase, in the order in which the phases first ended.
        cached: What computing had cost what came from a cache, in seconds by phase.
        total: Seconds by the clock, over all sessions; None where an earlier version kept none.
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


def read_costs(path: Path) -> KeptCosts:
    """Read what a run has cost so far; nothing where nothing was kept.

    Args:
        path: The run directory.

    Raises:
        RunError: The file is damaged.
    """
    file = path / _FILE
    if not exists(file):
        return KeptCosts()
    data = read_json(file)
    try:
        if isinstance(data, dict) and "format" in data:
            found = _Record.model_validate(data)
            return KeptCosts(**found.model_dump(exclude={"format"}))
        return KeptCosts(phases=_Phases.model_validate({"phases": data}).phases, total=None)
    except ValidationError as problem:
        raise RunError(f"{file} is not valid: {explain(problem)}") from problem


def write_costs(run: RunDirectory, costs: KeptCosts) -> None:
    """Keep what a run has cost so far."""
    data: dict[str, Any] = {"format": _FORMAT, "phases": costs.phases, "cached": costs.cached}
    run.write_json(_FILE, {**data, "total": costs.total or 0.0, "finished": costs.finished})


_KEEP_SECONDS = 20.0


class Costs:
    """The costs of one run, while a session of it is at work.

    A session that finds the run finished adds nothing: it reads results again.

    Args:
        run: The open run directory.
        began: When the session began, by the clock.
        clock: Tells seconds.

    Raises:
        RunError: What was kept of earlier sessions is damaged.
    """

    def __init__(
        self, run: RunDirectory, began: float | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._run, self._clock = run, clock
        self._began = clock() if began is None else began
        self._kept = read_costs(run.path)
        if self._kept.total is None:  # by an earlier version
            self._kept.finished = exists(run.path / "result.json")
            if not self._kept.finished:
                self._kept.total = sum(self._kept.phases.values())
        self._before = self._kept.total or 0.0
        self._due = clock() + _KEEP_SECONDS

    @property
    def kept(self) -> KeptCosts:
        """The costs so far."""
        if not self._kept.finished:
            spent = self._before + self._clock() - self._began
            self._kept.total = max(spent, sum(self._kept.phases.values()))
        return self._kept

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, with what is in no phase; they add up to the clock's total."""
        return self.kept.seconds

    @property
    def cached(self) -> dict[str, float]:
        """What computing had cost what came from a cache, by phase; no part of ``seconds``."""
        return dict(self._kept.cached)

    @property
    def search_seconds(self) -> float:
        """Seconds of the phase ``search``."""
        return self._kept.phases["search"]

    @contextmanager
    def phase(
        self, name: str, *, known: Callable[[], float | None] | None = None
    ) -> Iterator[None]:
        """Add what a block takes to a phase, also where the block is stopped.

        Args:
            name: What the phase is called.
            known: Asked beforehand what computing the result had cost, if a cache keeps it.
        """
        if self._kept.finished:
            yield
            return
        cost = known() if known and name not in self._kept.phases else None
        if cost is not None:
            self._kept.cached[name] = cost
        started = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - started
            self._kept.phases[name] = self._kept.phases.get(name, 0.0) + spent
        self.keep()

    def record(self, name: str, seconds: float) -> None:
        """Set the seconds of a phase that measures itself, over all sessions."""
        if not self._kept.finished:
            self._kept.phases[name] = seconds
            self.keep()

    def finish(self) -> None:
        """Say that the run has reached its end: what comes after that is no part of it."""
        if not self._kept.finished:
            self.kept.finished = True
            self.keep()

    def keep(self) -> None:
        """Write the costs so far into the run."""
        write_costs(self._run, self.kept)
        self._due = self._clock() + _KEEP_SECONDS

    def keeping(self, progress: Progress) -> Progress:
        """Return a progress that now and then keeps the costs, for a session that is killed."""

        def told(what: str, done: int, total: int, /) -> None:
            if self._clock() >= self._due:
                self.keep()
            progress(what, done, total)

        return told

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep the costs when the block ends, however it ends."""
        try:
            yield
        except BaseException:
            with suppress(OSError):  # such as a full disk, of which the block's error tells
                self.keep()
            raise
        if not self._kept.finished:
            self.keep()
