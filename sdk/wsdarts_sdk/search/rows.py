"""The row of metrics that a search leaves of each epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_registry.space import CELL_KINDS
from wsdarts_sdk.devices import peak_memory
from wsdarts_sdk.search.accumulation import needed_memory
from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.derivation import derive_genotype
from wsdarts_sdk.search.precision import name_of
from wsdarts_sdk.search.schedule import skip_dropout_rate
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState


def epoch_row(
    state: SearchState,
    settings: SearchSettings,
    tasks: Sequence[TrainPart],
    *,
    learning_rate: float,
    device: torch.device,
) -> dict[str, Any]:
    """The metrics of the epoch that has just ended; updates how long the genotype is stable.

    Raises:
        SettingsError: The loss, α or a weight is not finite.
    """
    stage = settings.stages[state.stage]
    masks, alpha, sums = state.net.masks, state.alpha(), state.sums.tolist()
    finite = np.isfinite(np.concatenate([np.array(sums), *map(np.ravel, alpha.values())])).all()
    # The last step of a search changes weights that no loss is computed with any more.
    weights = [value.isfinite().all() for value in state.net.state_dict().values()]
    if not finite or not torch.stack(weights).all():
        raise SettingsError(
            f"the loss, α or a weight is not finite after epoch {state.epoch + 1} of stage "
            f"{state.stage + 1}; lower the learning rates or the gradient clip"
        )
    genotype = derive_genotype(masks, alpha, skip_connects=None)
    derived = str(derive_genotype(masks, alpha, skip_connects=settings.skip_connects))
    moved = state.epoch >= stage.weights_only_epochs
    state.unchanged = state.unchanged + 1 if moved and derived == state.derived else 0
    state.derived = derived
    return {
        "stage": state.stage,
        "epoch": state.epoch,
        "steps": sum(task.steps(settings.steps_per_epoch) for task in tasks),
        "learning_rate": learning_rate,
        "skip_dropout": skip_dropout_rate(stage, state.epoch),
        "weights_loss": _mean(sums[0], sums[2]),
        "weights_accuracy": _mean(sums[1], sums[2]),
        "alpha_loss": _mean(sums[3], sums[5]),
        "alpha_accuracy": _mean(sums[4], sums[5]),
        "seconds": state.seconds[-1],
        "peak_memory": peak_memory(device),
        "needed_memory": max(_needed(state, settings, task) for task in tasks),
        "batch_parts": state.parts,
        "compute_dtype": name_of(state.dtype),
        "unchanged_epochs": state.unchanged,
        "skip_connects": genotype.count("skip_connect"),
        "skip_connects_reduction": genotype.count("skip_connect", "reduction"),
        "probabilities": {
            kind: state.net.probabilities(kind).detach().cpu().tolist() for kind in CELL_KINDS
        },
    }


def _needed(state: SearchState, settings: SearchSettings, task: TrainPart) -> int:
    largest = -(-task.batch_size // state.parts)
    return needed_memory(state.net, image_size=settings.image_size, batch=largest)


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None
