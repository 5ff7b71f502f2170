"""What a convolution sees: its padded input, and the patches under its filters."""

from collections.abc import Sequence

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
    """What lies under a kernel at each position, as a view.

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
    """Sum of squared inputs under the filters, shape ``(images, groups, height, width)``.

    The squared length of what each filter is multiplied with, without laying that out.
    """
    squares_BCHW = padded(conv, x_BCHW.square(), positions)
    images, channels, height, width = squares_BCHW.shape
    groups = (images, conv.groups, channels // conv.groups, height, width)
    squares_BGHW = squares_BCHW.reshape(groups).sum(2)
    window = torch.ones(conv.groups, 1, *conv.kernel_size).to(x_BCHW)
    return F.conv2d(
        squares_BGHW, window, stride=conv.stride, dilation=conv.dilation, groups=conv.groups
    )
