"""Searches that take a second: one or two nodes, two channels, 8×8 digits."""

from collections.abc import Callable
from typing import Any

import pytest

from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.search.settings import SearchSettings, StageSettings

SPACE = SearchSpace(
    nodes=2, candidates=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
)


def _settings(**changes: Any) -> SearchSettings:
    fields = {
        "space": SPACE,
        "stages": (
            StageSettings(cells=3, operations=5, epochs=2, weights_only_epochs=1, skip_dropout=0.3),
            StageSettings(cells=3, operations=3, epochs=2, weights_only_epochs=1, skip_dropout=0.3),
            StageSettings(cells=4, operations=2, epochs=2, weights_only_epochs=1, skip_dropout=0.3),
        ),
        "channels": 2,
        "image_size": 8,
        "batch_size": 8,
    }
    return SearchSettings(**(fields | changes))


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., SearchSettings]:
    """Three small stages that keep 5, 3 and 2 of five operations; any field can be changed."""
    return _settings


def _part(task: ImageTask, settings: SearchSettings, head: int = 0) -> TrainPart:
    return TrainPart.of(
        task,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        padding=settings.padding,
        flip=settings.flip,
        head=head,
        seed=settings.seed,
    )


@pytest.fixture(scope="session")
def make_part() -> Callable[..., TrainPart]:
    """The train part of a task, ready for a search with these settings."""
    return _part
