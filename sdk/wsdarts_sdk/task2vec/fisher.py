r"""The diagonal Fisher information of a network, one number for each convolution filter.

For images $x$ and the network's own labels $y \sim p(y|x)$,

$$F_f = E_x E_{y \sim p(y|x)} \frac1{|f|} \sum_{w \in f}
  \left(\partial \log p(y|x) / \partial w\right)^2$$

with a square of *per-image* gradients, and batch norm in eval mode so that images do not mix
(Achille et al., "Task2Vec", 2019, arXiv:1902.03545, section 3; the authors' code squares the
mean gradient of a batch instead, so that its scale depends on the batch size).

No weight gradient is ever formed by autograd: a backward pass brings the gradient at each
convolution's output, and what the convolution saw does the rest; see ``squares``.

Networks whose parameters take no gradient for a while.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_sdk.task2vec.hooks import Listener, Listening
from wsdarts_sdk.task2vec.probe import convolutions


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient, and put that back afterwards."""
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def filter_fisher(
    network: nn.Module,
    images: Tensor,
    *,
    signs: Tensor | None = None,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    r"""Return the Fisher information of every convolution filter of a network.

    Args:
        network: See ``image_fisher``, as for the others.
        images: Shape ``(images, channels, height, width)``.
        signs: For sketches of the label expectation; exact without.
        batch: Images at a time.
        progress: Called with images done and in all.

    Returns:
        Mean of ``image_fisher`` over the images, shape ``(filters,)``.

    Raises:
        ProbeError: The network does not fit.
    """
    rows = []
    for row in image_fisher(network, images, signs=signs, batch=batch):
        rows.append(row)
        if progress is not None:
            progress(sum(map(len, rows)), len(images))
    mean: NDArray[np.float64] = np.concatenate(rows).mean(0, dtype=np.float64)
    return mean


def image_fisher(
    network: nn.Module, images: Tensor, *, signs: Tensor | None = None, batch: int = 16
) -> Generator[NDArray[np.floating]]:
    r"""Yield what each image adds to the Fisher information of every filter.

    Args:
        network: Maps images to logits ``(images, classes)``; in eval mode, and no image may
            influence another's logits. Its parameters are left as they are.
        images: Any number type, shape ``(images, channels, height, width)``; a batch at a time
            is brought to the precision and device of the network.
        signs: None for the exact expectation over labels (as many backward passes as there are
            classes, less one), or ±1 of shape ``(images, sketches, classes)`` for as many passes
            as sketches: see ``label_factors``.
        batch: Images at a time; changes memory and speed, not the result.

    Yields:
        A batch at a time, shape ``(images, filters)``, filters in the order of
        ``network.modules()``; a convolution that the network does not use has zeros.

    Raises:
        ProbeError: A convolution is used twice in one pass (its squared gradient is then no
            sum over the two), or cannot be listened to.
    """
    parameter = next(network.parameters())
    listeners = [Listener(name, conv) for name, conv in convolutions(network).items()]
    listening = Listening(listeners)
    with frozen(network), ExitStack() as hooks:
        for listener in listeners:
            hooks.callback(listener.module.register_forward_pre_hook(listening.starts).remove)
            hooks.callback(listener.module.register_forward_hook(listening.ends).remove)
        for start in range(0, len(images), batch):
            x = images[start : start + batch].to(parameter)
            chosen = None if signs is None else signs[start : start + batch].to(parameter)
            _backward_passes(network, x, chosen, listeners, listening)
            squares = [listener.mean_squares(len(x)) for listener in listeners]
            for listener in listeners:
                listener.forget()
            yield torch.cat(squares, dim=1).cpu().numpy()


def _backward_passes(
    network: nn.Module,
    x: Tensor,
    signs_BKC: Tensor | None,
    listeners: list[Listener],
    listening: Listening,
) -> None:
    with listening, torch.enable_grad():
        logits_BC = network(x)
    probabilities_BC = logits_BC.detach().double().softmax(1)
    factors = label_factors(probabilities_BC, signs_BKC)
    for listener in listeners:
        listener.prepare(passes=len(factors))
    for number, factor_BC in enumerate(factors, start=1):
        torch.autograd.grad(
            logits_BC,
            listening.anchor,
            factor_BC.to(logits_BC),
            retain_graph=number < len(factors),
            allow_unused=True,
        )


def label_factors(probabilities_BC: Tensor, signs_BKC: Tensor | None) -> list[Tensor]:
    r"""Factors $v$ of the output Fisher, with $E[\sum v v^T] = diag(p) - p p^T$.

    A gradient of $\log p(y|x)$ at the logits is $e_y - p$, so the output Fisher is
    $S (I - s s^T) S$ with $s = \sqrt p$ and $S = diag(s)$. Exactly, the factors are the columns of
    S H but for the last, where H is the reflection that takes the last axis to $-s$: all columns
    of H give $S S$, and the last one alone $p p^T$. Sketched, they are $S (I - s s^T) z / \sqrt K$
    for K vectors z of random signs: unbiased because $E[z z^T] = I$, with a relative variance of
    at most 2/K for each image, however confident the network is (sampling labels has no such
    bound).

    Args:
        probabilities_BC: Softmax outputs, shape ``(images, classes)``.
        signs_BKC: ±1, shape ``(images, sketches, classes)``, or None for
            exact factors.

    Returns:
        Vectors at the logits, each of shape ``(images, classes)``.
    """
    roots_BC = probabilities_BC.sqrt()
    if signs_BKC is None:
        # Columns of H but the last: unit vectors less s_c / (1 + s_last) (s + e_last).
        towards_BC = roots_BC.clone()
        towards_BC[:, -1] += 1
        shares_BC = roots_BC[:, :-1] / towards_BC[:, -1:]
        reflected_BCC = torch.diag_embed(torch.ones_like(roots_BC))[:, :, :-1]
        reflected_BCC = reflected_BCC - towards_BC[:, :, None] * shares_BC[:, None]
        return list((roots_BC[:, :, None] * reflected_BCC).permute(2, 0, 1))
    sketches = signs_BKC.shape[1]
    z_KBC = (signs_BKC * roots_BC[:, None]).transpose(0, 1) / sketches**0.5
    return list(z_KBC - probabilities_BC * z_KBC.sum(2, keepdim=True))


def rademacher_signs(images: int, sketches: int, classes: int, seed: int) -> Tensor:
    """Random signs ±1, int8, shape ``(images, sketches, classes)``.

    They come from SHAKE-256 of the seed, so they are the same on every machine and with every
    version of every library, and image ``i`` keeps its signs when more images follow.
    """
    size = sketches * classes
    rows = []
    for image in range(images):
        stream = hashlib.shake_256(f"rademacher {seed} {image}".encode()).digest((size + 7) // 8)
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=size)
        rows.append(bits.reshape(sketches, classes))
    return torch.from_numpy(np.stack(rows).astype(np.int8)) * 2 - 1
