"""Training of a derived network, and its evaluation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsdarts_registry._format import percent, pluralize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import (
    seed_of,
)
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import ALONE, Ranks, unsynchronise
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.engine.training_engine import TrainingEngine, compile_ahead
from wsdarts_sdk.models.inheritance import Inherited, SupernetWeights, inherit
from wsdarts_sdk.models.network import DerivedNetwork, PathDraws
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training_choices import (
    BestEpoch,
)
from wsdarts_sdk.models.training_loop import TrainingLoop
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.checkpoints import (
    Journal,
    MemoryJournal,
    RankJournal,
)
from wsdarts_sdk.schedule import drop_path_rate


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained network and its accuracy.

    Attributes:
        genotype: Its cells.
        model: In eval mode, with its preprocessing and class names.
        accuracy: Share of the held-out images that it labels right.
        loss: Mean cross-entropy on them.
        images: How many images it was evaluated on.
        held_out: Which part they are: ``validation``, or ``test`` where the task has one; in a
            selection ``alpha``, or ``validation`` beside a test part.
        parameters: Number of the network's parameters, without the auxiliary tower.
        seconds: Wall time of training and evaluation.
        rows: Metrics of each epoch.
        inherited: Which weights it began with; None where all of them were random.
        best: The epoch whose weights the model has, chosen by early stopping; None where it has
            those of the last epoch.
        schedules: Epochs that a schedule of learning rate and drop path began before, each
            counted from 0: ``(0,)``, and one more wherever a finished training went on.
        logits: Of the held-out images, shape ``(images, classes)``, in the order of the task; in a
            selection in the order that no name changes.
    """

    genotype: Genotype
    model: Classifier
    accuracy: float
    loss: float
    images: int
    held_out: str
    parameters: int
    seconds: float
    rows: tuple[dict[str, Any], ...]
    inherited: Inherited | None = None
    best: BestEpoch | None = None
    schedules: tuple[int, ...] = (0,)
    logits: Tensor

    def __repr__(self) -> str:
        return (
            f"<TrainingResult: {percent(self.accuracy)} of {pluralize(self.images, 'image')}, "
            f"{pluralize(self.parameters, 'parameter')}, {pluralize(len(self.rows), 'epoch')}>"
        )


def train_network(
    genotype: Genotype,
    task: ImageTask,
    settings: TrainingSettings,
    *,
    supernet: SupernetWeights | None = None,
    selection: bool = False,
    journal: Journal | None = None,
    progress: Progress = silent,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train a genotype's network and evaluate it once, at the end.

    A journal of a finished training with fewer epochs goes on with the additional ones: learning
    rate and drop path begin their schedule anew over these.

    Args:
        genotype: The cells.
        task: The dataset.
        settings: What to do.
        supernet: Weights to begin with, as ``inherit`` takes them; random ones by default.
        selection: Rank candidates without touching what the task is evaluated on: train on the
            weights half and evaluate on the alpha half; where the task has a test part, on the
            train part and the validation part. Otherwise train on the whole train part and
            evaluate on the validation part, or on the test part where there is one.
        journal: Where to keep the place; in memory by default.
        progress: Told how many steps are done.
        device: Where to run.
        ranks: All that train together; each computes its share of every batch.

    Raises:
        SettingsError: The task has fewer images than a batch norm needs, the supernet's
            weights do not fit, or the loss is not finite; or synchronised norms have a rank
            without images.
    """
    training = Training(
        genotype,
        task,
        settings,
        supernet=supernet,
        selection=selection,
        device=device,
        ranks=ranks,
    )
    return training.run(journal or MemoryJournal(), progress)


class Training(TrainingLoop[DerivedNetwork]):
    """One training of a derived network; see ``train_network``."""

    def __init__(
        self,
        genotype: Genotype,
        task: ImageTask,
        settings: TrainingSettings,
        *,
        supernet: SupernetWeights | None = None,
        selection: bool,
        device: torch.device | None,
        ranks: Ranks = ALONE,
    ) -> None:
        if settings.weights == "inherited" and supernet is None:
            raise SettingsError(
                "weights are to be inherited", expected="a supernet to inherit from"
            )
        self.genotype = genotype
        super().__init__(task, settings, selection=selection, device=device, ranks=ranks)
        net = DerivedNetwork(
            genotype,
            classes=task.classes,
            cells=settings.cells,
            channels=settings.channels,
            auxiliary=settings.auxiliary_weight > 0,
            seed=seed_of(settings.seed, "network"),
        )
        self.inherited = None if supernet is None else inherit(net, genotype, supernet)
        self._take_network(net)
        self.engine = TrainingEngine(self.net)

    def run(self, journal: Journal, progress: Progress) -> TrainingResult:
        """Train to the end, from the journal's last checkpoint if it has one."""
        if self.ranks.several:
            journal = RankJournal(journal, self.ranks)
        self.ranks.in_turn(lambda: compile_ahead(self.device, torch.float32, progress))
        accuracy, loss, logits = self._train(journal, progress)
        tower = 0 if self.net.auxiliary is None else count_parameters(self.net.auxiliary)
        return TrainingResult(
            genotype=self.genotype,
            model=self._classifier(),
            accuracy=accuracy,
            loss=loss,
            images=len(self.task.indices(self.held_out)),
            held_out=str(self.held_out),
            parameters=count_parameters(self.net) - tower,
            seconds=self.seconds,
            rows=tuple(journal.rows()),
            inherited=self.inherited,
            best=None if self.stopping is None else self.stopping.best,
            schedules=tuple(self.schedules),
            logits=logits,
        )

    def _forward(self, images_BCHW: Tensor, draws: PathDraws) -> tuple[Tensor, Tensor | None]:
        rate = drop_path_rate(last=self.settings.drop_path, **self._schedule)
        return self.engine(images_BCHW, rate=rate, draws=draws)

    def _give_back_memory(self) -> None:
        self.engine.give_back_memory()

    def _classifier(self) -> Classifier:
        unsynchronise(self.net)
        # As a network that is loaded from a file would be, to the last bit of its results.
        return Classifier(
            self.net.to(memory_format=torch.contiguous_format),
            mean=self.augmentation.mean,
            std=self.augmentation.std,
            image_size=self.settings.image_size,
            resize=self.settings.resize,
            class_names=self.task.class_names,
            trained_on=self.task.digest,
        ).eval()


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
