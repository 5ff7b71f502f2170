"""Every candidate operation against its definition, worked out in NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from reference import by_hand
from wsdarts_registry.architecture.search_space import DARTS_CANDIDATES
from wsdarts_registry.errors import SpaceError
from wsdarts_sdk.models._operations import FactorizedReduce, build_operation

SIZES = [(8, 8), (7, 7), (5, 8), (6, 3), (2, 2)]


@pytest.mark.parametrize("name", DARTS_CANDIDATES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("affine", [False, True])
def test_shape(name: str, stride: int, size: tuple[int, int], affine: bool) -> None:
    operation = build_operation(name, 4, stride, affine=affine)
    found = operation(torch.randn(2, 4, *size))
    rounded_up = tuple(-(-extent // stride) for extent in size)
    assert tuple(found.shape) == (2, 4, *rounded_up)


@pytest.mark.parametrize("name", DARTS_CANDIDATES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
def test_definition(name: str, stride: int, size: tuple[int, int]) -> None:
    module = build_operation(name, 4, stride, affine=False).double()
    weights = by_hand.random_state(module, seed=1)
    x = np.random.default_rng(2).normal(size=(3, 4, *size))
    found = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, by_hand.operation(name, x, stride, weights), atol=1e-10)


def test_average_pooling_does_not_count_padding() -> None:
    # All ones: the mean of what is inside is 1 everywhere. Counting the padding would give
    # 4/9 in the corner.
    pool = build_operation("avg_pool_3x3", 1, 1, affine=True)
    assert torch.equal(pool(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_max_pooling_pads_below_every_number() -> None:
    pool = build_operation("max_pool_3x3", 1, 1, affine=True)
    below = torch.full((1, 1, 3, 3), -2.0)
    assert torch.equal(pool(below), below)  # padding with zeros would give 0


def test_pooling_has_a_norm_in_the_search_only() -> None:
    for name in ("max_pool_3x3", "avg_pool_3x3"):
        in_search = build_operation(name, 4, 1, affine=False)
        assert [type(m) for m in in_search.modules()].count(nn.BatchNorm2d) == 1
        assert not list(in_search.parameters())
        derived = build_operation(name, 4, 1, affine=True)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in derived.modules())


@pytest.mark.parametrize("name", DARTS_CANDIDATES)
@pytest.mark.parametrize("stride", [1, 2])
def test_no_affine_norm_and_no_bias_in_the_search(name: str, stride: int) -> None:
    for module in build_operation(name, 4, stride, affine=False).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not module.affine
        if isinstance(module, nn.Conv2d):
            assert module.bias is None


def test_separable_convolution_strides_in_its_first_half_only() -> None:
    strides = [
        module.stride
        for module in build_operation("sep_conv_3x3", 4, 2, affine=False).modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert strides == [(2, 2), (1, 1), (1, 1), (1, 1)]


def test_skip_connect() -> None:
    assert type(build_operation("skip_connect", 4, 1, affine=False)) is nn.Identity
    assert type(build_operation("skip_connect", 4, 2, affine=False)) is FactorizedReduce


def test_factorized_reduce_sees_even_and_odd_pixels() -> None:
    module = FactorizedReduce(1, 2, affine=False)
    with torch.no_grad():
        module.even.weight.fill_(1)
        module.odd.weight.fill_(1)
    module.norm = nn.Identity()  # the pixels themselves
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    even, odd = module(x)[0]
    assert even.tolist() == [[0, 2], [6, 8]]
    assert odd.tolist() == [[4, 0], [0, 0]]  # the lattice is one short where the size is odd


def test_none_multiplies_by_zero() -> None:
    zero = build_operation("none", 2, 2, affine=False)
    assert torch.equal(zero(torch.randn(1, 2, 5, 5)), torch.zeros(1, 2, 3, 3))


# C = 4. sep k: 2·(4k² + 16); dil k: 4k² + 16; stride-2 skip: 2·(4·2).
@pytest.mark.parametrize(
    ("name", "stride", "count"),
    [
        ("none", 1, 0),
        ("max_pool_3x3", 2, 0),
        ("avg_pool_3x3", 1, 0),
        ("skip_connect", 1, 0),
        ("skip_connect", 2, 16),
        ("sep_conv_3x3", 1, 104),
        ("sep_conv_5x5", 2, 232),
        ("dil_conv_3x3", 2, 52),
        ("dil_conv_5x5", 1, 116),
    ],
)
def test_number_of_parameters(name: str, stride: int, count: int) -> None:
    module = build_operation(name, 4, stride, affine=False)
    assert sum(parameter.numel() for parameter in module.parameters()) == count


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(SpaceError, match="one of none, max_") as caught:
        build_operation("conv_7x7", 4, 1, affine=False)
    assert caught.value.found == "'conv_7x7'"


@pytest.mark.parametrize("inputs", range(1, 10))
def test_reduction_of_few_channels_has_right_gradients(inputs: int) -> None:
    """oneDNN's own stride fails here with channels last, on processors with AVX2 alone."""
    exact = FactorizedReduce(inputs, 4, affine=True).double()
    exact.norm = nn.Identity()  # whose gradients would nearly cancel
    rounded = copy.deepcopy(exact).float().to(memory_format=torch.channels_last)
    images = torch.randn(8, inputs, 8, 8, dtype=torch.float64)
    for module in (exact, rounded):
        x = images.to(module.even.weight.dtype)
        if module is rounded:
            x = x.contiguous(memory_format=torch.channels_last)
        (module(x) * torch.arange(x[:, :1, ::2, ::2].numel()).view(8, 1, 4, 4)).sum().backward()
    for one, other in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        largest = one.grad.abs().max()
        assert (one.grad - other.grad).abs().max() <= 1e-4 * largest
