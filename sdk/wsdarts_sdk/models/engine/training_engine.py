"""The training step of a network on the kernels, under autograd.

Stem, pooling, auxiliary tower and classifier are torch's; all cells are one autograd function, so a
loss is computed and differentiated as it would be with the network of modules. Where modules,
tensors or hooks are not those that the kernels know, the network of modules computes the step.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsdarts_sdk.compiler import compiled_library
from wsdarts_sdk.data.loader import draw_kept
from wsdarts_sdk.models._operations import (
    DilatedConv,
    FactorizedReduce,
    Pooling,
    ReluConvNorm,
    SeparableConv,
    StridedPointwise,
)
from wsdarts_sdk.models.engine._calls import SOURCES, Extent, Library
from wsdarts_sdk.models.engine._program import Program
from wsdarts_sdk.models.network import DerivedCell, DerivedNetwork, PathDraws
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.supernet.kernel_choice import VARIABLE, asked_kernels, must_wait
from wsdarts_sdk.supernet.operation_plan import reduction_positions

_LEAST = 2  # values of a channel, of which a batch norm has a variance
_Key = tuple[tuple[int, ...], ...]
_MODULES = {
    *(DerivedCell, DilatedConv, FactorizedReduce, Pooling, ReluConvNorm, SeparableConv),
    StridedPointwise,
    *(nn.AvgPool2d, nn.BatchNorm2d, nn.Conv2d, nn.Identity, nn.MaxPool2d, nn.ModuleList, nn.ReLU),
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def compile_ahead(device: torch.device, dtype: torch.dtype, progress: Progress) -> None:
    """Compile the kernels now, and report it, if the first step would have to."""
    if dtype in SOURCES and must_wait(device, dtype, SOURCES[dtype]):
        progress("compiling the engine for this processor, once", 0, 1)
        compiled_library(SOURCES[dtype])


class TrainingEngine:
    """A network's forward pass in training, on compiled kernels where they can be had.

    It computes what ``DerivedNetwork.forward_training`` computes, and so do its gradients, but for
    rounding: parameters, their gradients and the running statistics are the network's own. Where
    the kernels cannot run, the network of modules does: without a compiler, on another device, in
    another dtype or under autocast, in eval mode, and with hooks or other modules in the cells.

    Args:
        net: The network; it may be moved, loaded and trained otherwise meanwhile.

    Attributes:
        why_not: Why modules computed the last step; None where kernels did.
    """

    def __init__(self, net: DerivedNetwork) -> None:
        self.net = net
        self.why_not: str | None = None
        self._libraries: dict[torch.dtype, Library | str] = {}
        self._programs: defaultdict[_Key, list[Program]] = defaultdict(list)
        self._places: tuple[int, ...] = ()
        self._counts: list[Tensor] = []

    def __call__(
        self, x_BCHW: Tensor, *, rate: float, draws: PathDraws
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits and the auxiliary tower's logits, with drop path."""
        net = self.net
        self.why_not = self._reason(x_BCHW)
        if self.why_not is not None:
            return net.forward_training(x_BCHW, rate=rate, draws=draws)
        first, second = net.run_stem(x_BCHW)
        stem = (_last(first),) if second is first else (_last(first), _last(second))
        lease = self._lease(stem)
        _draw(lease.program.factors, rate, draws)
        found = _Cells.apply(lease, len(stem), *stem, *lease.program.parameters)
        for count in self._counts:
            count += 1  # noqa: PLW2901 (the batch norm's own tensor)
        logits = net.classifier(found[0])
        return logits, None if net.auxiliary is None else net.auxiliary(found[1])

    def give_back_memory(self) -> None:
        """Give back the memory that is held for further steps; the next one takes new memory."""
        self._programs.clear()

    def _reason(self, x_BCHW: Tensor) -> str | None:
        """Return why modules have to compute this step."""
        if x_BCHW.device.type != "cpu" or x_BCHW.dtype not in SOURCES:
            return f"the kernels are for float32 and float64 on the CPU, not {_kind(x_BCHW)}"
        if torch.is_autocast_enabled("cpu"):
            return "autocast is enabled"
        if asked_kernels() == "portable":
            return f"{VARIABLE} says so"
        library = self._library(x_BCHW.dtype)
        if isinstance(library, str):
            return library
        smallest = _stem_extents(self.net, x_BCHW)[-1]
        for _ in reduction_positions(len(self.net.cells)):
            smallest = smallest.over(2, 0)
        if len(x_BCHW) * smallest.pixels < _LEAST:
            return "a batch norm has one value"
        return self._bind(x_BCHW.dtype)

    def _library(self, dtype: torch.dtype) -> Library | str:
        if dtype not in self._libraries:
            try:
                self._libraries[dtype] = Library(dtype)
            except LookupError as error:
                self._libraries[dtype] = str(error)
        return self._libraries[dtype]

    def _bind(self, dtype: torch.dtype) -> str | None:
        """Look at the cells; programs of tensors that are no longer theirs are dropped."""
        modules = list(self.net.cells.modules())
        reason = why_not_modules(modules) or why_not_tensors(modules, dtype)
        if reason is None and not all_are_read(self.net):
            reason = "the output of a cell is read by nothing"
        if reason is None:
            places = (len(modules), *(t.data_ptr() for t in tensors_of(modules)))
            if places != self._places:
                self._programs, self._places = defaultdict(list), places
                norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
                self._counts = [m.get_buffer("num_batches_tracked") for m in norms]
        return reason

    def _lease(self, stem: tuple[Tensor, ...]) -> "_Lease":
        """Return a program that no other step is using."""
        key = tuple(tuple(tensor.shape) for tensor in stem)
        free = self._programs[key]
        if free:
            return _Lease(free.pop(), free)
        library = self._library(stem[0].dtype)
        assert isinstance(library, Library)  # else there is a reason  # noqa: S101
        extents = tuple(
            Extent(height=t.shape[2], width=t.shape[3], channels=t.shape[1]) for t in stem
        )
        program = Program(self.net, len(stem[0]), extents, library, stem[0].dtype)
        return _Lease(program, free)


