"""How the learning rate and the skip-connect dropout change within a stage."""

import math

from wsdarts_sdk.search.settings import SearchSettings, StageSettings, WeightOptimiser

_DECAY = 0.2


def cosine_learning_rate(optimiser: WeightOptimiser, epoch: int, epochs: int) -> float:
    """Cosine annealing: full at epoch 0, ``learning_rate_min`` after the last epoch."""
    span = optimiser.learning_rate - optimiser.learning_rate_min
    return optimiser.learning_rate_min + span * (1 + math.cos(math.pi * epoch / epochs)) / 2


def skip_dropout_rate(stage: StageSettings, epoch: int) -> float:
    """Rate of the dropout on skip-connects in one epoch.

    With E epochs of which the first E_w train weights only: ``p · (E − e − 1) / E`` while
    ``e < E_w``, then ``p · exp(−0.2 · (e − E_w))``.

    Source: the public P-DARTS code (arXiv:1904.12760), with its scale factor 0.2.
    """
    if epoch < stage.weights_only_epochs:
        return stage.skip_dropout * (stage.epochs - epoch - 1) / stage.epochs
    return stage.skip_dropout * math.exp(-_DECAY * (epoch - stage.weights_only_epochs))


def stage_work(stage: StageSettings, epochs: float) -> float:
    """Work of the first ``epochs`` epochs of a stage: cells · operations, twice with α steps."""
    weights_only = min(epochs, stage.weights_only_epochs)
    return stage.cells * stage.operations * (2 * epochs - weights_only)


def work(settings: SearchSettings) -> float:
    """Work of a whole search in the same unit; it tells shares of the cost, not seconds."""
    return sum(stage_work(stage, stage.epochs) for stage in settings.stages)
