r"""Task2Vec's Monte-Carlo Fisher information, as its authors' code computes it.

Images are drawn with replacement so that every class weighs the same, and a label for each from
the network's own output. A batch of B draws gives the gradient of its *mean* loss, whose square is
averaged over the batches and over each filter's weights. Labels are independent and the mean of
a gradient over its own labels is 0, so the expectation is F/B and not F.

Source: Achille et al., "Task2Vec", 2019, arXiv:1902.03545, and ``montecarlo_fisher`` of the code
that its authors published. Differences: batch norm stays as the network has it (theirs is put into
train mode), and weights other than those of convolutions get no gradient.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, DRAWS = 64, 10_000  # what the authors' code takes unless told otherwise


def monte_carlo_fisher(
    network: nn.Module,
    images: Tensor,
    labels_N: Tensor,
    *,
    draws: int = DRAWS,
    batch: int = BATCH,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the mean square of batch-mean gradients, one value a convolution filter.

    Args:
        network: Maps images to logits ``(images, classes)``; its convolutions' weights require
            gradients.
        images: Shape ``(images, channels, height, width)``.
        labels_N: Their classes, shape ``(images,)``: for the balance alone.
        draws: How many images are drawn; what is left over from whole batches is dropped.
        batch: Draws whose gradients are averaged before they are squared.
        seed: Of the images and the labels.

    Returns:
        Shape ``(filters,)``, in the order of ``network.modules()``.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    chances_N = 1 / torch.bincount(labels_N).double()[labels_N]
    chosen = torch.multinomial(chances_N, draws, replacement=True, generator=generator)
    totals = [torch.zeros_like(weight) for weight in weights]
    batches = torch.split(chosen, batch)[: draws // batch]
    for some in batches:
        logits_BC = network(images[some].to(weights[0]))
        probabilities_BC = logits_BC.detach().softmax(1).cpu()
        sampled_B = torch.multinomial(probabilities_BC, 1, generator=generator).squeeze(1)
        loss = F.cross_entropy(logits_BC, sampled_B.to(logits_BC.device))
        for total, gradient in zip(totals, torch.autograd.grad(loss, weights), strict=True):
            total.addcmul_(gradient, gradient)
    means = [total.flatten(1).mean(1) / len(batches) for total in totals]
    return torch.cat(means).double().cpu().numpy()
