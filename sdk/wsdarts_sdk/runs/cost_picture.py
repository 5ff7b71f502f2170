"""What a run cost, phase by phase, beside a cold search: the bars, the table and the sentence."""

from dataclasses import dataclass

from wsdarts_registry.amounts import duration, share
from wsdarts_sdk.runs.report_facts import PhaseCost, RunReport

_PHASE_TONES = 8


@dataclass(frozen=True, kw_only=True)
class CostBar:
    """A row of the cost picture: its segments as (phase, share of the longest bar, tone)."""

    name: str
    total: str
    segments: list[tuple[str, float, int]]


def total_seconds(costs: tuple[PhaseCost, ...]) -> float:
    """What all phases took together."""
    return sum(cost.seconds for cost in costs)


def _phases(report: RunReport) -> list[str]:
    """Names of all phases, this run's first."""
    cold = report.cold.phases if report.cold else ()
    return list(dict.fromkeys(cost.phase for cost in (*report.costs, *cold)))


def cost_bars(report: RunReport) -> list[CostBar]:
    """Of this run, and of the cold search that it is compared with."""
    runs = [("This run", report.costs)]
    if report.cold:
        runs.append(("A cold search", report.cold.phases))
    longest = max(total_seconds(costs) for _, costs in runs)
    phases = _phases(report)
    return [
        CostBar(
            name=name,
            total=duration(total_seconds(costs)),
            segments=[
                (
                    f"{cost.phase}: {duration(cost.seconds)}",
                    round(100 * cost.seconds / longest, 2),
                    phases.index(cost.phase) % _PHASE_TONES,
                )
                for cost in costs
            ],
        )
        for name, costs in runs
        if longest > 0
    ]


def cost_rows(report: RunReport) -> list[tuple[str, int, str, str]]:
    """Phase, tone, and its cost in this run and in the cold search."""

    def written(costs: tuple[PhaseCost, ...], phase: str) -> str:
        found = [cost.seconds for cost in costs if cost.phase == phase]
        return duration(sum(found)) if found else "–"

    cold = report.cold.phases if report.cold else ()
    return [
        (phase, place % _PHASE_TONES, written(report.costs, phase), written(cold, phase))
        for place, phase in enumerate(_phases(report))
    ]


def saving(report: RunReport) -> str | None:
    """What this run cost beside the cold search, as a sentence."""
    if report.cold is None or not report.costs:
        return None
    here, there = total_seconds(report.costs), total_seconds(report.cold.phases)
    if there <= 0:
        return None
    difference = share(abs(1 - here / there))
    word = "less" if here < there else "more"
    return f"This run took {duration(here)}: {difference} {word} than a cold search."
