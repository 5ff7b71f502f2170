"""An estimate in phases, and the moments that it is made of."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from wsdarts_registry._format import duration

TIMED_STEPS = 3
"""Steps of each kind that are timed, after one that is not."""
STEPS_RUN = 1 + TIMED_STEPS
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """An estimate of one phase.

    Attributes:
        phase: Its name.
        steps: Steps of gradient descent that it has.
        images: Images that it goes through once, where it has no steps.
        seconds: What all of them and what comes with them will take.
    """

    phase: str
    steps: int = 0
    images: int = 0
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of what a command will take on this machine.

    Attributes:
        phases: In the order of the run.
        memory: Most bytes that the process (on a GPU: its tensors) held while it was estimated.
        disk: Bytes of checkpoints, weights, features and embeddings that are saved.
        note: What cannot be known before, in sentences; empty for nothing.
    """

    phases: tuple[PhaseEstimate, ...]
    memory: int
    disk: int
    note: str = ""

    @property
    def steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Return the seconds of all phases."""
        return sum(phase.seconds for phase in self.phases)

    def __repr__(self) -> str:
        steps = f" for {self.steps:,} steps" if self.steps else ""
        return f"<Estimate: about {duration(self.seconds)}{steps}>"


class Marks:
    """Moments at which a progress was called, with what was done, by what begins its text."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self.moments: list[tuple[str, int, float]] = []

    def __call__(self, what: str, done: int, _total: int, /) -> None:
        """Keep this moment."""
        self.moments.append((what, done, self._clock()))

    def named(self, start: str) -> list[float]:
        """Return the moments of texts that begin so."""
        return [moment for _, moment in self.counted(start)]

    def counted(self, start: str) -> list[tuple[int, float]]:
        """Return how much was done, and when, of texts that begin so."""
        return [(done, moment) for what, done, moment in self.moments if what.startswith(start)]


def median_gap(moments: list[float]) -> float:
    """Return the median time between moments, of which the first ends what is not timed."""
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return statistics.median(gaps) if gaps else 0.0


def epochs_of(steps: int) -> int:
    """Return how many epochs of so many steps have as many as are to run."""
    return max(1, -(-STEPS_RUN // steps))


def octets(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
