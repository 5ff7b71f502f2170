"""A checkpoint of a search: one tensor for each weight of each operation, momentum too."""

from collections.abc import Callable

import pytest
import torch

from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import Checkpoint
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import take_step

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
CPU = torch.device("cpu")


@pytest.fixture
def settings(make_settings: Make) -> SearchSettings:
    return make_settings()


@pytest.fixture
def state(digits_task: ImageTask, settings: SearchSettings, make_part: MakePart) -> SearchState:
    """After a step of α and of the weights, with a head that no batch has reached."""
    state = SearchState.fresh(settings, 0, OperationMasks.full(settings.space), [3, 2], CPU)
    state.epoch = 1
    state.net.train()
    take_step(state, make_part(digits_task, settings), settings, 0, 0.025)
    return state


def names(checkpoint: Checkpoint, prefix: str) -> set[str]:
    return {name[len(prefix) :] for name in checkpoint.tensors if name.startswith(prefix)}


def test_names_are_those_of_plain_modules(state: SearchState, settings: SearchSettings) -> None:
    plain = PlainSupernet(
        state.net.masks, cells=3, channels=settings.channels, classes=[3, 2], seed=0
    )
    checkpoint = state.to_checkpoint()
    counts = {name for name in plain.state_dict() if name.startswith("cells") and "num_" in name}
    assert names(checkpoint, "net.") == plain.state_dict().keys() - counts
    weights = {name for name, _ in plain.named_weights() if not name.startswith("heads.1.")}
    assert names(checkpoint, "optimiser.momentum_buffer.") == weights
    assert names(checkpoint, "optimiser.exp_avg.") == {"alpha.normal", "alpha.reduction"}
    everything = len(names(checkpoint, "net.")) + len(weights) + 3 * 2 + 1
    assert len(checkpoint.tensors) == everything  # and the sums
    for name, weight in plain.named_weights():
        assert checkpoint.tensors[f"net.{name}"].shape == weight.shape
        if name in weights:
            assert checkpoint.tensors[f"optimiser.momentum_buffer.{name}"].shape == weight.shape


def test_everything_comes_back_to_the_bit(state: SearchState, settings: SearchSettings) -> None:
    kept = state.to_checkpoint()
    again = SearchState.from_checkpoint(kept, settings, [3, 2], CPU)
    found = again.to_checkpoint()
    assert found.facts == kept.facts
    assert found.tensors.keys() == kept.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in kept.tensors.items())
    for weight, other in zip(
        state.net.weight_parameters(), again.net.weight_parameters(), strict=True
    ):
        assert torch.equal(weight, other)
        one, two = (s.sgd.state.get(w, {}) for s, w in ((state, weight), (again, other)))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_next_step_is_the_same(
    state: SearchState,
    settings: SearchSettings,
    digits_task: ImageTask,
    make_part: MakePart,
) -> None:
    again = SearchState.from_checkpoint(state.to_checkpoint(), settings, [3, 2], CPU)
    again.net.train()
    part = make_part(digits_task, settings)
    for each in (state, again):
        take_step(each, part, settings, 1, 0.025)
    kept, found = state.to_checkpoint().tensors, again.to_checkpoint().tensors
    assert all(torch.equal(found[name], value) for name, value in kept.items())


def test_checkpoints_of_plain_modules_are_read(
    state: SearchState, settings: SearchSettings
) -> None:
    # They count the batches of every norm.
    kept = state.to_checkpoint()
    counts = {
        f"net.{name.removesuffix('running_mean')}num_batches_tracked": torch.tensor(2)
        for name in state.net.state_dict()
        if name.endswith("running_mean")
    }
    older = Checkpoint(tensors=kept.tensors | counts, facts=kept.facts)
    again = SearchState.from_checkpoint(older, settings, [3, 2], CPU).to_checkpoint()
    assert all(torch.equal(again.tensors[name], value) for name, value in kept.tensors.items())
