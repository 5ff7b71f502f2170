"""A step asks nothing back from a device and sends it nothing: that is what a graph can record.

Tensors of the device ``meta`` have no numbers: whatever would have to know one of them raises,
and what comes from elsewhere is seen.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.search.cuda_graphs import StaticInputs, state_restored
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState, set_learning_rate
from wsdarts_sdk.search.step import StepInputs, move_alpha, move_weights
from wsdarts_sdk.supernet.kernels.base import SkipDropout

META = torch.device("meta")
Make = Callable[..., SearchSettings]


class Crossings(TorchDispatchMode):
    """Counts calls, and keeps the names of those that take data from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.crossing: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(function)
        self.calls.append(name)
        found = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, found)) if isinstance(x, torch.Tensor)]
        # A number that comes along is a CPU tensor of no dimension: it travels with the call.
        if len({x.device for x in tensors if x.dim() or "copy" in name}) > 1:
            self.crossing.append(name)
        return found


@pytest.mark.parametrize("parts", [1, 2])
def test_nothing_crosses_within_a_step(
    parts: int, make_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    # Neither exists for this device. On CUDA, torch's own fused SGD and capturable Adam run.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    for optimiser in (torch.optim.SGD, torch.optim.Adam):
        monkeypatch.setattr(optimiser, "step", lambda _: None)
    settings = make_settings()
    state = SearchState.fresh(settings, 0, OperationMasks.full(settings.space), [3, 2], META)
    assert state.net.cell_weights.device == state.sums.device == META
    state.parts = parts
    state.net.train()
    batch = Batch(
        images=torch.empty(4, 3, 8, 8, device=META),
        labels=torch.zeros(4, dtype=torch.int64, device=META),
    )
    half = StepInputs(batch=batch, skip=SkipDropout(rate=0.3, seed=3))
    edges = settings.space.shape[0]
    static = StaticInputs.like(half, parts=parts, cells=len(state.net.plans), edges=edges)
    for part, move in ((Part.ALPHA, move_alpha), (Part.WEIGHTS, move_weights)):
        with state_restored(state, part, 0):
            move(state, settings, static.inputs)  # what is made once is made here
        with Crossings() as seen:
            set_learning_rate(state.sgd, 0.02)
            move(state, settings, static.inputs)
        assert seen.crossing == []
        assert len(seen.calls) > 300


def test_a_crossing_is_seen() -> None:
    with Crossings() as seen:
        there = torch.zeros(2, device=META)
        there.fill_(1.5)
        there += 2.5
        assert seen.crossing == []
        there.copy_(torch.ones(2))
        torch.tensor([1, 2]).to(META)
        assert len(seen.crossing) == 2
    with pytest.raises(RuntimeError, match=r"meta"):
        there.sum().item()
