"""What a run has cost so far, kept in it as ``costs.json``.

The total is the clock's: the sum over all sessions, each from the start of its process or call.
Phases are a part of it; the rest (imports, compiling, work that a stop undid) has the key
``other``, so that all of them add up to the total. What came from a cache was not spent: what
computing it had cost is kept beside it, and not counted. Earlier versions kept phases alone, and
counted what came from a cache.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from wsdarts_registry.errors import RunError
from wsdarts_registry.files import exists
from wsdarts_registry.records import Record, explain
from wsdarts_sdk.runs.directory import RunDirectory, read_json
from wsdarts_sdk.runs.report_facts import OTHER, PhaseCost, Seconds, Words

_FILE = "costs.json"
_FORMAT = 2


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
