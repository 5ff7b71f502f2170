"""Collapse of a search to skip-connects: whether, since when, and the remedy.

DARTS' known failure: skip-connects need no training, so α prefers them early and the cell ends
with little else. This is the one place that decides; pages and the terminal repeat it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS

_SKIP = "skip_connect"
_DROPOUT = (
    "Raise the dropout on skip-connects (--set search.stages.N.skip_dropout=RATE, N a stage of the "
    "preset, whose last one is a warm start's; warm-start --sweep tries ten rates)"
)
_REFINEMENT = (
    "let the refinement leave fewer of them (--set search.skip_connects=2, in a warm start "
    "search.warm_skip_connects=2)"
)
_STOP = "end the last stage once its genotype has settled (--set search.stable_epochs=3)"


@dataclass(frozen=True, kw_only=True)
class SkipCounts:
    """Skip-connects that α would choose after one epoch, before the refinement.

    Attributes:
        stage: Counted from 1; ``epoch`` within its stage, from 1, too.
        normal: In the normal cell; None where it was not counted, or where α had not moved yet.
        reduction: The same in the reduction cell.
    """

    stage: int
    epoch: int
    normal: int | None
    reduction: int | None

    def of(self, kind: str) -> int | None:
        """Return the count of the ``"normal"`` or the ``"reduction"`` cell."""
        return self.normal if kind == "normal" else self.reduction


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """A cell most of whose operations are skip-connects.

    Attributes:
        kind: ``"normal"`` or ``"reduction"``.
        skips: Skip-connects in the cell that was found.
        chosen: Operations in it.
        preferred: Skip-connects that α would have chosen, where the refinement took some of them
            away and left no more than half; else None.
        stage: Stage since whose epoch ``epoch`` α has chosen so many in every epoch; None where
            epochs are not known.
    """

    kind: str
    skips: int
    chosen: int
    preferred: int | None = None
    stage: int | None = None
    epoch: int | None = None

    @property
    def what(self) -> str:
        """The collapse and its beginning, as a sentence."""
        since = "" if self.stage is None else f", since epoch {self.epoch} of stage {self.stage}"
        if self.preferred is None:
            return (
                f"The {self.kind} cell has collapsed to skip-connects: {self.skips} of its "
                f"{self.chosen} operations{since}."
            )
        return (
            f"The search has collapsed to skip-connects: α chooses them for {self.preferred} of "
            f"the {self.chosen} operations of the {self.kind} cell{since}. The refinement left "
            f"{self.skips}, so the others are not what α prefers."
        )

    @property
    def remedy(self) -> str:
        """The settings that help, as a sentence; the refinement knows the normal cell alone."""
        if self.kind == "normal" and self.preferred is None:
            return f"{_DROPOUT}, or {_REFINEMENT}."
        return f"{_DROPOUT}, or {_STOP}."

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "cell": self.kind,
            "skip_connects": self.skips,
            "operations": self.chosen,
            "preferred": self.preferred,
            "since": None if self.stage is None else {"stage": self.stage, "epoch": self.epoch},
            "what": self.what,
            "remedy": self.remedy,
        }


def find_collapses(genotype: Genotype, history: Sequence[SkipCounts] = ()) -> tuple[Collapse, ...]:
    """Find the cells that have collapsed: more than half of the operations are skip-connects.

    A cell that is saved by the refinement alone counts, too: its search has collapsed.

    Args:
        genotype: What the search found.
        history: Counts after each epoch, in order; none where they are not known.

    Returns:
        At most one for each kind of cell.
    """
    found = []
    for kind in CELL_KINDS:
        skips = genotype.count(_SKIP, kind)
        chosen = sum(len(node) for node in genotype.cell(kind))
        counted = [row for row in history if row.of(kind) is not None]
        last = counted[-1].of(kind) if counted else None
        if most(skips, chosen):
            preferred = None
        elif last is not None and most(last, chosen):
            preferred = last
        else:
            continue
        since = _since(counted, kind, chosen)
        found.append(
            Collapse(
                kind=kind,
                skips=skips,
                chosen=chosen,
                preferred=preferred,
                stage=since.stage if since else None,
                epoch=since.epoch if since else None,
            )
        )
    return tuple(found)


def most(skips: int | None, chosen: int) -> bool:
    """Return whether more than half are skip-connects; half of a cell may well be."""
    return skips is not None and 2 * skips > chosen


def _since(counted: Sequence[SkipCounts], kind: str, chosen: int) -> SkipCounts | None:
    """Return the epoch since which all have collapsed; None if the last one has not."""
    first = None
    for row in reversed(counted):
        if not most(row.of(kind), chosen):
            break
        first = row
    return first