class _Lease:
    """The use of a program from a forward pass to the end of its backward pass."""

    def __init__(self, program: Program, free: list[Program]) -> None:
        self.program, self._free, self._held = program, free, True

    def end(self) -> None:
        """Give the program to the next step; its results are no longer there."""
        if self._held:
            self._held = False
            self._free.append(self.program)

    @property
    def held(self) -> bool:
        """Whether the program still holds the results of this step."""
        return self._held

    __del__ = end


class _Cells(torch.autograd.Function):
    """All cells: from the stem's outputs to the pooled features and the tower's input."""

    @staticmethod
    def forward(ctx: Any, lease: _Lease, stems: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        program = lease.program
        ctx.lease, ctx.stem = lease, tensors[:stems]
        program.forward(tuple(_pixels(tensor) for tensor in ctx.stem))
        features = _joined(program.output.mean(dim=(2, 3)))
        if program.below is None:
            return (features,)
        return features, _joined(program.below).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (of the decorator)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        if not ctx.lease.held:
            raise RuntimeError("a training step on the kernels is differentiated once")
        side = _pixels(gradients[1]) if len(gradients) > 1 else None
        top = gradients[0]  # pyright: ignore[reportGeneralTypeIssues] (of the decorator)
        to_stem, found = ctx.lease.program.backward(top, side)
        ctx.lease.end()
        return (
            None,
            None,
            *(None if t is None else t.permute(0, 3, 1, 2) for t in to_stem),
            *found,
        )


def _draw(factors: Tensor, rate: float, draws: PathDraws | None) -> None:
    """Draw each path's images that are kept, as ``drop_path`` does, and scale them."""
    if draws is None or rate <= 0:
        factors.fill_(1.0)
        return
    for of_path in factors:
        of_path.copy_(draw_kept(draws, len(of_path), 1 - rate, of_path.dtype))
    factors /= 1 - rate


def _stem_extents(net: DerivedNetwork, x_BCHW: Tensor) -> tuple[Extent, ...]:
    found = Extent(height=x_BCHW.shape[2], width=x_BCHW.shape[3], channels=0)
    if net.second_stem is None:
        return (found,)
    first = found.over(2, 0).over(2, 0)
    return first, first.over(2, 0)


def _last(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def _pixels(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.permute(0, 2, 3, 1)


def _joined(planes: Tensor) -> Tensor:
    """Return planes, ``(planes, B, ..., C)``, as channels, ``(B, ..., planes · C)``."""
    return planes.movedim(0, -2).flatten(-2)


def _kind(x: Tensor) -> str:
    return f"{x.dtype} on {x.device}"


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
