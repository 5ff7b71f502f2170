"""Facts of a run that its report shows, as plain values, and its costs by phase in words.

``report_files`` keeps the facts on disk as ``report.json``; ``_page`` makes the HTML page of them.
Costs are bars and rows of the page, and are told beside those of a cold search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._format import duration, percent
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.directory import Rows, Seconds, Whole, Words
from wsdarts_sdk.runs.records import OTHER, NeighbourRow, PhaseCost
from wsdarts_sdk.runs.result_records import Baseline, Evaluation, GenotypeChoice

Command = Literal["search", "warm-start", "train"]
Pairs = Annotated[tuple[tuple[Words, Words], ...], Rows]
Named = tuple[str, tuple[PhaseCost, ...]]
_PHASE_TONES = 8


@dataclass(frozen=True, kw_only=True)
class DecisionFacts:
    """The start of a search, and the rule that chose it.

    Attributes:
        mode: ``topology``, ``trained``, ``meta``, ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, as a sentence.
        neighbours: Nearest first.
        threshold: Largest distance that counts as near; None where none was measured.
        near: Whether the nearest is near; None where that is not known.
        probe: Embedding space that the distances were measured in.
    """

    mode: Words
    sources: Annotated[tuple[Words, ...], Rows]
    why: Words
    neighbours: Annotated[tuple[NeighbourRow, ...], Rows] = ()
    threshold: float | None = None
    near: bool | None = None
    probe: Words | None = None


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task, with the number of images in each part, and whether it came with that split.

    ``groups`` is how many groups of images the split keeps together; None without groups.
    """

    name: Words
    digest: Words
    classes: Whole
    weights_images: Whole
    alpha_images: Whole
    validation_images: Whole
    test_images: Whole = 0
    given_split: bool = False
    groups: Whole | None = None


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """A stage: cells, operations an edge has at most, and epochs that were run."""

    cells: Whole
    operations: Whole
    epochs: Whole


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """Means over one epoch of a search.

    Attributes:
        stage: Counted from 1; ``epoch`` within its stage, from 1, too.
        alpha_loss: None in epochs that leave α alone, like ``alpha_accuracy``.
        seconds: Wall time of this epoch.
        peak_memory: Most bytes that the process held; None where it is not measured.
        needed_memory: Bytes of a step, as estimated before it ran.
        skip_connects: In the normal cell that α would give now, before refinement.
        skip_connects_reduction: The same in the reduction cell; None where it was not counted.
    """

    stage: Whole
    epoch: Whole
    weights_loss: float | None
    weights_accuracy: float | None
    alpha_loss: float | None
    alpha_accuracy: float | None
    learning_rate: float
    skip_dropout: float
    seconds: Seconds
    peak_memory: float | None = None
    needed_memory: float | None = None
    skip_connects: Whole | None = None
    skip_connects_reduction: Whole | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AlphaHistory:
    """Softmax of α after each epoch row, for each cell kind.

    Attributes:
        space: Its edges and candidates name the axes.
        normal: Shape ``(epochs, edges, candidates)``; 0 or NaN for a dropped operation.
        reduction: The same for the reduction cell.

    Raises:
        RunError: A shape does not fit the space.
    """

    space: SearchSpace
    normal: NDArray[np.float64]
    reduction: NDArray[np.float64]

    def __post_init__(self) -> None:
        for kind in CELL_KINDS:
            shape = self.cell(kind).shape
            if len(shape) != 3 or shape[1:] != self.space.shape:
                raise RunError(
                    f"the shape of the α history of the {kind} cell",
                    found=shape,
                    expected=f"(epochs, {', '.join(map(str, self.space.shape))})",
                )

    def cell(self, kind: str) -> NDArray[np.float64]:
        """Return the history of the ``"normal"`` or the ``"reduction"`` cell."""
        return self.normal if kind == "normal" else self.reduction


@dataclass(frozen=True, kw_only=True)
class ColdCost:
    """Costs of a cold search of the same preset, and where that figure is from."""

    phases: Annotated[tuple[PhaseCost, ...], Rows]
    origin: Words


