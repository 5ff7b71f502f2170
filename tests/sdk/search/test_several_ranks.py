"""Searches and trainings of two and four processes, beside those of one, in float64.

With synchronised norms they are the same but for rounding. With norms of their own the processes
agree with each other.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.in_ranks import (
    Work,
    apart,
    in_ranks,
    search_steps,
    searched,
    settings_of,
    several,
    start,
    training_settings,
    training_steps,
)
from wsdarts_sdk.distributed import ALONE, Ranks
from wsdarts_sdk.search import loop
from wsdarts_sdk.search.settings import AlphaOptimiser, SearchSettings, WeightOptimiser
from wsdarts_sdk.search.state import SearchState

pytestmark = pytest.mark.processes

_EQUAL = 1e-9  # of one step; of eight or twenty 1e-6
_ALIKE = 1e-6
_CLIP = 0.1  # a norm that the gradients of the first step exceed
_POISONED = 3  # exchange of gradients in which those of one rank are NaN
_BITES = 1e-3  # least difference that a clip makes
_SYNCHRONISED = {"synchronised_norms": True}
_SEARCHES = {
    f"{order} order, {tasks} tasks": (tasks, {"order": order, "batch_size": batch})
    for order in ("first", "second")
    for tasks, batch in ((1, 8), (2, 11))
}
_SEARCHES["clipped gradients"] = (
    1,
    {
        "weights": WeightOptimiser(gradient_clip=_CLIP),
        "alpha": AlphaOptimiser(gradient_clip=_CLIP / 100),
    },
)
_TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"gradient_clip": _CLIP},
    "class weights": {"class_balance": "weights", "label_smoothing": 0.1},
    "mixed images": {"mixup": 0.4, "cutmix": 1.0},
    "policy": {"augmentation": "randaugment"},
    "average, stopping": {"averaged_weights": 0.9, "auxiliary_weight": 0.0, "patience": 2},
}


def works(cache: Path) -> dict[tuple[str, int], tuple[Work, tuple[Any, ...]]]:
    """Return all that is computed, by name and steps."""
    found: dict[tuple[str, int], tuple[Work, tuple[Any, ...]]] = {}
    for name, (tasks, changes) in _SEARCHES.items():
        settings = settings_of(**changes, **_SYNCHRONISED)
        for steps in (1, 20 if changes.get("order") == "first" else 8):
            found[name, steps] = (search_steps, (settings, cache, tasks, steps))
    for name, changes in _TRAININGS.items():
        settings_ = training_settings(batch_size=11, **changes, **_SYNCHRONISED)
        for steps in (1, 20) if name == "plain" else (1,):
            found[name, steps] = (training_steps, (settings_, cache, steps))
    for images in (11, 3):  # of three, some of the ranks have none
        own = settings_of(batch_size=images, order="second")
        found[f"own norms, {images} images", 2] = (search_steps, (own, cache, 2, 2))
        trained = training_settings(batch_size=images)
        found[f"own norms, {images} images, training", 2] = (training_steps, (trained, cache, 2))
    found["whole search", 2] = (searched, (settings_of(batch_size=7), cache))
    return found


Computed = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tasks' pixels."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def alone(cache: Path) -> Callable[[str, int], dict[str, Any]]:
    """What one process computes, when it is asked for."""
    listed, known = works(cache), Computed()

    def compute(name: str, steps: int) -> dict[str, Any]:
        if (name, steps) not in known:
            work, arguments = listed[name, steps]
            known[name, steps] = work(ALONE, *arguments)
        return known[name, steps]

    return compute


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, cache: Path) -> list[Computed]:
    """What each of several processes computes, all of it by one start of them."""
    listed = works(cache)
    if request.param == 4:  # nothing that shows only in many steps
        listed = {key: work for key, work in listed.items() if key[1] < 8}
    found = in_ranks(request.param, several, tuple(listed.values()))
    return [dict(zip(listed, each, strict=True)) for each in found]


def test_synchronised_norms_make_many_ranks_equal_one(
    ranks: list[Computed], alone: Callable[[str, int], dict[str, Any]]
) -> None:
    compared = [key for key in ranks[0] if key[0] in {*_SEARCHES, *_TRAININGS}]
    assert len(compared) > 4
    for clipped, other in (("clipped gradients", "first order, 1 tasks"), ("clipped", "plain")):
        assert apart(alone(clipped, 1), alone(other, 1)) > _BITES
    for name, steps in compared:
        difference = apart(alone(name, steps), ranks[0][name, steps])
        assert difference < (_EQUAL if steps == 1 else _ALIKE), (name, steps)


def test_all_ranks_have_the_same_state(ranks: list[Computed]) -> None:
    first, *others = ranks
    for other in others:
        for key, state in first.items():
            assert state.keys() == other[key].keys()
            for name, value in state.items():
                assert value.tobytes() == other[key][name].tobytes(), (key, name)


def test_own_norms_count_and_draw_for_the_whole_batch(
    ranks: list[Computed], alone: Callable[[str, int], dict[str, Any]]
) -> None:
    for images in (11, 3):
        name = f"own norms, {images} images"
        one, found = alone(name, 2)["sums"], ranks[0][name, 2]["sums"]
        assert np.array_equal(one[[2, 5]], found[[2, 5]])  # images of both halves
        assert one[0] == pytest.approx(found[0], rel=0.5)  # norms differ, the draws do not


def diverged(ranks: Ranks, settings: SearchSettings, cache: Path) -> dict[str, Any]:
    """Search, but with other weights on rank 1 after a step, as a fault of memory leaves."""
    usual = loop.take_step

    def step(state: SearchState, *given: Any) -> None:
        usual(state, *given)
        if ranks.rank == 1 and (state.epoch, state.step) == (1, 1):
            with torch.no_grad():
                state.net.cell_weights[0] += 1e-3

    loop.take_step = step
    return searched(ranks, settings, cache)


def test_a_rank_whose_weights_differ_ends_the_search(cache: Path) -> None:
    _, failures = start(2, diverged, settings_of(), cache)
    silent, told = sorted(str(failure).splitlines()[0] for failure in failures)
    assert told.startswith("RunError: ")
    assert "epoch 2" in told
    assert "rank 1" in told
    assert silent == "ReportedElsewhere: 1"


def poisoned(ranks: Ranks, settings: SearchSettings, cache: Path, bad: int) -> dict[str, Any]:
    """Search and train, but with NaN in one exchange of each, from one rank."""
    usual, calls = Ranks.add_up_all, 0

    def add_up_all(self: Ranks, tensors: Sequence[Tensor]) -> list[Tensor]:
        nonlocal calls
        calls += 1
        if self.rank == bad and calls == _POISONED:
            tensors = [torch.full_like(tensor, float("nan")) for tensor in tensors]
        return usual(self, tensors)

    Ranks.add_up_all = add_up_all  # type: ignore[method-assign]
    found = searched(ranks, settings, cache)
    calls = 0
    trained = training_steps(ranks, training_settings(), cache, 8)
    return found | {f"trained.{name}": value for name, value in trained.items()}


@pytest.mark.parametrize("bad", [0, 1])
def test_gradients_of_one_rank_that_are_not_finite_take_all_back(bad: int, cache: Path) -> None:
    first, second = in_ranks(2, poisoned, settings_of(), cache, bad)
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name
        assert np.isfinite(value).all(), name
    assert first["roll backs"].max() == 1
    assert first["trained.roll backs"].max() == 1
