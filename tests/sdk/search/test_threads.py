"""A search on the CPU gives the same bits whatever the number of threads."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.search.settings import SearchSettings, StageSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import StepInputs, clip_gradients, move_alpha, move_weights, norm_of
from wsdarts_sdk.supernet.kernels.base import SkipDropout
from wsdarts_sdk.supernet.network import head_output, stem_output

Make = Callable[..., SearchSettings]
CPU = torch.device("cpu")
COUNTS = (1, 2, 4)  # where a matrix product of torch changes its order: at four


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def under_each(work: Callable[[], list[Tensor]]) -> Iterator[list[Tensor]]:
    for count in COUNTS:
        torch.set_num_threads(count)
        yield [each.detach().clone() for each in work()]


def test_steps_do_not_depend_on_the_number_of_threads(make_settings: Make) -> None:
    stage = StageSettings(cells=3, operations=8, epochs=1, weights_only_epochs=0)
    settings = make_settings(space=DARTS, stages=(stage,), channels=16, image_size=32)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(12, 3, 32, 32, generator=draws)  # enough for every sum to be shared out
    batch = Batch(images=images, labels=torch.randint(0, 100, (12,), generator=draws))
    half = StepInputs(batch=batch, skip=SkipDropout(rate=0.3, seed=1))

    def steps() -> list[Tensor]:
        state = SearchState.fresh(settings, 0, OperationMasks.full(DARTS), [100], CPU)
        if state.net.train().kernels.name != "compiled":
            pytest.skip("the portable kernels are torch's own operations")
        move_alpha(state, settings, half)
        move_weights(state, settings, half)
        return [*state.net.state_dict().values(), state.sums]

    first, *others = under_each(steps)
    for count, found in zip(COUNTS[1:], others, strict=True):
        for one, other in zip(first, found, strict=True):
            assert torch.equal(one, other), f"{count} threads"


def test_the_stem_is_torchs_own() -> None:
    draws = torch.Generator().manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)).double()
    x = torch.randn(4, 3, 9, 7, generator=draws, dtype=torch.float64)
    upstream = torch.randn(4, 12, 9, 7, generator=draws, dtype=torch.float64)

    def both(output: Tensor) -> list[Tensor]:
        return [output, *torch.autograd.grad(output, list(stem.parameters()), upstream)]

    for found, right in zip(both(stem_output(stem, x)), both(stem(x)), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


def test_a_head_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    two_images_at_a_time = 2 * 5 * 6
    monkeypatch.setattr("wsdarts_sdk.supernet.network._PRODUCTS", two_images_at_a_time)
    draws = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 5).double()
    x = torch.randn(7, 6, generator=draws, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(7, 5, generator=draws, dtype=torch.float64)

    def both(output: Tensor) -> list[Tensor]:
        return [output, *torch.autograd.grad(output, [x, *head.parameters()], upstream)]

    for found, right in zip(both(head_output(head, x)), both(head(x)), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 3_000_001])
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_is_torchs_own(size: int, limit: float) -> None:
    draws = torch.Generator().manual_seed(size)
    values = [torch.randn(n, generator=draws, dtype=torch.float64) for n in (size, 7)]
    parameters = [nn.Parameter(torch.zeros_like(v)) for v in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = value.clone()
    nn.utils.clip_grad_norm_(parameters, limit)
    clip_gradients(values, limit)
    for parameter, value in zip(parameters, values, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(value, parameter.grad, rtol=1e-12, atol=0)


def test_norms_do_not_depend_on_the_number_of_threads() -> None:
    values: list[Any] = [torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))]
    first, *others = under_each(lambda: [norm_of(values)])
    assert all(torch.equal(first[0], other[0]) for other in others)
