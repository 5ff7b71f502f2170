"""What ends an embedding early."""

from collections.abc import Iterator

import pytest

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.task2vec import estimation
from wsdarts_sdk.task2vec.estimation import Limits, until

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        ("30s", 30),
        ("2m", 120),
        ("90", 90),
        (" 1.5 h ", 5400),
        ("250ms", 0.25),
        (".5s", 0.5),
        (45, 45),
        (1e-7, 1e-7),
    ],
)
def test_times(budget: float | str, seconds: float) -> None:
    assert Limits.of(budget, None).seconds == pytest.approx(seconds)


@pytest.mark.parametrize("budget", ["", "s", "-3s", "0", "30 d", "1e3", "nan", 0, -1, float("inf")])
def test_no_times(budget: float | str) -> None:
    with pytest.raises(SettingsError, match="30s, 2m, 1h"):
        Limits.of(budget, None)


@pytest.mark.parametrize("error", [0, 1, -0.1, 5, float("nan")])
def test_no_errors(error: float) -> None:
    with pytest.raises(SettingsError, match=r"^target_error is "):
        Limits.of(None, error)


def test_no_limits_are_none() -> None:
    assert not Limits.of(None, None)
    assert Limits.of("1s", None)
    assert Limits.of(None, 0.1)


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimation.time, "perf_counter", clock)
    return clock


def work(clock: Clock, *seconds: float) -> Iterator[float]:
    for each in seconds:
        clock.now += each
        yield each


def test_until_leaves_out_what_would_come_too_late(clock: Clock) -> None:
    # After 1, 3 and 1 seconds 5 are over; one more may take 3, so that 8 would be.
    assert list(until(107.9, work(clock, 1, 3, 1, 1))) == [1, 3, 1]
    clock.now = 100
    assert list(until(108, work(clock, 1, 3, 1, 1))) == [1, 3, 1, 1]


def test_until_passes_on_the_least_in_any_case(clock: Clock) -> None:
    assert list(until(100.5, work(clock, 2, 2, 2))) == [2]
    clock.now = 100
    assert list(until(100.5, work(clock, 2, 2, 2), least=2)) == [2, 2]


def test_until_never(clock: Clock) -> None:
    assert list(until(None, work(clock, 2, 2))) == [2, 2]
