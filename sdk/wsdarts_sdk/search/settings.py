"""Settings of a search: stages, optimisers, schedule. Every field is open to the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.schedule import cosine_learning_rate, skip_dropout_rate
from wsdarts_sdk.setting_fields import (
    Amount,
    BatchSize,
    BoundReason,
    Channels,
    ComputeDtype,
    Epochs,
    Pixels,
    PositiveAmount,
    Seed,
    Share,
    Steps,
    check_padding,
    validated,
)

Order = Literal["first", "second"]
# ⌊L/3⌋ and ⌊2L/3⌋ are the reduction cells.
_WHY_THREE = "with fewer there is no normal cell, and its α would stay at random"


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class StageSettings:
    """One stage of the progressive search.

    Attributes:
        cells: Number of cells of the supernet.
        operations: Operations that an edge has at most when the stage begins.
        epochs: Epochs over the weights half.
        weights_only_epochs: How many of them, from the first, leave α alone.
        skip_dropout: Initial rate of the dropout on skip-connects, in [0, 1).
        trained_epochs: Epochs where the stage starts from trained weights and α, all of them with
            α steps; None: as many of both kinds as from fresh ones.

    Raises:
        SettingsError: A value is of another type or out of its bounds, or there is no such field.
    """

    cells: Annotated[int, Field(ge=3, le=200), BoundReason("greater_than_equal", _WHY_THREE)]
    operations: Annotated[int, Field(ge=1, le=64)]
    epochs: Epochs
    weights_only_epochs: Annotated[int, Field(ge=0, le=100_000)]
    skip_dropout: Share = 0.0
    trained_epochs: Epochs | None = None

    def __post_init__(self) -> None:
        if self.weights_only_epochs > self.epochs:
            raise SettingsError(
                "weights_only_epochs",
                found=self.weights_only_epochs,
                expected=f"at most epochs, {self.epochs}",
            )

    def skip_dropout_at(self, epoch: int) -> float:
        """Return the rate of the dropout on skip-connects in an epoch."""
        return skip_dropout_rate(
            first=self.skip_dropout,
            epoch=epoch,
            epochs=self.epochs,
            weights_only_epochs=self.weights_only_epochs,
        )

    def work(self, epochs: float | None = None) -> float:
        """Return the work of the first epochs: cells · operations, twice with α steps."""
        epochs = self.epochs if epochs is None else epochs
        weights_only = min(epochs, self.weights_only_epochs)
        return self.cells * self.operations * (2 * epochs - weights_only)


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class WeightOptimiser:
    """SGD with momentum and a cosine learning rate over the epochs of a stage."""

    learning_rate: Amount = 0.025
    learning_rate_min: Amount = 0.0
    momentum: Share = 0.9
    weight_decay: Amount = 3e-4
    gradient_clip: PositiveAmount = 5.0

    def __post_init__(self) -> None:
        if self.learning_rate_min > self.learning_rate:
            raise SettingsError(
                "learning_rate_min",
                found=self.learning_rate_min,
                expected=f"at most learning_rate, {self.learning_rate}",
            )

    def rate_at(self, epoch: int, epochs: int) -> float:
        """Return the learning rate in an epoch."""
        return cosine_learning_rate(
            first=self.learning_rate, last=self.learning_rate_min, epoch=epoch, epochs=epochs
        )


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class AlphaOptimiser:
    """Adam for α; its gradient norm is clipped like the weights'."""

    learning_rate: Amount = 6e-4
    beta1: Share = 0.5
    beta2: Share = 0.999
    weight_decay: Amount = 1e-3
    gradient_clip: PositiveAmount = 5.0


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """A whole search. TAS, P-DARTS and DARTS differ in these values only.

    Attributes:
        space: Cell graph and candidate operations.
        stages: From the first to the last; later ones keep fewer operations.
        channels: Channels of the first cell.
        image_size: Images are squashed to this many pixels a side.
        batch_size: Images in a batch of either half.
        steps_per_epoch: At most so many batches of each task in an epoch; None means all.
        order: ``first``, or ``second`` (by finite difference).
        compute_dtype: What cells are computed in: ``float32``, exact on every device, or
            ``bfloat16``, which is faster on a GPU and turns some signs of α's gradient; Adam
            lives on signs. All else is float32 always.
        synchronised_norms: Whether batch norms take the statistics of the whole batch where
            several processes share it, which then find what one process finds; else those of
            each one's own images.
        weights: Optimiser of the supernet's weights.
        alpha: Optimiser of α.
        skip_connects: P-DARTS' M: at most so many skip-connects in the normal cell that is derived;
            None for no limit. In a cold search; a warm start has ``warm_skip_connects``.
        warm_skip_connects: The same for warm starts. None as in their paper, whose cells are
            discretised as in DARTS.
        stable_epochs: The last stage ends early when the derived genotype has stayed the same
            for so many epochs with α steps; None: never.
        flip: Whether images are mirrored at random.
        crop_padding: Pixels of padding of the random crop; None means an eighth of the size.
        seed: Seed of everything random.

    Raises:
        SettingsError: As for ``StageSettings``; or the settings contradict each other.
    """

    ADDED_LATER: ClassVar[Mapping[str, Any]] = {"synchronised_norms": False}

    space: SearchSpace = DARTS
    stages: tuple[StageSettings, ...]
    channels: Channels = 16
    image_size: Pixels = 84
    batch_size: BatchSize = 96
    steps_per_epoch: Steps | None = None
    order: Order = "first"
    compute_dtype: ComputeDtype = "float32"
    synchronised_norms: bool = False
    weights: WeightOptimiser = WeightOptimiser()
    alpha: AlphaOptimiser = AlphaOptimiser()
    skip_connects: Annotated[int, Field(ge=0, le=128)] | None = 2
    warm_skip_connects: Annotated[int, Field(ge=0, le=128)] | None = None
    stable_epochs: Epochs | None = None
    flip: bool = True
    crop_padding: Annotated[int, Field(ge=0, le=4000)] | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not all(self.space.candidates):
            raise SettingsError(
                "space.candidates holds a name without letters", hint="leave it out"
            )
        if not self.stages:
            raise SettingsError("a search has no stages", expected="at least one")
        kept = [stage.operations for stage in self.stages]
        if kept != sorted(kept, reverse=True):
            raise SettingsError(
                "stages.operations",
                found=kept,
                expected="as many or fewer in each later stage",
            )
        if kept[-1] < 2 and "none" in self.space.candidates:
            raise SettingsError(
                (
                    f"the last stage keeps {kept[-1]} operation on an edge, which may be `none`, "
                    "so that no genotype could be derived"
                ),
                hint="keep at least 2, or leave `none` out of the space",
            )
        check_padding(self.padding, self.image_size)

    def work(self) -> float:
        """Return the work of all stages, which tells shares of the cost, not seconds."""
        return sum(stage.work() for stage in self.stages)

    @property
    def padding(self) -> int:
        """Pixels of padding of the random crop."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding

    def last_stage_only(self) -> Self:
        """Return the settings of a warm start from masks alone: the last stage."""
        return self._warm(self.stages[-1])

    def from_trained(self) -> Self:
        """Return the settings of a warm start with trained weights and α: a shorter last stage."""
        last = self.stages[-1]
        if last.trained_epochs is not None:
            last = replace(
                last, epochs=last.trained_epochs, weights_only_epochs=0, trained_epochs=None
            )
        return self._warm(last)

    def _warm(self, stage: StageSettings) -> Self:
        return replace(self, stages=(stage,), skip_connects=self.warm_skip_connects)

    def widened_to(self, operations: int) -> Self:
        """Return the settings with a first stage of at least so many operations an edge."""
        first = self.stages[0]
        wide = replace(first, operations=max(first.operations, operations))
        return replace(self, stages=(wide, *self.stages[1:]))

    def with_skip_dropout(self, rate: float) -> Self:
        """Return the settings with another skip-connect dropout in the last stage."""
        last = replace(self.stages[-1], skip_dropout=rate)
        return replace(self, stages=(*self.stages[:-1], last))


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceSettings:
    """Choice of a genotype when a search has ended.

    Candidates are drawn from α within the masks, α's own genotype first. Each begins with the
    supernet's weights, in the supernet's shape, and is trained briefly on the weights half; what
    labels most of the α half right goes on (successive halving).

    Attributes:
        candidates: How many; with 0 or 1 α decides, as in the papers.
        steps: Steps of each candidate's first training; the next ones bring it to
            ``reduction_factor`` times as many, that again, and so on.
        reduction_factor: One in so many candidates goes on after each training.
        checked: Candidates that are trained a second time with another seed, the chosen one among
            them, to tell the choice from chance; with fewer than 3 nothing is said of that.
        max_parameters: Most parameters that the network of the preset's training may have.
        max_multiply_adds: Most multiply-adds that it may need for an image.

    Raises:
        SettingsError: A value is of another type or out of its bounds, or there is no such field.
    """

    candidates: Annotated[int, Field(ge=0, le=1000)] = 1
    steps: Steps = 30
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 2
    checked: Annotated[int, Field(ge=0, le=1000)] = 4
    max_parameters: Annotated[int, Field(ge=1, le=2**53)] | None = None
    max_multiply_adds: Annotated[int, Field(ge=1, le=2**53)] | None = None

    @property
    def trains(self) -> bool:
        """Whether candidates are trained."""
        return self.candidates > 1

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, by name."""
        named = {
            "max_parameters": self.max_parameters,
            "max_multiply_adds": self.max_multiply_adds,
        }
        return {name: value for name, value in named.items() if value is not None}


