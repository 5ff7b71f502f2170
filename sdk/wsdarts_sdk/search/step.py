"""One step of a search: α on a batch of its own half, then the weights on one of theirs.

The functions take batches as they are made, or buffers that are filled before each step, which a
recorded graph reads.

Gradients are computed in parts that fit into memory and averaged by their number of images, so the
result is that of the whole batch up to batch norm, whose statistics are each part's own, and the
draws of the dropout.

Source of the second order: Liu et al., "DARTS", 2019, arXiv:1806.09055: equation 5 with ξ = the
weights' learning rate, and equations 7 and 8 for the finite difference.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from wsdarts_registry._format import size
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import Batch, BatchPosition, TrainPart, batches, seed_of
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.devices import free_memory
from wsdarts_sdk.distributed import ALONE, BatchShare, Ranks
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, DeviceSkipDropout, SkipDropout
from wsdarts_sdk.supernet.network import Gradients, Supernet, Wanted
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, elements_per_image

# Of one pass; or with its numbers on the device, then those of each part of the batch.
Dropout = SkipDropout | Sequence[DeviceSkipDropout]
_LEAST = 2  # images in a part: a batch norm needs two
_SHARE = 0.8  # of the free memory: allocators and other processes need some
_EPSILON = 0.01
_BLOCK = 1024  # far below the size from which torch shares a sum out


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


def needed_memory(net: Supernet, *, image_size: int, batch: int) -> int:
    """Return the bytes that a step takes at most for a batch, by estimate."""
    elements = elements_per_image(net.plans, STEM_MULTIPLIER * net.channels, image_size)
    return elements * batch * (net.compute_dtype or net.cell_weights.dtype).itemsize


def parts_that_fit(net: Supernet, *, image_size: int, batch: int, free: int | None = None) -> int:
    """Return the number of parts in which a batch has to be computed to fit into memory.

    Args:
        net: The supernet, on its device.
        image_size: Rows and columns.
        batch: Images in a batch.
        free: Bytes that can be had besides those that the network's kernels hold; by default what
            is free on the device now.

    Raises:
        SettingsError: Not even two images fit.
    """
    free = free_memory(net.cell_weights.device) if free is None else free
    room = _SHARE * (free + net.kernels.held() * net.cell_weights.dtype.itemsize)
    for parts in range(1, max(batch // _LEAST, 1) + 1):
        if needed_memory(net, image_size=image_size, batch=-(-batch // parts)) <= room:
            return parts
    least = needed_memory(net, image_size=image_size, batch=_LEAST)
    raise SettingsError(
        (
            f"a search step of {_LEAST} images of {image_size} pixels needs {size(least)} and "
            f"{size(int(room))} can be had"
        ),
        hint=(
            "use smaller images or fewer channels or cells (--set search.image_size=…, --set "
            "search.channels=…)"
        ),
    )


def accumulate(
    net: Supernet,
    batch: Batch,
    wanted: Wanted,
    *,
    skip: Dropout,
    parts: int,
    ranks: Ranks = ALONE,
) -> Gradients:
    """Return the gradients of a batch's mean cross-entropy, computed in parts and by all ranks.

    Of several ranks, each gives those of its own images; the sums are the same on all of them, and
    so are the running statistics, the mean of theirs by their numbers of images.
    """
    if batch.share is None:
        return _of_parts(net, batch, wanted, skip, parts)
    if len(batch.share):
        own = _of_parts(net, batch, wanted, skip, parts)
    else:
        own = _nothing(net, batch, wanted)
    return _of_all_ranks(net, batch.share, batch.labels, own, ranks)


def _nothing(net: Supernet, batch: Batch, wanted: Wanted) -> Gradients:
    """Return the gradients of a rank without images."""
    other = {
        id(p)
        for index, own in enumerate(net.heads)
        if index != batch.head
        for p in own.parameters()
    }
    weights = net.weight_parameters() if wanted != "alpha" else []
    alpha = net.alpha_parameters() if wanted != "weights" else []
    return Gradients(
        loss=net.cell_weights.new_zeros(()),
        logits=net.cell_weights.new_zeros(0, 1),
        alpha=tuple(map(torch.zeros_like, alpha)),
        weights=tuple(None if id(p) in other else torch.zeros_like(p) for p in weights),
    )


def _of_all_ranks(
    net: Supernet, share: BatchShare, labels: Tensor, own: Gradients, ranks: Ranks
) -> Gradients:
    """Add the gradients of all ranks up, in one exchange, and the running statistics with them."""
    hits = (own.logits.argmax(dim=1) == labels).sum() if len(share) else own.loss
    weights = [gradient for gradient in own.weights if gradient is not None]
    # Synchronised norms have the same statistics on all ranks, and so has their mean but for
    # rounding; what differs in that would differ on all ranks alike.
    running = [b for b in net.buffers() if b.is_floating_point()]
    dtype = own.loss.dtype
    given = [own.loss, hits.to(dtype), *own.alpha, *weights]
    given += [share.weight * buffer for buffer in running]
    loss, hits, *found = ranks.add_up_all([tensor.to(dtype) for tensor in given])
    alpha, found = found[: len(own.alpha)], found[len(own.alpha) :]
    for buffer, mean in zip(running, found[len(weights) :], strict=True):
        buffer.copy_(mean)
    left = iter(found)
    return Gradients(
        loss=loss,
        logits=own.logits,
        alpha=tuple(alpha),
        weights=tuple(None if gradient is None else next(left) for gradient in own.weights),
        hits=hits,
    )


def _of_parts(net: Supernet, batch: Batch, wanted: Wanted, skip: Dropout, parts: int) -> Gradients:
    if parts == 1:
        return net.gradients(batch, wanted, skip=_of_part(skip, 0))
    found: list[Gradients] = []
    images, labels = batch.images.tensor_split(parts), batch.labels.tensor_split(parts)
    for number, (some, their) in enumerate(zip(images, labels, strict=True)):
        part = replace(batch, images=some, labels=their)
        own = net.gradients(part, wanted, skip=_of_part(skip, number))
        share = len(their) / len(batch.labels)
        found.append(
            Gradients(
                loss=share * own.loss,
                logits=own.logits,
                alpha=tuple(share * gradient for gradient in own.alpha),
                weights=tuple(None if g is None else share * g for g in own.weights),
            )
        )
        if number:
            found = [_sum(found[0], found[1])]
    return found[0]


def for_part(skip: SkipDropout, number: int) -> SkipDropout:
    """Return the dropout of a part of a batch, with draws of its own."""
    return replace(skip, seed=skip.seed + number)


def _of_part(skip: Dropout, number: int) -> SkipDropout | DeviceSkipDropout:
    return for_part(skip, number) if isinstance(skip, SkipDropout) else skip[number]


def _sum(first: Gradients, second: Gradients) -> Gradients:
    return Gradients(
        loss=first.loss + second.loss,
        logits=torch.cat([first.logits, second.logits]),
        alpha=tuple(a + b for a, b in zip(first.alpha, second.alpha, strict=True)),
        weights=tuple(_both(a, b) for a, b in zip(first.weights, second.weights, strict=True)),
    )


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return first if second is None or first is None else first + second


@dataclass(frozen=True, kw_only=True, slots=True)
class InnerStep:
    """The virtual weight step of a second-order α step: w′ = w − ξ(∇w L + μ·m + λ·w).

    Attributes:
        batch: The batch of the coming weight step.
        learning_rate: ξ.
        momentum: μ.
        buffers: m of each weight parameter, in their order; None where m = 0.
        weight_decay: λ.
        skip: Skip-connect dropout of the coming weight step.
    """

    batch: Batch
    learning_rate: float
    momentum: float
    buffers: Sequence[Tensor | None]
    weight_decay: float
    skip: SkipDropout = NO_DROPOUT


@torch.no_grad()
def second_order(
    net: Supernet,
    batch: Batch,
    inner: InnerStep,
    skip: SkipDropout,
    *,
    parts: int = 1,
    ranks: Ranks = ALONE,
) -> Gradients:
    """Return the gradient of L_α(w′(α), α) for α, with w′ the weights after the inner step.

    The product with the mixed second derivative is a central difference,
    ``(∇α L_w(w + εv) − ∇α L_w(w − εv)) / 2ε`` with ``v = ∇w′ L_α`` and ``ε = 0.01 / ‖v‖``;
    both of its passes use the same random draws. Batches are computed in so many ``parts``, and by
    all ``ranks``, so that v and its norm are those of the whole batch. Weights and running
    statistics are as before afterwards: all of these evaluations are hypothetical.
    """
    weights = net.weight_parameters()
    with _weights_restored(net) as start:
        slopes = accumulate(
            net, inner.batch, "weights", skip=inner.skip, parts=parts, ranks=ranks
        ).weights
        for weight, slope, buffer in zip(weights, slopes, inner.buffers, strict=True):
            fixed = inner.weight_decay * weight
            if buffer is not None:
                fixed += inner.momentum * buffer
            weight.sub_(inner.learning_rate * (fixed if slope is None else fixed + slope))
        outer = accumulate(net, batch, "both", skip=skip, parts=parts, ranks=ranks)
        direction = [None if v is None else v.clone() for v in outer.weights]
        norm = norm_of([v for v in direction if v is not None])
        epsilon = _EPSILON / norm.clamp_min(torch.finfo(norm.dtype).tiny)

        def slope_at(sign: int) -> tuple[Tensor, ...]:
            for weight, before, v in zip(weights, start, direction, strict=True):
                weight.copy_(before if v is None else before + sign * epsilon * v)
            return accumulate(
                net, inner.batch, "alpha", skip=inner.skip, parts=parts, ranks=ranks
            ).alpha

        alpha = tuple(
            direct - inner.learning_rate * (up - down) / (2 * epsilon)
            for direct, up, down in zip(outer.alpha, slope_at(1), slope_at(-1), strict=True)
        )
    return replace(outer, alpha=alpha, weights=())


@contextmanager
def _weights_restored(net: Supernet) -> Iterator[list[Tensor]]:
    """Yield copies of the weights; restore these and all buffers at the end."""
    changed: list[Tensor] = [*net.weight_parameters(), *net.buffers()]
    before = [tensor.clone() for tensor in changed]
    try:
        yield before[: len(net.weight_parameters())]
    finally:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)


def clip_gradients(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale gradients down to a norm of all together, as torch's ``clip_grad_norm_`` does.

    Nothing waits for the device, and on a CPU the number of threads changes no bit.
    """
    scale = (limit / (norm_of(gradients) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of several tensors together."""
    return torch.stack([_block_sum(tensor.detach().square()) for tensor in tensors]).sum().sqrt()


def _block_sum(values: Tensor) -> Tensor:
    """Return a sum in blocks: torch splits that of a large tensor among threads."""
    values = values.flatten()
    while values.numel() > _BLOCK:
        whole = values.numel() - values.numel() % _BLOCK
        values = torch.cat([values[:whole].view(-1, _BLOCK).sum(1), values[whole:]])
    return values.sum()
