"""Computing in bfloat16: the gradients of float32 within eight bits, and what stays float32."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import DeviceSkipDropout, SkipDropout
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

SKIP = SkipDropout(rate=0.3, seed=1)


def supernet(dtype: torch.dtype) -> Supernet:
    net = Supernet(
        OperationMasks.full(SearchSpace(nodes=2)), cells=3, channels=4, classes=[3], seed=0
    )
    net.compute_dtype = dtype
    net.use(PortableKernels())
    return net


def batch() -> Batch:
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 12, 12, generator=draws)
    return Batch(images=images, labels=torch.arange(8) % 3)


def away(found: list[Tensor], wanted: list[Tensor]) -> float:
    a, b = (torch.cat([t.flatten() for t in ts]) for ts in (found, wanted))
    return float((a - b).norm() / b.norm())


def test_gradients_are_those_of_float32() -> None:
    nets = [supernet(torch.bfloat16), supernet(torch.float32)]
    found, wanted = (net.gradients(batch(), "both", skip=SKIP) for net in nets)
    assert found.loss.item() == pytest.approx(wanted.loss.item(), rel=0.02)
    assert 0 < away(list(found.alpha), list(wanted.alpha)) < 0.3
    weights = [[w for w in g.weights if w is not None] for g in (found, wanted)]
    assert 0 < away(*weights) < 0.3
    for value in (found.loss, found.logits, *found.alpha, *weights[0]):
        assert value.dtype == torch.float32
    for name, value in nets[0].state_dict().items():
        assert value.dtype == (torch.int64 if "num_batches" in name else torch.float32), name
    assert nets[0].probabilities("normal").dtype == torch.float32
    running = [net.get_buffer("running_mean") for net in nets]
    assert 0 < away([running[0]], [running[1]]) < 0.05


class NothingWaits(TorchDispatchMode):
    """Refuses what would make the host wait for a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func)
        assert "nonzero" not in str(func)
        return func(*args, **(kwargs or {}))


def test_a_step_never_waits_for_the_device() -> None:
    net, wanted = supernet(torch.float32), supernet(torch.float32).gradients(batch(), "both")
    room = DeviceSkipDropout.allocate(cells=3, edges=5, device=torch.device("cpu"))
    with pytest.raises(AssertionError), NothingWaits():
        torch.ones(()).item()
    with NothingWaits():
        found = net.gradients(batch(), "both", skip=room)
    assert all(torch.equal(a, b) for a, b in zip(found.alpha, wanted.alpha, strict=True))
