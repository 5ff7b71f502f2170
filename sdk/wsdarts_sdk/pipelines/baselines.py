"""Baselines of a training: classifiers of the same held-out images, without any search.

``find_baseline`` finds the one that a user names: ``linear`` or ``linear:PROBE``, a linear
classifier on a probe's features, or ``timm:SOURCE``, a pretrained network of timm that is
fine-tuned with the same budget. That budget is counted, not timed: as many steps of as many images
as the network beside it trains, so that the figure does not depend on the machine. Images, their
augmentation, learning rate, optimiser and early stopping are the same, too; all weights are
trained, and the last layer is new.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry._arguments import check_text
from wsdarts_registry._format import percent, pluralize
from wsdarts_registry.errors import ProbeError, SettingsError
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.evaluation import share_right
from wsdarts_sdk.models.network import PathDraws, Size, count
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.models.training_loop import ENDED_FACT, EPOCHS_FACT, TrainingLoop
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal, Journal
from wsdarts_sdk.runs.directory import BASELINE_JOURNAL
from wsdarts_sdk.runs.result_records import Baseline
from wsdarts_sdk.task2vec.linear_classifier import fit_linear_classifier, trained_on
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe, first_line

LINEAR = "linear"
_EXPECTED = "linear, linear:PROBE, timm:NAME, timm:FILE.safetensors or None"
_NETWORK_FACT = "network"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Result of a baseline on the held-out part, before there is a network to compare it with.

    Attributes:
        name: What it is.
        kind: ``linear`` or ``timm``.
        right: Whether it labels each held-out image right, shape ``(images,)``.
        size: Its parameters and multiply-adds, with the network that makes the features.
        chosen: How its settings were chosen, as a sentence.
        trained_on: Which images its weights come from, as a sentence.
        seconds: Wall time of computing it.
    """

    name: str
    kind: Literal["linear", "timm"]
    right: NDArray[np.bool_]
    size: Size
    chosen: str
    trained_on: str
    seconds: float

    def announce(self, progress: Progress) -> None:
        """Report its figure."""
        images = pluralize(len(self.right), "held-out image")
        share = percent(float(self.right.mean()))
        progress(f"the figure to beat: a {self.name} labels {share} of {images} right", 1, 1)

    def beside(self, result: TrainingResult, right: NDArray[np.bool_]) -> Baseline:
        """Return the baseline beside a trained network.

        Args:
            result: The trained network.
            right: Whether the network labels each held-out image right, shape ``(images,)``.
        """
        network = count(result.model, result.model.image_size)
        return Baseline(
            name=self.name,
            kind=self.kind,
            accuracy=share_right(self.right),
            difference=share_right(right, self.right),
            parameters=self.size.parameters,
            multiply_adds=self.size.multiply_adds,
            image_size=self.size.image_size,
            network_parameters=network.parameters,
            network_multiply_adds=network.multiply_adds,
            network_image_size=network.image_size,
            chosen=self.chosen,
            trained_on=self.trained_on,
            seconds=self.seconds,
        )


Measure = Callable[[RunContext], Measured]
"""Function that measures a baseline in the open run of a training."""


def fine_tuning_settings(training: TrainingSettings, image_size: int) -> TrainingSettings:
    """Return the settings of a training for another network, on images of perhaps another size.

    Lengths in pixels (padding of the crop, cutout) are scaled with the images. Drop path and the
    auxiliary tower belong to derived networks; the weights are the file's.
    """
    scale = image_size / training.image_size
    padding = training.crop_padding
    return replace(
        training,
        image_size=image_size,
        cutout=round(training.cutout * scale),
        crop_padding=None if padding is None else round(padding * scale),
        drop_path=0.0,
        auxiliary_weight=0.0,
        weights="random",
    )


