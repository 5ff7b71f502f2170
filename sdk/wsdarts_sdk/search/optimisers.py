"""The optimisers of a search, such that a recorded step can be replayed.

A replay reads numbers where they lay when it was recorded: so the learning rate that changes is
a tensor beside the weights, Adam counts its steps there, and whatever an optimiser would make in
its first step can be made before it.

How the learning rate and the skip-connect dropout change within a stage.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsdarts_sdk.search.settings import (
    AlphaOptimiser,
    SearchSettings,
    StageSettings,
    WeightOptimiser,
)

_BLOCK = 1024  # far below the size from which torch shares a sum out


def sgd_for(weights: Sequence[nn.Parameter], settings: WeightOptimiser) -> torch.optim.SGD:
    """SGD with its learning rate in a tensor, which ``set_learning_rate`` fills."""
    device = weights[0].device
    graphed = device.type == "cuda"
    # The fused kernel of CUDA alone reads the rate where it lies, in float32; others ask for it.
    dtype = torch.float32 if graphed else torch.float64
    sgd = torch.optim.SGD(
        list(weights),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=graphed or None,
    )
    rate = torch.tensor(settings.learning_rate, dtype=dtype, device=device)
    for group in sgd.param_groups:
        group["lr"] = rate
    return sgd


def adam_for(alpha: Sequence[nn.Parameter], settings: AlphaOptimiser) -> torch.optim.Adam:
    """Adam, whose step count lies on the device where that is a GPU."""
    return torch.optim.Adam(
        list(alpha),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        capturable=alpha[0].device.type == "cuda",
    )


def set_learning_rate(sgd: torch.optim.SGD, rate: float) -> None:
    """Change the learning rate in place, without waiting for the device."""
    for group in sgd.param_groups:
        group["lr"].fill_(rate)


def step_count(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> Tensor:
    """Room for Adam's count of steps, where the optimiser keeps it."""
    device = parameter.device if optimiser.defaults.get("capturable") else torch.device("cpu")
    return torch.zeros((), device=device)


def settle(optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """Make now what the first step would make; the step itself stays the same."""
    for parameter in parameters:
        kept = optimiser.state[parameter]
        if isinstance(optimiser, torch.optim.Adam) and not kept:
            kept["step"] = step_count(optimiser, parameter)
            kept["exp_avg"] = torch.zeros_like(parameter)
            kept["exp_avg_sq"] = torch.zeros_like(parameter)
        elif isinstance(optimiser, torch.optim.SGD) and optimiser.defaults["momentum"]:
            kept.setdefault("momentum_buffer", torch.zeros_like(parameter))


def clip_gradients(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale gradients down to a norm of all together, as torch's ``clip_grad_norm_`` does.

    Nothing waits for the device, and on a CPU the number of threads changes no bit.
    """
    scale = (limit / (norm_of(gradients) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of several tensors together."""
    return torch.stack([_sum(tensor.detach().square()) for tensor in tensors]).sum().sqrt()


def _sum(values: Tensor) -> Tensor:
    """A sum in blocks: of a large tensor torch gives each thread a part of its own."""
    values = values.flatten()
    while values.numel() > _BLOCK:
        whole = values.numel() - values.numel() % _BLOCK
        values = torch.cat([values[:whole].view(-1, _BLOCK).sum(1), values[whole:]])
    return values.sum()


_DECAY = 0.2


def cosine_learning_rate(optimiser: WeightOptimiser, epoch: int, epochs: int) -> float:
    """Cosine annealing: full at epoch 0, ``learning_rate_min`` after the last epoch."""
    span = optimiser.learning_rate - optimiser.learning_rate_min
    return optimiser.learning_rate_min + span * (1 + math.cos(math.pi * epoch / epochs)) / 2


def skip_dropout_rate(stage: StageSettings, epoch: int) -> float:
    """Rate of the dropout on skip-connects in one epoch.

    With E epochs of which the first E_w train weights only: ``p · (E − e − 1) / E`` while
    ``e < E_w``, then ``p · exp(−0.2 · (e − E_w))``.

    Source: the public P-DARTS code (arXiv:1904.12760), with its scale factor 0.2.
    """
    if epoch < stage.weights_only_epochs:
        return stage.skip_dropout * (stage.epochs - epoch - 1) / stage.epochs
    return stage.skip_dropout * math.exp(-_DECAY * (epoch - stage.weights_only_epochs))


def stage_work(stage: StageSettings, epochs: float) -> float:
    """Work of the first ``epochs`` epochs of a stage: cells · operations, twice with α steps."""
    weights_only = min(epochs, stage.weights_only_epochs)
    return stage.cells * stage.operations * (2 * epochs - weights_only)


def work(settings: SearchSettings) -> float:
    """Work of a whole search in the same unit; it tells shares of the cost, not seconds."""
    return sum(stage_work(stage, stage.epochs) for stage in settings.stages)
