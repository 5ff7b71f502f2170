"""A search that is interrupted anywhere and resumed ends as if it never had been.

Interruptions here are exceptions out of the progress callback, between any two steps; the
tests of ``runs`` kill whole processes.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import RunError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal, MemoryJournal
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]


class PowerCutError(Exception):
    """What stops a search in these tests."""


def search_in_lives(
    parts: list[TrainPart],
    settings: SearchSettings,
    open_journal: Callable[[], Journal],
    steps_of_life: Callable[[int], int],
) -> tuple[SearchResult, int]:
    """Search until the end, each life so many steps long; returns the number of lives."""
    lives = 0
    while True:
        assert lives < 100, "it does not get ahead"
        left = steps_of_life(lives)
        lives += 1

        def tick(what: str, done: int, total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "search":  # "search" is the end
                raise PowerCutError

        try:
            return search(parts, settings, journal=open_journal(), progress=tick), lives
        except PowerCutError:
            continue


def assert_identical(found: SearchResult, whole: SearchResult) -> None:
    for kind in CELL_KINDS:
        assert found.alpha[kind].tobytes() == whole.alpha[kind].tobytes()
    assert found.weights.keys() == whole.weights.keys()
    for name, value in whole.weights.items():
        assert torch.equal(found.weights[name], value), name
    assert found.genotype == whole.genotype
    assert found.stage_masks == whole.stage_masks
    assert without_time(found) == without_time(whole)


def without_time(result: SearchResult) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "peak_memory")} for row in result.rows
    ]


# One life after another ends after this many steps; the last variant only just gets through
# an epoch of 2 steps, with no checkpoint inside it.
@pytest.mark.parametrize(("interval", "steps"), [(0.0, 1), (0.0, 3), (1e9, 3)])
def test_single_task(
    interval: float,
    steps: int,
    tmp_path: Path,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    settings = make_settings()
    parts = [make_part(digits_task, settings)]
    whole = search(parts, settings)
    found, lives = search_in_lives(
        parts,
        settings,
        lambda: FileJournal(tmp_path, "search", interval=interval),
        lambda life: steps,
    )
    assert lives >= 4
    assert_identical(found, whole)


@pytest.mark.parametrize("order", ["first", "second"])
def test_several_tasks_and_orders(
    order: str,
    tmp_path: Path,
    digits_task: ImageTask,
    fewer_digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    settings = make_settings(order=order)
    settings = replace(settings, stages=settings.stages[:2])
    parts = [make_part(digits_task, settings), make_part(fewer_digits_task, settings, head=1)]
    whole = search(parts, settings)
    found, lives = search_in_lives(
        parts, settings, lambda: FileJournal(tmp_path, "search", interval=0.0), lambda life: 2
    )
    assert lives >= 5
    assert_identical(found, whole)


def test_within_one_process(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # The journal in memory must hold what was, not what training has made of it since.
    settings = make_settings()
    parts = [make_part(digits_task, settings)]
    journal = MemoryJournal()
    found, lives = search_in_lives(parts, settings, lambda: journal, lambda life: 3)
    assert lives >= 4
    assert_identical(found, search(parts, settings))


def test_metrics_cut_off_in_the_middle_of_a_line(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings()
    parts = [make_part(digits_task, settings)]

    def reopened() -> FileJournal:
        # What a kill between two writes can leave: rows that the checkpoint does not know,
        # and a part of one more.
        metrics = tmp_path / "search.metrics.jsonl"
        if metrics.exists():
            with metrics.open("a", encoding="utf-8") as file:
                file.write('{"stage": 7, "epoch": 7}\n{"stage": 8, "epo')
        return FileJournal(tmp_path, "search", interval=0.0)

    found, _ = search_in_lives(parts, settings, reopened, lambda life: 3)
    assert_identical(found, search(parts, settings))


def test_a_finished_search_is_read_back_without_work(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings()
    parts = [make_part(digits_task, settings)]
    whole = search(parts, settings, journal=FileJournal(tmp_path, "search"))
    seen: list[str] = []
    again = search(
        parts,
        settings,
        journal=FileJournal(tmp_path, "search"),
        progress=lambda what, done, total: seen.append(what),
    )
    assert seen == ["search"]
    assert_identical(again, whole)
    assert again.seconds == whole.seconds


def test_a_truncated_checkpoint_is_told(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings()
    parts = [make_part(digits_task, settings)]

    def stop(what: str, done: int, total: int, /) -> None:
        if done > 100:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        search(parts, settings, journal=FileJournal(tmp_path, "search", 0.0), progress=stop)
    file = tmp_path / "search.checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"search\.checkpoint\.safetensors cannot .*delete"):
        search(parts, settings, journal=FileJournal(tmp_path, "search"))


def test_seconds_add_up_over_lives(
    tmp_path: Path,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A clock that ticks once a second of "work": each look at it is one second later.
    settings = make_settings()
    settings = replace(settings, stages=settings.stages[:1])
    ticks = iter(range(10**6))
    monkeypatch.setattr("wsdarts_sdk.search.loop.time.perf_counter", lambda: float(next(ticks)))
    parts = [make_part(digits_task, settings)]
    found, lives = search_in_lives(
        parts, settings, lambda: FileJournal(tmp_path, "search", interval=0.0), lambda life: 1
    )
    # Two epochs of two steps. Each piece of work between a start and a checkpoint counts 1:
    # per epoch the first step and the rest, lost attempts nothing.
    assert lives > 1
    assert found.seconds == (4.0,)
    assert [row["seconds"] for row in found.rows] == [2.0, 4.0]


def test_checkpoints_hold_no_random_state(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # Draws are a function of the place, so the global generator may be anything.
    settings = make_settings()
    parts = [make_part(digits_task, settings)]
    whole = search(parts, settings)

    def reopened() -> FileJournal:
        torch.manual_seed(int(np.random.default_rng().integers(1000)))
        return FileJournal(tmp_path, "search", interval=0.0)

    found, _ = search_in_lives(parts, settings, reopened, lambda life: 2)
    assert_identical(found, whole)
