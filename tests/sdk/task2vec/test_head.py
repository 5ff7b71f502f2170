"""The regularised head: closed form, optimality, balance, standardisation."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.task2vec import probe
from wsdarts_sdk.task2vec.probe import fit_head


def features(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0)).double()


def test_one_feature_by_hand() -> None:
    # Standardised x = ±1, classes 0 and 1; by symmetry W = (-w, w) and b = 0, and the
    # derivative of log(1 + exp(-2w)) + λ w² is -2/(1 + exp(2w)) + 2λw. At λ = 1/(w(1+e^{2w}))
    # with w = 1/2 it is zero, so λ = 2/(1+e). Penalising the mean over weights, or one half
    # less, would give another w.
    l2 = 2 / (1 + np.e)
    fitted = fit_head(torch.tensor([[3.0], [3], [7], [7]]), torch.tensor([0, 0, 1, 1]), l2)
    # Folded back: x = (f - 5) / 2.
    np.testing.assert_allclose(fitted.weight[:, 0], [-0.25, 0.25], rtol=1e-6)
    np.testing.assert_allclose(fitted.bias, [1.25, -1.25], rtol=1e-6)


@pytest.mark.parametrize("l2", [1e-3, 0.1, 10.0])
def test_gradient_vanishes_at_the_fit(l2: float) -> None:
    x, labels = features(60, 5), torch.arange(60) % 3
    x[labels == 1] += 1
    fitted = fit_head(x, labels, l2)
    standard = (x - x.mean(0)) / x.std(0, correction=0)
    weight = (fitted.weight * x.std(0, correction=0)).requires_grad_()
    bias = (fitted.bias + fitted.weight @ x.mean(0)).requires_grad_()
    loss = F.cross_entropy(F.linear(standard, weight, bias), labels)
    loss = loss + l2 / 2 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert float(gradient.norm()) < 2e-8


def test_classes_weigh_the_same_whatever_their_size() -> None:
    x, labels = features(40, 3), (torch.arange(40) >= 30).long()
    x[labels == 1] += 0.5
    thrice = torch.cat([x, x[labels == 1], x[labels == 1]])
    found = fit_head(x, labels, 1.0)
    expected = fit_head(thrice, torch.cat([labels, torch.ones(20).long()]), 1.0)
    np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-6)
    np.testing.assert_allclose(found.bias, expected.bias, rtol=1e-6, atol=1e-9)


def test_scale_of_a_feature_does_not_matter_and_a_constant_one_gets_no_weight() -> None:
    x, labels = features(40, 3), torch.arange(40) % 2
    x[labels == 1, 0] += 1
    other = torch.cat([x * torch.tensor([100.0, 1, 1e-3]) + 5, torch.full((40, 1), 0.1)], dim=1)
    one, two = (fit_head(each, labels, 0.1, std_floor=1e-9) for each in (x, other))
    np.testing.assert_allclose(one.logits(x), two.logits(other), rtol=1e-6, atol=1e-9)
    assert (two.weight[:, 3] == 0).all()


def test_a_feature_that_hardly_varies_is_not_blown_up() -> None:
    # Standard deviations 1 and 1e-6: their root mean square is 1/sqrt(2), so with a floor of a
    # tenth the second feature is divided by 0.0707, not by 1e-6, and its weight stays small.
    x, labels = torch.tensor([[1.0, 0], [-1, 0], [1, 1e-6], [-1, 1e-6]]), torch.tensor([0, 0, 1, 1])
    x[:, 1] = (x[:, 1] - 5e-7) * 2
    bounded, blown = (fit_head(x, labels, 1.0, std_floor=floor) for floor in (0.1, 1e-9))
    least = 0.1 * 0.5**0.5
    # To first order W = -gradient / λ, and the gradient is z / 2 for the label's feature z.
    assert float(bounded.weight[1, 1]) == pytest.approx(0.5 * 1e-6 / least / least, rel=1e-3)
    assert float(blown.weight[1, 1]) > 1e5


def test_same_bits_every_time() -> None:
    x, labels = features(40, 30), torch.arange(40) % 4
    one, two = fit_head(x, labels, 1.0), fit_head(x, labels, 1.0)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)


def test_more_features_and_classes_than_images() -> None:
    x, labels = features(200, 500), torch.arange(200) % 100
    fitted = fit_head(x, labels, 10.0)
    assert (fitted.logits(x).argmax(1) == labels).double().mean() > 0.9


def test_settings_that_cannot_be() -> None:
    x, labels = features(10, 2), torch.arange(10) % 2
    with pytest.raises(SettingsError, match="head_l2 is 0"):
        fit_head(x, labels, 0)
    with pytest.raises(SettingsError, match="one class only"):
        fit_head(x, torch.zeros(10).long(), 10)


def test_a_fit_that_does_not_converge_says_what_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_STEPS", 2)
    x, labels = features(10, 50), torch.arange(10) % 2
    message = r"head_l2=0\.001 .*larger head_l2, such as 10"
    with pytest.raises(SettingsError, match=message):
        fit_head(x, labels, 1e-3)
