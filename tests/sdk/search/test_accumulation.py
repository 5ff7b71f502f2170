"""Batches in parts: the same gradients, and as few parts as fit."""

import pytest
import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.search.step import accumulate, needed_memory, parts_that_fit
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.network import Supernet

SIZE = 8


@pytest.fixture
def net() -> Supernet:
    masks = OperationMasks.full(SearchSpace(nodes=1))
    return Supernet(masks, cells=3, channels=2, classes=[3, 2], seed=1).double()


def make_batch(count: int) -> Batch:
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIZE, SIZE, generator=draws, dtype=torch.float64)
    return Batch(images=images, labels=torch.arange(count) % 3)


def test_equal_halves_have_the_statistics_of_the_whole(net: Supernet) -> None:
    half = make_batch(4)
    twice = Batch(images=half.images.repeat(2, 1, 1, 1), labels=half.labels.repeat(2))
    whole = accumulate(net, twice, "both", skip=NO_DROPOUT, parts=1)
    expected = [g.clone() for g in (*whole.alpha, *whole.weights) if g is not None]
    found = accumulate(net, twice, "both", skip=NO_DROPOUT, parts=2)
    torch.testing.assert_close(found.loss, whole.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.logits, whole.logits, rtol=1e-9, atol=1e-12)
    parts = [g for g in (*found.alpha, *found.weights) if g is not None]
    for a, b in zip(parts, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_parts_count_by_their_images(net: Supernet) -> None:
    batch = make_batch(5)  # 3 and 2 images: a plain mean of the two gradients would be wrong
    parts = [
        Batch(images=images, labels=labels)
        for images, labels in zip(
            batch.images.tensor_split(2), batch.labels.tensor_split(2), strict=True
        )
    ]
    alone = [net.gradients(part, "alpha") for part in parts]
    found = accumulate(net, batch, "alpha", skip=NO_DROPOUT, parts=2)
    torch.testing.assert_close(found.loss, 0.6 * alone[0].loss + 0.4 * alone[1].loss)
    for total, first, second in zip(found.alpha, alone[0].alpha, alone[1].alpha, strict=True):
        torch.testing.assert_close(total, 0.6 * first + 0.4 * second)


def test_another_tasks_head_has_no_gradient(net: Supernet) -> None:
    found = accumulate(net, make_batch(4), "weights", skip=NO_DROPOUT, parts=2)
    assert [gradient is None for gradient in found.weights[-4:]] == [False, False, True, True]


@pytest.mark.parametrize(("share", "parts"), [(1.0, 1), (0.99, 2), (0.5, 2), (0.49, 3), (0.25, 4)])
def test_as_few_parts_as_fit(net: Supernet, share: float, parts: int) -> None:
    needed = needed_memory(net, image_size=SIZE, batch=8)
    free = int(share * needed / 0.8) + 1
    assert parts_that_fit(net, image_size=SIZE, batch=8, free=free) == parts


def test_memory_that_the_kernels_hold_can_be_had(net: Supernet) -> None:
    if not isinstance(net.kernels, CompiledKernels):
        pytest.skip("no C++ compiler here: the other kernels hold nothing")
    needed = needed_memory(net, image_size=SIZE, batch=8)
    assert parts_that_fit(net, image_size=SIZE, batch=8, free=needed // 2) == 3
    accumulate(net, make_batch(8), "both", skip=NO_DROPOUT, parts=1)
    assert 8 * net.kernels.held() > needed // 2
    assert parts_that_fit(net, image_size=SIZE, batch=8, free=needed) == 1
    assert parts_that_fit(net, image_size=SIZE, batch=8, free=needed // 2) < 3


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_hold_the_memory_of_one(net: Supernet, parts: int) -> None:
    if not isinstance(net.kernels, CompiledKernels):
        pytest.skip("no C++ compiler here: the other kernels hold nothing")
    accumulate(net, make_batch(8), "both", skip=NO_DROPOUT, parts=1)
    whole = net.kernels.held()
    for _ in range(2):
        accumulate(net, make_batch(8), "both", skip=NO_DROPOUT, parts=parts)
        assert net.kernels.held() <= whole * -(-8 // parts) // 8


def test_what_cannot_fit_is_refused(net: Supernet) -> None:
    with pytest.raises(SettingsError, match="use smaller images"):
        parts_that_fit(net, image_size=SIZE, batch=8, free=1000)
