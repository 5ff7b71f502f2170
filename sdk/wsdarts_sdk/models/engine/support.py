"""Checks whether the kernels can compute a network's cells, and why not."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsdarts_sdk.models.network import DerivedCell, DerivedNetwork
from wsdarts_sdk.models.operations import (
    DilatedConv,
    FactorizedReduce,
    Pooling,
    ReluConvNorm,
    SeparableConv,
    StridedPointwise,
)

_MODULES = {
    *(DerivedCell, DilatedConv, FactorizedReduce, Pooling, ReluConvNorm, SeparableConv),
    StridedPointwise,
    *(nn.AvgPool2d, nn.BatchNorm2d, nn.Conv2d, nn.Identity, nn.MaxPool2d, nn.ModuleList, nn.ReLU),
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_not_modules(modules: Sequence[nn.Module]) -> str | None:
    """Return why modules other than the network's own, or in another mode, are not computed."""
    reason = None
    for module in modules:
        if type(module) not in _MODULES:
            reason = f"a cell has a module {type(module).__name__}"
        elif not module.training:
            reason = "a module is in eval mode"
        elif any(getattr(module, name) for name in _HOOKS):
            reason = "a module has hooks"
        elif isinstance(module, nn.Conv2d) and not _is_known(module):
            reason = "a convolution is of another kind"
        elif isinstance(module, nn.BatchNorm2d) and not (
            module.affine and module.track_running_stats and module.momentum is not None
        ):
            reason = "a batch norm is of another kind"
        if reason is not None:
            break
    return reason


def tensors_of(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Return the parameters and running statistics of modules of the network's own kinds."""
    found: list[Tensor] = []
    for module in modules:
        found += module.parameters(recurse=False)
        if isinstance(module, nn.BatchNorm2d):
            found += [module.get_buffer("running_mean"), module.get_buffer("running_var")]
    return found


def why_not_tensors(modules: Sequence[nn.Module], dtype: torch.dtype) -> str | None:
    """Return why tensors of another device, dtype or order in memory are not read."""
    for tensor in tensors_of(modules):
        if tensor.dtype != dtype or tensor.device.type != "cpu" or not _dense(tensor):
            return "the cells have another device, dtype or layout"
    return None


def all_are_read(net: DerivedNetwork) -> bool:
    """Return whether each cell's output reaches the last one's or the tower."""
    count = len(net.cells)
    reached = {count - 1} | ({net.auxiliary_position} if net.auxiliary is not None else set())
    for position in reversed(range(count)):
        if position not in reached:
            return False
        cell = net.cells[position]
        assert isinstance(cell, DerivedCell)  # as it is built  # noqa: S101
        read = {source for sources in cell.sources for source in sources}
        reached |= {position - 2 + source for source in (0, 1) if source in read}
    return True


def _is_known(convolution: nn.Conv2d) -> bool:
    """Return whether it is 1×1, or depthwise with a kernel of 3 or 5 that keeps the size."""
    c, (kernel, _) = convolution, convolution.kernel_size
    if c.bias is not None or c.kernel_size != (kernel, kernel) or c.padding_mode != "zeros":
        return False
    if max(*c.stride, *c.dilation) > 2 or c.stride[0] != c.stride[1]:
        return False
    if kernel == 1:
        return c.groups == 1 and c.padding == (0, 0)
    depthwise = c.groups == c.in_channels == c.out_channels and kernel in (3, 5)
    return depthwise and c.padding == (c.dilation[0] * (kernel // 2),) * 2


def _dense(tensor: Tensor) -> bool:
    """Return whether the elements lie in the order of the axes that have more than one."""
    return tensor.is_contiguous() or (
        tensor.dim() == 4
        and min(tensor.shape[1], tensor.shape[2] * tensor.shape[3]) == 1
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
