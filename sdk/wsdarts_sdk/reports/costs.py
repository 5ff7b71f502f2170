"""Costs of runs by phase, as bars and rows, and what a run cost beside a cold search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsdarts_registry._format import duration, percent
from wsdarts_sdk.reports.facts import RunReport
from wsdarts_sdk.runs.records import OTHER, PhaseCost

_PHASE_TONES = 8


@dataclass(frozen=True, kw_only=True)
class CostBar:
    """A bar of the cost chart: its segments as (phase, share of the longest bar, tone)."""

    name: str
    total: str
    segments: list[tuple[str, float, int]]


def phase_title(phase: str) -> str:
    """Return the name of a phase as it is shown."""
    return "other (imports, compiling, …)" if phase == OTHER else phase


def phase_amount(seconds: float, cached: float | None = None) -> str:
    """Write the time spent on a phase, and the time that a cache has saved."""
    if cached is None:
        return duration(seconds)
    return f"{duration(seconds)}, from a cache (computing it took {duration(cached)})"


def device_time(devices: int, seconds: Mapping[str, float]) -> str:
    """Write the time of several devices together: each is held for as long as the run lasts."""
    total = sum(seconds.values())
    return f"{devices} devices for {duration(total)}, {duration(devices * total)} in all"


def total_seconds(costs: tuple[PhaseCost, ...]) -> float:
    """Return the sum of all phases: the clock's total."""
    return sum(cost.seconds for cost in costs)


Named = tuple[str, tuple[PhaseCost, ...]]


def named_costs(report: RunReport) -> list[Named]:
    """Return the costs of the run and of the cold search that it is compared with, by name."""
    runs = [("This run", report.costs)]
    if report.cold:
        runs.append(("A cold search", report.cold.phases))
    return runs


def cost_bars(runs: Sequence[Named]) -> list[CostBar]:
    """Return one bar for each run, on one scale; none where nothing took any time."""
    longest = max((total_seconds(costs) for _, costs in runs), default=0.0)
    phases = _phases(runs)
    return [
        CostBar(
            name=name,
            total=duration(total_seconds(costs)),
            segments=[
                (
                    f"{phase_title(cost.phase)}: {phase_amount(cost.seconds, cost.cached)}",
                    round(100 * cost.seconds / longest, 2),
                    phases.index(cost.phase) % _PHASE_TONES,
                )
                for cost in costs
            ],
        )
        for name, costs in runs
        if longest > 0
    ]


def cost_rows(runs: Sequence[Named]) -> list[tuple[str, int, list[str]]]:
    """Return rows of phase, tone, and the cost of the phase in each run."""

    def written(costs: tuple[PhaseCost, ...], phase: str) -> str:
        found = [cost for cost in costs if cost.phase == phase]
        cached = [cost.cached for cost in found if cost.cached is not None]
        if not found:
            return "–"
        return phase_amount(total_seconds(tuple(found)), sum(cached) if cached else None)

    return [
        (phase_title(phase), place % _PHASE_TONES, [written(costs, phase) for _, costs in runs])
        for place, phase in enumerate(_phases(runs))
    ]


def _phases(runs: Sequence[Named]) -> list[str]:
    """Return the names of all phases, the first run's first."""
    found = list(dict.fromkeys(cost.phase for _, costs in runs for cost in costs))
    return sorted(found, key=lambda phase: phase == OTHER)  # the rest comes last


def saving(report: RunReport) -> str | None:
    """Compare the cost of the run with the cold search's, as a sentence."""
    if report.cold is None or not report.costs:
        return None
    here, there = total_seconds(report.costs), total_seconds(report.cold.phases)
    if there <= 0:
        return None
    difference = percent(abs(1 - here / there))
    word = "less" if here < there else "more"
    return (
        f"This run took {duration(here)}{search_alone(report.costs)}: {difference} {word} than a "
        f"cold search{search_alone(report.cold.phases)}."
    )


def search_alone(costs: tuple[PhaseCost, ...]) -> str:
    """Return the time of the search alone, in parentheses; empty without a search."""
    seconds = sum(cost.seconds for cost in costs if cost.phase == "search")
    return f" (its search alone {duration(seconds)})" if seconds else ""
