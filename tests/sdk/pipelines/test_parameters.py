"""Parameters of the public jobs: named, and told by the nearest where one is wrong."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import wsdarts_hub as hub
from wsdarts_hub.cli.shared.options import READING
from wsdarts_registry.errors import ArgumentError, TaskError
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.task import ImageTask

JOBS = {
    "search": hub.search,
    "warm_start": hub.warm_start,
    "train": hub.train,
    "embed": hub.embed,
    "nearest": hub.nearest,
    "load": ImageTask.load,
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_option_of_reading_is_a_parameter(job: Callable[..., Any]) -> None:
    parameters = inspect.signature(job).parameters
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    described = [line.split(":")[0] for line in (inspect.getdoc(job) or "").splitlines()]
    for name, kind in get_type_hints(DataOptions).items():
        assert parameters[name].annotation == kind
        assert parameters[name].default is (False if kind is bool else None)
        assert described.count(f"    {name}") == 1
    assert "    reading" not in described


def test_the_command_line_has_every_option_of_reading() -> None:
    assert [option.name for option in READING] == list(get_type_hints(DataOptions))


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("skip_corrupt", "yes"), ("image_column", 3), ("label_column", b"kind"), ("split", 1)],
)
def test_an_option_of_another_kind_is_refused(option: str, wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        hub.embed(tmp_path, **{option: wrong})
    assert caught.value.what == option


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
        ("load", {"skip_corupt": True}, ("ImageTask.load()", "'skip_corrupt'")),
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
