"""Recorded steps: the same bits as steps that run call by call, whatever is recorded when.

Without a GPU a "recording" is the work itself over the same buffers, so that all but the
capture is tested anywhere.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.cuda_graphs import Graphs, Replay, choice, graphs_for
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import StepInputs
from wsdarts_sdk.supernet.kernels.base import SkipDropout

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]


class Recordings:
    """Stands in for a GPU: records by keeping the work, and times by a list of seconds."""

    def __init__(self, *, eager: float = 2.0, replayed: float = 1.0, fails: str = "") -> None:
        self.seconds = {"eager": eager, "replayed": replayed}
        self.fails, self.made, self.replayed = fails, 0, 0
        self.told: list[str] = []
        self.of_stages: list[Graphs] = []

    def record(self, work: Replay) -> Replay:
        work()  # to warm up
        work()  # a failed capture has done some of it, too
        if self.fails:
            raise RuntimeError(self.fails)
        self.made += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay

    def clock(self, work: Replay) -> float:
        before = self.replayed
        work()
        return self.seconds["eager" if self.replayed == before else "replayed"]

    def graphs_for(self, state: SearchState, tell: Callable[[str], None]) -> Graphs:
        self.of_stages.append(Graphs(state, record=self.record, clock=self.clock, tell=tell))
        return self.of_stages[-1]

    @property
    def replays(self) -> int:
        """Replays that counted: those of the search, not those that were timed."""
        return sum(graphs.replays for graphs in self.of_stages)


@pytest.fixture(autouse=True)
def _portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels that take numbers from a device's memory."""
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")


