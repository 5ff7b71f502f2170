"""Presets: the paper's settings, two that fit a CPU, and one between them.

>>> SMALL.with_training(epochs=50, learning_rate=0.01).training.epochs
50
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self, TypedDict, Unpack

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._text import is_plain_line
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.decoding import Resize
from wsdarts_sdk.models.settings import (
    AugmentationName,
    ClassBalance,
    TrainingSettings,
    TrainingWeights,
)
from wsdarts_sdk.search.settings import (
    AlphaOptimiser,
    ChoiceSettings,
    Order,
    SearchSettings,
    StageSettings,
    WeightOptimiser,
    settings_json,
)
from wsdarts_sdk.setting_fields import ComputeDtype, replace_settings, validated

_LONGEST_NAME = 100
FLIPPED = ("search", "training", "selection")
"""Parts of a preset that mirror images."""
# Settings of a candidate's training that come from the search and from the choice itself.
_OF_THE_SEARCH = frozenset(
    (
        *("cells", "channels", "image_size", "epochs", "steps_per_epoch", "drop_path", "seed"),
        *("auxiliary_weight", "flip", "crop_padding", "patience", "weights"),
    )
)


# Keywords by which settings are changed, so that editors complete them. The settings themselves say
# what each means, and check the values.
class SearchChanges(TypedDict, total=False):
    """Fields of ``SearchSettings``."""

    space: SearchSpace
    stages: tuple[StageSettings, ...]
    channels: int
    image_size: int
    batch_size: int
    steps_per_epoch: int | None
    order: Order
    compute_dtype: ComputeDtype
    weights: WeightOptimiser
    alpha: AlphaOptimiser
    skip_connects: int | None
    warm_skip_connects: int | None
    stable_epochs: int | None
    synchronised_norms: bool
    flip: bool
    crop_padding: int | None
    seed: int


class ChoiceChanges(TypedDict, total=False):
    """Fields of ``ChoiceSettings``."""

    candidates: int
    steps: int
    reduction_factor: int
    checked: int
    max_parameters: int | None
    max_multiply_adds: int | None


class TrainingChanges(TypedDict, total=False):
    """Fields of ``TrainingSettings``."""

    cells: int
    channels: int
    image_size: int
    epochs: int
    batch_size: int
    steps_per_epoch: int | None
    learning_rate: float
    momentum: float
    weight_decay: float
    gradient_clip: float
    cutout: int
    drop_path: float
    auxiliary_weight: float
    flip: bool
    crop_padding: int | None
    weights: TrainingWeights
    resize: Resize
    augmentation: AugmentationName
    mixup: float
    cutmix: float
    label_smoothing: float
    class_balance: ClassBalance
    averaged_weights: float
    patience: int | None
    compute_dtype: ComputeDtype
    synchronised_norms: bool
    seed: int


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Named settings of searches, selection and training.

    Attributes:
        name: What users type.
        search: A cold search (TAS); a warm start takes its last stage.
        training: Training of the network that is evaluated on the validation third.
        selection: The short training, on the train part alone, that ranks a sweep's results; the
            candidates of a choice are trained by it, too, for the steps and in the shape of that.
        choice: How a genotype is chosen when a search has ended; by default α decides.
    """

    name: str
    search: SearchSettings
    training: TrainingSettings
    selection: TrainingSettings
    choice: ChoiceSettings = field(default_factory=ChoiceSettings)

    def __post_init__(self) -> None:
        if not is_plain_line(self.name, _LONGEST_NAME):
            raise SettingsError(
                "name",
                found=f"{self.name[:_LONGEST_NAME]!r}",
                expected=f"one line of 1 to {_LONGEST_NAME} characters",
            )
        if self.selection.weights != "random":
            raise SettingsError(
                "selection.weights",
                found=self.selection.weights,
                expected="random",
                hint="a selection compares from random weights; set training.weights",
            )

    def with_search(self, **changes: Unpack[SearchChanges]) -> Self:
        """Return the preset with other settings of the search.

        Args:
            changes: Fields of ``SearchSettings``.

        Raises:
            SettingsError: There is no such setting, or a value does not fit.
        """
        return self._with("search", changes)

    def with_training(self, **changes: Unpack[TrainingChanges]) -> Self:
        """Return the preset with other settings of the training.

        >>> TINY.with_training(epochs=50, learning_rate=0.01).training.epochs
        50

        Args:
            changes: Fields of ``TrainingSettings``.

        Raises:
            SettingsError: There is no such setting, or a value does not fit.
        """
        return self._with("training", changes)

    def with_selection(self, **changes: Unpack[TrainingChanges]) -> Self:
        """Return the preset with other settings of the short training that ranks a sweep.

        Args:
            changes: Fields of ``TrainingSettings``.

        Raises:
            SettingsError: There is no such setting, or a value does not fit.
        """
        return self._with("selection", changes)

    def with_choice(self, **changes: Unpack[ChoiceChanges]) -> Self:
        """Return the preset with another way to choose a genotype when a search has ended.

        >>> SMALL.with_choice(candidates=8, max_parameters=500_000).choice.candidates
        8

        Args:
            changes: Fields of ``ChoiceSettings``.

        Raises:
            SettingsError: There is no such setting, or a value does not fit.
        """
        return self._with("choice", changes)

    def without_flips(self) -> Self:
        """Return the preset without mirrored images, in searches and in trainings.

        For images whose mirror image is of another class or of none: digits, letters, traffic
        signs.

        >>> TINY.without_flips().training.flip
        False
        """
        return replace_settings(self, {f"{group}.flip": False for group in FLIPPED})

    def choice_json(self) -> dict[str, Any]:
        """Return what a choice depends on besides the search, as JSON; empty where α decides."""
        if not self.choice.trains and not self.choice.limits:
            return {}
        shape = ("cells", "channels", "image_size")
        found: dict[str, Any] = {
            **settings_json(self.choice),
            "network": {name: getattr(self.training, name) for name in shape},
        }
        if self.choice.trains:
            training = settings_json(self.selection)
            found["training"] = {n: v for n, v in training.items() if n not in _OF_THE_SEARCH}
        return {"choice": found}

    def _with(self, group: str, changes: Any) -> Self:
        return replace_settings(self, {f"{group}.{name}": value for name, value in changes.items()})


