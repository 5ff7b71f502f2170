"""The classifier on top of a probe: softmax regression on its features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wsdarts_registry.errors import SettingsError

_GRADIENT_NORM = 1e-10
_STEPS = 100
_SHORTEST = 1e-9
_CONJUGATE_STEPS = 500
_ROUNDING = 1e-14
_CONSTANT = 1e-10
STD_FLOOR = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A linear classifier; the standardisation of its training features is folded in.

    Attributes:
        weight: Shape ``(classes, features)``, float64.
        bias: Shape ``(classes,)``, float64.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features_BF: Tensor) -> Tensor:
        """Return logits in the precision of the features, shape ``(images, classes)``."""
        return F.linear(features_BF, self.weight.to(features_BF), self.bias.to(features_BF))


def fit_head(
    features_NF: Tensor,
    labels_N: Tensor,
    l2: float,
    *,
    std_floor: float = STD_FLOOR,
    tolerance: float = _GRADIENT_NORM,
) -> Head:
    r"""Fit the regularised softmax regression that turns a probe into a classifier.

    Minimises $\frac1C \sum_c \frac1{n_c} \sum_{i: y_i = c} -\log p(y_i | x_i)
    + \frac\lambda2 \lVert W \rVert^2$ over standardised features (zero mean and unit
    variance, each class weighing the same), until the gradient's norm is at most ``tolerance``. The
    bias is not penalised. A feature that never varies gets no weight, and none is divided by less
    than ``std_floor`` times the root mean square of all standard deviations. Deterministic:
    Newton's method from zero, in float64.

    Args:
        features_NF: Pooled features, shape ``(images, features)``.
        labels_N: Classes 0 … C-1, each present, shape ``(images,)``.
        l2: The λ above, positive.
        std_floor: Least divisor of a feature's standardisation, relative to the others'.
        tolerance: Norm of the gradient at which the fit ends.

    Raises:
        SettingsError: λ is not positive, there is one class only, or the fit does not
            converge because λ is too small for these features.

    Note:
        The authors of Task2Vec fit for ten epochs of Adam, nearly without penalty. A confident
        head makes label sampling heavy-tailed and two halves of a task unlike each other, so
        the head here is regularised and fitted to the end. Without the floor, a feature that
        hardly varies is blown up until a few images decide the whole embedding: of two halves of
        grey edge maps one then had a hundred times the other's Fisher information.
    """
    classes = int(labels_N.max()) + 1
    if not l2 > 0:
        raise SettingsError("head_l2", found=l2, expected="a positive number such as 10")
    if classes < 2:
        raise SettingsError("the images have one class only", expected="at least two")
    x_NF = features_NF.double()
    weights_N = 1 / torch.bincount(labels_N).double()[labels_N] / classes
    mean = weights_N @ x_NF
    std = (weights_N @ (x_NF - mean).square()).sqrt()
    varies = std > _CONSTANT * x_NF.abs().amax(0)
    least = std_floor * std.square().mean().sqrt()
    scale = torch.where(varies, 1 / std.maximum(least), torch.zeros_like(std))
    objective = _Objective((x_NF - mean) * scale, labels_N, weights_N, l2)
    theta_CF = _minimise(objective, l2, tolerance)
    weight_CF = theta_CF[:, :-1] * scale
    return Head(weight=weight_CF, bias=theta_CF[:, -1] - weight_CF @ mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Point:
    theta: Tensor
    loss: float
    gradient: Tensor
    p: Tensor

    @property
    def norm(self) -> float:
        return float(self.gradient.norm())


class _Objective:
    """The loss over weights and bias together; the bias is the weight of a feature of ones."""

    def __init__(self, x_NF: Tensor, labels_N: Tensor, weights_N: Tensor, l2: float) -> None:
        self.x_NF = torch.cat([x_NF, x_NF.new_ones(len(x_NF), 1)], dim=1)
        self.truth_NC = F.one_hot(labels_N).double()
        self.weights_N1 = weights_N[:, None]
        self.penalty_F = self.x_NF.new_full((self.x_NF.shape[1],), l2)
        self.penalty_F[-1] = 0

    def start(self) -> _Point:
        return self.at(self.x_NF.new_zeros(self.truth_NC.shape[1], self.x_NF.shape[1]))

    def at(self, theta_CF: Tensor) -> _Point:
        log_p_NC = F.linear(self.x_NF, theta_CF).log_softmax(1)
        entropy = -(self.weights_N1 * self.truth_NC * log_p_NC).sum()
        loss = entropy + (self.penalty_F * theta_CF.square()).sum() / 2
        p_NC = log_p_NC.exp()
        residual_NC = self.weights_N1 * (p_NC - self.truth_NC)
        gradient_CF = residual_NC.T @ self.x_NF + self.penalty_F * theta_CF
        return _Point(theta=theta_CF, loss=float(loss), gradient=_centred(gradient_CF), p=p_NC)

    def curved(self, point: _Point, v_CF: Tensor) -> Tensor:
        """Return the Hessian at a point times a vector."""
        u_NC = point.p * F.linear(self.x_NF, v_CF)
        u_NC = u_NC - point.p * u_NC.sum(1, keepdim=True)
        return _centred((self.weights_N1 * u_NC).T @ self.x_NF + self.penalty_F * v_CF)


def _minimise(objective: _Objective, l2: float, least: float) -> Tensor:
    """Minimise by Newton's method with conjugate gradients.

    (L-BFGS stalls at a gradient of about 1e-8, where differences of the objective drown in
    rounding; Newton's last steps need no such differences.)
    """
    point = objective.start()
    for _ in range(_STEPS):
        norm = point.norm
        if norm <= least:
            return point.theta
        step_CF = _conjugate_gradients(objective, point, tolerance=min(0.1, norm) * norm)
        point = _line_search(objective, point, step_CF)
    raise SettingsError(
        f"the gradient norm of the probe's head with head_l2={l2:g}",
        found=f"{point.norm:.1e}",
        expected=f"at most {least:g}",
        hint=f"choose a larger head_l2, such as {max(10.0, l2 * 100):g}",
    )


def _line_search(objective: _Objective, point: _Point, step_CF: Tensor) -> _Point:
    """Halve the step until the loss falls enough (Armijo), but for rounding."""
    slope = float((point.gradient * step_CF).sum())
    slack = _ROUNDING * (1 + abs(point.loss))
    size = 1.0
    while True:
        candidate = objective.at(point.theta - size * step_CF)
        if candidate.loss <= point.loss - 1e-4 * size * slope + slack or size < _SHORTEST:
            return candidate
        size /= 2


def _conjugate_gradients(objective: _Objective, point: _Point, tolerance: float) -> Tensor:
    """Solve "Hessian times step = gradient" until the residual's norm is below the tolerance."""
    residual = direction = point.gradient
    solution = torch.zeros_like(residual)
    square = float(residual.square().sum())
    for _ in range(_CONJUGATE_STEPS):
        if square**0.5 <= tolerance:
            break
        curved = objective.curved(point, direction)
        size = square / float((direction * curved).sum())
        solution = solution + size * direction
        residual = residual - size * curved
        previous, square = square, float(residual.square().sum())
        direction = residual + square / previous * direction
    return solution


def _centred(v_CF: Tensor) -> Tensor:
    """Remove rounding errors along "the same for every class", which changes no probability."""
    return v_CF - v_CF.mean(0)
