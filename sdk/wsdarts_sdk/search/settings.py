"""What a search does: stages, optimisers, schedule. Every field is open to the caller."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from wsdarts_registry.errors import SettingsError
from wsdarts_registry.space import DARTS, SearchSpace

Order = Literal["first", "second"]
ORDERS: tuple[Order, ...] = ("first", "second")
ComputeDtype = Literal["float32", "bfloat16"]
COMPUTE_DTYPES: tuple[ComputeDtype, ...] = ("float32", "bfloat16")
_MIN_CELLS = 3


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
    """

    cells: int
    operations: int
    epochs: int
    weights_only_epochs: int
    skip_dropout: float = 0.0
    trained_epochs: int | None = None

    def __post_init__(self) -> None:
        if self.cells < _MIN_CELLS:
            raise SettingsError(
                f"a stage has {self.cells} cells; expected at least {_MIN_CELLS}: with fewer there "
                "is no normal cell, and its α would stay at random"
            )
        whole = min(self.operations, self.epochs)
        if whole < 1 or not 0 <= self.weights_only_epochs <= self.epochs:
            raise SettingsError(
                "a stage needs at least 1 operation and epoch, and weights_only_epochs of 0 to "
                f"epochs; found {self}"
            )
        if not 0 <= self.skip_dropout < 1:
            raise SettingsError(f"skip_dropout is {self.skip_dropout}; expected 0 <= rate < 1")
        if self.trained_epochs is not None and self.trained_epochs < 1:
            raise SettingsError(
                f"trained_epochs is {self.trained_epochs}; expected at least 1, or None for as "
                "many as from fresh weights"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightOptimiser:
    """SGD with momentum and a cosine learning rate over the epochs of a stage."""

    learning_rate: float = 0.025
    learning_rate_min: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AlphaOptimiser:
    """Adam for α; its gradient norm is clipped like the weights'."""

    learning_rate: float = 6e-4
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 1e-3
    gradient_clip: float = 5.0


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
    """

    space: SearchSpace = DARTS
    stages: tuple[StageSettings, ...]
    channels: int = 16
    image_size: int = 84
    batch_size: int = 96
    steps_per_epoch: int | None = None
    order: Order = "first"
    compute_dtype: ComputeDtype = "float32"
    weights: WeightOptimiser = WeightOptimiser()
    alpha: AlphaOptimiser = AlphaOptimiser()
    skip_connects: int | None = 2
    warm_skip_connects: int | None = None
    stable_epochs: int | None = None
    flip: bool = True
    crop_padding: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise SettingsError("a search has no stages; expected at least one")
        kept = [stage.operations for stage in self.stages]
        if kept != sorted(kept, reverse=True):
            raise SettingsError(f"later stages keep fewer operations; found {kept}")
        if self.order not in ORDERS:
            raise SettingsError(f"order is {self.order!r}; expected one of {', '.join(ORDERS)}")
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise SettingsError(
                f"compute_dtype is {self.compute_dtype!r}; expected one of "
                f"{', '.join(COMPUTE_DTYPES)}"
            )
        if min(self.channels, self.batch_size) < 2 or self.image_size < 8:
            raise SettingsError(
                "expected at least 2 channels, batches of 2 and images of 8 pixels; found "
                f"channels={self.channels}, batch_size={self.batch_size}, "
                f"image_size={self.image_size}"
            )
        if kept[-1] < 2 and "none" in self.space.candidates:
            raise SettingsError(
                f"the last stage keeps {kept[-1]} operation on an edge, which may be `none`, so "
                "that no genotype could be derived; keep at least 2, or leave `none` out of the "
                "space"
            )
        limits = (self.skip_connects, self.warm_skip_connects, self.crop_padding)
        if any(limit is not None and limit < 0 for limit in limits):
            raise SettingsError(
                "skip_connects, warm_skip_connects and crop_padding must be at least 0, or None; "
                f"found skip_connects={self.skip_connects}, "
                f"warm_skip_connects={self.warm_skip_connects}, crop_padding={self.crop_padding}"
            )
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise SettingsError(
                f"steps_per_epoch is {self.steps_per_epoch}; expected at least 1, or None for all"
            )

        if self.stable_epochs is not None and self.stable_epochs < 1:
            raise SettingsError(
                f"stable_epochs is {self.stable_epochs}; expected at least 1, or None for never"
            )

    @property
    def padding(self) -> int:
        """Pixels of padding of the random crop."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding

    def last_stage_only(self) -> Self:
        """The settings of a warm start: the last stage alone, as from a transfer architecture."""
        return self._warm(self.stages[-1])

    def from_trained(self) -> Self:
        """The settings of a warm start with trained weights and α: the last stage, shortened."""
        last = self.stages[-1]
        if last.trained_epochs is not None:
            last = replace(
                last, epochs=last.trained_epochs, weights_only_epochs=0, trained_epochs=None
            )
        return self._warm(last)

    def _warm(self, stage: StageSettings) -> Self:
        return replace(self, stages=(stage,), skip_connects=self.warm_skip_connects)

    def widened_to(self, operations: int) -> Self:
        """The same search with a first stage that allows at least so many operations an edge."""
        first = self.stages[0]
        wide = replace(first, operations=max(first.operations, operations))
        return replace(self, stages=(wide, *self.stages[1:]))

    def with_skip_dropout(self, rate: float) -> Self:
        """The same search with another skip-connect dropout in its last stage."""
        last = replace(self.stages[-1], skip_dropout=rate)
        return replace(self, stages=(*self.stages[:-1], last))


def darts(settings: SearchSettings, *, cells: int, epochs: int) -> SearchSettings:
    """Plain DARTS as a baseline: one stage with every operation, all of it with α.

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
    """Any of the settings dataclasses as plain JSON data, field by field."""
    if isinstance(settings, SearchSpace):
        return settings.to_json()
    if hasattr(settings, "__dataclass_fields__"):
        return {name: settings_json(getattr(settings, name)) for name in settings.__slots__}
    if isinstance(settings, tuple):
        return [settings_json(value) for value in settings]
    return settings
