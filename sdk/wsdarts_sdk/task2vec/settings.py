"""Settings of the two estimators; all of them are part of an embedding's identity."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from wsdarts_sdk.setting_fields import (
    PositiveAmount,
    Seed,
    Steps,
    validated,
)
from wsdarts_sdk.task2vec.probe import MINIMUM_SIZE

Images = Annotated[int, Field(ge=1, le=10_000_000)]
Size = Annotated[int, Field(ge=MINIMUM_SIZE, le=4000)]


@validated
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

    images: Images = 500
    head_l2: PositiveAmount = 10.0
    std_floor: PositiveAmount = 0.1
    size: Size | None = None
    exact_classes: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    sketches: Annotated[int, Field(ge=1, le=10_000)] = 4
    seed: Seed = 0


@validated
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

    images: Images = 500
    head_l2: PositiveAmount = 10.0
    std_floor: PositiveAmount = 0.1
    size: Size | None = None
    beta: PositiveAmount = 1e-6
    prior: PositiveAmount = 1.0
    steps: Steps = 150
    rate: PositiveAmount = 0.1
    batch: Annotated[int, Field(ge=1, le=65_536)] = 16
    seed: Seed = 0
