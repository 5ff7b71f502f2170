"""Probes: the fixed networks under Task2Vec, and the classifier that is fitted on top of one.

A probe maps pixels to pooled features. Its weights, its architecture and its preprocessing
together decide every number of an embedding, so the digest covers all three. The classifier, its
head, is a softmax regression on these features.
"""

import hashlib
import json
from dataclasses import dataclass
from math import inf
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry.errors import ProbeError, SettingsError

MINIMUM_SIZE = 8
_MAXIMUM_SIZE = 2048
Option = str | int | float | bool | list[int]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The preprocessing of images for a network.

    Images are squashed (bilinear) to ``size`` × ``size``; then ``(pixel / 255 - mean) / std``.

    Attributes:
        size: Height and width of the input in pixels.
        mean: Mean of the red, green and blue channel, in units of the full range.
        std: Standard deviation of the three channels, in the same units.

    Raises:
        ProbeError: The size is below 8 or above 2048 pixels, or a standard deviation is not
            positive.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.size < MINIMUM_SIZE:
            raise ProbeError(
                "the input size",
                found=f"{self.size} pixels",
                expected=f"at least {MINIMUM_SIZE}, and for most networks 32 or more",
            )
        if self.size > _MAXIMUM_SIZE:
            raise ProbeError(
                "the input size", found=f"{self.size} pixels", expected=f"at most {_MAXIMUM_SIZE}"
            )
        # Written so that NaN fails: every comparison with NaN is false.
        if not all(abs(m) < inf for m in self.mean) or not all(0 < s < inf for s in self.std):
            raise ProbeError(
                f"mean is {self.mean} and std {self.std}",
                expected="three finite numbers each, those of std positive",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A frozen backbone in eval mode, without its classifier. Made by ``load_probe``.

    Attributes:
        name: Short name for display and file names; the digest identifies the probe.
        model: A timm network without classifier; no parameter requires a gradient.
        preprocessing: Preprocessing of its input.
        digest: ``"sha256:…"`` of architecture, weights and preprocessing, not of their file.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    digest: str

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        name: str,
        architecture: str,
        options: dict[str, Option],
        preprocessing: Preprocessing,
    ) -> Self:
        """Make a probe of a network without classifier: freeze it and check that it fits.

        Raises:
            ProbeError: It has no convolution, no pooled features, or refuses that input size.
        """
        model.eval().requires_grad_(False)
        digest = _digest(model, architecture, options, preprocessing)
        probe = cls(name=name, model=model, preprocessing=preprocessing, digest=digest)
        probe.check(preprocessing.size)
        return probe

    @property
    def filters(self) -> int:
        """Return the number of convolution filters, which is the width of embeddings."""
        return sum(conv.out_channels for conv in convolutions(self.model).values())

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.model.parameters()).device

    def features(self, pixels_BCHW: Tensor) -> Tensor:
        """Map RGB pixels in 0 … 255 to pooled features, shape ``(images, features)``."""
        mean = pixels_BCHW.new_tensor(self.preprocessing.mean)[:, None, None]
        std = pixels_BCHW.new_tensor(self.preprocessing.std)[:, None, None]
        maps = self.model.forward_features((pixels_BCHW / 255 - mean) / std)  # type: ignore[operator]
        features: Tensor = self.model.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return features

    def check(self, size: int) -> int:
        """Return the number of features after one image of that size went through.

        Raises:
            ProbeError: The network has no convolution or no pooled features, or the input
                size does not fit it.
        """
        if not convolutions(self.model):
            raise ProbeError(
                f"probe {self.name} has no 2-d convolution",
                expected="a convolutional network such as timm:resnet34.tv_in1k",
            )
        if not (hasattr(self.model, "forward_features") and hasattr(self.model, "forward_head")):
            raise ProbeError(
                f"probe {self.name} has no pooled classifier (forward_features and forward_head)",
                expected="a timm classification network",
            )
        image = torch.zeros(1, 3, size, size, device=self.device)
        try:
            with torch.no_grad():
                shape = tuple(self.features(image).shape)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ProbeError(
                f"probe {self.name} does not take images of {size}×{size} pixels "
                f"({first_line(error)})",
                expected=f"about {self.preprocessing.size}",
                hint="choose a larger size",
            ) from error
        if len(shape) != 2:
            raise ProbeError(
                f"probe {self.name} gives features of shape {shape}",
                expected="one pooled vector for each image",
                hint="choose a network with a global pooling",
            )
        return shape[1]


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the 2-d convolutions of a network by name, in the order of an embedding's entries."""
    modules = network.named_modules()
    return {name: module for name, module in modules if isinstance(module, nn.Conv2d)}


def _digest(
    model: nn.Module,
    architecture: str,
    options: dict[str, Option],
    preprocessing: Preprocessing,
) -> str:
    weights = []
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # counts training batches; changes no output
            continue
        content = tensor.detach().cpu().contiguous().numpy()
        checksum = hashlib.sha256(content.tobytes()).hexdigest()
        weights.append([name, str(content.dtype), list(content.shape), checksum])
    document = {
        # Architecture and options too: the padding of a convolution, say, is not in its weights.
        "architecture": architecture.partition(".")[0],
        "options": options,
        "preprocessing": {
            "resize": "bilinear squash",
            "size": preprocessing.size,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
        },
        "weights": weights,
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = str(error).splitlines()
    return lines[0].strip() if lines else type(error).__name__


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
