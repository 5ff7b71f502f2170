"""The engine beside the plain one: the same weights in both, and everything by name."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, SkipDropout
from wsdarts_sdk.supernet.network import Gradients, Supernet

Named = dict[str, Tensor]
# Sums in another order: what float64 leaves of a number, and of a sum that cancels to nothing.
TOLERANCE = 1e-9
_NOTHING = 1e-12


def twins(
    masks: OperationMasks, *, cells: int, channels: int, classes: Sequence[int], seed: int = 0
) -> tuple[PlainSupernet, Supernet]:
    """Both engines in float64 with the same weights, α far from uniform, running statistics."""
    plain = PlainSupernet(masks, cells=cells, channels=channels, classes=classes, seed=seed)
    net = Supernet(masks, cells=cells, channels=channels, classes=classes, seed=seed + 1)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in plain.alpha_parameters():
            alpha.mul_(1000)
        for running in statistics(plain).values():
            running.copy_(torch.rand(running.shape, generator=draws) + 0.5)
    plain.double()
    net.double().load_state_dict(plain.state_dict())
    return plain, net


def random_batch(
    size: tuple[int, int], *, images: int, classes: int, head: int = 0, seed: int = 0
) -> Batch:
    """Normal noise in float64 with labels of every class in turn."""
    draws = torch.Generator().manual_seed(seed)
    return Batch(
        images=torch.randn(images, 3, *size, generator=draws, dtype=torch.float64),
        labels=torch.arange(images) % classes,
        head=head,
    )


def expected(plain: PlainSupernet, batch: Batch, skip: SkipDropout = NO_DROPOUT) -> Named:
    """What autograd makes of the plain engine: loss, logits, and all gradients by name."""
    logits: Tensor = plain(batch.images, head=batch.head, skip=skip)
    loss = F.cross_entropy(logits, batch.labels)
    names, parameters = zip(*plain.named_parameters(), strict=True)
    slopes: tuple[Tensor | None, ...] = torch.autograd.grad(loss, parameters, allow_unused=True)
    found = {"loss": loss.detach(), "logits": logits.detach()}
    for name, parameter, slope in zip(names, parameters, slopes, strict=True):
        if slope is not None:
            found[f"gradient of {name}"] = slope
        elif name.startswith("alpha."):  # there is no cell of that kind
            found[f"gradient of {name}"] = torch.zeros_like(parameter)
    return found


def by_name(net: Supernet, found: Gradients) -> Named:
    """The same of the engine's gradients, copied."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    named = {"loss": found.loss, "logits": found.logits}
    if found.alpha:
        for kind, gradient in zip(CELL_KINDS, found.alpha, strict=True):
            named[f"gradient of alpha.{kind}"] = gradient
    if found.weights:
        for weight, slope in zip(net.weight_parameters(), found.weights, strict=True):
            if slope is not None:
                views = net.named_views(names[id(weight)], slope)
                named |= {f"gradient of {name}": view for name, view in views.items()}
    return {name: value.clone() for name, value in named.items()}


def statistics(net: PlainSupernet | Supernet) -> Named:
    """Running means and variances by name."""
    return {name: value for name, value in net.state_dict().items() if ".running_" in name}


def assert_agree(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> None:
    """The same names, and values that differ by rounding: relative to each tensor's largest."""
    assert found.keys() == wanted.keys(), sorted(found.keys() ^ wanted.keys())
    largest = max((float(value.abs().max()) for value in wanted.values()), default=0.0)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        assert found[name].isfinite().all(), name
        difference = float((found[name].double() - value).abs().max())
        allowed = tolerance * (float(value.abs().max()) + _NOTHING / TOLERANCE * largest)
        assert difference <= allowed, f"{name} differs by {difference:.1e}, allowed {allowed:.1e}"
