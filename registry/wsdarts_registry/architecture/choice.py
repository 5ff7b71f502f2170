"""Test of a choice among genotypes: whether the chosen one is better than one taken at random.

The chosen candidate and some others are trained a second time, with another seed, which took no
part in the choice. The gain is the chosen one's accuracy less the mean of the others'; beside it
stands the margin that chance allows, by the differences between two trainings of one candidate and
by the number of images. This is the one place that decides; report, card and terminal repeat it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from wsdarts_registry._format import pluralize, points

_METRICS = {
    "candidates": "choice_candidates",
    "others": "choice_others",
    "gain": "choice_gain_accuracy",
    "margin": "choice_margin_accuracy",
}
_MOST = 1_000_000


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
    return int(found) if 0 < found <= _MOST else 0
