"""Listening to the convolutions of a network while it runs.

Within ``Listening`` every convolution is one node of the autograd graph whose backward pass
hands the gradient δ at its output to a listener, and computes the gradient at its input only:
weights get none. Batch norm in eval mode, which is a scale and a shift for each channel, runs
as such, since the backward pass of torch's own operator is many times slower on a CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.squares import Convolution, Squares, cheapest, padded


class Listener:
    """Listens at one convolution: adds up the squared gradients of its filters."""

    def __init__(self, name: str, conv: nn.Conv2d) -> None:
        self.name = name
        self.module = conv
        self.forget()

    def forget(self) -> None:
        """Start a new batch."""
        self._squares: Squares | None = None
        self._heard: tuple[Convolution, Tensor, torch.Size] | None = None
        self._version = 0

    def hear(self, conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> None:
        """Take note of the convolution's input.

        Raises:
            ProbeError: There was one already.
        """
        if self._heard is not None:
            raise ProbeError(
                f"convolution {self.name} is used twice in one pass",
                hint=(
                    "Task2Vec needs a network whose convolutions each run once: choose another "
                    "probe"
                ),
            )
        self._heard = conv, x_BCHW, output
        self._version = x_BCHW._version  # noqa: SLF001

    def check_heard(self) -> None:
        """Refuse a module that ran without the function that is listened to.

        Raises:
            ProbeError: Names it.
        """
        if self._heard is None:
            raise ProbeError(
                f"convolution {self.name} ({type(self.module).__name__}) does not run by "
                "torch.nn.functional.conv2d, so its gradients cannot be had: choose another probe"
            )

    def prepare(self, passes: int) -> None:
        """Get ready for so many backward passes.

        Raises:
            ProbeError: The input is there no more.
        """
        if self._heard is None:
            return
        conv, x_BCHW, output = self._heard
        if x_BCHW._version != self._version:  # noqa: SLF001
            raise ProbeError(
                f"the input of convolution {self.name} is overwritten later in the same pass",
                hint="Task2Vec needs it afterwards: choose another probe",
            )
        self._squares = cheapest(conv, x_BCHW, output, passes)

    def add(self, delta_BOHW: Tensor) -> None:
        """Add the squares of one backward pass."""
        if self._squares is not None:
            self._squares.add(delta_BOHW)

    def mean_squares(self, images: int) -> Tensor:
        """Mean over each filter's weights of the squares, shape ``(images, filters)``."""
        weight = self.module.weight
        if self._squares is None:
            return weight.new_zeros(images, len(weight))
        return self._squares.total() / weight[0].numel()


class _Listened(torch.autograd.Function):
    """A convolution whose backward pass tells its listener, and no weight."""

    @staticmethod
    def forward(
        ctx: Any, x_BCHW: Tensor, _anchor: Tensor, conv: Convolution, listener: Listener
    ) -> Tensor:
        y_BOHW = conv(x_BCHW)
        ctx.conv, ctx.listener, ctx.x_BCHW = conv, listener, x_BCHW.detach()
        listener.hear(conv, ctx.x_BCHW, y_BOHW.shape)
        return y_BOHW

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor | None, ...]:
        delta_BOHW = deltas[0].contiguous(memory_format=torch.channels_last)
        ctx.listener.add(delta_BOHW)
        before = None
        if ctx.needs_input_grad[0]:  # not so for the first convolution
            before = ctx.conv.input_gradient(delta_BOHW, ctx.x_BCHW)
        return before, None, None, None


class Listening(TorchFunctionMode):
    """While this is entered, convolutions of the given listeners are heard.

    Attributes:
        anchor: What to differentiate by: it reaches every convolution, and nothing else has to
            require a gradient.
    """

    def __init__(self, listeners: list[Listener]) -> None:
        super().__init__()
        self.anchor = torch.zeros((), requires_grad=True)
        self._listeners = {listener.module: listener for listener in listeners}
        self._running: Listener | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or what stands in for it."""
        named = kwargs or {}
        if func is F.conv2d and self._running is not None:
            return self._convolve(self._running, *args, **named)
        if func is F.batch_norm:
            return _batch_norm(*args, **named)
        return func(*args, **named)

    def starts(self, module: nn.Module, _inputs: Any) -> None:
        """Forward pre-hook of a convolution."""
        self._running = self._listeners[module]  # type: ignore[index]

    def ends(self, module: nn.Module, _inputs: Any, _output: Any) -> None:
        """Forward hook of a convolution."""
        self._listeners[module].check_heard()  # type: ignore[index]
        self._running = None

    def _convolve(
        self,
        listener: Listener,
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
                x_BCHW = padded(listener.module, x_BCHW, positions)
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
        y_BOHW: Tensor = _Listened.apply(x_BCHW, self.anchor, conv, listener)
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
