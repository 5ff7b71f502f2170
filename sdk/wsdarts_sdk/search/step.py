"""One step of a search: α on a batch of its own half, then the weights on one of theirs.

The functions take batches as they are made, or buffers that are filled before each step, which a
recorded graph reads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from wsdarts_sdk.data import Part
from wsdarts_sdk.data.loader import Batch, BatchPosition, TrainPart, batches, seed_of
from wsdarts_sdk.search._gradients import (
    Dropout,
    InnerStep,
    accumulate,
    clip_gradients,
    second_order,
)
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.supernet import Gradients, SkipDropout


@dataclass(frozen=True, kw_only=True, slots=True)
class StepInputs:
    """Batch and dropout of one half of a step.

    Attributes:
        batch: Of the half.
        skip: Its dropout on skip-connects.
    """

    batch: Batch
    skip: Dropout


Work = Callable[[StepInputs], None]
Runner = Callable[[Part, StepInputs, Work], None]


def run_eagerly(_part: Part, inputs: StepInputs, work: Work) -> None:
    """Run one half of a step, call by call."""
    work(inputs)


def places_of(
    state: SearchState, task: TrainPart, settings: SearchSettings, step: int
) -> list[BatchPosition]:
    """Return the batches that one step needs, in the order in which it takes them."""
    stage = settings.stages[state.stage]
    parts = [Part.WEIGHTS]
    if state.epoch >= stage.weights_only_epochs:
        parts.append(Part.ALPHA)
    return [
        BatchPosition(task=task, part=part, stage=state.stage, epoch=state.epoch, step=step)
        for part in parts
    ]


def take_step(
    state: SearchState,
    task: TrainPart,
    settings: SearchSettings,
    step: int,
    learning_rate: float,
    ready: Iterator[Batch] | None = None,
    run: Runner = run_eagerly,
) -> None:
    """Update α (not in weights-only epochs), then the weights, and add to ``state.sums``.

    Args:
        state: Changed in place; the position itself is the caller's.
        task: Whose batches.
        settings: Of the search.
        step: Step within the epoch, counted for each task.
        learning_rate: Of the weights in this epoch.
        ready: Where the batches of ``places_of`` come from; by default they are made here.
        run: Does the work of a half: directly, or by replaying it. The second order of α is
            always done directly.
    """
    stage = settings.stages[state.stage]
    ready = ready or batches(places_of(state, task, settings, step))
    dropout = partial(_skip_dropout, state, task, settings, step)
    weights = StepInputs(batch=next(ready), skip=dropout(Part.WEIGHTS))
    if state.epoch >= stage.weights_only_epochs:
        alpha = StepInputs(batch=next(ready), skip=dropout(Part.ALPHA))
        if settings.order == "first":
            run(Part.ALPHA, alpha, partial(move_alpha, state, settings))
        else:
            _move_alpha_second_order(state, settings, alpha, weights, learning_rate)
    run(Part.WEIGHTS, weights, partial(move_weights, state, settings))


def move_alpha(state: SearchState, settings: SearchSettings, inputs: StepInputs) -> None:
    """Update α by its first-order gradient, and the sums; nothing waits for the device."""
    found = accumulate(
        state.net,
        inputs.batch,
        "alpha",
        skip=inputs.skip,
        parts=state.parts,
        ranks=state.ranks,
    )
    _take_alpha(state, settings, inputs, found)


def move_weights(state: SearchState, settings: SearchSettings, inputs: StepInputs) -> None:
    """Update the weights and the sums; nothing waits for the device."""
    found = accumulate(
        state.net,
        inputs.batch,
        "weights",
        skip=inputs.skip,
        parts=state.parts,
        ranks=state.ranks,
    )
    weights = state.net.weight_parameters()
    _apply(state.sgd, weights, found.weights, settings.weights.gradient_clip)
    _count(state.sums[:3], found, inputs.batch)


def _move_alpha_second_order(
    state: SearchState,
    settings: SearchSettings,
    inputs: StepInputs,
    weights: StepInputs,
    learning_rate: float,
) -> None:
    assert isinstance(inputs.skip, SkipDropout)  # as take_step makes them  # noqa: S101
    assert isinstance(weights.skip, SkipDropout)  # noqa: S101
    inner = InnerStep(
        batch=weights.batch,
        learning_rate=learning_rate,
        momentum=settings.weights.momentum,
        buffers=_momentum_buffers(state),
        weight_decay=settings.weights.weight_decay,
        skip=weights.skip,
    )
    found = second_order(
        state.net, inputs.batch, inner, inputs.skip, parts=state.parts, ranks=state.ranks
    )
    _take_alpha(state, settings, inputs, found)


def _take_alpha(
    state: SearchState, settings: SearchSettings, inputs: StepInputs, found: Gradients
) -> None:
    alpha = state.net.alpha_parameters()
    _apply(state.adam, alpha, found.alpha, settings.alpha.gradient_clip)
    _count(state.sums[3:], found, inputs.batch)


def _skip_dropout(
    state: SearchState, task: TrainPart, settings: SearchSettings, step: int, part: Part
) -> SkipDropout:
    where = (task.head, state.stage, state.epoch, step)
    return SkipDropout(
        rate=settings.stages[state.stage].skip_dropout_at(state.epoch),
        seed=seed_of(settings.seed, "skip", str(part), *where),
        first=0 if task.share is None else task.share.start,
    )


def _momentum_buffers(state: SearchState) -> list[Tensor | None]:
    return [
        state.sgd.state.get(weight, {}).get("momentum_buffer")
        for weight in state.net.weight_parameters()
    ]


def _apply(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor | None],
    clip: float,
) -> None:
    """Step with clipped gradients; a parameter without one stays exactly where it is."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    clip_gradients([each for each in gradients if each is not None], clip)
    optimiser.step()
    for parameter in parameters:
        parameter.grad = None


def _count(sums: Tensor, found: Gradients, batch: Batch) -> None:
    """Add the figures of the whole batch to the sums in place: nothing waits for the device."""
    images = len(batch.labels) if batch.share is None else batch.share.whole
    sums[0] += found.loss * images
    if found.hits is None:
        sums[1] += (found.logits.argmax(dim=1) == batch.labels).sum()
    else:
        sums[1] += found.hits
    sums[2] += images
