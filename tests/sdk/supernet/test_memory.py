"""The estimate of a step's memory, against what the compiled kernels took."""

import pytest
import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.supernet.operation_plan import elements_per_image

BATCH = 3


@pytest.mark.parametrize("cells", [3, 5])
@pytest.mark.parametrize("size", [16, 24])
def test_estimate_of_a_step(cells: int, size: int) -> None:
    net = Supernet(OperationMasks.full(DARTS), cells=cells, channels=4, classes=[3], seed=0)
    if not isinstance(net.kernels, CompiledKernels):
        pytest.skip("no C++ compiler here: only the compiled kernels count their memory")
    labels = torch.arange(BATCH)
    net.gradients(Batch(images=torch.randn(BATCH, 3, size, size), labels=labels), "weights")
    taken = net.kernels.held()
    stem = 3 * 12 * size**2 * BATCH  # computed by torch, so not among what the kernels took
    estimate = elements_per_image(net.plans, 12, size) * BATCH
    assert estimate - stem == pytest.approx(taken, rel=0.1)