def darts(settings: SearchSettings, *, cells: int, epochs: int) -> SearchSettings:
    """Return settings of plain DARTS, a baseline of one stage with every operation and α.

    Neither skip-connect dropout nor refinement. Optimisers, batches and images stay those of
    ``settings``, so that a comparison is one of the methods (DARTS' own code has α at 3e-4,
    batches of 64, 8 cells, 50 epochs and a learning rate that ends at 1e-3).
    """
    stage = StageSettings(
        cells=cells,
        operations=len(settings.space.candidates),
        epochs=epochs,
        weights_only_epochs=0,
    )
    return replace(settings, stages=(stage,), skip_connects=None)


def settings_json(settings: Any) -> Any:
    """Return any of the settings dataclasses as plain JSON data, field by field.

    A field of its ``ADDED_LATER`` that has the value there is left out, so that a run which was
    begun before there was such a field goes on.
    """
    if isinstance(settings, SearchSpace):
        return settings.to_json()
    if hasattr(settings, "__dataclass_fields__"):
        values = {name: getattr(settings, name) for name in settings.__slots__}
        later: Mapping[str, Any] = getattr(settings, "ADDED_LATER", {})
        return {
            name: settings_json(value)
            for name, value in values.items()
            if name not in later or value != later[name]
        }
    if isinstance(settings, tuple):
        return [settings_json(value) for value in settings]
    return settings
