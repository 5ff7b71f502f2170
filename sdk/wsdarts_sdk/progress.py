"""Progress of long work: callbacks, estimates of the time left, lines for logs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Event, RLock, Thread
from typing import Protocol

from wsdarts_registry._format import duration

_INTERVAL_SECONDS = 10.0
_TICK = 0.1  # share of it, in which a thread looks whether it is over
_FIRST_ESTIMATE_SECONDS = 1.0
Clock = Callable[[], float]


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Show it; must return quickly."""
        ...


def silent(what: str, done: int, total: int, /) -> None:
    """Show nothing of the progress: ``warm_start(…, progress=silent)``, as for every pipeline."""


def shown(progress: Progress | None) -> Progress:
    """Return the progress that was given, or lines on stderr (``silent`` shows nothing)."""
    return Lines() if progress is None else progress


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class TimeLeft:
    """An estimate of the time left, from the speed since the current piece of work began.

    A piece ends when ``done`` falls or ``total`` changes: work calls with one piece after
    another.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began, self._first, self._last, self._total = clock(), 0, 0, -1

    def seconds(self, done: int, total: int) -> float | None:
        """Return the seconds left; None while it is too early to say."""
        now = self._clock()
        if total != self._total or done < self._last:
            self._began, self._first, self._total = now, done, total
        self._last = done
        elapsed, gained = now - self._began, done - self._first
        if elapsed < _FIRST_ESTIMATE_SECONDS or gained <= 0:
            return None
        return elapsed / gained * (total - done)


_COUNTED_FROM: ContextVar[float | None] = ContextVar("counted_from", default=None)


@contextmanager
def counting_from(moment: float | None) -> Iterator[None]:
    """Count costs within the block from an earlier moment, such as a process's start.

    Args:
        moment: By ``time.monotonic``; None lets each pipeline count from its own start.
    """
    token = _COUNTED_FROM.set(moment)
    try:
        yield
    finally:
        _COUNTED_FROM.reset(token)


def session_began() -> float:
    """Return when what costs now began, by ``time.monotonic``: now, unless it was said."""
    moment = _COUNTED_FROM.get()
    return time.monotonic() if moment is None else moment


class TimeSpent:
    """Time that a command has taken, with that of its run before it was resumed.

    Args:
        before: What the run had cost, in seconds.
        clock: Tells seconds.
        began: When the command began, by the clock; now by default.
    """

    def __init__(
        self, before: float = 0.0, clock: Clock = time.monotonic, began: float | None = None
    ) -> None:
        self._clock, self.before = clock, before
        self._began = clock() if began is None else began

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.before + self._clock() - self._began


class Lines:
    """Progress as lines, for logs: where a stage begins and ends, and every ten seconds.

    Work that reports nothing for longer, such as a compiler or an import, is printed by
    ``repeat``, which ``repeated`` calls from a thread.

    Args:
        show: Prints a line.
        clock: Tells seconds.
        spent: What the command has cost so far; counts from now by default.
        what: What starts before anything is reported.
    """

    def __init__(
        self,
        show: Callable[[str], None] = _to_stderr,
        clock: Clock = time.monotonic,
        spent: TimeSpent | None = None,
        what: str = "wsdarts-hub",
    ) -> None:
        self._clock, self._show, self._first = clock, show, what
        self._lock = RLock()
        self._shown = clock()
        self.begin(spent or TimeSpent(clock=clock))

    def begin(self, spent: TimeSpent) -> None:
        """Begin other work, of which nothing has been reported."""
        with self._lock:
            self._left, self._spent = TimeLeft(self._clock), spent
            self._stage: str | None = None
            self._what, self._done, self._total = self._first, 0, 1
            self._reported, self._ended, self._rests = self._clock(), False, False

    def rest(self) -> None:
        """Repeat nothing until work begins or is reported again."""
        self._rests = True

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Print a line if it is time for one."""
        with self._lock:
            left = self._left.seconds(done, total)
            stage, now = what.partition(",")[0], self._clock()
            ended = done >= total
            changed = stage != self._stage or ended != self._ended
            self._what, self._done, self._total = what, done, total
            self._reported, self._ended, self._rests = now, ended, False
            if changed or (not ended and now - self._shown >= _INTERVAL_SECONDS):
                self._stage = stage
                self._print(now, percent(done, total), in_words(None if ended else left))

    def repeat(self) -> None:
        """Print what is under way and for how long, if nothing has been for about ten seconds."""
        with self._lock:
            now = self._clock()
            if self._rests or now - self._shown < (1 - _TICK) * _INTERVAL_SECONDS:
                return
            what, silence = self._what, f"working for {duration(round(now - self._reported))}"
            if self._stage is None:
                self._print(now, "working")
            elif self._ended:
                self._print(now, silence, what=f"after {what}")
            else:
                left = in_words(self._left.seconds(self._done, self._total))
                news = left if self._reported > self._shown else silence
                self._print(now, percent(self._done, self._total), news)

    def _print(self, now: float, *parts: str, what: str | None = None) -> None:
        self._shown = now
        text = ", ".join(filter(None, (*parts, so_far(self._spent.seconds))))
        self._show(f"{what or self._what}: {text}")


@contextmanager
def repeated(lines: Lines) -> Iterator[None]:
    """Repeat lines from a thread while the block runs, so that one comes every ten seconds."""
    over = Event()

    def repeat() -> None:
        with suppress(OSError):  # nobody reads them any more, as the block finds out itself
            while not over.wait(_TICK * _INTERVAL_SECONDS):
                lines.repeat()

    thread = Thread(target=repeat, name="wsdarts-progress", daemon=True)
    with suppress(RuntimeError):  # where no thread can be had, the block runs without
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()


def percent(done: int, total: int) -> str:
    """Return the share that is done, never 100 % before the end."""
    return f"{100 * done // total if total > 0 else 100} %"


def in_words(left: float | None) -> str:
    """Return the time left in words; empty where it is not known."""
    return "" if left is None else f"about {duration(round(left))} left"


def so_far(spent: float) -> str:
    """Return the time spent in words; empty within the first second."""
    return "" if spent < _FIRST_ESTIMATE_SECONDS else f"{duration(round(spent))} so far"
