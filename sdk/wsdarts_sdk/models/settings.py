"""Settings of a derived network and its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from wsdarts_sdk.data.decoding import Resize
from wsdarts_sdk.setting_fields import (
    Amount,
    BatchSize,
    Channels,
    ComputeDtype,
    Epochs,
    Pixels,
    Policy,
    PositiveAmount,
    Seed,
    Share,
    Steps,
    check_padding,
    validated,
)

Cells = Annotated[int, Field(ge=1, le=200)]
AugmentationName = Literal["none", "flip-crop", "randaugment", "trivialaugment"]
ClassBalance = Literal["none", "weights", "sampling"]
_POLICIES: dict[AugmentationName, Policy] = {name: name for name in get_args(Policy)}
WeightsToBeginWith = Literal["random", "inherited"]
TrainingWeights = Literal["random", "inherited", "auto"]


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Training of a derived network.

    Attributes:
        cells: Number of cells.
        channels: Channels of the first cell.
        image_size: Images become squares of so many pixels a side.
        resize: How: ``"squash"``, or ``"crop"``, which keeps the aspect and the middle. The model
            keeps it for predictions.
        epochs: Epochs over the images that it trains on.
        batch_size: Images in a batch.
        steps_per_epoch: At most so many batches an epoch; None means all.
        learning_rate: Initial rate of SGD; cosine to zero over the epochs.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        gradient_clip: Greatest norm of the gradient.
        cutout: Side in pixels of the erased square; 0 erases nothing.
        drop_path: Final rate of drop path; it grows linearly over the epochs.
        auxiliary_weight: Weight of the auxiliary tower's loss; 0 builds no tower.
        augmentation: ``"none"``; ``"flip-crop"``: random crop, mirroring and cutout, as ``flip``,
            ``crop_padding`` and ``cutout`` say; ``"randaugment"`` or ``"trivialaugment"``: these,
            and torchvision's policy of that name.
        flip: Whether images are mirrored at random. Wrong where a mirrored image is of another
            class or of none: digits, letters, traffic signs.
        crop_padding: Pixels of padding of the random crop; None means an eighth of the size.
        mixup: α of mixup; 0 for none. With ``cutmix``, too, a coin decides for each batch.
        cutmix: α of CutMix; 0 for none.
        label_smoothing: Share of the target that is spread over all classes.
        class_balance: ``"none"``; ``"weights"``: in the loss, an image weighs the less the more
            its class has; ``"sampling"``: each place of a batch has any class with equal
            probability.
        averaged_weights: Decay of an exponential moving average of the weights over the steps,
            such as 0.999, which is what is evaluated and saved; 0 for none.
        weights: ``"random"`` weights to begin with; those ``"inherited"`` from the supernet that
            found the genotype, which needs its channels; or ``"auto"``: inherited ones where there
            are any that fit, else random ones.
        patience: Stop after so many epochs that were no better than the best before, and keep the
            best one's weights; None: train all epochs and keep the last. Judged on the validation
            part where the task has a test part, too; else on a tenth of the train part, which
            then does not train.
        compute_dtype: What forward and backward passes are computed in while it trains:
            ``float32``, or ``bfloat16`` by torch's autocast, which is faster on a GPU. Weights,
            their gradients, the loss and every evaluation are float32 always.
        synchronised_norms: Whether batch norms take the statistics of the whole batch where
            several processes share it; else each those of its own images.
        seed: Seed of everything random.

    Raises:
        SettingsError: A value is of another type or out of its bounds, or there is no such field.
    """

    ADDED_LATER: ClassVar[Mapping[str, Any]] = {
        "weights": "random",
        "resize": "squash",
        "augmentation": "flip-crop",
        "mixup": 0.0,
        "cutmix": 0.0,
        "label_smoothing": 0.0,
        "class_balance": "none",
        "averaged_weights": 0.0,
        "patience": None,
        "compute_dtype": "float32",
        "synchronised_norms": False,
    }

    cells: Cells = 20
    channels: Channels = 16
    image_size: Pixels = 84
    epochs: Epochs = 300
    batch_size: BatchSize = 96
    steps_per_epoch: Steps | None = None
    learning_rate: Amount = 0.025
    momentum: Share = 0.9
    weight_decay: Amount = 3e-4
    gradient_clip: PositiveAmount = 5.0
    cutout: Annotated[int, Field(ge=0, le=4000)] = 16
    drop_path: Share = 0.3
    auxiliary_weight: Amount = 0.4
    flip: bool = True
    crop_padding: Annotated[int, Field(ge=0, le=4000)] | None = None
    weights: TrainingWeights = "random"
    resize: Resize = "squash"
    augmentation: AugmentationName = "flip-crop"
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    label_smoothing: Share = 0.0
    class_balance: ClassBalance = "none"
    averaged_weights: Share = 0.0
    patience: Epochs | None = None
    compute_dtype: ComputeDtype = "float32"
    synchronised_norms: bool = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_padding(self.padding, self.image_size)

    @property
    def padding(self) -> int:
        """Pixels of padding of the random crop."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding

    @property
    def policy(self) -> Policy | None:
        """Augmentation policy of torchvision; None for none."""
        return _POLICIES.get(self.augmentation)
