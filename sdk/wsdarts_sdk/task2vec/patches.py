"""What a convolution sees: its padded input, and the patches under its filters."""

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


def patches(conv: nn.Conv2d, x_BCHW: Tensor, positions: tuple[int, int]) -> Tensor:
    """The inputs under every filter at every position.

    Returns:
        Shape ``(images, groups, weights, positions)``: the columns that a filter of that group,
        flattened, is multiplied with.
    """
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and x_BCHW.shape[2:] == positions:
        columns_BKT = x_BCHW.flatten(2)
    else:
        columns_BKT = F.unfold(
            padded(conv, x_BCHW, positions), conv.kernel_size, conv.dilation, stride=conv.stride
        )
    images, rows, columns = columns_BKT.shape
    return columns_BKT.reshape(images, conv.groups, rows // conv.groups, columns)


def energy(conv: nn.Conv2d, x_BCHW: Tensor, positions: tuple[int, int]) -> Tensor:
    """Sum of squared inputs under the filters, shape ``(images, groups, height, width)``.

    The squared length of each column of ``patches``, without laying the patches out.
    """
    squares_BCHW = padded(conv, x_BCHW.square(), positions)
    images, channels, height, width = squares_BCHW.shape
    groups = (images, conv.groups, channels // conv.groups, height, width)
    squares_BGHW = squares_BCHW.reshape(groups).sum(2)
    window = torch.ones(conv.groups, 1, *conv.kernel_size).to(x_BCHW)
    return F.conv2d(
        squares_BGHW, window, stride=conv.stride, dilation=conv.dilation, groups=conv.groups
    )
