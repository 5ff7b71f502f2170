"""Verdicts on a search: whether its choice is better than chance, and whether it has collapsed.

The test of a choice among genotypes: the chosen candidate and some others are trained a second
time, with another seed, which took no part in the choice. The gain is the chosen one's accuracy
less the mean of the others'; beside it stands the margin that chance allows, by the differences
between two trainings of one candidate and by the number of images.

Collapse to skip-connects is DARTS' known failure: they need no training, so α prefers them early
and the cell ends with little else.

This is the one place that decides both; report, card and terminal repeat it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from wsdarts_registry._format import pluralize, points
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS

_METRICS = {
    "candidates": "choice_candidates",
    "others": "choice_others",
    "gain": "choice_gain_accuracy",
    "margin": "choice_margin_accuracy",
}
_MOST_CANDIDATES = 1_000_000
_SKIP = "skip_connect"
_DROPOUT = (
    "Raise the dropout on skip-connects (--set search.stages.N.skip_dropout=RATE, N a stage of the "
    "preset, whose last one is a warm start's; warm-start --sweep tries ten rates)"
)
_REFINEMENT = (
    "let the refinement leave fewer of them (--set search.skip_connects=2, in a warm start "
    "search.warm_skip_connects=2)"
)
_STOP = "end the last stage once its genotype stays the same (--set search.stable_epochs=3)"


@dataclass(frozen=True, kw_only=True)
class ChanceTest:
    """The gain of the chosen candidate in its second training.

    Attributes:
        candidates: Number of candidates that were chosen among.
        others: Number of those that were trained a second time besides the chosen one.
        gain: The chosen one's accuracy less the mean of theirs.
        margin: Largest gain that chance explains, at 95 %, one-sided.
    """

    candidates: int
    others: int
    gain: float
    margin: float

    @property
    def is_better(self) -> bool:
        """Whether the gain is more than chance explains."""
        return self.gain > self.margin

    def __str__(self) -> str:
        verdict = "better than chance" if self.is_better else "no better than chance"
        return (
            f"The choice among {self.candidates} candidates is {verdict}: trained a second time, "
            f"the chosen one is {points(self.gain)} from the mean of "
            f"{pluralize(self.others, 'other')}, where chance alone allows "
            f"{100 * self.margin:.1f} (95 %)."
        )

    def to_metrics(self) -> dict[str, int | float]:
        """Return the metrics by which an artifact keeps it."""
        return {metric: getattr(self, name) for name, metric in _METRICS.items()}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, int | float]) -> Self | None:
        """Read what an artifact keeps; None where it has no such metrics."""
        if not metrics.keys() >= set(_METRICS.values()):
            return None
        found = {name: metrics[metric] for name, metric in _METRICS.items()}
        # Anyone may write an artifact.
        if not 0 < found["others"] < candidate_count(metrics) or abs(found["gain"]) > 1:
            return None
        return cls(
            candidates=candidate_count(metrics),
            others=int(found["others"]),
            gain=float(found["gain"]),
            margin=min(max(float(found["margin"]), 0.0), 1.0),
        )


def candidate_metrics(candidates: int) -> dict[str, int | float]:
    """Return the metric by which an artifact keeps the number of candidates."""
    return {_METRICS["candidates"]: candidates}


def candidate_count(metrics: Mapping[str, int | float]) -> int:
    """Return the number of candidates that an artifact keeps; 0 where it says none."""
    found = metrics.get(_METRICS["candidates"], 0)
    return int(found) if 0 < found <= _MOST_CANDIDATES else 0


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
