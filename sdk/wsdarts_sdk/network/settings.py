"""How a derived network is built and trained."""

from dataclasses import dataclass

from wsdarts_registry.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Training of a derived network from scratch.

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
        seed: Seed of everything random.
    """

    cells: int = 20
    channels: int = 16
    image_size: int = 84
    epochs: int = 300
    batch_size: int = 96
    steps_per_epoch: int | None = None
    learning_rate: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    cutout: int = 16
    drop_path: float = 0.3
    auxiliary_weight: float = 0.4
    flip: bool = True
    crop_padding: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.cells, self.epochs) < 1 or min(self.channels, self.batch_size) < 2:
            raise SettingsError(
                "training needs at least 1 cell, 1 epoch, 2 channels and batches of 2; found "
                f"cells={self.cells}, epochs={self.epochs}, channels={self.channels}, "
                f"batch_size={self.batch_size}"
            )
        if not 0 <= self.drop_path < 1 or self.image_size < 8 or self.cutout < 0:
            raise SettingsError(
                "expected 0 <= drop_path < 1, image_size >= 8 and cutout >= 0; found "
                f"drop_path={self.drop_path}, image_size={self.image_size}, cutout={self.cutout}"
            )
        if self.padding < 0 or self.auxiliary_weight < 0:
            raise SettingsError(
                "expected crop_padding >= 0 and auxiliary_weight >= 0; found "
                f"crop_padding={self.crop_padding}, auxiliary_weight={self.auxiliary_weight}"
            )
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise SettingsError(
                f"steps_per_epoch is {self.steps_per_epoch}; expected at least 1, or None for all"
            )

    @property
    def padding(self) -> int:
        """Pixels of padding of the random crop."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding
