"""The Fisher information against torch.func, closed forms and its laws."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.fisher import (
    filter_fisher,
    image_fisher,
    label_factors,
    rademacher_signs,
)
from wsdarts_sdk.task2vec.probe import convolutions

CLASSES = 3
CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "dense, few filters, so by patches": lambda: nn.Conv2d(4, 2, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "strided, rest cut off": lambda: nn.Conv2d(4, 6, 2, stride=3),
    "oblong": lambda: nn.Conv2d(4, 6, (1, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 1)),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
    "depthwise, strided": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
    "depthwise, dilated": lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4),
    "depthwise, oblong": lambda: nn.Conv2d(4, 4, (1, 5), padding=(0, 2), groups=4),
    "depthwise, two filters a channel": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "grouped, many filters, so by Gram": lambda: nn.Conv2d(4, 40, 5, stride=4, groups=2),
    "dilated": lambda: nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "1x1": lambda: nn.Conv2d(4, 6, 1),
    "1x1 strided": lambda: nn.Conv2d(4, 6, 1, stride=2),
    "1x1 padded": lambda: nn.Conv2d(4, 6, 1, padding=1),
    "same padding of torch": lambda: nn.Conv2d(4, 6, (3, 5), padding="same"),
    "SAME padding of TensorFlow": lambda: Conv2dSame(4, 6, 3, stride=2),
    "SAME, depthwise, 5x5": lambda: Conv2dSame(4, 4, 5, stride=2, groups=4, bias=False),
    "no padding, by name": lambda: nn.Conv2d(4, 6, 3, padding="valid"),
    "reflected": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
}


def network_around(middle: Callable[[], nn.Module]) -> nn.Module:
    """Conv, batch norm, in-place ReLU, the convolution under test, in-place ReLU, classifier."""
    torch.manual_seed(0)
    conv = middle()
    assert isinstance(conv, nn.Conv2d)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        conv,
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(conv.out_channels * 4, CLASSES),
    ).double()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean = torch.randn(4).double()
    norm.running_var = torch.rand(4).double() + 0.5
    return network.eval()


def images(count: int = 5, size: int = 10) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)).double()


def by_definition(network: nn.Module, x: Tensor) -> NDArray[np.float64]:
    """Per-sample gradients of log p(y|x) for every y, squared and weighed by p(y|x)."""
    weights = {f"{name}.weight": conv.weight for name, conv in convolutions(network).items()}
    weights = {name: weight.detach() for name, weight in weights.items()}

    def log_p(changed: dict[str, Tensor], image: Tensor, y: int) -> Tensor:
        return functional_call(network, changed, (image[None],)).log_softmax(1)[0, y]

    p = network(x).detach().softmax(1)
    total = {name: torch.zeros(len(weight)).double() for name, weight in weights.items()}
    for y in range(p.shape[1]):
        gradients = vmap(lambda image, y=y: grad(log_p)(weights, image, y))(x)
        for name, gradient in gradients.items():
            total[name] += (p[:, y, None] * gradient.square().flatten(2).mean(2)).mean(0)
    return np.concatenate([value.detach().numpy() for value in total.values()])


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_equals_vmap_of_grad(kind: str) -> None:
    network = network_around(CONVOLUTIONS[kind])
    found = filter_fisher(network, images())
    expected = by_definition(network, images())
    assert (expected > 0).mean() > 0.7  # a filter behind a dead ReLU has none
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_linear_softmax_probe_in_closed_form() -> None:
    # On 1×1 images a 1×1 convolution is a linear layer, and for softmax(Wx)
    # F = E_x [p_c (1 - p_c) x_k²]; a filter is a row of W, so the mean over k.
    torch.manual_seed(0)
    linear = nn.Conv2d(4, CLASSES, 1, bias=False).double()
    network = nn.Sequential(linear, nn.Flatten())
    x = torch.randn(7, 4, 1, 1).double()
    p = network(x).softmax(1)
    expected = (p * (1 - p) * x.square().mean(1).flatten(1)).mean(0)
    np.testing.assert_allclose(filter_fisher(network, x), expected.detach(), rtol=1e-12)


def test_two_images_by_hand() -> None:
    # Logits (2x, 0) of x = log 2 and x = 0, so p = (4/5, 1/5) and (1/2, 1/2).
    # F = mean of p(1-p)x² = (4/25 · log²2 + 0) / 2, for both filters. Squaring the mean
    # gradient of the batch instead would mix the two images.
    linear = nn.Conv2d(1, 2, 1, bias=False).double()
    linear.weight = nn.Parameter(torch.tensor([2.0, 0]).double().reshape(2, 1, 1, 1))
    x = torch.tensor([np.log(2), 0.0]).double().reshape(2, 1, 1, 1)
    found = filter_fisher(nn.Sequential(linear, nn.Flatten()), x)
    np.testing.assert_allclose(found, [2 / 25 * np.log(2) ** 2] * 2, rtol=1e-12)


def test_sketches_are_unbiased() -> None:
    # The mean over all 2^C sign vectors is the exact expectation.
    network = network_around(CONVOLUTIONS["dense"])
    x = images()
    signs = torch.tensor(list(itertools.product((-1, 1), repeat=CLASSES)))
    everything = signs.expand(len(x), -1, -1)
    np.testing.assert_allclose(
        filter_fisher(network, x, signs=everything), filter_fisher(network, x), rtol=1e-10
    )


def test_label_factors_of_two_classes_by_hand() -> None:
    # p = (3/4, 1/4): diag(p) - pp' = 3/16 · ((1, -1), (-1, 1)).
    p = torch.tensor([[0.75, 0.25]]).double()
    expected = 3 / 16 * np.array([[1.0, -1], [-1, 1]])
    exact = sum(np.outer(v[0], v[0]) for v in label_factors(p, None))
    np.testing.assert_allclose(exact, expected, rtol=1e-12)
    # One sketch with z = (1, -1): s = √p∘z = (√3/2, -1/2), v = s - p (√3/2 - 1/2).
    (v,) = label_factors(p, torch.tensor([[[1, -1]]]))
    s, total = np.array([3**0.5 / 2, -0.5]), 3**0.5 / 2 - 0.5
    np.testing.assert_allclose(v[0], s - np.array([0.75, 0.25]) * total, rtol=1e-12)


@pytest.mark.parametrize("p", [(0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.4, 0.0, 0.6)])
def test_exact_label_factors_are_one_less_than_the_classes(p: tuple[float, ...]) -> None:
    factors = label_factors(torch.tensor([p]).double(), None)
    assert len(factors) == 2
    found = sum(np.outer(v[0], v[0]) for v in factors)
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), atol=1e-15)


def test_signs_are_fair_fixed_and_grow_at_the_end() -> None:
    signs = rademacher_signs(50, 4, 100, seed=0)
    assert signs.shape == (50, 4, 100)
    assert set(signs.unique().tolist()) == {-1, 1}
    assert abs(float(signs.double().mean())) < 4 / 20_000**0.5
    assert torch.equal(rademacher_signs(20, 4, 100, seed=0), signs[:20])
    assert not torch.equal(rademacher_signs(50, 4, 100, seed=1), signs)
    assert signs[0, 0, :8].tolist() == FIRST_SIGNS


# SHAKE-256 of "rademacher 0 0", first byte, most significant bit first.
FIRST_SIGNS = [-1, 1, 1, -1, -1, 1, 1, 1]


def test_batch_size_and_image_order_do_not_matter() -> None:
    network = network_around(CONVOLUTIONS["strided"])
    x = images(7)
    signs = rademacher_signs(7, 2, CLASSES, seed=0)
    whole = filter_fisher(network, x, signs=signs, batch=7)
    for batch in (1, 3, 100):
        np.testing.assert_allclose(
            filter_fisher(network, x, signs=signs, batch=batch), whole, rtol=1e-12
        )
    order = torch.randperm(7)
    np.testing.assert_allclose(
        filter_fisher(network, x[order], signs=signs[order]), whole, rtol=1e-12
    )


def test_each_image_on_its_own() -> None:
    network = network_around(CONVOLUTIONS["depthwise"])
    x = images(5)
    rows = list(image_fisher(network, x, batch=2))
    assert [len(row) for row in rows] == [2, 2, 1]
    alone = [filter_fisher(network, image[None]) for image in x]
    np.testing.assert_allclose(np.concatenate(rows), alone, rtol=1e-10)
    np.testing.assert_allclose(filter_fisher(network, x), np.mean(alone, axis=0), rtol=1e-10)


def test_stopping_early_leaves_the_network_as_it_was() -> None:
    network = network_around(CONVOLUTIONS["dense"])
    rows = image_fisher(network, images(4), batch=2)
    next(rows)
    rows.close()
    assert all(p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_batch_norm_without_weights_and_with_statistics_of_the_batch() -> None:
    # The second norm is in train mode, as one may be that a probe computes on purpose; images
    # are alike, so that its statistics are those of each image.
    norms = nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), norms[0], nn.Conv2d(4, 4, 1), norms[1], nn.Flatten(), nn.LazyLinear(3)
    )
    x = images(1, 6)
    network.float()(x.float())
    network.double().eval()
    norms[0].running_mean = torch.randn(4).double()
    norms[0].running_var = torch.rand(4).double() + 0.5
    np.testing.assert_allclose(
        filter_fisher(network, x), by_definition(network, x), rtol=1e-9, atol=1e-14
    )


def test_label_permutation_does_not_matter() -> None:
    network = network_around(CONVOLUTIONS["dense"])
    before = filter_fisher(network, images())
    classifier = network[-1]
    assert isinstance(classifier, nn.Linear)
    order = torch.tensor([2, 0, 1])
    classifier.weight = nn.Parameter(classifier.weight[order])
    classifier.bias = nn.Parameter(classifier.bias[order])
    np.testing.assert_allclose(filter_fisher(network, images()), before, rtol=1e-12)


def test_network_is_left_as_it_was() -> None:
    network = network_around(CONVOLUTIONS["dense"])
    network[0].requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    filter_fisher(network, images())
    assert [p.requires_grad for p in network.parameters()] == [False] * 2 + [True] * 6
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(state[n], t) for n, t in network.state_dict().items())


def test_standardised_weights_count_as_they_are_used() -> None:
    network = network_around(lambda: StdConv2d(4, 6, 3, padding=1, bias=True))
    plain = network_around(CONVOLUTIONS["dense"])
    plain.load_state_dict(network.state_dict())
    used, conv = plain[3], network[3]
    assert isinstance(used, nn.Conv2d)
    assert isinstance(conv, StdConv2d)
    mean, std = conv.weight.flatten(1).mean(1), conv.weight.flatten(1).std(1, correction=0)
    shape = (6, 1, 1, 1)
    standardised = (conv.weight - mean.view(shape)) / (std.square() + conv.eps).sqrt().view(shape)
    used.weight = nn.Parameter(standardised)
    np.testing.assert_allclose(
        filter_fisher(network, images()), filter_fisher(plain, images()), rtol=1e-9
    )


def test_a_convolution_used_twice_is_refused() -> None:
    conv = nn.Conv2d(3, 3, 1)
    network = nn.Sequential(conv, conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ProbeError, match="convolution 0 is used twice"):
        filter_fisher(network, images().float())


def test_a_convolution_that_cannot_be_hooked_is_refused() -> None:
    class Own(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            columns = nn.functional.unfold(input, self.kernel_size)
            mapped = self.weight.flatten(1) @ columns
            return mapped.unflatten(2, (input.shape[2], input.shape[3]))  # type: ignore[no-any-return, no-untyped-call]

    network = nn.Sequential(Own(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ProbeError, match=r"convolution 0 .*Own; .*conv2d"):
        filter_fisher(network, images().float())


def test_an_input_that_is_overwritten_is_refused() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.second = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            y: Tensor = self.second(x)
            x += 1
            return (x + y).mean((2, 3))

    with pytest.raises(ProbeError, match="convolution second is overwritten"):
        filter_fisher(Overwriting(), images().float())


def test_an_unused_convolution_has_no_information() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Conv2d(3, 2, 1)
            self.unused = nn.Conv2d(3, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            mapped: Tensor = self.used(x)
            return mapped.mean((2, 3))

    found = filter_fisher(Partly(), images().float())
    assert (found[:2] > 0).all()
    assert (found[2:] == 0).all()