class FineTuning(TrainingLoop[nn.Module]):
    """One fine-tuning of a network with pretrained weights and a new last layer.

    A checkpoint of another network, or of a shorter fine-tuning that was not ended, is left aside.

    Args:
        probe: The network; it is trained itself.
        task: The dataset.
        settings: As ``fine_tuning_settings`` gives them.
        device: Where to run.

    Raises:
        ProbeError: The network cannot get a last layer for the classes.
        SettingsError: There are too few images.
    """

    what = "baseline"

    def __init__(
        self, probe: Probe, task: ImageTask, settings: TrainingSettings, *, device: torch.device
    ) -> None:
        preprocessing = probe.preprocessing
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        super().__init__(task, settings, selection=False, device=device, statistics=(mean, std))
        self._network_fact = probe.digest
        self._take_network(_with_last_layer(probe, task.classes, settings))

    def run(self, journal: Journal, progress: Progress) -> Tensor:
        """Train to the end, and return the logits of the held-out images."""
        return self._train(journal, progress)[2]

    def _forward(self, images_BCHW: Tensor, draws: PathDraws) -> tuple[Tensor, Tensor | None]:
        # Dropout within a network draws from the global generator: the same in a resumed run.
        devices = [] if self.device.type == "cpu" else [self.device]
        with torch.random.fork_rng(devices=devices):
            generator = draws if isinstance(draws, torch.Generator) else draws.generator
            torch.manual_seed(generator.initial_seed())
            return self.net(images_BCHW), None

    def _checkpoint(self) -> Checkpoint:
        checkpoint = super()._checkpoint()
        facts = {**checkpoint.facts, _NETWORK_FACT: self._network_fact, "size": self._size}
        return replace(checkpoint, facts=facts)

    def _restore(self, checkpoint: Checkpoint) -> None:
        facts = checkpoint.facts
        same = (facts.get(_NETWORK_FACT), facts.get("size")) == (self._network_fact, self._size)
        if same and (facts[ENDED_FACT] or facts[EPOCHS_FACT] == self.settings.epochs):
            super()._restore(checkpoint)

    @property
    def _size(self) -> int:
        return self.settings.image_size


def _with_last_layer(probe: Probe, classes: int, settings: TrainingSettings) -> nn.Module:
    """Return the probe's network, ready to be trained, with a last layer of its own seed."""
    network: Any = probe.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, "baseline"))
        try:
            network.reset_classifier(classes)
        except (AttributeError, TypeError, NotImplementedError, AssertionError) as error:
            raise ProbeError(
                f"{probe.name} cannot get a last layer for {classes} classes ({first_line(error)})",
                expected="a timm classification network",
            ) from error
    trained: nn.Module = network.requires_grad_(True)
    return trained


def measure_fine_tuned(context: RunContext, probe: Probe, settings: TrainingSettings) -> Measured:
    """Fine-tune a network on the train part, and label the held-out images.

    Args:
        context: The open run of the training; the fine-tuning has its own journal in it.
        probe: The network; it is trained itself.
        settings: As ``fine_tuning_settings`` gives them.

    Raises:
        WsdartsError: Network and task do not fit, or the loss is not finite.
    """
    task = context.tasks[0]
    known = trained_on(probe, task)
    training = FineTuning(probe, task, settings, device=context.device)
    journal = FileJournal(context.run.path, BASELINE_JOURNAL)
    logits = training.run(journal, context.progress)
    found = Measured(
        name=f"fine-tuned {probe.name}",
        kind="timm",
        right=logits.argmax(1).numpy() == task.labels[task.indices(task.held_out)],
        size=count(training.net, settings.image_size),
        chosen=_chosen(training),
        trained_on=known,
        seconds=training.seconds,
    )
    found.announce(context.progress)
    return found


