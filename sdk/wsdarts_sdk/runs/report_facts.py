"""What the report of a run says, as plain values; ``report`` makes the page of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import RunError
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.space import CELL_KINDS, SearchSpace

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class NeighbourRow:
    """An artifact of the registry and how far its task is from this one."""

    reference: str
    distance: float
    task: str
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class DecisionFacts:
    """What the search started from, and by which rule.

    Attributes:
        mode: ``topology``, ``trained``, ``meta``, ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, as a sentence.
        neighbours: Nearest first.
        threshold: Largest distance that counts as near; None where none was measured.
        near: Whether the nearest is near; None where that is not known.
        probe: Embedding space that the distances were measured in.
    """

    mode: str
    sources: tuple[str, ...]
    why: str
    neighbours: tuple[NeighbourRow, ...] = ()
    threshold: float | None = None
    near: bool | None = None
    probe: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task, with the number of images in each part."""

    name: str
    digest: str
    classes: int
    weights_images: int
    alpha_images: int
    validation_images: int


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """A stage: cells, operations an edge has at most, and epochs that were run."""

    cells: int
    operations: int
    epochs: int


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
    """

    stage: int
    epoch: int
    weights_loss: float | None
    weights_accuracy: float | None
    alpha_loss: float | None
    alpha_accuracy: float | None
    learning_rate: float
    skip_dropout: float
    seconds: float
    peak_memory: float | None = None
    needed_memory: float | None = None
    skip_connects: int | None = None


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
                    f"the α history of the {kind} cell has shape {shape}; expected "
                    f"(epochs, {', '.join(map(str, self.space.shape))})"
                )

    def cell(self, kind: str) -> NDArray[np.float64]:
        """History of the ``"normal"`` or the ``"reduction"`` cell."""
        return self.normal if kind == "normal" else self.reduction


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """Wall time of one phase, in seconds."""

    phase: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ColdCost:
    """What a cold search of the same preset cost, and where that figure is from."""

    phases: tuple[PhaseCost, ...]
    origin: str


@dataclass(frozen=True, kw_only=True)
class TrainingEpoch:
    """Means over one epoch of the training of a derived network, on the train part."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The derived network after its training.

    Attributes:
        accuracy: On the validation third, in [0, 1]; None if it was not evaluated.
        parameters: Trainable parameters, without auxiliary towers.
        seconds: Wall time of training and evaluation.
        epochs: One row each.
        note: What to know when reading the accuracy, as a sentence.
    """

    accuracy: float | None
    parameters: int
    seconds: float
    epochs: tuple[TrainingEpoch, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A further table, such as the trials of a sweep; numbers come as text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Everything that the report of a run says; what is missing is left out of the page.

    Attributes:
        title: Heading, such as ``Warm start on digits``.
        summary: One sentence: what was done, and why.
        created: Date and time, UTC, as text.
        epochs: In the order of the run; ``alpha`` has one entry for each of them.
        masks: Operations that survived the last stage.
        skip_limit: Most skip-connects that the refinement leaves in the normal cell.
        costs: Wall time of this run by phase.
        warnings: Sentences; a collapse to skip-connects is found here without being told.
        settings: Names and values, as text; ``environment`` the same.

    Raises:
        RunError: ``alpha`` has another number of entries than there are epochs.
    """

    title: str
    summary: str
    created: str
    decision: DecisionFacts | None = None
    tasks: tuple[TaskRow, ...] = ()
    stages: tuple[StageRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    alpha: AlphaHistory | None = None
    genotype: Genotype | None = None
    masks: OperationMasks | None = None
    skip_limit: int | None = None
    costs: tuple[PhaseCost, ...] = ()
    cold: ColdCost | None = None
    warnings: tuple[str, ...] = ()
    training: TrainingFacts | None = None
    tables: tuple[Table, ...] = ()
    settings: Pairs = ()
    environment: Pairs = ()

    def __post_init__(self) -> None:
        if self.alpha is None:
            return
        found = {len(self.alpha.cell(kind)) for kind in CELL_KINDS}
        if found != {len(self.epochs)}:
            raise RunError(
                f"the α history has {sorted(found)} entries; expected {len(self.epochs)}, one for "
                "each epoch row"
            )
