r"""The diagonal Fisher information of a network, one number for each convolution filter.

For images $x$ and the network's own labels $y \sim p(y|x)$,

$$F_f = E_x E_{y \sim p(y|x)} \frac1{|f|} \sum_{w \in f}
  \left(\partial \log p(y|x) / \partial w\right)^2$$

with a square of *per-image* gradients, and batch norm in eval mode so that images do not mix
(Achille et al., "Task2Vec", 2019, arXiv:1902.03545, section 3; the authors' code squares the
mean gradient of a batch instead, so that its scale depends on the batch size).

Autograd forms no weight gradient. Within ``HookedNetwork`` every convolution is one node of the
autograd graph: its backward pass hands the gradient δ at its output to a hook, which squares it
with the input of the convolution (see ``_squared_gradients``), and computes the gradient at its
input only. Batch norm in eval mode, which is a scale and a shift for each channel, runs as such,
since the backward pass of torch's own operator is many times slower on a CPU.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.setting_fields import (
    PositiveAmount,
    Seed,
    validated,
)
from wsdarts_sdk.task2vec._squared_gradients import Convolution, Squares, cheapest, padded
from wsdarts_sdk.task2vec.probe import MINIMUM_SIZE, convolutions

Images = Annotated[int, Field(ge=1, le=10_000_000)]
Size = Annotated[int, Field(ge=MINIMUM_SIZE, le=4000)]


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


@validated
@dataclass(frozen=True, kw_only=True)
class FisherSettings:
    """Settings of the Fisher information by per-image gradients.

    Attributes:
        images: At most so many images of the train part stand for the task, evenly over its
            classes. Distances shrink a little with more images, so they only compare at equal
            numbers.
        head_l2: λ of the head; see ``fit_head``.
        std_floor: Least relative standard deviation in the head's standardisation.
        size: Input size in pixels; None for the probe's own.
        exact_classes: The expectation over labels is exact for at most so many classes.
        sketches: With more classes, how many random sketches take its place; see
            ``label_factors``.
        seed: Seed of the sketches.

    Raises:
        SettingsError: A number is out of range.
    """

    images: Images = 500
    head_l2: PositiveAmount = 10.0
    std_floor: PositiveAmount = 0.1
    size: Size | None = None
    exact_classes: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    sketches: Annotated[int, Field(ge=1, le=10_000)] = 4
    seed: Seed = 0


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient within this context."""
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
        network: See ``image_fisher``.
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
    r"""Yield the share of each image in the Fisher information of every filter.

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
            sum over the two), or cannot be hooked.
    """
    parameter = next(network.parameters())
    conv_hooks = [ConvolutionHook(name, conv) for name, conv in convolutions(network).items()]
    hooked = HookedNetwork(conv_hooks)
    with frozen(network), ExitStack() as hooks:
        for hook in conv_hooks:
            hooks.callback(hook.module.register_forward_pre_hook(hooked.enter_module).remove)
            hooks.callback(hook.module.register_forward_hook(hooked.leave_module).remove)
        for start in range(0, len(images), batch):
            x = images[start : start + batch].to(parameter)
            chosen = None if signs is None else signs[start : start + batch].to(parameter)
            _backward_passes(network, x, chosen, conv_hooks, hooked)
            squares = [hook.mean_squares(len(x)) for hook in conv_hooks]
            for hook in conv_hooks:
                hook.reset()
            yield torch.cat(squares, dim=1).cpu().numpy()


def _backward_passes(
    network: nn.Module,
    x: Tensor,
    signs_BKC: Tensor | None,
    conv_hooks: list[ConvolutionHook],
    hooked: HookedNetwork,
) -> None:
    with hooked, torch.enable_grad():
        logits_BC = network(x)
    probabilities_BC = logits_BC.detach().double().softmax(1)
    factors = label_factors(probabilities_BC, signs_BKC)
    for hook in conv_hooks:
        hook.prepare(passes=len(factors))
    for number, factor_BC in enumerate(factors, start=1):
        torch.autograd.grad(
            logits_BC,
            hooked.anchor,
            factor_BC.to(logits_BC),
            retain_graph=number < len(factors),
            allow_unused=True,
        )


def label_factors(probabilities_BC: Tensor, signs_BKC: Tensor | None) -> list[Tensor]:
    r"""Return factors $v$ of the output Fisher, with $E[\sum v v^T] = diag(p) - p p^T$.

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
    """Return random signs ±1, int8, shape ``(images, sketches, classes)``.

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