@dataclass(frozen=True, kw_only=True)
class TrainingEpoch:
    """Means over one epoch of the training of a derived network, on the train part.

    Attributes:
        stopping_accuracy: After it, on the images that early stopping judges by; None without.
        stopping_loss: Mean cross-entropy of the same images.
    """

    epoch: Whole
    loss: float
    accuracy: float
    learning_rate: float
    seconds: Seconds
    stopping_accuracy: float | None = None
    stopping_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The derived network after its training.

    Attributes:
        accuracy: On the images that were held out, in [0, 1]; None if it was not evaluated.
        parameters: Trainable parameters, without auxiliary towers; None before it is finished.
        seconds: Wall time of training and evaluation.
        epochs: One row each.
        note: Remark on the accuracy, as a sentence.
        held_out: Name of the images that it was evaluated on.
    """

    accuracy: float | None
    parameters: Whole | None
    seconds: Seconds
    epochs: Annotated[tuple[TrainingEpoch, ...], Rows] = ()
    note: Words = ""
    held_out: Words = "validation third"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A further table, such as the trials of a sweep; numbers come as text."""

    title: Words
    header: Annotated[tuple[Words, ...], Rows]
    rows: Annotated[tuple[tuple[Words, ...], ...], Rows]
    note: Words = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The request for a run, as runs are compared by it.

    Attributes:
        command: Name of the job on the command line.
        preset: Name of the preset.
        settings: Digest of the preset's settings for this job, without the seed.
        seed: Seed of everything random.
        hardware: Machine that it ran on.
    """

    command: Command
    preset: Words
    settings: Words
    seed: Whole
    hardware: Words


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All facts of the report of a run; those that are missing are left out of the page.

    Attributes:
        title: Heading, such as ``Warm start on digits``.
        summary: One sentence: what was done, and why.
        created: Date and time, UTC, as text.
        asked: The request that it is compared by; None for a report of nothing that was run.
        unfinished: How far a run came that was stopped, as a sentence; empty for a finished one.
        epochs: In the order of the run; ``alpha`` has one entry for each of them.
        masks: Operations that survived the last stage.
        skip_limit: Most skip-connects that the refinement leaves in the normal cell; None without
            a limit.
        final_parameters: Of the network that the paper trains in the end, without its last layer.
        costs: Wall time of this run by phase; together the clock's total of all sessions.
        evaluation: Scores of the trained network on the held-out images, with pictures.
        baseline: What a simpler classifier does on the same images.
        choice: How the genotype was chosen; None where α alone decided.
        warnings: Sentences; a collapse to skip-connects is found here without being told.
        settings: Names and values, as text; ``environment`` the same.

    Raises:
        RunError: ``alpha`` has another number of entries than there are epochs.
    """

    title: Words
    summary: Words
    created: Words
    asked: Asked | None = None
    unfinished: Words = ""
    decision: DecisionFacts | None = None
    tasks: Annotated[tuple[TaskRow, ...], Rows] = ()
    stages: Annotated[tuple[StageRow, ...], Rows] = ()
    epochs: Annotated[tuple[EpochRow, ...], Rows] = ()
    alpha: AlphaHistory | None = None
    genotype: Genotype | None = None
    masks: OperationMasks | None = None
    skip_limit: Whole | None = None
    final_parameters: Whole | None = None
    costs: Annotated[tuple[PhaseCost, ...], Rows] = ()
    cold: ColdCost | None = None
    choice: GenotypeChoice | None = None
    warnings: tuple[str, ...] = ()
    training: TrainingFacts | None = None
    evaluation: Evaluation | None = None
    baseline: Baseline | None = None
    tables: Annotated[tuple[Table, ...], Rows] = ()
    settings: Pairs = ()
    environment: Pairs = ()

    def __post_init__(self) -> None:
        if self.alpha is None:
            return
        found = {len(self.alpha.cell(kind)) for kind in CELL_KINDS}
        if found != {len(self.epochs)}:
            raise RunError(
                "the number of entries of the α history",
                found=" and ".join(map(str, sorted(found))),
                expected=f"{len(self.epochs)}, one for each epoch row",
            )


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