Recorded = Callable[..., tuple[SearchResult, Recordings]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Search as if this device had graphs."""

    def run(*arguments: Any, how: Recordings | None = None, **named: Any) -> Any:
        how = how or Recordings()
        with monkeypatch.context() as patched:
            patched.setattr(loop, "graphs_for", how.graphs_for)
            named.setdefault("progress", lambda what, _done, _total, /: how.told.append(what))
            return search(*arguments, **named), how

    return run


def brief(make_settings: Make, **changes: Any) -> SearchSettings:
    """Two stages."""
    return make_settings(stages=make_settings().stages[:2], **changes)


def assert_same(found: SearchResult, expected: SearchResult) -> None:
    for kind in CELL_KINDS:
        assert found.alpha[kind].tobytes() == expected.alpha[kind].tobytes()
    assert found.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name
    assert found.stage_masks == expected.stage_masks
    other = ("seconds", "peak_memory", "steps_run")
    rows = [
        [{k: v for k, v in r.items() if k not in other} for r in each.rows]
        for each in (found, expected)
    ]
    assert rows[0] == rows[1]


@pytest.fixture
def two_tasks(
    digits_task: ImageTask, fewer_digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> list[TrainPart]:
    settings = make_settings()
    return [make_part(digits_task, settings), make_part(fewer_digits_task, settings, head=1)]


@pytest.mark.parametrize(
    ("dtype", "parts"),
    [("float32", 1), pytest.param("bfloat16", 3, marks=pytest.mark.slow)],
)
def test_replayed_steps_are_the_same_to_the_bit(
    dtype: str,
    parts: int,
    two_tasks: list[TrainPart],
    make_settings: Make,
    recorded: Recorded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "parts_that_fit", lambda *_, **__: parts)
    settings = brief(make_settings, compute_dtype=dtype)
    expected = search(two_tasks, settings)
    found, how = recorded(two_tasks, settings)
    assert_same(found, expected)
    # Each of two stages: one epoch of weights, one of both, over tasks of 2 and 1 steps.
    assert how.replays == 2 * (2 + 1) * 3
    assert how.made == 2 * 2 * 2  # of each stage, task and half one
    assert "weights of task 2" in found.rows[-1]["steps_run"]


def test_a_step_without_dropout_and_a_step_with_it(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart, recorded: Recorded
) -> None:
    # Of three epochs without α steps the third has a rate of 0.3 · (4 − 3) / 4, the first stage
    # none at all.
    stages = (
        StageSettings(cells=3, operations=5, epochs=2, weights_only_epochs=1),
        StageSettings(cells=3, operations=3, epochs=3, weights_only_epochs=3, skip_dropout=0.3),
    )
    settings = make_settings(stages=stages)
    part = make_part(digits_task, settings)
    found, how = recorded([part], settings)
    assert_same(found, search([part], settings))
    assert how.made == 2 + 2  # the last epoch of the second stage has a rate of nothing


def test_the_second_order_runs_call_by_call(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart, recorded: Recorded
) -> None:
    settings = brief(make_settings, order="second")
    part = make_part(digits_task, settings)
    found, how = recorded([part], settings)
    assert_same(found, search([part], settings))
    assert set(found.rows[-1]["steps_run"]) == {"weights"}
    assert how.replays == 2 * 2 * 2


def test_resumed_with_and_without_graphs(
    tmp_path: Path,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
    recorded: Recorded,
) -> None:
    settings = brief(make_settings)
    part = make_part(digits_task, settings)
    expected, lives = search([part], settings), 0

    class PowerCutError(Exception):
        pass

    def life() -> SearchResult:
        left = 2

        def tick(what: str, _done: int, _total: int, /) -> None:
            nonlocal left
            left -= 1
            if left < 0 and what != "search":
                raise PowerCutError

        journal = FileJournal(tmp_path, "search", interval=0.0)
        if lives % 2:
            return search([part], settings, journal=journal, progress=tick)
        return recorded([part], settings, journal=journal, progress=tick)[0]

    while True:
        try:
            found = life()
            break
        except PowerCutError:
            lives += 1
            assert lives < 50
    assert lives >= 3
    assert_same(found, expected)


def test_what_cannot_be_recorded_runs_call_by_call_and_is_said_once(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart, recorded: Recorded
) -> None:
    settings = brief(make_settings)
    part = make_part(digits_task, settings)
    how = Recordings(fails="operation not permitted when stream is capturing\nand more")
    found, _ = recorded([part], settings, how=how)
    assert_same(found, search([part], settings))
    assert how.replays == 0
    said = [what for what in how.told if "CUDA graph" in what]
    (why,) = found.rows[-1]["steps_run"].values()
    assert "(operation not permitted" in why
    assert said == [f"steps run {why}"]


def test_what_is_no_faster_is_not_replayed(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart, recorded: Recorded
) -> None:
    settings = brief(make_settings)
    part = make_part(digits_task, settings)
    how = Recordings(eager=0.020, replayed=0.0215)
    found, _ = recorded([part], settings, how=how)
    assert_same(found, search([part], settings))
    assert (how.replays, how.made) == (0, 2 * 2)
    why = "call by call in 20.0 ms, as a CUDA graph in 21.5 ms"
    assert found.rows[-1]["steps_run"] == {"alpha": why, "weights": why}


def test_the_median_decides() -> None:
    faster, why = choice([3.0, 1.0, 9.0], [2.0, 2.9, 8.0])
    assert faster
    assert re.findall(r"[\d.]+ ms", why) == ["2900.0 ms", "3000.0 ms"]
    assert not choice([1.0, 1.0, 9.0], [1.0, 1.0, 1.0])[0]  # the mean would choose the graph


def test_whatever_a_graph_has_frozen_selects_another(
    two_tasks: list[TrainPart], make_settings: Make
) -> None:
    settings, how = make_settings(), Recordings()
    state = fresh_state(settings)
    graphs = how.graphs_for(state, how.told.append)
    first = two_tasks[0].batch(Part.WEIGHTS, 0, 1, 0)
    halves = [StepInputs(batch=first, skip=drop(rate)) for rate in (0.3, 0.2, 0.0)]
    done: list[tuple[int, ...]] = []

    def work(half: StepInputs) -> None:
        done.append(tuple(half.batch.images.shape))

    def made(part: Part, half: StepInputs) -> int:
        before = how.made
        graphs(part, half, work)
        return how.made - before

    assert [made(Part.WEIGHTS, half) for half in halves] == [1, 0, 1]
    assert [made(Part.ALPHA, half) for half in halves] == [1, 0, 1]
    other = two_tasks[1].batch(Part.WEIGHTS, 0, 1, 0)
    assert made(Part.WEIGHTS, StepInputs(batch=other, skip=drop(0.3))) == 1
    short = cut(halves[0], 4)
    assert [made(Part.WEIGHTS, short), made(Part.WEIGHTS, short)] == [1, 0]
    assert done[-1] == (4, 3, 8, 8)
    state.parts = 2
    assert [made(Part.WEIGHTS, short), made(Part.WEIGHTS, halves[0])] == [1, 1]


def test_no_graphs_without_a_gpu(make_settings: Make) -> None:
    assert graphs_for(fresh_state(make_settings()), print) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("order", ["first", "second"])
def test_a_real_capture(
    order: str, digits_task: ImageTask, make_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda")
    settings = make_settings(order=order, compute_dtype="float32")
    part = TrainPart.of(
        digits_task, image_size=8, batch_size=8, padding=1, flip=True, device=device
    )
    kept: list[Graphs] = []

    def always(state: SearchState, tell: Callable[[str], None]) -> Graphs | None:
        found = graphs_for(state, tell)
        assert found is not None
        turns: Iterator[float] = iter(range(1000, 0, -1))  # what is timed later wins
        kept.append(Graphs(state, record=found.record, clock=timed(turns), tell=pytest.fail))
        return kept[-1]

    monkeypatch.setattr(loop, "graphs_for", always)
    found = search([part], settings, device=device)
    monkeypatch.setattr(loop, "graphs_for", lambda *_: None)
    expected = search([part], settings, device=device)
    assert sum(graphs.replays for graphs in kept) > 0
    for kind in CELL_KINDS:
        torch.testing.assert_close(
            torch.from_numpy(found.alpha[kind]), torch.from_numpy(expected.alpha[kind])
        )


def timed(turns: Iterator[float]) -> Callable[[Replay], float]:
    def clock(work: Replay) -> float:
        work()
        return next(turns)

    return clock


def fresh_state(settings: SearchSettings) -> SearchState:
    full = OperationMasks.full(settings.space)
    return SearchState.fresh(settings, 0, full, [3, 2], torch.device("cpu"))


def drop(rate: float) -> SkipDropout:
    return SkipDropout(rate=rate, seed=7)


def cut(half: StepInputs, count: int) -> StepInputs:
    batch = half.batch
    short = replace(batch, images=batch.images[:count], labels=batch.labels[:count])
    return replace(half, batch=short)
