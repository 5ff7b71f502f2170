"""Settings of the two estimators; all of them are part of an embedding's identity."""

from dataclasses import dataclass

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.task2vec.probe import MINIMUM_SIZE


@dataclass(frozen=True, kw_only=True)
class FisherSettings:
    """Settings of the Fisher information by per-image gradients.

    Attributes:
        images: At most so many images of the train part stand for the task, evenly over its
            classes. Distances shrink a little with more images, so they only compare at equal
            numbers.
        head_l2: λ of the head; see ``fit_head``.
        std_floor: Least relative standard deviation in the head's standardisation.
        size: Input size in pixels; None for the probe's own.
        exact_classes: The expectation over labels is exact for at most so many classes.
        sketches: With more classes, how many random sketches take its place; see
            ``label_factors``.
        seed: Seed of the sketches.

    Raises:
        SettingsError: A number is out of range.
    """

    images: int = 500
    head_l2: float = 10.0
    std_floor: float = 0.1
    size: int | None = None
    exact_classes: int = 10
    sketches: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, ("images", "head_l2", "std_floor", "sketches"))
        _check_size(self.size)
        _check_natural(self, ("exact_classes", "seed"))


@dataclass(frozen=True, kw_only=True)
class VariationalSettings:
    """Settings of the variational estimator.

    Attributes:
        images: At most so many images of the train part stand for the task.
        head_l2: λ of the head (see ``fit_head``); not the λ of the prior.
        std_floor: Least relative standard deviation in the head's standardisation.
        size: Input size in pixels; None for the probe's own.
        beta: Weight β of the prior.
        prior: Standard deviation of the prior, in units of the root mean square of a layer's
            weights.
        steps: Steps of Adam on log Λ, with a cosine schedule.
        rate: Its first learning rate.
        batch: Images in a step, each with two opposite noises.
        seed: Seed of the order of the images and of the noise.

    Raises:
        SettingsError: A number is out of range.
    """

    images: int = 500
    head_l2: float = 10.0
    std_floor: float = 0.1
    size: int | None = None
    beta: float = 1e-6
    prior: float = 1.0
    steps: int = 150
    rate: float = 0.1
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(
            self, ("images", "head_l2", "std_floor", "beta", "prior", "steps", "rate", "batch")
        )
        _check_size(self.size)
        _check_natural(self, ("seed",))


def _check_positive(settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0 < value < float("inf"):
            raise SettingsError(f"{name} is {value}; expected a positive number")


def _check_size(size: int | None) -> None:
    if size is not None and size < MINIMUM_SIZE:
        raise SettingsError(f"size is {size}; expected at least {MINIMUM_SIZE} pixels")


def _check_natural(settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(settings, name)
        if value < 0:
            raise SettingsError(f"{name} is {value}; expected 0 or more")
