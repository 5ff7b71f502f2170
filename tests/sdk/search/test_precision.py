"""What cells are computed in: chosen by a setting, kept by a run, and never rounded to TF32."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.presets import PRESETS
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState, compute_dtype
from wsdarts_sdk.search.step import needed_memory, take_step

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
CPU = torch.device("cpu")


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_are_float32(preset: str) -> None:
    assert compute_dtype(PRESETS[preset].search) == torch.float32


def test_a_dtype_can_be_asked_for(make_settings: Make) -> None:
    assert compute_dtype(make_settings()) == torch.float32
    assert compute_dtype(make_settings(compute_dtype="bfloat16")) == torch.bfloat16


class PowerCutError(Exception):
    """What stops a search here."""


@pytest.mark.parametrize("before", [True, False])
def test_a_search_rounds_nothing_to_tf32_and_puts_that_back(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart, before: bool
) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    settings, seen = make_settings(), set[tuple[bool, bool]]()
    at_first = cudnn.allow_tf32, matmul.allow_tf32

    def stop(_what: str, done: int, _total: int, /) -> None:
        seen.add((cudnn.allow_tf32, matmul.allow_tf32))
        if done:
            raise PowerCutError

    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = before
        with pytest.raises(PowerCutError):
            search([make_part(digits_task, settings)], settings, progress=stop)
        assert seen == {(False, False)}
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (before, before)
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = at_first


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


def test_torchs_newer_names_are_put_back_too() -> None:
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None:
        pytest.skip("this torch has the older names alone")
    code = (
        "import torch; from wsdarts_sdk.search.state import exact_float32\n"
        "places = torch.backends.cudnn.conv, torch.backends.cuda.matmul\n"
        "places[0].fp32_precision, places[1].fp32_precision = 'ieee', 'tf32'\n"
        "with exact_float32(): print(*(p.fp32_precision for p in places))\n"
        "print(*(p.fp32_precision for p in places))\n"
    )
    # A process of its own: torch does not let them go back to being unset.
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["ieee", "ieee", "ieee", "tf32"]


def test_a_run_goes_on_in_the_dtype_that_it_began_with(
    tmp_path: Path, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    # Resumed with the other setting, and into a further stage.
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
        replace(begun, compute_dtype="float32"),
        journal=FileJournal(tmp_path, "search", 0.0),
        progress=lambda what, _done, _total, /: said.append(what),
    )
    assert "going on in bfloat16" in said[0]
    assert sum("going on" in what for what in said) == 1
    assert {row["compute_dtype"] for row in found.rows} == {"bfloat16"}
    for kind in CELL_KINDS:
        assert found.alpha[kind].tobytes() == whole.alpha[kind].tobytes()
    assert all(torch.equal(found.weights[n], value) for n, value in whole.weights.items())
