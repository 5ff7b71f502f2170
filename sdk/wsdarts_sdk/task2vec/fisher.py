r"""The diagonal Fisher information of a network, one number for each convolution filter.

For images $x$ and the network's own labels $y \sim p(y|x)$,

$$F_f = E_x E_{y \sim p(y|x)} \frac1{|f|} \sum_{w \in f}
  \left(\partial \log p(y|x) / \partial w\right)^2$$

with a square of *per-image* gradients, and batch norm in eval mode so that images do not mix
(Achille et al., "Task2Vec", 2019, arXiv:1902.03545, section 3; the authors' code squares the
mean gradient of a batch instead, so that its scale depends on the batch size).

No weight gradient is ever formed by autograd: a pass brings the gradient δ at each
convolution's output, and with the patches U that the convolution saw, the gradient of filter
o for one image is $\sum_t \delta_{ot} U_t$.
"""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.frozen import frozen
from wsdarts_sdk.task2vec.patches import patches
from wsdarts_sdk.task2vec.probe import convolutions


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
        network: Maps images to logits ``(images, classes)``; in eval mode, and no image may
            influence another's logits. Its parameters are left as they are.
        images: Any number type, shape ``(images, channels, height, width)``; a batch at a time
            is brought to the precision and device of the network.
        signs: None for the exact expectation over labels (as many backward passes as there are
            classes), or ±1 of shape ``(images, sketches, classes)`` for as many passes as
            sketches: see ``label_factors``.
        batch: Images at a time; changes memory and speed, not the result.
        progress: Called with images done and in all.

    Returns:
        Shape ``(filters,)``, in the order of ``network.modules()``; a convolution that the
        network does not use has zeros.

    Raises:
        ProbeError: A convolution is used twice in one pass; its squared gradient is then no
            sum over the two.
    """
    parameter = next(network.parameters())
    taps = [_Tap(name, conv) for name, conv in convolutions(network).items()]
    with frozen(network), ExitStack() as hooks:
        for tap in taps:
            hooks.callback(tap.conv.register_forward_hook(tap.see).remove)
        for start in range(0, len(images), batch):
            stop = min(start + batch, len(images))
            x = images[start:stop].to(parameter).requires_grad_()
            chosen = None if signs is None else signs[start:stop].to(parameter)
            _one_batch(network, x, chosen, taps)
            if progress is not None:
                progress(stop, len(images))
    return np.concatenate([tap.total.cpu().numpy() for tap in taps]) / len(images)


def label_factors(probabilities_BC: Tensor, signs_BKC: Tensor | None) -> list[Tensor]:
    r"""Factors $v$ of the output Fisher, with $E[\sum v v^T] = diag(p) - p p^T$.

    A gradient of $\log p(y|x)$ at the logits is $e_y - p$, so the output Fisher is $L L^T$
    with columns $L_c = \sqrt{p_c} (e_c - p)$. Exactly, the factors are these columns. Sketched,
    they are $L z / \sqrt K$ for K vectors z of random signs: unbiased because $E[z z^T] = I$,
    with a relative variance of at most 2/K for each image, however confident the network is
    (sampling labels has no such bound).

    Args:
        probabilities_BC: Softmax outputs, shape ``(images, classes)``.
        signs_BKC: ±1, shape ``(images, sketches, classes)``, or None for all columns.

    Returns:
        Vectors at the logits, each of shape ``(images, classes)``.
    """
    roots_BC = probabilities_BC.sqrt()
    if signs_BKC is None:
        unit = torch.eye(probabilities_BC.shape[1]).to(probabilities_BC)
        return [
            roots_BC[:, [c]] * (unit[c] - probabilities_BC)
            for c in range(probabilities_BC.shape[1])
        ]
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


def _one_batch(network: nn.Module, x: Tensor, signs_BKC: Tensor | None, taps: list["_Tap"]) -> None:
    for tap in taps:
        tap.forget()
    logits_BC = network(x)
    factors = label_factors(logits_BC.detach().softmax(1), signs_BKC)
    for tap in taps:
        tap.prepare(passes=len(factors))
    for number, factor_BC in enumerate(factors, start=1):
        torch.autograd.grad(logits_BC, x, factor_BC, retain_graph=number < len(factors))
    for tap in taps:
        tap.forget()


class _Tap:
    """Listens at one convolution: squares and adds up the gradients of its filters."""

    def __init__(self, name: str, conv: nn.Conv2d) -> None:
        self.name = name
        self.conv = conv
        self.total = torch.zeros(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
        self.forget()

    def forget(self) -> None:
        self.input: Tensor | None = None
        self.version = 0
        self.positions: tuple[int, int] = (0, 0)
        self.patches_BGKT: Tensor | None = None
        self.gram_BGTT: Tensor | None = None

    def see(self, _conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self.input is not None:
            raise ProbeError(
                f"convolution {self.name} is used twice in one pass; Task2Vec needs a network "
                "whose convolutions each run once: choose another probe"
            )
        self.input, self.version = inputs[0].detach(), inputs[0]._version  # noqa: SLF001
        self.positions = (output.shape[2], output.shape[3])
        # A hook on the tensor sees the gradient before any in-place operation that follows.
        output.register_hook(self.add)  # type: ignore[no-untyped-call]

    def prepare(self, passes: int) -> None:
        """Lay out the patches, or their Gram matrix where that costs fewer multiplications."""
        if self.input is None:
            return
        if self.input._version != self.version:  # noqa: SLF001
            raise ProbeError(
                f"the input of convolution {self.name} is overwritten later in the same pass; "
                "Task2Vec needs it afterwards: choose another probe"
            )
        patches_BGKT = patches(self.conv, self.input, self.positions)
        weights, positions = patches_BGKT.shape[2:]
        filters = self.conv.out_channels // self.conv.groups
        direct = passes * filters * weights * positions
        by_gram = positions * positions * (weights + passes * filters)
        if by_gram < direct:
            self.gram_BGTT = patches_BGKT.transpose(2, 3) @ patches_BGKT
        else:
            self.patches_BGKT = patches_BGKT

    def add(self, delta: Tensor) -> None:
        """Add the mean squared gradient of each filter, for the images of this batch."""
        filters = self.conv.out_channels // self.conv.groups
        delta_BGOT = delta.reshape(len(delta), self.conv.groups, filters, -1)
        weights = self.conv.weight[0].numel()
        if self.gram_BGTT is not None:
            squares_BGO = (delta_BGOT @ self.gram_BGTT * delta_BGOT).sum(3).clamp_min(0)
        elif self.patches_BGKT is not None:
            gradients_BGOK = delta_BGOT @ self.patches_BGKT.transpose(2, 3)
            squares_BGO = gradients_BGOK.square().sum(3)
        else:
            return
        self.total += squares_BGO.flatten(1).double().sum(0) / weights
