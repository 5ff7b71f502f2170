r"""HookedNetwork to the convolutions of a network while it runs.

Within ``HookedNetwork`` every convolution is one node of the autograd graph whose backward pass
hands the gradient δ at its output to a hook, and computes the gradient at its input only:
weights get none. Batch norm in eval mode, which is a scale and a shift for each channel, runs
as such, since the backward pass of torch's own operator is many times slower on a CPU.

The diagonal Fisher information of a network, one number for each convolution filter.

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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.probe import convolutions
from wsdarts_sdk.task2vec.squares import Convolution, Squares, cheapest, padded


class ConvolutionHook:
    """Listens at one convolution: adds up the squared gradients of its filters."""

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
        """Take note of the convolution's input.

        Raises:
            ProbeError: There was one already.
        """
        if self._recorded is not None:
            raise ProbeError(
                f"convolution {self.name} is used twice in one pass",
                hint=(
                    "Task2Vec needs a network whose convolutions each run once: choose another "
                    "probe"
                ),
            )
        self._recorded = conv, x_BCHW, output
        self._version = x_BCHW._version  # noqa: SLF001

    def check_recorded(self) -> None:
        """Refuse a module that ran without the function that is listened to.

        Raises:
            ProbeError: Names it.
        """
        if self._recorded is None:
            raise ProbeError(
                f"convolution {self.name} ({type(self.module).__name__}) does not run by "
                "torch.nn.functional.conv2d, so its gradients cannot be had: choose another probe"
            )

    def prepare(self, passes: int) -> None:
        """Get ready for so many backward passes.

        Raises:
            ProbeError: The input is there no more.
        """
        if self._recorded is None:
            return
        conv, x_BCHW, output = self._recorded
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


class _HookedConvolution(torch.autograd.Function):
    """A convolution whose backward pass tells its hook, and no weight."""

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
    """While this is entered, convolutions of the given conv_hooks are heard.

    Attributes:
        anchor: What to differentiate by: it reaches every convolution, and nothing else has to
            require a gradient.
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
        """Run a function of torch, or what stands in for it."""
        named = kwargs or {}
        if func is F.conv2d and self._running is not None:
            return self._convolve(self._running, *args, **named)
        if func is F.batch_norm:
            return _batch_norm(*args, **named)
        return func(*args, **named)

    def starts(self, module: nn.Module, _inputs: Any) -> None:
        """Forward pre-hook of a convolution."""
        self._running = self._hooks[module]  # type: ignore[index]

    def ends(self, module: nn.Module, _inputs: Any, _output: Any) -> None:
        """Forward hook of a convolution."""
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
    conv_hooks = [ConvolutionHook(name, conv) for name, conv in convolutions(network).items()]
    hooked = HookedNetwork(conv_hooks)
    with frozen(network), ExitStack() as hooks:
        for hook in conv_hooks:
            hooks.callback(hook.module.register_forward_pre_hook(hooked.starts).remove)
            hooks.callback(hook.module.register_forward_hook(hooked.ends).remove)
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
