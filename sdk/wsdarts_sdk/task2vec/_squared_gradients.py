r"""Squared gradients of the filters of one convolution, image by image.

For the gradient δ at a convolution's output and the patches U that it saw, the gradient of
filter o for one image is $g_o = \sum_t \delta_{ot} U_t$ over positions t, and its squared length
$\lVert g_o \rVert^2 = \sum_{tt'} \delta_{ot} \langle U_t, U_{t'} \rangle \delta_{ot'}$. So either
the gradients are formed and squared, or the Gram matrix of the patches is, once for all δ.

Shapes: B images, G groups, O filters of a group, K weights of a filter, T positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def padded(conv: nn.Conv2d, x_BCHW: Tensor, positions: tuple[int, int]) -> Tensor:
    """Pad an input as the convolution itself does, and cut off what no filter reaches.

    Padding is worked out from the sizes of input and output. It is symmetric where that agrees
    with ``conv.padding``; otherwise the convolution pads by itself ("same" padding, of
    TensorFlow or of torch), with the smaller half left and above.

    Args:
        conv: Any 2-d convolution of torch or timm.
        x_BCHW: Its input.
        positions: Height and width of its output.
    """
    margins: list[int] = []
    for axis in (1, 0):
        kernel, stride, dilation = (
            conv.kernel_size[axis],
            conv.stride[axis],
            conv.dilation[axis],
        )
        size = x_BCHW.shape[2 + axis]
        reach = (positions[axis] - 1) * stride + dilation * (kernel - 1) + 1
        declared = conv.padding[axis] if not isinstance(conv.padding, str) else -1
        slots = (size + 2 * declared - dilation * (kernel - 1) - 1) // stride + 1
        if declared >= 0 and slots == positions[axis]:
            margins += [declared, reach - size - declared]
        else:
            before = max(reach - size, 0) // 2
            margins += [before, reach - size - before]
    if conv.padding_mode == "zeros" or not any(margins):
        return F.pad(x_BCHW, margins)
    extended = F.pad(x_BCHW, [max(margin, 0) for margin in margins], mode=conv.padding_mode)
    return F.pad(extended, [min(margin, 0) for margin in margins])


def windows(
    x_BCHW: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    positions: Sequence[int],
) -> Tensor:
    """Return the patch under a kernel at each position, as a view.

    Args:
        x_BCHW: Input with its padding.
        kernel: Height and width of the kernel.
        stride: Step of the kernel, down and right.
        dilation: Step within the kernel, down and right.
        positions: Height and width of the output.

    Returns:
        Shape ``(images, channels, kernel height, kernel width, height, width)``.
    """
    image, channel, down, right = x_BCHW.stride()
    steps = (down * dilation[0], right * dilation[1], down * stride[0], right * stride[1])
    return x_BCHW.as_strided(
        (*x_BCHW.shape[:2], *kernel, *positions),
        (image, channel, *steps),
        x_BCHW.storage_offset(),
    )


def energy(conv: nn.Conv2d, x_BCHW: Tensor, positions: tuple[int, int]) -> Tensor:
    """Return the sum of squared inputs under the filters, without laying out the patches.

    Shape ``(images, groups, height, width)``.
    """
    squares_BCHW = padded(conv, x_BCHW.square(), positions)
    images, channels, height, width = squares_BCHW.shape
    groups = (images, conv.groups, channels // conv.groups, height, width)
    squares_BGHW = squares_BCHW.reshape(groups).sum(2)
    window = torch.ones(conv.groups, 1, *conv.kernel_size).to(x_BCHW)
    return F.conv2d(
        squares_BGHW, window, stride=conv.stride, dilation=conv.dilation, groups=conv.groups
    )


_CACHED_NUMBERS = 500_000
_backward: Any = torch.ops.aten.convolution_backward


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """One call of ``conv2d``, all but its input; padding as numbers of pixels."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(
            x_BCHW,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def input_gradient(self, delta_BOHW: Tensor, x_BCHW: Tensor) -> Tensor:
        """Return the gradient at the input, from that at the output."""
        pointwise = self.weight.shape[2:] == (1, 1) and self.groups == 1
        if pointwise and self.stride == (1, 1) and self.padding == (0, 0):
            # One matrix product; oneDNN is not always asked for these.
            return (delta_BOHW.permute(0, 2, 3, 1) @ self.weight.flatten(1)).permute(0, 3, 1, 2)
        gradient: Tensor = self.backward(delta_BOHW, x_BCHW, self.weight, self.groups, 0)
        return gradient

    def backward(
        self, delta: Tensor, x: Tensor, weight: Tensor, groups: int, of: int
    ) -> Any:  # torch's operators have no types
        """Return the gradient of a convolution of this form at its input (0) or weight (1)."""
        wanted = [of == 0, of == 1, False]
        shifts = (self.stride, self.padding, self.dilation)
        return _backward(delta, x, weight, None, *shifts, False, [0, 0], groups, wanted)[of]


