r"""The robust, variational estimate of the Fisher information.

The weights of every filter f get Gaussian noise of precision $\Lambda_f$, as large as the task
bears. With the cross-entropy H of the labels, a prior of variance $\lambda^2$ and K weights,

$$L(\Lambda) = E_{w \sim N(\hat w, \Lambda^{-1})} [H(w)]
  + \beta\, KL(N(\hat w, \Lambda^{-1}) \,\Vert\, N(0, \lambda^2 I)),$$
$$KL = \tfrac12 \sum_f K_f \left(\lambda^{-2} \Lambda_f^{-1} - 1 + \log(\lambda^2 \Lambda_f)\right)
  + \tfrac12 \lambda^{-2} \lVert \hat w \rVert^2.$$

To second order $E[H] = H(\hat w) + \tfrac12 \sum_f K_f F_f \Lambda_f^{-1}$ with the mean
curvature $F_f$ of the filter's weights, so the minimum is at

$$\beta \Lambda_f = F_f + \beta \lambda^{-2}:$$

$\beta \Lambda$ estimates the Fisher information, drawn towards the prior where the task says
little, and not of the loss at a point but in a neighbourhood of it.

Source: Achille et al., "Task2Vec", 2019, arXiv:1902.03545, "Robust Fisher computation". Its
authors' code minimises the same with twice the KL (so its β is half of this one), with the
local reparametrisation of Kingma et al., 2015, arXiv:1506.02557, which is kept here.

Differences: the probe's weights, its batch norm and the head stay as they are (theirs go on
learning); λ is fixed for each layer to ``prior`` times the root mean square of its weights
(theirs starts there and learns); every image comes with a noise and with its opposite, which
takes most of the variance out. As in their code the noise of a map's positions is independent,
so that outside 1×1 maps products of gradients at two positions do not count.

On one convolution Λ comes out as the equation says (tests hold it to 10 %). On a whole network
all filters are noisy at once, one filter's share of the loss is small beside the others' noise,
and a few hundred steps do not reach the minimum: the result ranks tasks, but it is no
approximation of ``filter_fisher``, and the two do not correlate. Measured with the shipped probe,
halves of six image sets, 120 images, the default β: all twelve halves found their other half,
with a mean distance between sets of 2.0 times that within (``filter_fisher``: 3.7), at roughly
three times the cost. A larger β gives less noise between seeds and more of the prior.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_sdk.setting_fields import (
    PositiveAmount,
    Seed,
    Steps,
    validated,
)
from wsdarts_sdk.task2vec._squared_gradients import energy
from wsdarts_sdk.task2vec.fisher import Images, Size, frozen
from wsdarts_sdk.task2vec.probe import convolutions

_INITIAL_PRECISION = 20.0  # of the weights' mean square, as in the authors' code
_TINY = 1e-12  # keeps the gradient of a root finite where a filter sees zeros
_AVERAGED = 4  # the last quarter of the steps


@validated
@dataclass(frozen=True, kw_only=True)
class VariationalSettings:
    """Settings of the variational estimator.

    Attributes:
        images: At most so many images of the train part stand for the task.
        head_l2: λ of the head (see ``fit_head``); not the λ of the prior.
        std_floor: Least relative standard deviation in the head's standardisation.
        size: Input size in pixels; None for the probe's own.
        beta: Weight β of the prior.
        prior: Standard deviation of the prior, in units of the root mean square of a layer's
            weights.
        steps: Steps of Adam on log Λ, with a cosine schedule.
        rate: Its first learning rate.
        batch: Images in a step, each with two opposite noises.
        seed: Seed of the order of the images and of the noise.

    Raises:
        SettingsError: A number is out of range.
    """

    images: Images = 500
    head_l2: PositiveAmount = 10.0
    std_floor: PositiveAmount = 0.1
    size: Size | None = None
    beta: PositiveAmount = 1e-6
    prior: PositiveAmount = 1.0
    steps: Steps = 150
    rate: PositiveAmount = 0.1
    batch: Annotated[int, Field(ge=1, le=65_536)] = 16
    seed: Seed = 0


def variational_fisher(
    network: nn.Module,
    images: Tensor,
    labels_N: Tensor,
    settings: VariationalSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    r"""Return $\beta \Lambda$ of every convolution filter; see the top of this module.

    Args:
        network: Maps images to logits ``(images, classes)``; in eval mode.
        images: Any number type, shape ``(images, channels, height, width)``.
        labels_N: Their classes, shape ``(images,)``.
        settings: β, λ, and how to minimise.
        progress: Called with steps done and in all.

    Returns:
        Shape ``(filters,)``, positive, in the order of ``network.modules()``: the mean over
        the last quarter of the steps, since a single one is noisy.
    """
    parameter = next(network.parameters())
    layers = [_NoisyConvolution(conv, settings) for conv in convolutions(network).values()]
    optimizer = torch.optim.Adam([layer.log_precision for layer in layers], lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    draw = torch.Generator().manual_seed(settings.seed)
    noise = torch.Generator(parameter.device).manual_seed(settings.seed)
    averaged = max(1, settings.steps // _AVERAGED)
    total = torch.zeros_like(_precisions(layers))
    with frozen(network), ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.conv.register_forward_hook(layer.add_noise(noise)).remove)
        for step in range(settings.steps):
            chosen = torch.randperm(len(images), generator=draw)[: settings.batch]
            # Every image twice, with opposite noise: see add_noise.
            x = images[chosen].to(parameter).repeat(2, 1, 1, 1)
            y = labels_N[chosen].to(parameter.device).repeat(2)
            loss = F.cross_entropy(network(x), y) + settings.beta * kl_divergence(layers)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if step >= settings.steps - averaged:
                total += _precisions(layers)
            if progress is not None:
                progress(step + 1, settings.steps)
    return settings.beta * (total / averaged).cpu().numpy()


class _NoisyConvolution:
    """One convolution with its log Λ, one number a filter, and the precision of its prior."""

    def __init__(self, conv: nn.Conv2d, settings: VariationalSettings) -> None:
        self.conv = conv
        self.weights = conv.weight[0].numel()
        self.square_norm = float(conv.weight.detach().double().square().sum())
        mean_square = self.square_norm / conv.weight.numel()
        self.prior_precision = 1 / (settings.prior**2 * mean_square) if mean_square > 0 else 1.0
        start = np.log(_INITIAL_PRECISION / mean_square) if mean_square > 0 else 0.0
        self.log_precision = conv.weight.new_full((conv.out_channels,), start).requires_grad_()

    def add_noise(self, generator: torch.Generator) -> Callable[..., Tensor]:
        """Return a forward hook that adds the noise of the weights to the output.

        The second half of the batch gets the opposite noise of the first. So the slope of the
        loss, which is no part of the Fisher information but most of the noise of its estimate,
        cancels.
        """

        def hook(conv: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen_BGHW = energy(conv, inputs[0], (output.shape[2], output.shape[3]))
            filters = conv.out_channels // conv.groups
            deviation = (-self.log_precision / 2).exp()[:, None, None]
            scale = (seen_BGHW + _TINY).sqrt().repeat_interleave(filters, dim=1) * deviation
            half = output.new_empty(len(output) // 2, *output.shape[1:])
            half.normal_(generator=generator)
            return output + scale * torch.cat([half, -half])

        return hook


def kl_divergence(layers: list[_NoisyConvolution]) -> Tensor:
    """Return the KL divergence of the weights' noise from the prior over all layers, in nats."""
    terms = [
        layer.weights
        * (
            layer.prior_precision * (-layer.log_precision).exp()
            - 1
            + layer.log_precision
            - np.log(layer.prior_precision)
        ).sum()
        + layer.prior_precision * layer.square_norm
        for layer in layers
    ]
    return torch.stack(terms).sum() / 2


def _precisions(layers: list[_NoisyConvolution]) -> Tensor:
    return torch.cat([layer.log_precision.detach().double().exp() for layer in layers])
