"""Hooks that square the gradients of a network's convolutions, filter by filter.

Within ``HookedNetwork`` every convolution is one node of the autograd graph. Its backward pass
hands the gradient δ at its output to a hook, which squares it with the input of the convolution
(see ``squared_gradients``), and computes the gradient at its input only. Batch norm in eval mode,
which is a scale and a shift for each channel, runs as such, since the backward pass of torch's own
operator is many times slower on a CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.squared_gradients import Convolution, Squares, cheapest, padded


class ConvolutionHook:
    """The hook of one convolution: adds up the squared gradients of its filters."""

    def __init__(self, name: str, conv: nn.Conv2d) -> None:
        self.name = name
        self.module = conv
        self.reset()

    def reset(self) -> None:
        """Start a new batch."""
        self._squares: Squares | None = None
        self._recorded: tuple[Convolution, Tensor, torch.Size] | None = None
        self._version = 0

    def record(self, conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> None:
        """Record the input of the convolution.

        Raises:
            ProbeError: One is recorded already.
        """
        if self._recorded is not None:
            raise ProbeError(
                f"convolution {self.name} is used twice in one pass",
                expected="a network whose convolutions each run once",
                hint="choose another probe",
            )
        self._recorded = conv, x_BCHW, output
        self._version = x_BCHW._version  # noqa: SLF001

    def check_recorded(self) -> None:
        """Raise a ProbeError if the module ran without ``torch.nn.functional.conv2d``."""
        if self._recorded is None:
            raise ProbeError(
                f"the kind of convolution {self.name}",
                found=type(self.module).__name__,
                expected="a module that runs torch.nn.functional.conv2d",
                hint="choose another probe",
            )

    def prepare(self, passes: int) -> None:
        """Prepare for so many backward passes.

        Raises:
            ProbeError: The input was overwritten.
        """
        if self._recorded is None:
            return
        conv, x_BCHW, output = self._recorded
        if x_BCHW._version != self._version:  # noqa: SLF001
            raise ProbeError(
                f"the input of convolution {self.name} is overwritten later in the same pass",
                expected="a network that keeps it for the backward pass",
                hint="choose another probe",
            )
        self._squares = cheapest(conv, x_BCHW, output, passes)

    def add(self, delta_BOHW: Tensor) -> None:
        """Add the squares of one backward pass."""
        if self._squares is not None:
            self._squares.add(delta_BOHW)

    def mean_squares(self, images: int) -> Tensor:
        """Return the mean square over each filter's weights, shape ``(images, filters)``."""
        weight = self.module.weight
        if self._squares is None:
            return weight.new_zeros(images, len(weight))
        return self._squares.total() / weight[0].numel()


class _HookedConvolution(torch.autograd.Function):
    """A convolution whose backward pass calls its hook and forms no weight gradient."""

    @staticmethod
    def forward(
        ctx: Any, x_BCHW: Tensor, _anchor: Tensor, conv: Convolution, hook: ConvolutionHook
    ) -> Tensor:
        y_BOHW = conv(x_BCHW)
        ctx.conv, ctx.hook, ctx.x_BCHW = conv, hook, x_BCHW.detach()
        hook.record(conv, ctx.x_BCHW, y_BOHW.shape)
        return y_BOHW

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor | None, ...]:
        delta_BOHW = deltas[0].contiguous(memory_format=torch.channels_last)
        ctx.hook.add(delta_BOHW)
        before = None
        if ctx.needs_input_grad[0]:  # not so for the first convolution
            before = ctx.conv.input_gradient(delta_BOHW, ctx.x_BCHW)
        return before, None, None, None


class HookedNetwork(TorchFunctionMode):
    """A context in which the convolutions of a network call their hooks.

    Attributes:
        anchor: The tensor to differentiate by. It reaches every convolution, so nothing else has
            to require a gradient.
    """

    def __init__(self, conv_hooks: list[ConvolutionHook]) -> None:
        super().__init__()
        self.anchor = torch.zeros((), requires_grad=True)
        self._hooks = {hook.module: hook for hook in conv_hooks}
        self._running: ConvolutionHook | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or its replacement."""
        named = kwargs or {}
        if func is F.conv2d and self._running is not None:
            return self._convolve(self._running, *args, **named)
        if func is F.batch_norm:
            return _batch_norm(*args, **named)
        return func(*args, **named)

    def enter_module(self, module: nn.Module, _inputs: Any) -> None:
        """Mark a convolution as running (a forward pre-hook)."""
        self._running = self._hooks[module]  # type: ignore[index]

    def leave_module(self, module: nn.Module, _inputs: Any, _output: Any) -> None:
        """Check that a convolution was recorded (a forward hook)."""
        self._hooks[module].check_recorded()  # type: ignore[index]
        self._running = None

    def _convolve(
        self,
        hook: ConvolutionHook,
        input: Tensor,  # noqa: A002  (the names are those of F.conv2d)
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
    ) -> Tensor:
        x_BCHW = input
        if isinstance(padding, str):
            if padding == "same":
                positions = (x_BCHW.shape[2], x_BCHW.shape[3])
                x_BCHW = padded(hook.module, x_BCHW, positions)
            padding = 0
        conv = Convolution(
            weight=weight.detach().contiguous(memory_format=torch.channels_last),
            bias=bias,
            stride=_pair(stride),
            padding=_pair(padding),
            dilation=_pair(dilation),
            groups=groups,
        )
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        y_BOHW: Tensor = _HookedConvolution.apply(x_BCHW, self.anchor, conv, hook)
        return y_BOHW


def _batch_norm(
    input: Tensor,  # noqa: A002  (the names are those of F.batch_norm)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale_C = (running_var + eps).rsqrt()
    scale_C = scale_C if weight is None else scale_C * weight
    shift_C = -running_mean * scale_C
    shift_C = shift_C if bias is None else shift_C + bias
    channels = (-1, *[1] * (input.ndim - 2))
    return torch.addcmul(shift_C.reshape(channels), input, scale_C.reshape(channels))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return first, rest[0] if rest else first
