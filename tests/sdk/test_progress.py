from itertools import count
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from wsdarts_sdk.progress import (
    Lines,
    TimeLeft,
    TimeSpent,
    in_words,
    percent,
    repeated,
    so_far,
)

pytestmark = pytest.mark.processes


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_by_hand() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    assert left.seconds(0, 100) is None
    clock.now += 20
    # 25 of 100 in 20 s leaves 75 at 0.8 s each. Of the share done alone (20 s · 100) or of the
    # total (20 s · 100 / 25 = 80 s), the wrong ones, neither is 60.
    assert left.seconds(25, 100) == pytest.approx(60)


def test_work_that_is_resumed_counts_from_where_it_began() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.seconds(80, 100)
    clock.now += 10
    # 10 in 10 s, and 10 are left; from zero it would seem nine times as fast.
    assert left.seconds(90, 100) == pytest.approx(10)


@pytest.mark.parametrize(("done", "total"), [(5, 100), (60, 200)])
def test_another_piece_of_work_starts_the_estimate_anew(done: int, total: int) -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.seconds(0, 100)
    clock.now += 1000
    assert left.seconds(50, 100) == pytest.approx(1000)
    assert left.seconds(done, total) is None
    clock.now += 10
    assert left.seconds(done + 5, total) == pytest.approx((total - done - 5) * 2)


def test_no_estimate_within_the_first_second() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.seconds(0, 100)
    clock.now += 0.5
    assert left.seconds(50, 100) is None


def test_lines_at_each_stage_and_every_ten_seconds() -> None:
    clock, shown = Clock(), list[str]()
    lines = Lines(shown.append, clock)
    for second in range(41):
        clock.now = 100.0 + second
        stage = 1 + second // 25
        lines(f"stage {stage}/2, epoch {second}/41", second, 41)
    assert shown == [
        f"{where}/41: {', '.join(parts)}"
        for where, *parts in (
            ("stage 1/2, epoch 0", "0 %"),
            ("stage 1/2, epoch 10", "24 %", "about 31 s left", "10 s so far"),
            ("stage 1/2, epoch 20", "48 %", "about 21 s left", "20 s so far"),
            ("stage 2/2, epoch 25", "60 %", "about 16 s left", "25 s so far"),
            ("stage 2/2, epoch 35", "85 %", "about 6 s left", "35 s so far"),
        )
    ]


def test_the_end_of_a_stage_is_a_line_once() -> None:
    clock, shown = Clock(), list[str]()
    lines = Lines(shown.append, clock)
    for done in (16, 44, 100, 100):
        clock.now += 2
        lines("reading images", done, 100)
    clock.now += 60
    lines("reading images", 100, 100)  # the same end again
    lines("reading images", 50, 200)  # another dataset
    lines("head", 1, 1)
    assert [line.removesuffix(" so far") for line in shown] == [
        "reading images: 16 %, 2 s",
        "reading images: 100 %, 6 s",
        "reading images: 25 %, 1 min 08 s",
        "head: 100 %, 1 min 08 s",
    ]


def test_work_that_reports_nothing_is_repeated() -> None:
    clock, shown = Clock(), list[str]()
    lines = Lines(shown.append, clock, what="train")

    def wait(seconds: int) -> None:
        for _ in range(seconds):
            clock.now += 1
            lines.repeat()

    wait(12)  # importing
    lines("compiling, once", 0, 1)
    wait(20)
    lines("compiling, once", 1, 1)
    wait(10)
    lines("training, epoch 1/2", 0, 4)
    clock.now += 2
    lines("training, epoch 1/2", 1, 4)
    wait(8)
    assert shown == [
        "train: working, 9 s so far",
        "compiling, once: 0 %, 12 s so far",
        "compiling, once: 0 %, working for 9 s, 21 s so far",
        "compiling, once: 0 %, working for 18 s, 30 s so far",
        "compiling, once: 100 %, 32 s so far",
        "after compiling, once: working for 9 s, 41 s so far",
        "training, epoch 1/2: 0 %, 42 s so far",
        # 1 of 4 took 2 s when it was reported, 9 s by now: the rest may take 3 times as long.
        "training, epoch 1/2: 25 %, about 27 s left, 51 s so far",
    ]


def test_nothing_is_repeated_between_two_pieces_of_work() -> None:
    clock, shown = Clock(), list[str]()
    lines = Lines(shown.append, clock)
    lines.rest()
    clock.now += 60
    lines.repeat()
    assert shown == []
    lines.begin(TimeSpent(clock=clock))
    clock.now += 1
    lines.repeat()  # the last line is long ago
    assert shown == ["wsdarts-hub: working, 1 s so far"]


def test_lines_are_repeated_from_a_thread_until_the_block_ends() -> None:
    printed = Event()
    lines = Lines(lambda _: printed.set(), clock=count(0, 60).__next__)
    with repeated(lines):
        assert printed.wait(600)
    assert all(thread.name != "wsdarts-progress" for thread in enumerate_threads())


def test_work_of_no_size() -> None:
    assert percent(0, 0) == "100 %"
    assert percent(999, 1000) == "99 %"
    assert in_words(None) == ""
    assert in_words(3719.6) == "about 1 h 02 min left"


def test_time_spent_counts_what_was_spent_before() -> None:
    clock = Clock()
    spent = TimeSpent(50.0, clock)
    clock.now += 12
    assert spent.seconds == 62
    shown = list[str]()
    Lines(shown.append, clock, spent)("search", 1, 2)
    (line,) = shown
    assert line.startswith("search: 50 %, 1 min 02 s")
    assert so_far(0.9) == ""
