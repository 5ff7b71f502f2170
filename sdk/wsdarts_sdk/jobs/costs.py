"""What a run has cost so far: wall time by phase, kept across interruptions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wsdarts_sdk.runs.directory import RunDirectory

_FILE = "costs.json"


class Costs:
    """Seconds by phase of one run, in the order in which the phases first ended."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self.seconds: dict[str, float] = run.read_json(_FILE) or {}

    @contextmanager
    def phase(
        self, name: str, *, known: Callable[[], float | None] | None = None
    ) -> Iterator[None]:
        """Measure a phase that has not been measured before.

        A resumed run finds the results of earlier phases in caches; only their first time
        counts.

        Args:
            name: What the phase is called.
            known: Asked afterwards what the result cost when it was computed, for results that
                a cache keeps between runs; None from it means that this time counts.
        """
        started = time.perf_counter()
        yield
        if name not in self.seconds:
            first = known() if known else None
            self.record(name, time.perf_counter() - started if first is None else first)

    def record(self, name: str, seconds: float) -> None:
        """Set the seconds of a phase that measures itself."""
        self.seconds[name] = seconds
        self._run.write_json(_FILE, self.seconds)
