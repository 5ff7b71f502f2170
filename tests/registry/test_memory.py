"""Lack of memory is told from damage, also where it is only the cause, and before threads start."""

import errno
from threading import Thread, active_count

import pytest

from wsdarts_registry._memory import check_threads, has_room, shortage, thread_pool
from wsdarts_registry.errors import RunError

MORE_THAN_THERE_IS = 2**30  # threads; their stacks would take more than there are addresses


@pytest.mark.parametrize(
    "lack",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        OSError("out of memory error"),
    ],
    ids=["Python", "system", "torch", "Pillow"],
)
def test_what_an_error_came_from(lack: Exception) -> None:
    assert shortage(lack) is lack
    with pytest.raises(RunError) as raised:
        raise RunError(f"a file cannot be read ({lack})", hint="delete it") from lack
    assert shortage(raised.value) is lack


def test_other_errors_came_from_something_else() -> None:
    damage = ValueError("not JSON")
    with pytest.raises(RunError) as raised:
        raise RunError("Cannot allocate memory.json cannot be read") from damage
    assert shortage(raised.value) is None
    damage.__cause__ = raised.value  # in a circle, as of an error that is raised from its wrapper
    assert shortage(damage) is None
    assert shortage(OSError(errno.ENOSPC, "No space left")) is None


def test_threads_are_not_started_without_memory() -> None:
    assert has_room(2**20)
    check_threads(2)
    with pytest.raises(MemoryError), thread_pool(MORE_THAN_THERE_IS):
        pass
    with thread_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]


def test_all_threads_of_a_pool_start_before_its_work() -> None:
    before = active_count()
    with thread_pool(3) as pool:
        assert active_count() == before + 3
        assert list(pool.map(abs, (-1, 2, -3, 4))) == [1, 2, 3, 4]
        assert active_count() == before + 3
    assert active_count() == before


def test_a_thread_that_cannot_start_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start = active_count(), Thread.start

    def refused(self: Thread) -> None:
        if active_count() > before + 1:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"), thread_pool(4):
        raise AssertionError("the block has begun")
    assert active_count() == before
