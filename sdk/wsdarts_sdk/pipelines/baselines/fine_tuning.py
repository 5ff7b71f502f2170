"""The baseline ``timm:SOURCE``: a pretrained network of timm, fine-tuned with the same budget.

The budget is counted, not timed: as many steps of as many images as the network beside it trains,
so that the figure does not depend on the machine. Images, their augmentation, learning rate,
optimiser and early stopping are the same, too; all weights are trained, and the last layer is new.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wsdarts_registry._format import count as written
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.models.network import PathDraws, count
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import ENDED_FACT, EPOCHS_FACT, TrainingLoop
from wsdarts_sdk.pipelines.baselines.measured import Measured
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal, Journal
from wsdarts_sdk.runs.file_names import BASELINE_JOURNAL
from wsdarts_sdk.task2vec import Probe
from wsdarts_sdk.task2vec.linear_classifier import trained_on
from wsdarts_sdk.task2vec.probe import first_line

_NETWORK_FACT = "network"


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
    steps = written(training.epoch * training.steps)
    said = (
        f"All of its weights were trained with the network's own settings: {steps} steps of "
        f"{pluralize(training.batch_size, 'image')}, the same images and augmentation, the "
        f"learning rate {settings.learning_rate:g} to begin with."
    )
    if training.stopping is None:
        return said
    return f"{said} It has the weights of epoch {training.stopping.best.epoch} of {training.epoch}."
