"""Training on classes of unequal size: weights in the loss, or a balanced sample of the images."""

import torch
from torch import Generator, Tensor, nn

from wsdarts_sdk.models.settings import ClassBalance


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return ``N / (classes · N_class)``, the mean of which over the N images is 1.

    Args:
        labels: Class of each image that trains, shape ``(N,)``.
        classes: Number of classes.

    Returns:
        float32, shape ``(classes,)``.
    """
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp_min(1)
    return (len(labels) / (classes * counts.double())).float()


def training_loss(
    labels: Tensor, classes: int, *, balance: ClassBalance, label_smoothing: float
) -> nn.CrossEntropyLoss:
    """Return the loss of a training; targets are class indices or shares of classes.

    Args:
        labels: Class of each image that trains, shape ``(N,)``.
        classes: Number of classes.
        balance: ``weights`` weighs an image by its class.
        label_smoothing: Share of the target that is spread over all classes.
    """
    weight = class_weights(labels, classes) if balance == "weights" else None
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing).to(labels.device)


def epoch_order(labels: Tensor, generator: Generator, *, balance: ClassBalance) -> Tensor:
    """Return the images of an epoch in order, int64 on the CPU, shape ``(N,)``.

    With ``sampling`` each place has any class with equal probability, so that images of large
    classes are left out and those of small ones come several times; else each image comes once.

    Args:
        labels: Class of each image, shape ``(N,)``.
        generator: Source of the draws, on the CPU.
        balance: How classes are balanced.
    """
    if balance != "sampling":
        return torch.randperm(len(labels), generator=generator)
    on_cpu = labels.cpu()
    share = class_weights(on_cpu, int(on_cpu.max()) + 1)[on_cpu].double()
    # torch.multinomial takes at most 2^24 entries; a search in the sums has no such limit.
    sums = share.cumsum(0)
    draws = torch.rand(len(on_cpu), generator=generator, dtype=torch.float64) * sums[-1]
    return torch.searchsorted(sums, draws, right=True).clamp_max(len(on_cpu) - 1)
