"""Schedules of searches and trainings: how rates change from epoch to epoch."""

import math

_DECAY = 0.2


def cosine_learning_rate(*, first: float, last: float, epoch: int, epochs: int) -> float:
    """Return the rate of an epoch by cosine annealing, from ``first`` to ``last``."""
    return last + (first - last) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def skip_dropout_rate(*, first: float, epoch: int, epochs: int, weights_only_epochs: int) -> float:
    """Return the rate of the dropout on skip-connects in an epoch of a stage.

    With E epochs of which the first E_w train weights only: ``p · (E − e − 1) / E`` while
    ``e < E_w``, then ``p · exp(−0.2 · (e − E_w))``.

    Source: the public P-DARTS code (arXiv:1904.12760), with its scale factor 0.2.
    """
    if epoch < weights_only_epochs:
        return first * (epochs - epoch - 1) / epochs
    return first * math.exp(-_DECAY * (epoch - weights_only_epochs))


def drop_path_rate(*, last: float, epoch: int, epochs: int) -> float:
    """Return the rate of drop path in an epoch: it grows linearly from 0."""
    return last * epoch / epochs
