"""Exponential moving average of a network's weights over the steps of its training."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_PREFIX = "average."


class WeightAverage:
    """The average of a network's weights, and of its running statistics in the same way.

    In step t, counted from 1, the average moves by ``1 − min(decay, t / (9 + t))`` towards the
    network, so that the random weights of the beginning do not weigh.

    Args:
        net: The network that is trained; the average begins with its weights.
        decay: Share of the average that stays in a step, in (0, 1).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        def move(averaged: Any, current: Any, steps: Any) -> None:
            step: Any = get_ema_multi_avg_fn(decay_at(decay, int(steps)))  # type: ignore[no-untyped-call]
            step(averaged, current, steps)

        self._net = net
        self._average = AveragedModel(net, multi_avg_fn=move, use_buffers=True)

    @property
    def net(self) -> nn.Module:
        """Return a network like the trained one, with the averaged weights."""
        net: nn.Module = self._average.module
        return net

    def update(self) -> None:
        """Add the weights after a step to the average."""
        self._average.update_parameters(self._net)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average as tensors of a checkpoint."""
        return {f"{_PREFIX}{name}": value for name, value in self._average.state_dict().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the average from a checkpoint."""
        own = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
        self._average.load_state_dict(own)


def decay_at(decay: float, steps: int) -> float:
    """Return the share of the average that stays in a step, after so many steps before it.

    The first step's weights are taken whole; later ``min(decay, t / (9 + t))`` with
    ``t = steps + 1``, the rule of TensorFlow's ``ExponentialMovingAverage``.
    """
    return min(decay, (1 + steps) / (10 + steps))
