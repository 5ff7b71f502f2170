"""Twenty steps of a search in float64, against plain modules, autograd and torch's optimisers."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from reference import gradients as plain
from reference.comparison import assert_agree, statistics
from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_sdk.data.loader import Batch, TrainPart, seed_of
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.search.settings import SearchSettings, StageSettings, WeightOptimiser
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import places_of, take_step
from wsdarts_sdk.supernet.kernels.base import SkipDropout
from wsdarts_sdk.supernet.kernels.portable import PortableKernels

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
_RATE = 0.05
# Ten epochs of two steps, the first two of them without α steps; the dropout falls to nothing.
STAGES = (StageSettings(cells=3, operations=5, epochs=10, weights_only_epochs=2, skip_dropout=0.5),)


def batch_of(task: TrainPart, part: Part, epoch: int, step: int) -> Batch:
    """A batch in float64."""
    found = task.batch(part, 0, epoch, step)
    return replace(found, images=found.images.double())


class PlainSearch:
    """A step as DARTS describes it, with the plain engine."""

    def __init__(self, settings: SearchSettings, classes: Sequence[int]) -> None:
        self.settings, stage = settings, settings.stages[0]
        self.net = PlainSupernet(
            OperationMasks.full(settings.space),
            cells=stage.cells,
            channels=settings.channels,
            classes=classes,
            seed=seed_of(settings.seed, "supernet", 0),
        ).double()
        weights, alpha = settings.weights, settings.alpha
        self.sgd = torch.optim.SGD(
            self.net.weight_parameters(),
            lr=_RATE,
            momentum=weights.momentum,
            weight_decay=weights.weight_decay,
        )
        self.adam = torch.optim.Adam(
            self.net.alpha_parameters(),
            lr=alpha.learning_rate,
            betas=(alpha.beta1, alpha.beta2),
            weight_decay=alpha.weight_decay,
        )

    def skip(self, head: int, epoch: int, step: int, part: str) -> SkipDropout:
        """The draws of one half of a step."""
        return SkipDropout(
            rate=self.settings.stages[0].skip_dropout_at(epoch),
            seed=seed_of(self.settings.seed, "skip", part, head, 0, epoch, step),
        )

    def step(self, task: TrainPart, epoch: int, step: int) -> None:
        """α on its batch, then the weights on theirs."""
        weights, alpha = self.net.weight_parameters(), self.net.alpha_parameters()
        batch = batch_of(task, Part.WEIGHTS, epoch, step)
        skip = self.skip(task.head, epoch, step, "weights")
        if epoch >= self.settings.stages[0].weights_only_epochs:
            alpha_batch = batch_of(task, Part.ALPHA, epoch, step)
            alpha_skip = self.skip(task.head, epoch, step, "alpha")
            if self.settings.order == "first":
                found = plain.first_order(self.net, alpha_batch, alpha, alpha_skip)
            else:
                inner = plain.PlainInnerStep(
                    batch=batch,
                    learning_rate=_RATE,
                    momentum=self.settings.weights.momentum,
                    buffers=self.momentum(),
                    weight_decay=self.settings.weights.weight_decay,
                    skip=skip,
                )
                found = plain.second_order(self.net, alpha_batch, inner, alpha_skip)
            self.apply(self.adam, alpha, found.values, self.settings.alpha.gradient_clip)
        found = plain.first_order(self.net, batch, weights, skip)
        self.apply(self.sgd, weights, found.values, self.settings.weights.gradient_clip)

    def apply(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        slopes: Sequence[Tensor | None],
        clip: float,
    ) -> None:
        """A clipped step."""
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()

    def momentum(self) -> dict[str, Tensor]:
        """Momentum of the weights by name."""
        return {
            name: self.sgd.state[weight]["momentum_buffer"]
            for name, weight in self.net.named_weights()
            if "momentum_buffer" in self.sgd.state.get(weight, {})
        }


def of_plain(search: PlainSearch) -> dict[str, Tensor]:
    """Weights, α, momentum and Adam's moments by their names in a checkpoint."""
    named = {f"net.{name}": value.detach() for name, value in search.net.named_parameters()}
    named |= {f"net.{name}": value for name, value in statistics(search.net).items()}
    named |= {f"optimiser.momentum_buffer.{n}": value for n, value in search.momentum().items()}
    for kind, alpha in search.net.alpha.items():
        moments = search.adam.state[alpha]
        for key in ("exp_avg", "exp_avg_sq", "step"):
            named[f"optimiser.{key}.alpha.{kind}"] = moments[key].double()
    return named


@pytest.mark.parametrize(("tasks", "kernels"), [(1, "chosen"), (2, "chosen"), (2, "portable")])
@pytest.mark.parametrize("order", ["first", "second"])
def test_twenty_steps(
    order: str,
    tasks: int,
    kernels: str,
    digits_task: ImageTask,
    fewer_digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    # The clip is below the gradients of the first steps and above those of the last.
    optimiser = WeightOptimiser(weight_decay=0.01, gradient_clip=1.5)
    settings = make_settings(order=order, stages=STAGES, weights=optimiser, batch_size=6)
    parts = [
        make_part(task, settings, head)
        for head, task in enumerate((digits_task, fewer_digits_task)[:tasks])
    ]
    classes = [3, 2][:tasks]
    masks = OperationMasks.full(settings.space)
    state = SearchState.fresh(settings, 0, masks, classes, torch.device("cpu"))
    for group in state.sgd.param_groups:
        group["lr"] = _RATE
    state.net.double().train()
    if kernels == "portable":
        state.net.use(PortableKernels())
    judge = PlainSearch(settings, classes)
    for state.epoch in range(STAGES[0].epochs):
        for step in range(2):
            task = parts[step % tasks]
            places = places_of(state, task, settings, step)
            ready = (batch_of(task, place.part, place.epoch, place.step) for place in places)
            take_step(state, task, settings, step, _RATE, ready)
            judge.step(task, state.epoch, step)
    found = state.to_checkpoint().tensors
    compared = of_plain(judge)
    assert found.keys() - compared.keys() == {"sums", "net.stem.1.num_batches_tracked"}
    assert_agree({name: found[name] for name in compared}, compared)
