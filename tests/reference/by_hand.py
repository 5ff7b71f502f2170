"""The engine's arithmetic once more, in NumPy, from the papers' formulas.

Nothing here computes with torch: convolutions are sums over kernel places, norms use the
batch's own statistics. Weights come as the state dict's arrays, so its keys are pinned here,
too: trained transfer architectures are stored under them.
"""

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
Weights = dict[str, Array]


def random_state(module: nn.Module, seed: int) -> Weights:
    """Set every weight of a module to random float64 numbers and return its state."""
    draws = np.random.default_rng(seed)
    for name, tensor in module.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            tensor.copy_(tensor.new_tensor(draws.normal(size=tuple(tensor.shape))))
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def within(weights: Weights, prefix: str) -> Weights:
    """The weights below a name, without it."""
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def places(x: Array, kernel: int, stride: int, padding: int, dilation: int, fill: float) -> Array:
    """What each kernel place sees, shape ``(kernel², B, C, rows, columns)``."""
    widths = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(x, widths, constant_values=fill)
    reach = dilation * (kernel - 1)
    rows = range(0, padded.shape[2] - reach, stride)
    columns = range(0, padded.shape[3] - reach, stride)
    return np.array(
        [
            padded[:, :, [r + i * dilation for r in rows], :][
                :, :, :, [c + j * dilation for c in columns]
            ]
            for i in range(kernel)
            for j in range(kernel)
        ]
    )


def depthwise(x: Array, weight: Array, stride: int, padding: int, dilation: int = 1) -> Array:
    """A convolution of each channel with its own kernel, weight ``(C, 1, k, k)``."""
    kernel = weight.shape[2]
    seen = places(x, kernel, stride, padding, dilation, 0.0)
    found: Array = np.einsum("kbchw,ck->bchw", seen, weight.reshape(len(weight), -1))
    return found


def dense(x: Array, weight: Array, padding: int = 0) -> Array:
    """An ordinary convolution with stride 1, weight ``(O, C, k, k)``."""
    kernel = weight.shape[2]
    seen = places(x, kernel, 1, padding, 1, 0.0)
    found: Array = np.einsum("kbchw,ock->bohw", seen, weight.reshape(*weight.shape[:2], -1))
    return found


def norm(x: Array) -> Array:
    """Batch norm with the batch's statistics: biased variance, ε = 1e-5, no scale, no shift."""
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=(0, 2, 3), keepdims=True)
    found: Array = (x - mean) / np.sqrt(variance + 1e-5)
    return found


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def softmax(row: Array) -> Array:
    """Of one row."""
    powers = np.exp(row - row.max())
    found: Array = powers / powers.sum()
    return found


def factorized_reduce(x: Array, weights: Weights) -> Array:
    """relu; 1×1 on pixels (0, 0), (0, 2), …; 1×1 on (1, 1), (1, 3), …; concatenation; norm."""
    x = relu(x)
    even = dense(x[:, :, ::2, ::2], weights["even.weight"])
    shifted = np.zeros((*x.shape[:2], *even.shape[2:]))
    odd = x[:, :, 1::2, 1::2]
    shifted[:, :, : odd.shape[2], : odd.shape[3]] = odd
    return norm(np.concatenate([even, dense(shifted, weights["odd.weight"])], axis=1))


def operation(name: str, x: Array, stride: int, weights: Weights) -> Array:
    """A candidate operation of the search, as DARTS defines it."""
    if name == "none":
        return np.zeros_like(x[:, :, ::stride, ::stride])
    if name == "max_pool_3x3":
        return norm(places(x, 3, stride, 1, 1, -np.inf).max(axis=0))
    if name == "avg_pool_3x3":
        inside = places(np.ones_like(x), 3, stride, 1, 1, 0.0).sum(axis=0)
        return norm(places(x, 3, stride, 1, 1, 0.0).sum(axis=0) / inside)
    if name == "skip_connect":
        return x if stride == 1 else factorized_reduce(x, weights)
    kernel = int(name[-1])
    if name.startswith("dil"):
        y = depthwise(relu(x), weights["1.weight"], stride, kernel - 1, dilation=2)
        return norm(dense(y, weights["2.weight"]))
    for first, step in ((1, stride), (5, 1)):
        y = depthwise(relu(x), weights[f"{first}.weight"], step, kernel // 2)
        x = norm(dense(y, weights[f"{first + 1}.weight"]))
    return x


def mixed(kept: list[str], shares: Array, x: Array, stride: int, weights: Weights) -> Array:
    """Σ p·o(x) over the kept operations; ``shares`` in the same order."""
    outputs = [
        share * operation(name, x, stride, within(weights, f"operations.{name}."))
        for name, share in zip(kept, shares, strict=True)
    ]
    found: Array = np.sum(outputs, axis=0)
    return found


def cell(
    previous: list[Array], kept: list[list[str]], shares: list[Array], weights: Weights, **how: bool
) -> Array:
    """A cell with one intermediate node: the sum of its two edges.

    Args:
        previous: Outputs of the cell before the last and of the last cell.
        kept: Operations of each edge.
        shares: Their softmax.
        weights: The cell's weights.
        how: ``reduction`` and ``after_reduction``.
    """
    first = within(weights, "first.")
    sources = [
        factorized_reduce(previous[0], first)
        if how["after_reduction"]
        else norm(dense(relu(previous[0]), first["1.weight"])),
        norm(dense(relu(previous[1]), weights["second.1.weight"])),
    ]
    stride = 2 if how["reduction"] else 1
    outputs = [
        mixed(kept[i], shares[i], source, stride, within(weights, f"edges.{i}."))
        for i, source in enumerate(sources)
    ]
    found: Array = np.sum(outputs, axis=0)
    return found
