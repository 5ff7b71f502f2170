"""Keywords by which a preset's settings are changed, so that editors complete them.

``SearchSettings``, ``ChoiceSettings`` and ``TrainingSettings`` say what each of them means, and
check the values.
"""

from typing import TypedDict

from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.decoding import Resize
from wsdarts_sdk.models.settings import AugmentationName, ClassBalance, TrainingWeights
from wsdarts_sdk.search.settings import (
    AlphaOptimiser,
    Order,
    StageSettings,
    WeightOptimiser,
)
from wsdarts_sdk.setting_fields import ComputeDtype


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
