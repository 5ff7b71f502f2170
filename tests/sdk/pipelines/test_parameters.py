"""Parameters of the public jobs: named, and told by the nearest where one is wrong."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsdarts_hub as hub
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data import DataOptions, ImageTask

JOBS = {name: getattr(hub, name) for name in ("search", "warm_start", "train", "embed", "nearest")}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_option_of_reading_is_a_parameter(job: Callable[..., Any]) -> None:
    parameters = inspect.signature(job).parameters
    options = {field.name for field in dataclasses.fields(DataOptions)}
    assert options <= parameters.keys()
    assert options <= inspect.signature(ImageTask.load).parameters.keys()
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("train", {"epochs": 3}, ("train()", "training.epochs", "--set training.epochs=")),
        ("search", {"channels": 8}, ("search()", "--set search.channels=")),
        ("search", {"skip_dropout": 0.1}, ("--set search.stages.3.skip_dropout=",)),
        ("warm_start", {"resum": True}, ("warm_start()", "'resume'")),
        ("warm_start", {"reg": "zoo"}, ("'registry'",)),
        ("embed", {"skip_corupt": True}, ("embed()", "'skip_corrupt'")),
        ("nearest", {"devise": "cpu"}, ("nearest()", "'device'")),
        ("train", {"name": "x"}, ("ImageTask.load(data, name=…)",)),
        ("train", {"zzzz": 1}, ("'zzzz'; it has", "image_column")),
    ],
)
def test_a_wrong_one_names_the_right_one(
    name: str, wrong: dict[str, Any], said: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(TypeError) as caught:
        JOBS[name](tmp_path, tmp_path, **wrong)
    for words in said:
        assert words in str(caught.value)


def test_the_training_of_a_warm_start_says_it_too() -> None:
    with pytest.raises(TypeError, match=r"train\(\).*training\.epochs"):
        hub.WarmStart.train(None, epochs=3)  # type: ignore[call-arg, arg-type]


def test_options_of_reading_say_nothing_of_a_task_that_is_read(digits_task: ImageTask) -> None:
    with pytest.raises(TaskError, match="skip_corrupt"):
        hub.embed(digits_task, skip_corrupt=True)


def test_options_of_reading_reach_the_reader(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (12, 8, 8), dtype=np.uint8)
    with pytest.raises(TaskError, match="image_column"):
        hub.embed((images, np.arange(12) % 2), image_column="picture")
