"""Prefetching: jobs run on a thread in order, a few ahead, until the generator is closed."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from wsdarts_sdk.data.loader import prefetch

pytestmark = pytest.mark.processes


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("wsdarts-prefetch")]


def _jobs(started: list[int], count: int) -> Iterator[Callable[[], int]]:
    def job(number: int) -> int:
        started.append(number)
        return number * number

    return (partial(job, number) for number in range(count))


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_come_in_order(count: int, threaded: bool) -> None:
    found = list(prefetch(_jobs([], count), threaded=threaded))
    assert found == [number * number for number in range(count)]
    assert _threads() == []


def test_two_are_done_ahead_and_no_more() -> None:
    started: list[int] = []
    results = prefetch(_jobs(started, 50))
    assert started == []
    assert next(results) == 0
    deadline = time.monotonic() + 300
    while len(started) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert started == [0, 1, 2]
    results.close()
    assert _threads() == []


def test_without_a_thread_nothing_is_done_ahead() -> None:
    started: list[int] = []
    results = prefetch(_jobs(started, 50), threaded=False)
    assert next(results) == 0
    assert started == [0]
    assert _threads() == []


def test_jobs_run_while_the_caller_is_busy() -> None:
    done = threading.Event()
    results = prefetch([lambda: None, done.set])
    next(results)
    assert done.wait(300)
    results.close()


@pytest.mark.parametrize("threaded", [True, False])
def test_an_error_comes_where_its_result_would(threaded: bool) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    results = prefetch([lambda: 1, fail, lambda: 3], threaded=threaded)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert _threads() == []


def test_an_error_of_the_caller_ends_the_thread() -> None:
    def use() -> None:
        for _ in prefetch(_jobs([], 50)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert _threads() == []
