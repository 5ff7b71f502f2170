"""The search loop: stages, epochs, steps, with a checkpoint between any two of them.

One loop serves TAS on one task (λ, λ̂), TAS on several tasks (λ_meta), plain P-DARTS and DARTS
from cold, and warm starts: they differ in their settings, tasks and starting point only.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsdarts_registry._format import pluralize
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SettingsError, SpaceError
from wsdarts_sdk.data.loader import TrainPart, batches
from wsdarts_sdk.devices import free_memory, name_of, peak_memory, wait_for
from wsdarts_sdk.distributed import ALONE, Ranks, check_synchronised
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.checkpoints import (
    Checkpoint,
    Journal,
    MemoryJournal,
    NotFiniteError,
    RankJournal,
    RollBacks,
    all_finite,
)
from wsdarts_sdk.search.cuda_graphs import Graphs, graphs_for
from wsdarts_sdk.search.derivation import derive_genotype
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import (
    Array,
    SearchState,
    StartingPoint,
    compute_dtype,
    exact_float32,
    set_learning_rate,
    transferable,
)
from wsdarts_sdk.search.step import needed_memory, parts_that_fit, places_of, run_eagerly, take_step
from wsdarts_sdk.supernet.kernel_choice import compile_ahead


def epoch_row(
    state: SearchState,
    settings: SearchSettings,
    tasks: Sequence[TrainPart],
    *,
    learning_rate: float,
    device: torch.device,
) -> dict[str, Any]:
    """Return the metrics of the epoch that ended; count how long the genotype is stable.

    Raises:
        NotFiniteError: The loss, α or a weight is not finite.
    """
    stage = settings.stages[state.stage]
    masks, alpha, sums = state.net.masks, state.alpha(), state.sums.tolist()
    _check_finite(state)
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
        "skip_dropout": stage.skip_dropout_at(state.epoch),
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


def _check_finite(state: SearchState) -> None:
    # The last step of a search changes weights that no loss is computed with any more.
    finite = all_finite((state.sums, *state.net.state_dict().values()))
    if state.ranks.largest(int(not finite)):
        raise NotFiniteError(
            (
                f"the loss, α or a weight is not finite after epoch {state.epoch + 1} of stage "
                f"{state.stage + 1}"
            ),
            hint="lower the learning rates or the gradient clip",
        )


def _needed(state: SearchState, settings: SearchSettings, task: TrainPart) -> int:
    largest = -(-task.images // state.parts)
    return needed_memory(state.net, image_size=settings.image_size, batch=largest)


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search.

    Attributes:
        stage_masks: Masks after each stage; the last are the transfer architecture λ.
        weights: The last supernet's weights without heads, ŵ.
        alpha: α̂ of both cell kinds, shape ``(edges, candidates)``.
        genotype: Discretised from α̂, with the settings' limit on skip-connects.
        seconds: Wall time of each stage's steps, without checkpoints and lost attempts.
        rows: Metrics of each epoch.
        source: What the search started from.
        heads: Weight and bias of the head of each task.
    """

    stage_masks: tuple[OperationMasks, ...]
    weights: dict[str, Tensor]
    alpha: dict[str, Array]
    genotype: Genotype
    seconds: tuple[float, ...]
    rows: tuple[dict[str, Any], ...]
    source: str
    heads: tuple[tuple[Tensor, Tensor], ...] = ()

    def __repr__(self) -> str:
        return (
            f"<SearchResult from {sanitize(self.source)}: "
            f"{pluralize(len(self.stage_masks), 'stage')}, {pluralize(len(self.rows), 'epoch')}>"
        )


class Search:
    """A search over one or several tasks.

    Several tasks share weights and α and have a head each; every epoch visits them from the
    smallest to the largest.

    Args:
        tasks: Train parts, in any order; ``head`` must be 0, 1, … each once.
        settings: What to do.
        start: Where to start; full masks from cold by default.
        journal: Where to keep the place; in memory by default.
        progress: Told the share of the work that is done.
        device: Where to run.
        ranks: All that search together; each computes its share of every batch.

    Raises:
        SettingsError: The starting point does not fit the settings or leaves no genotype to
            derive, or the tasks' heads are not 0, 1, …; or synchronised norms have a rank without
            images.
    """

    def __init__(
        self,
        tasks: Sequence[TrainPart],
        settings: SearchSettings,
        *,
        start: StartingPoint | None = None,
        journal: Journal | None = None,
        progress: Progress = silent,
        device: torch.device | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        # Of equally large tasks the one with the earlier head goes first: names are for display.
        self.tasks = sorted(tasks, key=lambda task: (len(task.weights), task.head))
        self.classes = [task.classes for task in sorted(tasks, key=lambda task: task.head)]
        self.settings = settings
        self.start = start or StartingPoint(masks=OperationMasks.full(settings.space))
        self.journal = journal or MemoryJournal()
        self.ranks = ranks
        if ranks.several:
            self.journal = RankJournal(self.journal, ranks)
            self.tasks = [self._shared(task) for task in self.tasks]
        self.progress = progress
        self.device = device or torch.device("cpu")
        self.roll_backs = RollBacks(self.journal, progress)
        self._said: set[str] = set()
        self._check_heads()
        self._check_start()

    def run(self) -> SearchResult:
        """Search to the end, from the journal's last checkpoint if it has one."""
        with exact_float32():
            return self._run()

    def _run(self) -> SearchResult:
        state = self._restore_or_begin()
        self.ranks.in_turn(lambda: compile_ahead(self.device, state.dtype, self.progress))
        stages = len(self.settings.stages)
        graphs = graphs_for(state, self._say_once)
        while state.stage < stages:
            try:
                self._run_epoch(state, graphs)
            except NotFiniteError as error:
                state = self._state_of(self.roll_backs.go_back(error))
                graphs = graphs_for(state, self._say_once)
                continue
            if self._stage_is_over(state):
                state = self._finish_stage(state)
                graphs = graphs_for(state, self._say_once)
            self.roll_backs.checkpoint(state.to_checkpoint())
        self.progress("search", 1, 1)
        return SearchResult(
            stage_masks=state.masks,
            weights=transferable(state.net),
            alpha=state.alpha(),
            genotype=derive_genotype(
                state.masks[-1], state.alpha(), skip_connects=self.settings.skip_connects
            ),
            seconds=tuple(state.seconds),
            rows=tuple(self.journal.rows()),
            source=self.start.source,
            heads=tuple(
                (head.get_parameter("weight").detach(), head.get_parameter("bias").detach())
                for head in state.net.heads
            ),
        )

    def _shared(self, task: TrainPart) -> TrainPart:
        """Return a task whose batches are this rank's share of the whole ones."""
        if self.settings.synchronised_norms:
            check_synchronised(task.batch_size, self.ranks)
        return replace(task, share=self.ranks.share_of(task.batch_size))

    def _check_heads(self) -> None:
        heads = sorted(task.head for task in self.tasks)
        if not heads or heads != list(range(len(heads))):
            raise SettingsError(
                "the list of the tasks' heads",
                found=heads,
                expected="0, 1, … each once",
                hint="give TrainPart.of another head for each task",
            )

    def _check_start(self) -> None:
        if self.start.masks.space != self.settings.space:
            raise SettingsError(
                (
                    f"{self.start.source} has the search space {self.start.masks.space}, the "
                    f"settings have {self.settings.space}"
                ),
                hint="use the artifact's space",
            )
        allowed = self.settings.stages[0].operations
        if self.start.masks.widest > allowed:
            raise SettingsError(
                f"the greatest number of operations on an edge of {self.start.source}",
                found=self.start.masks.widest,
                expected=f"at most {allowed}, as in the first stage",
                hint="raise it with SearchSettings.widened_to",
            )
        try:
            # Later stages leave each edge an operation besides `none`, if it has one now.
            level = {kind: np.zeros(self.settings.space.shape) for kind in CELL_KINDS}
            derive_genotype(self.start.masks, level)
        except SpaceError as error:
            raise SettingsError(
                f"no genotype can be derived from the masks of {self.start.source}: {error}"
            ) from error

    def _restore_or_begin(self) -> SearchState:
        checkpoint = self.roll_backs.restore()
        if checkpoint is not None:
            state = self._state_of(checkpoint)
            self.journal.truncate(state.rows)
            if state.dtype != compute_dtype(self.settings):
                self.progress(f"going on in {name_of(state.dtype)}, as the run began", 0, 1)
            return state
        self.journal.truncate(0)
        state = SearchState.fresh(
            self.settings, 0, self.start.masks, self.classes, self.device, ranks=self.ranks
        )
        state.start_from(self.start)
        return state

    def _state_of(self, checkpoint: Checkpoint) -> SearchState:
        return SearchState.from_checkpoint(
            checkpoint, self.settings, self.classes, self.device, self.ranks
        )

    def _stage_is_over(self, state: SearchState) -> bool:
        """Return whether the stage has run its epochs, or the last one's genotype is stable."""
        stable = self.settings.stable_epochs
        if state.stage == len(self.settings.stages) - 1 and stable is not None:
            return state.unchanged >= stable or state.epoch == self.settings.stages[-1].epochs
        return state.epoch == self.settings.stages[state.stage].epochs

    def _finish_stage(self, state: SearchState) -> SearchState:
        """Drop the weakest operations; the next stage starts with fresh weights and α."""
        following = state.stage + 1
        masks = state.net.masks
        if following == len(self.settings.stages):
            state.masks = (*state.masks, masks)
            state.stage, state.epoch = following, 0
            return state
        alpha = state.alpha()
        keep = self.settings.stages[following].operations
        kept = self.ranks.alone(
            lambda: masks.keep_strongest(alpha["normal"], alpha["reduction"], keep)
        )
        fresh = SearchState.fresh(
            self.settings, following, kept, self.classes, self.device, state.dtype, self.ranks
        )
        fresh.masks = (*state.masks, kept)
        fresh.seconds, fresh.rows = state.seconds, state.rows
        return fresh

    def _run_epoch(self, state: SearchState, graphs: Graphs | None) -> None:
        """Run the epoch from ``state.step`` to its end.

        Raises:
            NotFiniteError: The loss, α or a weight is not finite at its end.
        """
        if state.step == 0:
            self.roll_backs.begin(state.to_checkpoint())
        stage, lower = self.settings.stages[state.stage], self.roll_backs.rate_factor
        rate = lower * self.settings.weights.rate_at(state.epoch, stage.epochs)
        set_learning_rate(state.sgd, rate)
        set_learning_rate(state.adam, lower * self.settings.alpha.learning_rate)
        if len(state.seconds) == state.stage:
            state.seconds.append(0.0)
        state.net.train()
        state.parts = self._parts(state)
        plan = [
            (task, step)
            for task in self.tasks
            for step in range(task.steps(self.settings.steps_per_epoch))
        ]
        started = time.perf_counter()
        left = plan[state.step :]
        places = [p for task, step in left for p in places_of(state, task, self.settings, step)]
        with closing(batches(places)) as ready:
            for task, step in left:
                take_step(state, task, self.settings, step, rate, ready, graphs or run_eagerly)
                state.step += 1
                self._report(state, len(plan))
                if self.journal.due() and state.step < len(plan):
                    state.seconds[-1] += time.perf_counter() - started
                    self.roll_backs.checkpoint(state.to_checkpoint(), within=True)
                    started = time.perf_counter()
        wait_for(self.device)
        state.seconds[-1] += time.perf_counter() - started
        self._check_ranks(state)
        row = epoch_row(state, self.settings, self.tasks, learning_rate=rate, device=self.device)
        self.roll_backs.append(row | {"steps_run": dict(graphs.choices) if graphs else {}})
        state.rows += 1
        state.sums.zero_()
        state.epoch, state.step = state.epoch + 1, 0

    def _parts(self, state: SearchState) -> int:
        """Return in how many parts all ranks compute their batches, so that they fit."""
        free = None
        if self.ranks.several and self.device.type == "cpu":  # all ranks have the same memory
            free = free_memory(self.device) // self.ranks.local_size
        size = self.settings.image_size
        fits = (
            parts_that_fit(state.net, image_size=size, batch=task.images, free=free)
            for task in self.tasks
        )
        return self.ranks.largest(max(fits))

    def _check_ranks(self, state: SearchState) -> None:
        """Compare what all ranks have to have found alike.

        Raises:
            RunError: It differs.
        """
        if not self.ranks.several:
            return
        alpha, masks = state.alpha(), state.net.masks
        limit = self.settings.skip_connects
        found = hashlib.sha256(json.dumps(masks.to_json(), sort_keys=True).encode())
        for values in (*alpha.values(), state.net.cell_weights.detach().cpu().numpy()):
            found.update(values.tobytes())
        if all(np.isfinite(values).all() for values in alpha.values()):
            found.update(str(derive_genotype(masks, alpha, skip_connects=limit)).encode())
        where = f"after epoch {state.epoch + 1} of stage {state.stage + 1}"
        self.ranks.check_equal(
            f"the digest of weights, α, masks and genotype {where}", found.hexdigest()
        )

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.progress(what, 0, 1)

    def _report(self, state: SearchState, steps: int) -> None:
        """Report the progress in units of work."""
        stages = self.settings.stages
        done = sum(stage.work() for stage in stages[: state.stage])
        done += stages[state.stage].work(state.epoch + state.step / steps)
        what = (
            f"stage {state.stage + 1}/{len(stages)}, "
            f"epoch {state.epoch + 1}/{stages[state.stage].epochs}"
        )
        if state.parts > 1:
            what += f", batches in {state.parts} parts to fit into memory"
        self.progress(what, round(1000 * done / self.settings.work()), 1000)


def search(
    tasks: Sequence[TrainPart],
    settings: SearchSettings,
    *,
    start: StartingPoint | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> SearchResult:
    """Run a whole search; see ``Search``."""
    found = Search(
        tasks,
        settings,
        start=start,
        journal=journal,
        progress=progress,
        device=device,
        ranks=ranks,
    )
    return found.run()