# "Warm-starting DARTS using meta-learning", sections 4 and 5. The rates of the skip-connect
# dropout are P-DARTS' recipe; the paper chooses the last one for each task by a sweep.
PAPER = Preset(
    name="paper",
    search=SearchSettings(
        stages=(
            StageSettings(
                cells=5, operations=8, epochs=25, weights_only_epochs=10, skip_dropout=0.1
            ),
            StageSettings(
                cells=11, operations=5, epochs=25, weights_only_epochs=10, skip_dropout=0.4
            ),
            StageSettings(
                cells=17, operations=3, epochs=25, weights_only_epochs=10, skip_dropout=0.7
            ),
        ),
        channels=16,
        image_size=84,
        batch_size=96,
    ),
    training=TrainingSettings(cells=20, channels=16, image_size=84, epochs=300, batch_size=96),
    selection=TrainingSettings(cells=20, channels=16, image_size=84, epochs=75, batch_size=96),
)
"""The paper's own search and training: hours on a GPU."""

# A warm start's cells are discretised as in DARTS at preset paper. The others leave them the
# two skip-connects of a cold search at most: in their few steps α hardly outgrows its random start,
# and warm and cold searches then differ in the start alone, as measured (docs/results.md).
_FEW_STEPS_SKIP_CONNECTS = 2

# Half an hour on a GPU, or a night on a CPU, as docs/guides/your-own-dataset.md estimates. Search
# and training have one width, so that a training can inherit the weights of its search. α's
# learning rate is such that it moves as far as at preset small, in more steps.
MEDIUM = Preset(
    name="medium",
    search=SearchSettings(
        stages=(
            StageSettings(
                cells=5, operations=8, epochs=12, weights_only_epochs=4, skip_dropout=0.1
            ),
            StageSettings(
                cells=8, operations=5, epochs=12, weights_only_epochs=4, skip_dropout=0.4
            ),
            StageSettings(
                cells=11,
                operations=3,
                epochs=12,
                weights_only_epochs=4,
                skip_dropout=0.7,
            ),
        ),
        channels=16,
        image_size=64,
        batch_size=32,
        steps_per_epoch=30,
        alpha=AlphaOptimiser(learning_rate=1.5e-3),
        warm_skip_connects=_FEW_STEPS_SKIP_CONNECTS,
    ),
    training=TrainingSettings(
        cells=14,
        channels=16,
        image_size=64,
        epochs=60,
        batch_size=64,
        steps_per_epoch=100,
        cutout=16,
        drop_path=0.2,
    ),
    selection=TrainingSettings(
        cells=8,
        channels=16,
        image_size=64,
        epochs=10,
        batch_size=64,
        steps_per_epoch=30,
        cutout=16,
        drop_path=0.0,
    ),
)
"""Half an hour on a GPU, or a night on a CPU."""

