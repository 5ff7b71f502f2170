"""The variational estimator on cases whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.task2vec import variational
from wsdarts_sdk.task2vec.fisher import filter_fisher
from wsdarts_sdk.task2vec.variational import VariationalSettings, variational_fisher


def linear_probe() -> tuple[nn.Module, Tensor, Tensor]:
    """Softmax of a linear map on 1×1 images: its Hessian is its Fisher, whatever the labels."""
    torch.manual_seed(0)
    linear = nn.Conv2d(6, 8, 1, bias=False)
    network = nn.Sequential(linear, nn.Flatten(), nn.Linear(8, 4)).double().eval()
    with torch.no_grad():
        linear.weight *= torch.linspace(0.2, 3, 8)[:, None, None, None]
        network[2].weight *= torch.linspace(3, 0.3, 8)
    x = torch.randn(64, 6, 1, 1).double()
    return network, x, torch.arange(64) % 4


def test_recovers_the_fisher_of_a_linear_probe() -> None:
    network, x, labels = linear_probe()
    # A prior so wide that it draws nothing: β/λ² is below a thousandth of every F.
    settings = VariationalSettings(beta=1e-4, prior=100, steps=400, batch=64, rate=0.1)
    found = variational_fisher(network, x, labels, settings)
    expected = filter_fisher(network, x)
    assert expected.max() / expected.min() > 10
    np.testing.assert_allclose(found, expected, rtol=0.1)
    assert np.corrcoef(np.log(found), np.log(expected))[0, 1] > 0.999


def test_is_drawn_towards_the_prior() -> None:
    # β Λ = F + β/λ², with a prior that weighs as much as the Fisher.
    network, x, labels = linear_probe()
    linear = network[0]
    assert isinstance(linear, nn.Conv2d)
    prior_precision = 1 / float(linear.weight.detach().square().mean())
    beta = 0.01 / prior_precision
    settings = VariationalSettings(beta=beta, prior=1, steps=400, batch=64)
    found = variational_fisher(network, x, labels, settings)
    fisher = filter_fisher(network, x)
    assert fisher.min() < beta * prior_precision < fisher.max()
    np.testing.assert_allclose(found, fisher + beta * prior_precision, rtol=0.25)


def test_a_trivial_task_gives_the_prior() -> None:
    # Images of zeros: no weight matters, F = 0, and β Λ = β / λ² with λ² = 4 · mean(w²).
    network, x, labels = linear_probe()
    settings = VariationalSettings(beta=1e-3, prior=2, steps=600, batch=64)
    found = variational_fisher(network, torch.zeros_like(x), labels, settings)
    linear = network[0]
    assert isinstance(linear, nn.Conv2d)
    expected = 1e-3 / (4 * float(linear.weight.detach().square().mean()))
    np.testing.assert_allclose(found, np.full(8, expected), rtol=1e-3)


def test_kl_by_hand() -> None:
    # One filter of two weights 3 and 4: λ² = 25/2 (prior = 1), Λ = 20/λ², so
    # KL = ½ [2 (1/20 - 1 + log 20) + 25/λ²] = 1/20 - 1 + log 20 + 1.
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight = nn.Parameter(torch.tensor([3.0, 4.0]).double().reshape(1, 2, 1, 1))
    layer = variational._NoisyConvolution(conv, VariationalSettings())
    found = float(variational.kl_divergence([layer]).detach())
    np.testing.assert_allclose(found, 1 / 20 + np.log(20), rtol=1e-12)
    q = torch.distributions.Normal(torch.tensor([3.0, 4]).double(), (12.5 / 20) ** 0.5)
    p = torch.distributions.Normal(torch.zeros(2).double(), 12.5**0.5)
    np.testing.assert_allclose(
        found, float(torch.distributions.kl_divergence(q, p).sum()), rtol=1e-12
    )


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4),
    ],
)
def test_noise_of_the_output_is_that_of_noisy_weights(conv: nn.Conv2d) -> None:
    # Mean and variance at every position, against 4,000 draws of noisy weights.
    conv = conv.double()
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    layer = variational._NoisyConvolution(conv, VariationalSettings())
    with torch.no_grad():
        layer.log_precision += torch.linspace(-2, 2, conv.out_channels)
        clean = conv(x)
        hook = layer.add_noise(torch.Generator().manual_seed(1))
        noisy = hook(conv, (x.expand(4000, -1, -1, -1),), clean.expand(4000, -1, -1, -1))
        deviation = (-layer.log_precision / 2).exp()[:, None, None, None]
        kept = conv.weight.clone()
        outputs = []
        torch.manual_seed(2)
        for _ in range(4000):
            conv.weight.copy_(kept + deviation * torch.randn_like(kept))
            outputs.append(conv(x))
    expected = torch.cat(outputs)
    np.testing.assert_allclose(noisy.var(0), expected.var(0), rtol=0.15)
    assert float((noisy.mean(0) - clean[0]).abs().max() / noisy.std(0).max()) < 0.1


def test_same_seed_same_result() -> None:
    network, x, labels = linear_probe()
    settings = VariationalSettings(steps=5)
    one = variational_fisher(network, x, labels, settings)
    two = variational_fisher(network, x, labels, settings)
    assert (one == two).all()
    other = variational_fisher(network, x, labels, VariationalSettings(steps=5, seed=1))
    assert (one != other).any()


def test_settings_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="beta is 0"):
        VariationalSettings(beta=0)
    with pytest.raises(SettingsError, match="seed is -1"):
        VariationalSettings(seed=-1)
