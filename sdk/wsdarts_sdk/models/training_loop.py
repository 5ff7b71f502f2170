"""The loop of a training, whichever network it trains: epochs, checkpoints, evaluation."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry._format import pluralize, size
from wsdarts_registry._memory import shortage
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.augmentation import Augmentation, Mixing, channel_statistics
from wsdarts_sdk.data.loader import (
    Images,
    Prepared,
    SharedDraws,
    fits,
    in_chunks,
    place_images,
    prefetch,
    stream,
)
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import dtype_of, free_memory
from wsdarts_sdk.distributed import (
    ALONE,
    Ranks,
    check_synchronised,
    synchronise,
)
from wsdarts_sdk.models.network import PathDraws
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training_choices import (
    EarlyStopping,
    WeightAverage,
    early_stopping,
    epoch_order,
    training_loss,
)
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.checkpoints import (
    Checkpoint,
    Journal,
    NotFiniteError,
    RollBacks,
    all_finite,
    check_ranks,
    optimiser_tensors,
    restore_optimiser,
)
from wsdarts_sdk.schedule import cosine_learning_rate

Net = TypeVar("Net", bound=nn.Module)

_EVALUATION_BATCH = 256
EPOCHS_FACT, ENDED_FACT = "epochs", "ended"
"""Facts of a training's checkpoint: how many epochs it was to have, and whether they are done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """Input of one step, which the CPU prepares.

    Attributes:
        batch: Images of the batch, or of this rank's part of it.
        generator: Source of the further draws.
        weight: This rank's part of the batch's loss.
    """

    batch: Prepared
    generator: torch.Generator
    weight: float = 1.0


class TrainingLoop(ABC, Generic[Net]):
    """Epochs, checkpoints and evaluation of a training, whichever network it trains.

    A subclass sets ``net`` by ``_take_network`` when it is made.

    Args:
        task: The dataset.
        settings: What to do; those of the derived network itself are left to the subclass.
        selection: As for ``train_network``.
        device: Where to run.
        statistics: Mean and standard deviation of the channels, shape ``(3,)`` each, by which
            images are normalised; those of the images that train by default.
        ranks: All that train together.
    """

    what = "training"
    """What progress calls it."""

    net: Net

    def __init__(
        self,
        task: ImageTask,
        settings: TrainingSettings,
        *,
        selection: bool,
        device: torch.device | None,
        statistics: tuple[Tensor, Tensor] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.task, self.settings = task, settings
        self.device = device or torch.device("cpu")
        self.selection, self.ranks = selection, ranks
        self._mixed = settings.compute_dtype != "float32"
        ranks.in_turn(lambda: self._take_images(statistics, selection=selection))
        self.epoch = self.rows = 0
        self.schedules = [0]
        self.seconds = 0.0

    @abstractmethod
    def _forward(self, images_BCHW: Tensor, draws: PathDraws) -> tuple[Tensor, Tensor | None]:
        """Return logits in train mode, and those of an auxiliary tower if there is one."""

    def _give_back_memory(self) -> None:
        """Give back memory that is held for further steps."""

    def _take_images(self, statistics: tuple[Tensor, Tensor] | None, *, selection: bool) -> None:
        task, settings = self.task, self.settings
        indices, self.held_out = _trained_and_held_out(task, selection=selection)
        self.stopping: EarlyStopping | None = None
        if settings.patience is not None:
            self.stopping, indices = early_stopping(
                task, indices, held_out=self.held_out, patience=settings.patience
            )
        # What is chosen must not depend on names; the model of a training keeps its class names.
        self.labels = task.canonical_labels if selection else task.labels
        if len(indices) < 2:
            raise SettingsError(
                f"{task.name} has {len(indices)} images to train on",
                hint="training needs at least 2",
            )
        self.images = self._place(task.in_canonical_order(indices) if selection else indices)
        self.batch_size = min(settings.batch_size, len(self.images))
        self.share = self.ranks.share_of(self.batch_size) if self.ranks.several else None
        if self.share is not None and settings.synchronised_norms:
            check_synchronised(self.batch_size, self.ranks)
        full = len(self.images) // self.batch_size
        limit = settings.steps_per_epoch
        self.steps = full if limit is None else min(full, limit)
        mean, std = statistics or channel_statistics(in_chunks(self._pixels(), indices))
        changed = settings.augmentation != "none"
        self.augmentation = Augmentation(
            mean=mean.to(self.device),
            std=std.to(self.device),
            padding=settings.padding if changed else 0,
            flip=settings.flip and changed,
            cutout=settings.cutout if changed else 0,
            policy=settings.policy,
            memory_format=torch.channels_last,  # in which depthwise layers and pools are faster
        )
        self.mixing = Mixing(mixup=settings.mixup, cutmix=settings.cutmix, classes=task.classes)
        self.loss = training_loss(
            self.images.labels,
            task.classes,
            balance=settings.class_balance,
            label_smoothing=settings.label_smoothing,
        )
        weights = self.loss.weight
        # Of each image in the loss, where these differ and targets are no mixtures.
        self._image_weights = (
            None
            if weights is None or self.mixing.mixes
            else weights[self.images.labels].double().cpu()
        )

    def _take_network(self, net: Net) -> None:
        settings = self.settings
        self.net = net.to(self.device).to(memory_format=torch.channels_last)
        if self.ranks.several and settings.synchronised_norms:
            synchronise(self.net, self.ranks)
        decay = settings.averaged_weights
        self.average = WeightAverage(self.net, decay) if decay else None
        self.sgd = torch.optim.SGD(
            self.net.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=self.device.type == "cpu",  # one call for all parameters
        )

    def _train(self, journal: Journal, progress: Progress) -> tuple[float, float, Tensor]:
        """Train to the end, from the journal's last checkpoint if it has one, and evaluate.

        Returns:
            Accuracy, mean cross-entropy and logits of the held-out images.
        """
        kept = RollBacks(journal, progress)
        checkpoint = kept.restore()
        if checkpoint is not None:
            self._restore(checkpoint)
        journal.truncate(self.rows)
        self._announce(progress)
        while not self.ended:
            kept.begin(self._checkpoint())
            try:
                row = self._run_epoch(progress, kept.rate_factor)
            except NotFiniteError as error:
                self._restore(kept.go_back(error))
                continue
            kept.append(row)
            self.epoch, self.rows = self.epoch + 1, self.rows + 1
            # A checkpoint costs a flush to the disk: not after each of many short epochs.
            if journal.due() or self.ended:
                kept.checkpoint(self._checkpoint())
        self.net.load_state_dict(self._chosen_weights())
        started = time.perf_counter()
        judges = self.task.indices(self.held_out)
        if self.selection:  # sums, too, must not depend on names
            judges = self.task.in_canonical_order(judges)
        found = self._evaluate(judges, progress)
        self.seconds += time.perf_counter() - started
        return found

    @property
    def ended(self) -> bool:
        """Return whether all epochs are done, or early stopping ends them."""
        stopped = self.stopping is not None and self.stopping.ended
        return stopped or self.epoch >= self.settings.epochs

    def _chosen_weights(self) -> dict[str, Tensor]:
        """Return the weights that are evaluated and saved."""
        if self.stopping is not None:
            return self.stopping.best_weights
        return (self.net if self.average is None else self.average.net).state_dict()

    @property
    def _schedule(self) -> dict[str, int]:
        """Return the epoch's place in the schedule, and the length of that."""
        start = self.schedules[-1]
        return {"epoch": self.epoch - start, "epochs": self.settings.epochs - start}

    def _announce(self, progress: Progress) -> None:
        if self.stopping is not None:
            judges = pluralize(len(self.stopping.images), "image")
            progress(f"early stopping: judged on {judges}, {self.stopping.judged_on}", 1, 1)

    def _pixels(self) -> NDArray[np.uint8]:
        return self.task.pixels(self.settings.image_size, resize=self.settings.resize)

    def _place(self, indices: NDArray[np.int64]) -> Images:
        cache = self._pixels()
        held = fits(cache, len(indices), self.device)
        return place_images(cache, self.labels, indices, device=self.device, held=held)

    def _prepare(self, order: Tensor, step: int) -> "_Step":
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        draws, share = stream(self.settings.seed, "training", self.epoch, step), self.share
        if share is None:
            return _Step(
                batch=self.images.prepare(chosen, self.augmentation, draws), generator=draws
            )
        places = list(range(share.start, share.stop))
        if places and self.mixing.mixes:  # with the image before, as in the whole batch
            places.insert(0, (share.start - 1) % share.whole)
        weight = share.weight
        if self._image_weights is not None:
            of_images = self._image_weights[chosen]
            weight = float(of_images[share.start : share.stop].sum() / of_images.sum())
        batch = self.images.prepare(chosen, self.augmentation, draws, places)
        return _Step(batch=batch, generator=draws, weight=weight)

    def _run_epoch(self, progress: Progress, rate_factor: float) -> dict[str, Any]:
        settings, started = self.settings, time.perf_counter()
        rate = rate_factor * cosine_learning_rate(
            first=settings.learning_rate, last=0.0, **self._schedule
        )
        for group in self.sgd.param_groups:
            group["lr"] = rate
        order = epoch_order(
            self.images.labels,
            stream(settings.seed, "training", self.epoch, "order"),
            balance=settings.class_balance,
        )
        jobs = (partial(self._prepare, order, step) for step in range(self.steps))
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.net.train()
        jobs_ahead = prefetch(jobs, threaded=self.images.streamed)
        with self._explaining_shortage(), closing(jobs_ahead) as prepared:
            for step, each in enumerate(prepared):
                self._run_step(each, sums)
                done = self.epoch * self.steps + step + 1
                total = settings.epochs * self.steps
                progress(f"{self.what}, epoch {self.epoch + 1}/{settings.epochs}", done, total)
        loss, hits = (sums / (self.steps * self.batch_size)).tolist()
        self._check_finite([sums, *self.net.state_dict().values()], f"after epoch {self.epoch + 1}")
        self._check_ranks()
        judged = self._judge()
        self.seconds += time.perf_counter() - started
        return {
            "epoch": self.epoch,
            "learning_rate": rate,
            "loss": loss,
            "accuracy": hits,
            "seconds": self.seconds,
            **judged,
        }

    @contextmanager
    def _explaining_shortage(self) -> Iterator[None]:
        """Say what memory is too small for, and what helps, where a step finds none.

        Raises:
            SettingsError: A step found none.
        """
        free = free_memory(self.device)  # what has failed still holds its own
        try:
            yield
        except (MemoryError, RuntimeError, OSError) as error:
            if shortage(error) is None:
                raise
            part = "selection" if self.selection else "training"
            images = len(self.share) if self.share else self.batch_size
            # Not from the error, whose words would be shown in place of these.
            raise SettingsError(
                (
                    f"a step of the {self.what} on {pluralize(images, 'image')} of "
                    f"{self.settings.image_size} pixels needs more memory than the {size(free)} "
                    "that can be had"
                ),
                hint=(
                    f"start another run with smaller batches (--set {part}.batch_size=N), or go on "
                    "with this one where there is more memory (--resume)"
                ),
            ) from None

    def _judge(self) -> dict[str, float]:
        """Return the figures of an epoch for early stopping; nothing without it."""
        if self.stopping is None:
            return {}
        net = self.net if self.average is None else self.average.net
        accuracy, loss, _ = self._evaluate(self.stopping.images, silent, net=net)
        self.stopping.judge(self.epoch + 1, accuracy, loss, net.state_dict())
        return {"stopping_accuracy": accuracy, "stopping_loss": loss}

    def _run_step(self, step: "_Step", sums: Tensor) -> None:
        share = self.share
        if share is None:
            loss, hits = self._differentiate(step)
        elif len(share):
            loss, hits = self.ranks.add_up_step(self.net, share, *self._differentiate(step))
        else:
            self.sgd.zero_grad(set_to_none=True)
            nothing = torch.zeros((), device=self.device)
            loss, hits = self.ranks.add_up_step(self.net, share, nothing, nothing)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.gradient_clip)
        self.sgd.step()
        if self.average is not None:
            self.average.update()
        sums += torch.stack([loss.detach().double() * self.batch_size, hits.double()])

    def _differentiate(self, step: "_Step") -> tuple[Tensor, Tensor]:
        """Fill the gradients of a batch, or of this rank's part of it; return loss and hits."""
        images, labels = self.images.finish(step.batch, self.augmentation)
        images, targets = self.mixing(images, labels, step.generator)
        draws: PathDraws = step.generator
        if self.share is not None:
            draws = SharedDraws(generator=step.generator, share=self.share)
            if self.mixing.mixes:  # the first was there to be mixed into the second
                images, targets, labels = images[1:], targets[1:], labels[1:]
        with self._autocast():
            logits, auxiliary = self._forward(images, draws)
        if self._mixed:
            logits = logits.float()
            auxiliary = None if auxiliary is None else auxiliary.float()
        loss = self.loss(logits, targets)
        total = loss
        if auxiliary is not None:
            total = loss + self.settings.auxiliary_weight * self.loss(auxiliary, targets)
        if self.share is not None:
            loss, total = step.weight * loss, step.weight * total
        self.sgd.zero_grad(set_to_none=True)
        total.backward()
        return loss, (logits.argmax(dim=1) == labels).sum()

    def _autocast(self) -> torch.autocast:
        """Compute convolutions and products in the dtype of the settings within the context."""
        dtype = dtype_of(self.settings.compute_dtype)
        return torch.autocast(self.device.type, dtype, enabled=self._mixed)

    def _check_finite(self, tensors: Iterable[Tensor], when: str) -> None:
        """Raise a NotFiniteError on all ranks if a tensor of one of them is not finite."""
        if self.ranks.largest(int(not all_finite(tensors))):
            raise NotFiniteError(
                f"the loss or a weight is not finite {when}",
                hint="lower the learning rate or the gradient clip",
            )

    def _check_ranks(self) -> None:
        """Compare the weights of all ranks.

        Raises:
            RunError: They differ.
        """
        if self.ranks.several:
            found = hashlib.sha256()
            for parameter in self.net.parameters():
                found.update(parameter.detach().cpu().contiguous().numpy().tobytes())
            what = f"the digest of the weights after epoch {self.epoch + 1}"
            self.ranks.check_equal(what, found.hexdigest())

    @torch.no_grad()
    def _evaluate(
        self, indices: NDArray[np.int64], progress: Progress, *, net: nn.Module | None = None
    ) -> tuple[float, float, Tensor]:
        """Return accuracy, mean cross-entropy and the logits of some images of the task."""
        images = self._place(indices)
        net = (self.net if net is None else net).eval()
        total, classes = len(images), self.task.classes
        starts = range(0, total, _EVALUATION_BATCH)
        figures = torch.zeros(len(starts), 2, dtype=torch.float64)
        rows = torch.zeros(total, classes, dtype=next(net.parameters()).dtype)
        for number, start in enumerate(starts):
            if number % self.ranks.size != self.ranks.rank:
                continue
            stop = min(start + _EVALUATION_BATCH, total)
            labels = images.labels[start:stop]
            logits = self._logits(net, images, torch.arange(start, stop))
            figures[number, 0] = float(F.cross_entropy(logits, labels, reduction="sum"))
            figures[number, 1] = float((logits.argmax(dim=1) == labels).sum())
            rows[start:stop] = logits.cpu()
            progress("evaluation", stop, total)
        self.ranks.add_up(figures)
        self.ranks.add_up(rows)
        loss = hits = 0.0
        for lost, hit in figures.tolist():
            loss, hits = loss + lost, hits + hit
        self._check_finite([figures], f"on {pluralize(total, 'image')} that it does not train on")
        return hits / total, loss / total, rows

    def _logits(self, net: nn.Module, images: Images, places: Tensor) -> Tensor:
        """Return logits of some images; of half as many at a time where memory is too small."""
        try:
            found: Tensor = net(self.augmentation.normalise(images.pixels(places)))
        except (MemoryError, RuntimeError) as error:
            if len(places) == 1 or shortage(error) is None:
                raise
        else:
            return found
        # Out of the handler, where what has failed holds nothing any more.
        self._give_back_memory()
        return torch.cat([self._logits(net, images, half) for half in places.chunk(2)])

    def _checkpoint(self) -> Checkpoint:
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= optimiser_tensors(self.sgd, self.net)
        if self.average is not None:
            tensors |= self.average.tensors()
        facts = {
            "epoch": self.epoch,
            "rows": self.rows,
            "seconds": self.seconds,
            EPOCHS_FACT: self.settings.epochs,
            "schedules": self.schedules,
            "ranks": self.ranks.size,
        }
        if self.stopping is not None:
            tensors |= self.stopping.tensors()
            facts["stopping"] = self.stopping.facts()
        facts[ENDED_FACT] = self.ended
        return Checkpoint(tensors=tensors, facts=facts)

    def _restore(self, checkpoint: Checkpoint) -> None:
        prefix = "net."
        if not checkpoint.facts.get(ENDED_FACT):
            check_ranks(checkpoint.facts, self.ranks, synchronised=self.settings.synchronised_norms)
        tensors = checkpoint.tensors
        own = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        self.net.load_state_dict(own)
        self.sgd.state.clear()  # of what a roll-back takes back
        restore_optimiser(self.sgd, self.net, tensors)
        if self.average is not None:
            self.average.restore(tensors)
        self.epoch, self.rows = checkpoint.facts["epoch"], checkpoint.facts["rows"]
        self.seconds = checkpoint.facts["seconds"]
        self.schedules = list(checkpoint.facts.get("schedules", [0]))
        if self.stopping is not None:
            self.stopping.restore(tensors, checkpoint.facts.get("stopping", {}))
        if checkpoint.facts.get(EPOCHS_FACT, self.settings.epochs) < self.settings.epochs:
            self._go_on_after_the_end(checkpoint)

    def _go_on_after_the_end(self, checkpoint: Checkpoint) -> None:
        """Start a schedule over the additional epochs of a finished training."""
        if not checkpoint.facts[ENDED_FACT]:
            raise SettingsError(
                "epochs",
                found=self.settings.epochs,
                expected=f"{checkpoint.facts[EPOCHS_FACT]}, until these are done",
            )
        self.schedules.append(self.epoch)
        if self.stopping is not None:
            self.stopping.begin_anew()


def _trained_and_held_out(task: ImageTask, *, selection: bool) -> tuple[NDArray[np.int64], Part]:
    """Return the images to train on, and the part to evaluate on."""
    if not selection:
        return task.train_indices, task.held_out
    if task.held_out is Part.TEST:
        return task.train_indices, Part.VALIDATION
    return task.indices(Part.WEIGHTS), Part.ALPHA