class Squares(Protocol):
    """Sums of squared gradients over several δ for the same images."""

    def add(self, delta_BOHW: Tensor) -> None:
        """Add the squares that belong to one δ."""
        ...

    def total(self) -> Tensor:
        """Return the sums so far, shape ``(images, filters)``."""
        ...


def cheapest(conv: Convolution, x_BCHW: Tensor, output: torch.Size, passes: int) -> Squares:
    """Choose the form that needs the fewest multiplications.

    Args:
        conv: The convolution.
        x_BCHW: Its input, channels last.
        output: Shape of its output.
        passes: Number of δ to come.
    """
    kernel, positions = conv.weight.shape[2:], output[2] * output[3]
    filters, weights = conv.weight.shape[0] // conv.groups, conv.weight[0].numel()
    if weights == kernel.numel() and filters == 1:
        # oneDNN is fast for just this kernel, and 15 to 30 times slower for others.
        if kernel == (3, 3) and conv.dilation == (1, 1):
            return _FoldedDepthwise(conv, x_BCHW)
        return _Depthwise(conv, x_BCHW, output)
    direct = passes * filters * weights * positions
    by_gram = positions * positions * (weights + passes * filters)
    form: Callable[..., Squares] = _Gram if by_gram < direct else _Direct
    return form(conv, x_BCHW, output)


