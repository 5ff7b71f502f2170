"""Settings of a derived network and its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from wsdarts_sdk.setting_fields import (
    Amount,
    BatchSize,
    Channels,
    Epochs,
    Pixels,
    PositiveAmount,
    Seed,
    Share,
    Steps,
    check_padding,
    validated,
)

Cells = Annotated[int, Field(ge=1, le=200)]
Weights = Literal["random", "inherited"]
"""Where a derived network's weights begin."""
WeightsToBeginWith = Literal["random", "inherited"]


@validated
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Training of a derived network.

    Attributes:
        cells: Number of cells.
        channels: Channels of the first cell.
        image_size: Images are squashed to this many pixels a side.
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
        flip: Whether images are mirrored at random.
        crop_padding: Pixels of padding of the random crop; None means an eighth of the size.
        weights: ``"random"`` weights to begin with, or those ``"inherited"`` from the supernet that
            found the genotype, which needs its channels.
        patience: Stop after so many epochs that were no better than the best before, and keep the
            best one's weights; None: train all epochs and keep the last. Judged on the validation
            part where the task has a test part, too; else on a tenth of the train part, which
            then does not train.
        seed: Seed of everything random.

    Raises:
        SettingsError: A value is of another type or out of its bounds, or there is no such field.
    """

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
    weights: WeightsToBeginWith = "random"
    patience: Epochs | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_padding(self.padding, self.image_size)

    @property
    def padding(self) -> int:
        """Pixels of padding of the random crop."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding
