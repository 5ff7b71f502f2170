"""Choice of a genotype after a search: candidates trained briefly, halved successively.

Source: Jamieson & Talwalkar, "Non-stochastic Best Arm Identification", 2015, arXiv:1502.07943
(successive halving). What it adds here: candidates begin with the supernet's weights, the learning
rate falls to zero in each training, and a second training of some tells the choice from chance.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._files import matching
from wsdarts_registry._format import count
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.architecture.search_verdicts import ChanceTest
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.inheritance import SupernetWeights
from wsdarts_sdk.models.network import OperationSizes, Size, operation_sizes
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import TrainingResult, train_network
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import CHOICE_FILE, CHOICE_JOURNAL
from wsdarts_sdk.runs.result_records import Candidate, GenotypeChoice, read_choice, write_choice
from wsdarts_sdk.search.derivation import (
    derive_genotype,
    draw_candidates,
    log_probability,
    strongest_genotype,
)
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import ChoiceSettings, SearchSettings

_CONSIDERED = 50  # genotypes within the limits of which the likeliest is taken where α decides
_EPOCHS = 3  # of a first training at least, each with a learning rate of its own
_FEWEST_CHECKED = 3
# 95 % quantiles of Student's t for 1 to 10 degrees of freedom; more have smaller ones.
_T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)


def choose_genotype(
    context: RunContext, result: SearchResult, settings: SearchSettings
) -> tuple[SearchResult, GenotypeChoice | None]:
    """Choose a genotype within the masks and the limits, as the preset says.

    A joint search over several tasks takes α's genotype, or the likeliest within the limits: its
    supernet has been trained for all of them.

    Args:
        context: The run, whose search has ended.
        result: What it found.
        settings: Those that it searched with.

    Returns:
        The result with the chosen genotype, and the choice; None where α alone decided.

    Raises:
        SettingsError: No genotype within the masks keeps the limits.
    """
    if not context.preset.choice_json():
        (context.run.path / CHOICE_FILE).unlink(missing_ok=True)  # of an earlier choice
        return result, None
    with context.costs.phase("choice"):
        pool = _Pool(context, result, settings)
        if context.preset.choice.trains and len(context.tasks) == 1:
            found = _Halving(context, result, settings, pool).run()
        else:
            found = pool.likeliest()
            write_choice(context.run, _asked(context), found)
    return replace(result, genotype=found.best.cells), found


def choose_by_first(
    context: RunContext, result: SearchResult, settings: SearchSettings
) -> tuple[SearchResult, GenotypeChoice | None]:
    """Choose a genotype on rank 0, which trains candidates alone, and tell all ranks."""

    def choose() -> tuple[Genotype, GenotypeChoice | None]:
        chosen, choice = choose_genotype(context, result, settings)
        return chosen.genotype, choice

    genotype, choice = context.ranks.alone(choose)
    return replace(result, genotype=genotype), choice


def _asked(context: RunContext) -> dict[str, Any]:
    return {"tasks": [task.digest for task in context.tasks], **context.preset.choice_json()}


def check_limits(tasks: Sequence[ImageTask], preset: Preset, masks: OperationMasks) -> None:
    """Refuse limits that no genotype within the masks can keep, before a search begins.

    Raises:
        SettingsError: Names the smallest genotype.
    """
    if preset.choice.limits:
        sizes = _sizes(tasks, preset, masks.space)
        smallest = _smallest(masks, sizes, preset.choice.limits, skip_connects=None)
        _check_fits(sizes.of(smallest), preset.choice.limits)


def choice_may_change(path: Path, there: dict[str, Any], here: dict[str, Any]) -> bool:
    """Return whether two configurations of a run differ in the choice alone.

    The search stays what it was, and another choice is made of what it found.
    """
    del path
    return _without_choice(there) == _without_choice(here)


def _without_choice(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "choice"}


def _sizes(tasks: Sequence[ImageTask], preset: Preset, space: SearchSpace) -> OperationSizes:
    """Return the sizes of the networks that the preset trains, of the task with most classes."""
    training = preset.training
    return operation_sizes(
        space,
        classes=max(task.classes for task in tasks),
        cells=training.cells,
        channels=training.channels,
        image_size=training.image_size,
    )


def _excess(size: Size, limits: dict[str, int]) -> float:
    """Return the largest ratio of a size to its limit; 0 without limits."""
    return max((getattr(size, _measure(n)) / limit for n, limit in limits.items()), default=0.0)


def _measure(limit: str) -> str:
    return limit.removeprefix("max_")


def _check_fits(smallest: Size, limits: dict[str, int]) -> None:
    if _excess(smallest, limits) <= 1:
        return
    over = [n for n, limit in limits.items() if getattr(smallest, _measure(n)) > limit]
    least = " and ".join(count(getattr(smallest, _measure(name))) for name in over)
    options = " and ".join(f"--{name.replace('_', '-')}" for name in over)
    raise SettingsError(
        " and ".join(over),
        found=" and ".join(count(limits[name]) for name in over),
        expected=f"at least {least}: the smallest candidate found has {smallest}",
        hint=f"raise {options}, or lower training.channels or training.cells",
    )


def _smallest(
    masks: OperationMasks,
    sizes: OperationSizes,
    limits: dict[str, int],
    *,
    skip_connects: int | None,
) -> Genotype:
    """Return the genotype whose sizes, each as a share of its limit, have the smallest sum."""
    space, strengths = masks.space, {}
    for kind in CELL_KINDS:
        shares = np.zeros(space.shape)
        for edge, (source, _) in enumerate(space.edges):
            for column, name in enumerate(space.candidates):
                more = sizes.added.get((kind, source < 2, name), (0, 0))
                of: dict[str, int] = {"parameters": more[0], "multiply_adds": more[1]}
                shares[edge, column] = sum(of[_measure(n)] / lim for n, lim in limits.items())
        strengths[kind] = 1 / (1 + shares - shares.min())
    return strongest_genotype(masks, strengths, skip_connects=skip_connects)


class _Pool:
    """The genotypes that may be chosen: within the masks, the limits, and P-DARTS' rules."""

    def __init__(self, context: RunContext, result: SearchResult, settings: SearchSettings) -> None:
        self.masks, self.alpha, self.settings = result.stage_masks[-1], result.alpha, settings
        self.preset = context.preset
        self.own = derive_genotype(self.masks, self.alpha, skip_connects=settings.skip_connects)
        self.sizes = _sizes(context.tasks, context.preset, self.masks.space)
        self.limits = context.preset.choice.limits

    def fits(self, genotype: Genotype) -> bool:
        """Return whether a genotype keeps the limits."""
        return _excess(self.sizes.of(genotype), self.limits) <= 1

    def drawn(self, wanted: int) -> tuple[Genotype, ...]:
        """Return so many candidates, or all that are found, at least one.

        Raises:
            SettingsError: None keeps the limits.
        """
        limit = self.settings.skip_connects
        found = draw_candidates(
            self.masks, self.alpha, wanted, skip_connects=limit, seed=self.settings.seed,
            fits=self.fits,
        )  # fmt: skip
        if found:
            return found
        smallest = _smallest(self.masks, self.sizes, self.limits, skip_connects=limit)
        _check_fits(self.sizes.of(smallest), self.limits)
        return (smallest,)

    def candidate(self, genotype: Genotype) -> Candidate:
        """Return the record of a candidate that has not been trained."""
        size = self.sizes.of(genotype)
        return Candidate(
            genotype=genotype.to_json(),
            log_probability=log_probability(self.masks, self.alpha, genotype),
            parameters=size.parameters,
            multiply_adds=size.multiply_adds,
        )

    def choice(self, genotypes: Sequence[Genotype], **facts: Any) -> GenotypeChoice:
        """Return a choice among these genotypes that has not been made yet."""
        return GenotypeChoice(
            candidates=tuple(map(self.candidate, genotypes)),
            own=genotypes[0] == self.own,
            image_size=self.sizes.plain.image_size,
            limits=self.limits,
            **{"chosen": None, "steps": (), "judged_on": "", "images": 0, **facts},
        )

    def likeliest(self) -> GenotypeChoice:
        """Return α's own genotype, or the likeliest of many drawn within the limits."""
        if self.fits(self.own):
            return self.choice([self.own], chosen=0)
        found = self.drawn(_CONSIDERED)
        best = max(found, key=lambda each: log_probability(self.masks, self.alpha, each))
        return self.choice([best], chosen=0)


class _Halving:
    """Successive halving of candidates; each training is kept as soon as it ends."""

    def __init__(
        self, context: RunContext, result: SearchResult, settings: SearchSettings, pool: _Pool
    ) -> None:
        self.context, self.choice_settings = context, context.preset.choice
        (self.task,) = context.tasks
        self.supernet = _supernet(context, result, settings)
        self.settings = candidate_training(self.task, context.preset, settings)
        judge = Part.VALIDATION if self.task.held_out is Part.TEST else Part.ALPHA
        self.images = self.task.in_canonical_order(self.task.indices(judge))
        self.genotypes = pool.drawn(self.choice_settings.candidates)
        self.rungs = tuple(_rungs(len(self.genotypes), self.choice_settings.reduction_factor))
        steps = (self.settings.steps_per_epoch or 1) * self.settings.epochs
        self.begun = pool.choice(
            self.genotypes,
            steps=tuple(steps * self._times(rung) for rung in range(len(self.rungs))),
            judged_on="validation part" if self.task.held_out is Part.TEST else "α half",
            images=len(self.images),
        )
        self.asked = _asked(context)
        self.checked = _second_trainings(self.choice_settings, len(self.genotypes))
        self.done = 0

    def run(self) -> GenotypeChoice:
        """Train and halve to the end, from where it was stopped."""
        choice = self._continued()
        alive = list(range(len(self.genotypes)))
        for rung, kept in enumerate(self.rungs):
            for number in alive:
                if len(choice.candidates[number].accuracies) <= rung:
                    trained = self._train(number, rung)
                    choice = _scored(choice, number, trained)
                    write_choice(self.context.run, self.asked, choice)
                self.done += self._epochs(rung)
            alive = sorted(alive, key=lambda each: _order(choice, each))[:kept]
        if choice.chosen is None:
            test = self._test(choice, alive[0])
            choice = choice.model_copy(update={"chosen": alive[0], "test": test})
            write_choice(self.context.run, self.asked, choice)
        self._remove_journals()
        return choice

    def _continued(self) -> GenotypeChoice:
        """Return the choice that was stopped, or a new one where another was asked for."""
        kept = read_choice(self.context.run.path)
        if kept is not None and kept.asked == self.asked:
            there = [each.genotype for each in kept.choice.candidates]
            if there == [each.genotype for each in self.begun.candidates]:
                return kept.choice
        self._remove_journals()
        return self.begun

    def _remove_journals(self) -> None:
        for file in matching(self.context.run.path, f"{CHOICE_JOURNAL}-*"):
            file.unlink()

    def _times(self, rung: int) -> int:
        """Return by how many times as long as the first training a candidate is trained then."""
        return int(self.choice_settings.reduction_factor**rung)

    def _epochs(self, rung: int) -> int:
        """Return the epochs of one training of a rung."""
        before = self._times(rung - 1) if rung else 0
        return self.settings.epochs * (self._times(rung) - before)

    def _train(self, number: int, rung: int, *, again: bool = False) -> TrainingResult:
        """Train a candidate for a rung, from its last one; or anew, with another seed."""
        settings = replace(self.settings, epochs=self.settings.epochs * self._times(rung))
        name = f"{CHOICE_JOURNAL}-{number}"
        if again:
            name = f"{name}-again"
            settings = replace(settings, seed=seed_of(settings.seed, "again"))
        what = f"round {rung + 1}/{len(self.rungs)}, candidate {number + 1}/{len(self.genotypes)}"
        if again:
            what = f"a second time, candidate {number + 1}"
        return train_network(
            self.genotypes[number],
            self.task,
            settings,
            supernet=self.supernet,
            selection=True,
            journal=FileJournal(self.context.run.path, name),
            progress=self._part(f"choosing, {what}", rung),
            device=self.context.device,
        )

    def _part(self, what: str, rung: int) -> Progress:
        """Return the progress of one training as a part of the whole choice's."""
        lengths = training_lengths(self.choice_settings, len(self.genotypes))
        total, done = self.settings.epochs * sum(lengths), self.done
        epochs = self._epochs(rung)
        before = self.settings.epochs * self._times(rung) - epochs

        def shown(inner: str, at: int, of: int, /) -> None:
            share = 1.0 if inner == "evaluation" else 0.0
            if inner.startswith("training"):
                share = (at / of * (before + epochs) - before) / epochs
            self.context.progress(what, round(1000 * (done + share * epochs)), 1000 * total)

        return shown

    def _test(self, choice: GenotypeChoice, chosen: int) -> ChanceTest | None:
        """Train the chosen candidate and some others again, and compare them."""
        if not self.checked:
            return None
        draws = np.random.default_rng(seed_of(self.settings.seed, "checked"))
        others = [number for number in range(len(self.genotypes)) if number != chosen]
        picked = draws.permutation(others)[: self.checked - 1].tolist()
        rows, truth = [], self.task.canonical_labels[self.images]
        for number in (chosen, *sorted(picked)):
            trained = self._train(number, 0, again=True)
            rows.append(trained.logits.argmax(1).numpy() == truth)
            self.done += self.settings.epochs
        first = [choice.candidates[n].accuracies[0] for n in (chosen, *sorted(picked))]
        gain, margin = gain_and_margin(np.array(first), np.array(rows))
        return ChanceTest(
            candidates=len(self.genotypes), others=len(picked), gain=gain, margin=margin
        )


def gain_and_margin(first: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    r"""Return the gain of a chosen candidate in a second training, and what chance allows.

    With accuracies $a_j$ of first and $b_j$ of second trainings of $m$ candidates, the chosen one
    at $j = 0$, the gain is $b_0$ less the mean of the other $b_j$. The deviation $s$ of one
    training is that of the differences $a_j - b_j$ over $\sqrt 2$. The margin is
    $t_{0.95, m-1} \sqrt{s^2 (1 + 1/(m-1)) + v/n}$, where $v$ is the variance over the $n$ images of
    the chosen one's hit less the mean of the others' hits.

    Args:
        first: Accuracies of the first trainings, shape ``(candidates,)``, at least two.
        right: Whether the second ones label each image right, shape ``(candidates, images)``.
    """
    hits = right.astype(np.float64)
    of_images = hits[0] - hits[1:].mean(axis=0)
    others, images = len(hits) - 1, hits.shape[1]
    noise = np.var(first - hits.mean(axis=1), ddof=1) / 2
    sampling = np.var(of_images, ddof=1) / images if images > 1 else 0.0
    quantile = _T95[min(others, len(_T95)) - 1]
    margin = quantile * math.sqrt(noise * (1 + 1 / others) + sampling)
    return float(of_images.mean()), float(margin)


def _rungs(candidates: int, factor: int) -> list[int]:
    """Return how many candidates are left after each round of trainings.

    >>> _rungs(8, 2), _rungs(6, 4)
    ([4, 2, 1], [1])
    """
    left = []
    while candidates > 1:
        candidates = max(1, candidates // factor)
        left.append(candidates)
    return left


def _second_trainings(settings: ChoiceSettings, candidates: int) -> int:
    """Return how many candidates are trained a second time."""
    wanted = min(settings.checked, candidates)
    return wanted if wanted >= _FEWEST_CHECKED else 0


def training_lengths(settings: ChoiceSettings, candidates: int) -> list[int]:
    """Return the length of every training of a choice, in first trainings.

    >>> training_lengths(ChoiceSettings(checked=0), 4)
    [1, 1, 1, 1, 1, 1]

    Args:
        settings: The choice.
        candidates: How many candidates there are.
    """
    factor = settings.reduction_factor
    alive = [candidates, *_rungs(candidates, factor)[:-1]] if candidates > 1 else []
    lengths = [factor**rung - (factor ** (rung - 1) if rung else 0) for rung in range(len(alive))]
    halving = [length for length, each in zip(lengths, alive, strict=True) for _ in range(each)]
    return halving + [1] * _second_trainings(settings, candidates)


def _order(choice: GenotypeChoice, number: int) -> tuple[float, float, int]:
    """Return what candidates are sorted by: last accuracy, then loss, then the order of drawing."""
    candidate = choice.candidates[number]
    return -candidate.accuracies[-1], candidate.losses[-1], number


def _scored(choice: GenotypeChoice, number: int, trained: TrainingResult) -> GenotypeChoice:
    """Return the choice with the accuracy of one more training."""
    candidates = list(choice.candidates)
    old = candidates[number]
    candidates[number] = old.model_copy(
        update={
            "accuracies": (*old.accuracies, trained.accuracy),
            "losses": (*old.losses, trained.loss),
        }
    )
    return choice.model_copy(update={"candidates": tuple(candidates)})


def _supernet(
    context: RunContext, result: SearchResult, settings: SearchSettings
) -> SupernetWeights:
    """Return the weights of the search, with the head that it trained for the same task."""
    weight, bias = result.heads[0]
    head = {"classifier.weight": weight, "classifier.bias": bias}
    return SupernetWeights(
        source=str(context.run.path),
        space=settings.space,
        cells=settings.stages[-1].cells,
        channels=settings.channels,
        tensors={**result.weights, **head},
    )


def candidate_training(
    task: ImageTask, preset: Preset, settings: SearchSettings
) -> TrainingSettings:
    """Return the settings of a first training: the preset's selection in the supernet's shape."""
    chosen, selection = preset.choice, preset.selection
    images = task.train_indices if task.held_out is Part.TEST else task.indices(Part.WEIGHTS)
    full = max(1, len(images) // selection.batch_size)
    each = min(full, max(1, chosen.steps // _EPOCHS))
    return replace(
        selection,
        cells=settings.stages[-1].cells,
        channels=settings.channels,
        image_size=settings.image_size,
        flip=settings.flip,
        crop_padding=settings.crop_padding,
        steps_per_epoch=each,
        epochs=max(1, round(chosen.steps / each)),
        auxiliary_weight=0.0,
        drop_path=0.0,
        patience=None,
        weights="inherited",
        seed=settings.seed,
    )