class _Accumulator:
    """A sum of products, without a temporary for each."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, one: Tensor, other: Tensor) -> None:
        self._sum = one * other if self._sum is None else self._sum.addcmul_(one, other)

    def over(self, axis: int) -> Tensor:
        if self._sum is None:
            raise RuntimeError("nothing was added")
        return self._sum.sum(axis)


class _Direct:
    """Forms the gradients."""

    def __init__(self, conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> None:
        self.conv, self.images = conv, len(x_BCHW)
        self.patches_NTK = _patches(conv, x_BCHW, output)
        self.sum_NOK = _Accumulator()

    def add(self, delta_BOHW: Tensor) -> None:
        gradients_NOK = _rows(self.conv, delta_BOHW) @ self.patches_NTK
        self.sum_NOK.add(gradients_NOK, gradients_NOK)

    def total(self) -> Tensor:
        return self.sum_NOK.over(2).reshape(self.images, -1)


class _Gram:
    """Uses the Gram matrix of the patches."""

    def __init__(self, conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> None:
        patches_NTK = _patches(conv, x_BCHW, output)
        self.conv, self.images = conv, len(x_BCHW)
        self.gram_NTT = patches_NTK @ patches_NTK.transpose(1, 2)
        self.sum_NTO = _Accumulator()

    def add(self, delta_BOHW: Tensor) -> None:
        delta_NTO = _rows(self.conv, delta_BOHW).transpose(1, 2)
        self.sum_NTO.add(self.gram_NTT @ delta_NTO, delta_NTO)

    def total(self) -> Tensor:
        return self.sum_NTO.over(1).reshape(self.images, -1).clamp_min_(0)


class _Depthwise:
    """Forms the gradients where every filter has a channel of its own."""

    def __init__(self, conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> None:
        seen_BCKKHW = windows(_padded(conv, x_BCHW).contiguous(), *_form(conv), output[2:])
        self.images = len(x_BCHW)
        self.patches_NKT = seen_BCKKHW.reshape(-1, conv.weight[0].numel(), output[2:].numel())
        self.sum_NK = _Accumulator()

    def add(self, delta_BOHW: Tensor) -> None:
        delta_NT1 = delta_BOHW.reshape(len(self.patches_NKT), -1, 1)
        gradients_NK = (self.patches_NKT @ delta_NT1).squeeze(2)
        self.sum_NK.add(gradients_NK, gradients_NK)

    def total(self) -> Tensor:
        return self.sum_NK.over(1).reshape(self.images, -1)


class _FoldedDepthwise:
    """Forms the gradients of ``_Depthwise`` with the images as channels of a single one.

    So the gradients of each image stay apart. A few images are folded at a time: their
    copies stay in the processor's cache.
    """

    def __init__(self, conv: Convolution, x_BCHW: Tensor) -> None:
        self.conv, self.images = conv, len(x_BCHW)
        self.at_once = max(1, _CACHED_NUMBERS // x_BCHW[0].numel())
        self.inputs = [self._folded(x) for x in torch.split(x_BCHW, self.at_once)]
        self.sum_NK = _Accumulator()

    def _folded(self, some_BCHW: Tensor) -> Tensor:
        return some_BCHW.reshape(1, -1, *some_BCHW.shape[2:])

    def add(self, delta_BOHW: Tensor) -> None:
        gradients = []
        for x_1NHW, delta in zip(self.inputs, torch.split(delta_BOHW, self.at_once), strict=True):
            groups = x_1NHW.shape[1]
            weight = delta.new_empty(groups, 1, *self.conv.weight.shape[2:])
            found = self.conv.backward(self._folded(delta), x_1NHW, weight, groups, 1)
            gradients.append(found.flatten(1))
        gradients_NK = torch.cat(gradients)
        self.sum_NK.add(gradients_NK, gradients_NK)

    def total(self) -> Tensor:
        return self.sum_NK.over(1).reshape(self.images, -1)


def _form(conv: Convolution) -> tuple[torch.Size, tuple[int, int], tuple[int, int]]:
    return conv.weight.shape[2:], conv.stride, conv.dilation


def _padded(conv: Convolution, x_BCHW: Tensor) -> Tensor:
    vertical, horizontal = conv.padding
    return F.pad(x_BCHW, [horizontal, horizontal, vertical, vertical])


def _patches(conv: Convolution, x_BCHW: Tensor, output: torch.Size) -> Tensor:
    """Return the patch at every position, shape ``(images × groups, positions, weights)``."""
    x_BCHW = _padded(conv, x_BCHW).contiguous(memory_format=torch.channels_last)
    seen_BCKKHW = windows(x_BCHW, *_form(conv), output[2:])
    # Channels last, as in memory: then whole runs are copied, and for 1×1 nothing at all.
    seen = torch.unflatten(seen_BCKKHW, 1, (conv.groups, -1)).permute(0, 1, 5, 6, 3, 4, 2)
    positions, weights = output[2:].numel(), conv.weight[0].numel()
    return seen.reshape(len(x_BCHW) * conv.groups, positions, weights)


def _rows(conv: Convolution, delta_BOHW: Tensor) -> Tensor:
    """Return δ in the shape ``(images × groups, filters of a group, positions)``."""
    return torch.unflatten(delta_BOHW.flatten(2), 1, (conv.groups, -1)).flatten(0, 1)