# Minutes to an hour on a CPU. α starts at 1e-3 · randn and Adam moves it by about one learning
# rate a step: in so few α steps the paper's 6e-4 would hardly outgrow the random start.
SMALL = Preset(
    name="small",
    search=SearchSettings(
        stages=(
            StageSettings(cells=4, operations=8, epochs=8, weights_only_epochs=3, skip_dropout=0.1),
            StageSettings(cells=6, operations=5, epochs=8, weights_only_epochs=3, skip_dropout=0.4),
            # Two epochs from trained weights were as good as eight on four sets: docs/results.md.
            StageSettings(
                cells=8,
                operations=3,
                epochs=8,
                weights_only_epochs=3,
                skip_dropout=0.7,
                trained_epochs=2,
            ),
        ),
        channels=8,
        image_size=32,
        batch_size=32,
        steps_per_epoch=20,
        alpha=AlphaOptimiser(learning_rate=3e-3),
        warm_skip_connects=_FEW_STEPS_SKIP_CONNECTS,
    ),
    # The search's own shape, so that the training goes on from the search's weights.
    training=TrainingSettings(
        cells=8,
        channels=8,
        weights="auto",
        image_size=32,
        epochs=20,
        batch_size=64,
        steps_per_epoch=100,
        cutout=8,
        drop_path=0.1,
    ),
    selection=TrainingSettings(
        cells=8,
        channels=8,
        image_size=32,
        epochs=6,
        batch_size=64,
        steps_per_epoch=30,
        cutout=8,
        drop_path=0.0,
    ),
    # α's own cell is no better than a random one here. One short training of each candidate tells
    # more than longer ones, so one round is all: docs/decisions/choice-of-a-genotype.md.
    choice=ChoiceSettings(candidates=5, steps=30, reduction_factor=100, checked=0),
)
"""Minutes to an hour on a CPU."""

# About a minute on a CPU: enough to see every part work, too little to find a good cell. Fewer
# α steps still, so α's learning rate is higher still.
TINY = Preset(
    name="tiny",
    search=SearchSettings(
        stages=(
            StageSettings(cells=3, operations=8, epochs=4, weights_only_epochs=1, skip_dropout=0.1),
            StageSettings(cells=4, operations=5, epochs=4, weights_only_epochs=1, skip_dropout=0.4),
            StageSettings(cells=5, operations=3, epochs=4, weights_only_epochs=1, skip_dropout=0.7),
        ),
        channels=4,
        image_size=24,
        batch_size=16,
        steps_per_epoch=8,
        alpha=AlphaOptimiser(learning_rate=6e-3),
        warm_skip_connects=_FEW_STEPS_SKIP_CONNECTS,
    ),
    training=TrainingSettings(
        cells=5,
        channels=8,
        image_size=24,
        epochs=8,
        batch_size=32,
        steps_per_epoch=30,
        learning_rate=0.05,
        cutout=6,
        drop_path=0.0,
    ),
    selection=TrainingSettings(
        cells=5,
        channels=4,
        image_size=24,
        epochs=3,
        batch_size=32,
        steps_per_epoch=15,
        learning_rate=0.05,
        cutout=0,
        drop_path=0.0,
        auxiliary_weight=0.0,
    ),
    choice=ChoiceSettings(steps=12),
)
"""About a minute on a CPU: every part works, and nothing good is found."""

PRESETS = {preset.name: preset for preset in (PAPER, MEDIUM, SMALL, TINY)}
"""The presets by name."""


def find_preset(preset: str | Preset, *, seed: int | None = None) -> Preset:
    """Return a preset, with another seed in all of its parts where one is given.

    Raises:
        SettingsError: There is none.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            close = did_you_mean(nearest_names(preset, PRESETS))
            raise SettingsError(
                f"there is no preset {preset!r}",
                expected=f"one of {', '.join(PRESETS)}",
                hint=close.strip(),
            )
        preset = PRESETS[preset]
    if not isinstance(preset, Preset):
        raise SettingsError(
            f"the preset is of type {type(preset).__name__}",
            expected=f"a Preset, or one of {', '.join(PRESETS)}",
        )
    if seed is None:
        return preset
    return replace(
        preset,
        search=replace(preset.search, seed=seed),
        training=replace(preset.training, seed=seed),
        selection=replace(preset.selection, seed=seed),
    )
