"""One step of a search: α on a batch of its own half, then the weights on one of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.gradients import Batch, Gradients, InnerStep, first_order, second_order
from wsdarts_sdk.search.randomness import seed_of
from wsdarts_sdk.search.schedule import skip_dropout_rate
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.supernet import SkipDropout
from wsdarts_sdk.tasks import Part


def take_step(
    state: SearchState, task: TrainPart, settings: SearchSettings, step: int, learning_rate: float
) -> None:
    """Move α (not in weights-only epochs), then the weights, and add to ``state.sums``.

    Args:
        state: Changed in place; the position itself is the caller's.
        task: Whose batches.
        settings: Of the search.
        step: Step within the epoch, counted for each task.
        learning_rate: Of the weights in this epoch.
    """
    stage = settings.stages[state.stage]
    batch = task.batch(Part.WEIGHTS, state.stage, state.epoch, step)
    skip = _skip_dropout(state, task, settings, step, Part.WEIGHTS)
    if state.epoch >= stage.weights_only_epochs:
        inner = InnerStep(
            batch=batch,
            learning_rate=learning_rate,
            momentum=settings.weights.momentum,
            buffers=_momentum_buffers(state),
            weight_decay=settings.weights.weight_decay,
            skip=skip,
        )
        alpha_batch = task.batch(Part.ALPHA, state.stage, state.epoch, step)
        alpha_skip = _skip_dropout(state, task, settings, step, Part.ALPHA)
        found = _alpha_gradients(state, settings, alpha_batch, alpha_skip, inner)
        _apply(state.adam, state.net.alpha_parameters(), found, settings.alpha.gradient_clip)
        _count(state.sums[3:], found, alpha_batch.labels)
    weights = state.net.weight_parameters()
    found = first_order(state.net, batch, weights, skip)
    _apply(state.sgd, weights, found, settings.weights.gradient_clip)
    _count(state.sums[:3], found, batch.labels)


def _skip_dropout(
    state: SearchState, task: TrainPart, settings: SearchSettings, step: int, part: Part
) -> SkipDropout:
    where = (task.head, state.stage, state.epoch, step)
    return SkipDropout(
        rate=skip_dropout_rate(settings.stages[state.stage], state.epoch),
        seed=seed_of(settings.seed, "skip", str(part), *where),
    )


def _alpha_gradients(
    state: SearchState,
    settings: SearchSettings,
    batch: Batch,
    skip: SkipDropout,
    inner: InnerStep,
) -> Gradients:
    if settings.order == "first":
        return first_order(state.net, batch, state.net.alpha_parameters(), skip)
    return second_order(state.net, batch, inner, skip, exact=settings.order == "second-exact")


def _momentum_buffers(state: SearchState) -> dict[str, Tensor]:
    return {
        name: state.sgd.state[weight]["momentum_buffer"]
        for name, weight in state.net.named_weights()
        if "momentum_buffer" in state.sgd.state.get(weight, {})
    }


def _apply(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    found: Gradients,
    clip: float,
) -> None:
    """Step with clipped gradients; a parameter without one stays exactly where it is."""
    for parameter, gradient in zip(parameters, found.values, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    for parameter in parameters:
        parameter.grad = None


def _count(sums: Tensor, found: Gradients, labels: Tensor) -> None:
    hits = int((found.logits.argmax(dim=1) == labels).sum())
    sums += torch.tensor([float(found.loss) * len(labels), hits, len(labels)], dtype=torch.float64)
