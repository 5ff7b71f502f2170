"""What several runs have in common and what not, as plain values."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from wsdarts_registry._format import duration, percent
from wsdarts_sdk.reports.charts import search_alone, total_seconds
from wsdarts_sdk.reports.compared_runs import FIGURES, OF_TRAINING, ComparedRun, figures
from wsdarts_sdk.runs.records import OTHER


@dataclass(frozen=True, kw_only=True)
class CostComparison:
    """A warm start beside a cold search of the same task.

    Attributes:
        run: Letter of the warm start.
        cold: Letter of the cold search.
        why_not: Why their costs cannot be compared; None if they can.
        sentence: What one cost beside the other, or why that says nothing.
    """

    run: str
    cold: str
    why_not: str | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over runs that differ in the seed alone.

    Attributes:
        figure: Its key, as in ``FIGURES``.
        mean: Over the runs.
        deviation: Sample standard deviation, with n − 1.
        smallest: Of the runs; ``largest`` the same.
    """

    figure: str
    mean: float
    deviation: float
    smallest: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Runs that differ in the seed alone: their letters, their seeds, and each figure."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    spreads: tuple[Spread, ...]


@dataclass(frozen=True, kw_only=True)
class EdgeRow:
    """An edge that a genotype uses: of each run its operation there, None where it has none."""

    source: int
    target: int
    operations: tuple[str | None, ...]

    @property
    def same(self) -> bool:
        """Whether all runs have the same operation there."""
        return len(set(self.operations)) == 1

    @property
    def shared(self) -> bool:
        """Whether all runs have an operation there, the same or not."""
        return None not in self.operations


def cost_comparisons(runs: Sequence[ComparedRun]) -> tuple[CostComparison, ...]:
    """Each finished warm start beside each finished cold search of the same task."""
    finished = [run for run in runs if not run.report.unfinished and run.report.costs]
    return tuple(
        _cost_comparison(run, cold)
        for run in finished
        for cold in finished
        if run.started == "warm" and cold.started == "cold" and run.tasks == cold.tasks
    )


def _cost_comparison(run: ComparedRun, cold: ComparedRun) -> CostComparison:
    why_not = _why_not_comparable(run, cold)
    here, there = total_seconds(run.report.costs), total_seconds(cold.report.costs)
    if why_not is None and there > 0:
        word = "less" if here < there else "more"
        sentence = (
            f"{run.letter} took {duration(here)}{search_alone(run.report.costs)}, the cold search "
            f"{cold.letter} {duration(there)}{search_alone(cold.report.costs)}: "
            f"{percent(abs(1 - here / there))} {word}. Task, preset and hardware are the same."
        )
    else:
        sentence = (
            f"What {run.letter} cost is not comparable with the cold search {cold.letter}: "
            f"{why_not or 'it took no time'}."
        )
    return CostComparison(run=run.letter, cold=cold.letter, why_not=why_not, sentence=sentence)


def _why_not_comparable(run: ComparedRun, cold: ComparedRun) -> str | None:
    here, there = run.report.asked, cold.report.asked
    if here is None or there is None:
        return "what was asked for is not known"
    if here.preset != there.preset:
        return f"their presets differ ({here.preset} and {there.preset})"
    if here.settings != there.settings:
        return f"both are preset {here.preset}, but with other settings"
    if here.hardware != there.hardware:
        return f"they ran on other hardware ({here.hardware}; {there.hardware})"
    if _by_the_clock(run) != _by_the_clock(cold):
        return "one of them was measured by an earlier version, which left out what is in no phase"
    return None


def _by_the_clock(run: ComparedRun) -> bool:
    """Whether the costs of a run add up to the clock's total."""
    return any(cost.phase == OTHER for cost in run.report.costs)


def seed_groups(runs: Sequence[ComparedRun]) -> tuple[SeedGroup, ...]:
    """Runs that differ in the seed alone, two or more of them, in the order of their letters.

    Of several with one seed the first one counts. Figures of trainings that lie in the directories
    of searches are left out where those were not trained alike.
    """
    known = sorted(
        (run for run in runs if run.apart_from_seed is not None),
        key=lambda run: (str(run.apart_from_seed), run.letter),
    )
    groups = []
    for _, members in groupby(known, key=lambda run: str(run.apart_from_seed)):
        first: dict[int | None, ComparedRun] = {}
        for run in members:
            first.setdefault(run.seed, run)
        if len(first) > 1:
            groups.append(_seed_group(list(first.values())))
    return tuple(sorted(groups, key=lambda group: group.runs))


def _seed_group(group: Sequence[ComparedRun]) -> SeedGroup:
    known = [figures(run) for run in group]
    alike = len({run.trained_as for run in group}) == 1
    names = [name for name in FIGURES if alike or name not in OF_TRAINING]
    columns = {name: [each.get(name) for each in known] for name in names}
    return SeedGroup(
        runs=tuple(run.letter for run in group),
        seeds=tuple(run.seed for run in group if run.seed is not None),
        spreads=tuple(
            _spread(name, [value for value in values if value is not None])
            for name, values in columns.items()
            if None not in values
        ),
    )


def _spread(name: str, values: list[float]) -> Spread:
    return Spread(
        figure=name,
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values),
        smallest=min(values),
        largest=max(values),
    )


def edge_rows(runs: Sequence[ComparedRun], kind: str) -> tuple[EdgeRow, ...]:
    """Every edge that a genotype uses, in the order of the search space.

    Args:
        runs: Runs with a genotype, all of one search space.
        kind: ``"normal"`` or ``"reduction"``.
    """
    chosen = [
        {
            (connection.source, target): connection.operation
            for target, node in enumerate(run.report.genotype.cell(kind), start=2)
            for connection in node
        }
        for run in runs
        if run.report.genotype is not None
    ]
    edges = sorted({edge for cell in chosen for edge in cell}, key=lambda edge: (edge[1], edge[0]))
    return tuple(
        EdgeRow(source=s, target=t, operations=tuple(cell.get((s, t)) for cell in chosen))
        for s, t in edges
    )


def with_cells(runs: Sequence[ComparedRun]) -> tuple[ComparedRun, ...]:
    """The runs whose cells can be compared: those that found some, if all have one space."""
    found = tuple(run for run in runs if run.report.genotype is not None)
    spaces = {run.report.genotype.space for run in found if run.report.genotype is not None}
    return found if len(found) > 1 and len(spaces) == 1 else ()


def agreement(rows: Sequence[EdgeRow]) -> str:
    """How far the cells of all runs agree, as a sentence."""
    same = sum(row.same for row in rows)
    other = sum(row.shared and not row.same for row in rows)
    return (
        f"Of the {len(rows)} edges that any of them uses, {same} "
        f"{'has' if same == 1 else 'have'} the same operation in all, and {other} further "
        f"{'is' if other == 1 else 'are'} used by all with different ones."
    )
