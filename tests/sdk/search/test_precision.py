"""What cells are computed in: chosen by device or setting, and kept by a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.space import CELL_KINDS
from wsdarts_sdk.runs.journal import FileJournal
from wsdarts_sdk.search.accumulation import needed_memory
from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.precision import compute_dtype
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import take_step
from wsdarts_sdk.tasks import ImageTask

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "able", "found"),
    [
        ("auto", CPU, True, torch.float32),
        ("auto", CUDA, True, torch.bfloat16),
        ("auto", CUDA, False, torch.float32),  # it would be emulated
        ("float32", CUDA, True, torch.float32),
        ("bfloat16", CPU, True, torch.bfloat16),
        ("bfloat16", CUDA, False, torch.bfloat16),
    ],
)
def test_the_dtype_that_a_search_begins_with(
    asked: str,
    device: torch.device,
    able: bool,
    found: torch.dtype,
    make_settings: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: able)
    assert compute_dtype(make_settings(compute_dtype=asked), device) == found


def fresh(settings: SearchSettings) -> SearchState:
    state = SearchState.fresh(settings, 0, OperationMasks.full(settings.space), [3], CPU)
    state.epoch = 1
    state.net.train()
    return state


def test_cells_alone_are_bfloat16(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(compute_dtype="bfloat16")
    state, exact = fresh(settings), fresh(make_settings())
    assert (state.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    assert state.net.kernels.name == "portable"
    part = make_part(digits_task, settings)
    take_step(state, part, settings, 0, 0.02)
    take_step(exact, part, settings, 0, 0.02)
    moments = [v for o in (state.sgd, state.adam) for s in o.state.values() for v in s.values()]
    kept = [*state.net.parameters(), *state.net.buffers(), *moments]
    assert len(moments) == 6 + 2 * 3  # momentum of cells, stem and head; Adam of two α
    assert {t.dtype for t in kept if t.is_floating_point()} == {torch.float32}
    # The weights' loss and α are close to the exact ones, and not by having been computed so.
    assert not torch.equal(state.sums, exact.sums)
    torch.testing.assert_close(state.sums[0], exact.sums[0], rtol=0.02, atol=0)
    torch.testing.assert_close(state.sums[3], exact.sums[3], rtol=0.02, atol=0)


def test_half_of_the_memory(make_settings: Make) -> None:
    needed = [
        needed_memory(fresh(make_settings(compute_dtype=name)).net, image_size=8, batch=8)
        for name in ("float32", "bfloat16")
    ]
    assert needed[0] == 2 * needed[1]


class PowerCutError(Exception):
    """What stops a search here."""


def test_a_run_goes_on_in_the_dtype_that_it_began_with(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # Begun where auto is bfloat16, resumed where it is float32, and into a further stage.
    begun = make_settings(compute_dtype="bfloat16")
    begun = replace(begun, stages=begun.stages[:2])
    part = make_part(digits_task, begun)
    whole = search([part], begun)

    left, said = 3, list[str]()

    def stop(_what: str, _done: int, _total: int, /) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        search([part], begun, journal=FileJournal(tmp_path, "search", 0.0), progress=stop)
    found = search(
        [part],
        replace(begun, compute_dtype="auto"),
        journal=FileJournal(tmp_path, "search", 0.0),
        progress=lambda what, _done, _total, /: said.append(what),
    )
    assert said[0] == "going on in bfloat16, as the run began"
    assert sum("going on" in what for what in said) == 1
    assert {row["compute_dtype"] for row in found.rows} == {"bfloat16"}
    for kind in CELL_KINDS:
        assert found.alpha[kind].tobytes() == whole.alpha[kind].tobytes()
    assert all(torch.equal(found.weights[n], value) for n, value in whole.weights.items())
