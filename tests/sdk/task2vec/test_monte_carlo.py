"""The authors' Monte-Carlo estimate, which benchmarks compare with, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference.monte_carlo import monte_carlo_fisher
from wsdarts_sdk.task2vec.fisher import filter_fisher


class Mirror(nn.Module):
    """Logits (w x, -w x) with w = 0: both labels have p = 1/2, and d log p / dw = ±x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x_N1HW: Tensor) -> Tensor:
        y_N1 = self.conv(x_N1HW).flatten(1)
        return torch.cat([y_N1, -y_N1], dim=1)


def test_square_of_one_gradient_by_hand() -> None:
    found = monte_carlo_fisher(
        Mirror(), torch.full((1, 1, 1, 1), 3.0), torch.tensor([0]), draws=5, batch=1
    )
    np.testing.assert_allclose(found, [9.0])


def test_a_batch_of_four_is_averaged_before_it_is_squared() -> None:
    # The mean of four signs squared has the expectation 1/4; squares of single ones give 9.
    image, label = torch.full((1, 1, 1, 1), 3.0), torch.tensor([0])
    found = monte_carlo_fisher(Mirror(), image, label, draws=8000, batch=4)
    assert found == pytest.approx(9 / 4, rel=0.1)


def test_classes_weigh_the_same() -> None:
    # (1 + 4) / 2, where images that weigh the same would give (3 · 1 + 4) / 4.
    images = torch.tensor([1.0, 1.0, 1.0, 2.0]).reshape(4, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 1])
    found = monte_carlo_fisher(Mirror(), images, labels, draws=4000, batch=1)
    assert found == pytest.approx(2.5, rel=0.05)


def test_what_is_left_of_a_batch_is_dropped() -> None:
    # One batch of four signs: their mean is 0, ±1/2 or ±1. Three more draws would blur that.
    image, label = torch.full((1, 1, 1, 1), 3.0), torch.tensor([0])
    for seed in range(10):
        found = monte_carlo_fisher(Mirror(), image, label, draws=7, batch=4, seed=seed)
        assert float(found[0]) in {0.0, 9 / 4, 9.0}


def test_expectation_is_the_fisher_information_over_the_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(18, 3)
    ).double()
    images = torch.randn(6, 2, 6, 6).double()
    labels = torch.arange(6) % 3
    found = monte_carlo_fisher(network, images, labels, draws=40_000, batch=8)
    exact = filter_fisher(network.eval(), images)
    np.testing.assert_allclose(8 * found, exact, rtol=0.1)