def _chosen(training: FineTuning) -> str:
    """Return how its settings were chosen, in sentences."""
    settings = training.settings
    steps = pluralize(training.epoch * training.steps, "step")
    said = (
        f"All of its weights were trained with the network's own settings: {steps} of "
        f"{pluralize(training.batch_size, 'image')}, the same images and augmentation, the "
        f"learning rate {settings.learning_rate:g} to begin with."
    )
    if training.stopping is None:
        return said
    return f"{said} It has the weights of epoch {training.stopping.best.epoch} of {training.epoch}."


def measure_linear(task: ImageTask, probe: Probe, progress: Progress) -> Measured:
    """Fit the classifier to the train part, and label the held-out images.

    Args:
        task: The dataset.
        probe: The network that makes the features.
        progress: Told how many images the probe has seen, and the figure.

    Raises:
        SettingsError: The fit does not converge.
        TaskError: An image has changed since the task was loaded.
    """
    started = time.perf_counter()
    fitted = fit_linear_classifier(task, probe, progress=progress)
    size = count(probe.model, probe.preprocessing.size)
    head = fitted.head.weight.numel()
    found = Measured(
        name=f"linear classifier on the features of {probe.name}",
        kind="linear",
        right=fitted.logits.argmax(1).numpy() == task.labels[task.indices(task.held_out)],
        size=Size(
            parameters=size.parameters + fitted.parameters,
            multiply_adds=size.multiply_adds + head,
            image_size=size.image_size,
        ),
        chosen=fitted.chosen,
        trained_on=trained_on(probe, task),
        seconds=time.perf_counter() - started,
    )
    found.announce(progress)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A baseline that was named, with its network loaded.

    Attributes:
        kind: ``linear`` or ``timm``.
        probe: The network whose features it takes, or that is fine-tuned.
        settings: Of the fine-tuning; None for ``linear``.
    """

    kind: Literal["linear", "timm"]
    probe: Probe
    settings: TrainingSettings | None = None

    @property
    def measure(self) -> Measure:
        """Function that measures it in the open run of a training."""
        settings = self.settings
        if settings is None:
            return lambda context: measure_linear(context.tasks[0], self.probe, context.progress)
        return lambda context: measure_fine_tuned(context, self.probe, settings)


def find_baseline(
    baseline: str | None, training: TrainingSettings, device: torch.device
) -> Chosen | None:
    """Return the baseline of that name, or None for none; what it needs is loaded here.

    Args:
        baseline: ``"linear"``; ``"linear:PROBE"`` with a probe as for ``load_probe``;
            ``"timm:SOURCE"``, the same source, whose network is fine-tuned, with ``?size=PIXELS``
            where its images are to be of another size than the training's; or None.
        training: Settings of the training beside it.
        device: Where it is computed.

    Raises:
        SettingsError: There is no such baseline.
        ProbeError: The network cannot be loaded, or does not take images of that size.
    """
    check_text(baseline, "baseline", optional=True)
    if baseline is None:
        return None
    kind, _, named = baseline.partition(":")
    if kind == LINEAR and (named or ":" not in baseline):
        return Chosen(kind="linear", probe=load_probe(named or None, device=str(device)))
    if kind != "timm" or not named:
        raise SettingsError("baseline", found=repr(baseline[:80]), expected=_EXPECTED)
    source, size = _without_size(named)
    probe = load_probe(source, device=str(device))
    settings = fine_tuning_settings(training, training.image_size if size is None else size)
    probe.check(settings.image_size)
    return Chosen(kind="timm", probe=probe, settings=settings)


def _without_size(source: str) -> tuple[str, int | None]:
    """Return the source of a network without its option ``size``, and that."""
    location, _, query = source.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    sizes = [value for name, value in pairs if name == "size"]
    if not sizes:
        return source, None
    if len(sizes) > 1 or not sizes[0].isdecimal():
        raise SettingsError(
            "size of the baseline", found=repr(" and ".join(sizes))[:80], expected="pixels a side"
        )
    others = urlencode([pair for pair in pairs if pair[0] != "size"], safe=",")
    return f"{location}?{others}" if others else location, int(sizes[0])
