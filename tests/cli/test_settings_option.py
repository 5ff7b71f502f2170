import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Run
from wsdarts_hub.cli.shared.options import Mode, PresetName, preset_with
from wsdarts_registry.errors import SettingsError, SpaceError
from wsdarts_sdk.pipelines.starting_point_rules import MODES
from wsdarts_sdk.presets import PRESETS, TINY
from wsdarts_sdk.search.settings import settings_json


def test_the_choices_are_those_of_the_sdk() -> None:
    assert PresetName.__args__ == tuple(PRESETS)  # type: ignore[attr-defined]
    assert Mode.__args__ == MODES  # type: ignore[attr-defined]


def test_nothing_set_is_the_preset_itself() -> None:
    assert preset_with("tiny", None) == TINY


def test_a_field_of_every_kind() -> None:
    preset = preset_with(
        "tiny",
        [
            "search.channels=8",
            "search.weights.learning_rate=.05",
            "search.stages.2.epochs=5",
            "search.steps_per_epoch=none",
            "search.order=second",
            "search.flip=no",
            "search.space.candidates=none, skip_connect,sep_conv_3x3",
            "training.crop_padding=0",
            "selection.seed=3",
            "name=mine",
        ],
    )
    assert preset.search.channels == 8
    assert preset.search.weights.learning_rate == 0.05
    assert [stage.epochs for stage in preset.search.stages] == [4, 5, 4]
    assert preset.search.steps_per_epoch is None
    assert preset.search.order == "second"
    assert preset.search.flip is False
    assert preset.search.space.candidates == ("none", "skip_connect", "sep_conv_3x3")
    assert preset.training.crop_padding == 0
    assert (preset.selection.seed, preset.name) == (3, "mine")


def test_stages_as_a_json_list() -> None:
    stage = {"cells": 3, "operations": 2, "epochs": 1, "weights_only_epochs": 0}
    preset = preset_with("tiny", [f"search.stages={json.dumps([stage])}"])
    (only,) = preset.search.stages
    assert dataclasses.asdict(only) == {**stage, "skip_dropout": 0.0, "trained_epochs": None}


def test_settings_that_are_only_right_together_are_checked_together() -> None:
    # Stage 2 alone may not keep more operations than stage 1.
    both = ["search.stages.1.operations=4", "search.stages.2.operations=4"]
    assert [s.operations for s in preset_with("tiny", both).search.stages] == [4, 4, 3]
    with pytest.raises(SettingsError, match=r"^search\.stages.*4, 5, 3"):
        preset_with("tiny", both[:1])


def test_of_one_key_given_twice_the_last_counts() -> None:
    assert preset_with("tiny", ["search.seed=1", "search.seed=2"]).search.seed == 2


@pytest.mark.parametrize(
    ("assignment", "near"),
    [
        ("search.chanels=8", "search.channels"),
        ("serch.channels=8", "search.channels"),
        ("epochs=100", "training.epochs"),
        ("search.epochs=9", "search.stages.1.epochs"),
        ("lerning_rate=1", "training.learning_rate"),
        ("zzz=8", "name, search, training, selection"),
        ("=8", "name, search, training, selection"),
        ("search.weights=1", "search.weights.learning_rate"),
        ("search.weights.q=1", "search.weights has learning_rate"),
        ("search.channels.x=1", "search.channels=VALUE"),
        ("search.stages.0.epochs=1", "search.stages has 1, 2, 3"),
        ("search.stages.4.epochs=1", "search.stages has 1, 2, 3"),
        ('search.stages=[{"cels": 1}]', "search.stages.1.cells"),
    ],
)
def test_unknown_settings_are_told_the_nearest(assignment: str, near: str) -> None:
    with pytest.raises(SettingsError) as caught:
        preset_with("tiny", [assignment])
    key = assignment.partition("=")[0]
    assert key.removesuffix(".x") in caught.value.what
    assert near in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "what", "found", "expected"),
    [
        ("search.channels", "search.channels", "", "KEY=VALUE"),
        ("search.channels=many", "search.channels", "many", "whole number"),
        ("search.channels=1.5", "search.channels", "1.5", "whole number"),
        ("search.channels=true", "search.channels", "true", "whole number"),
        ("search.weights.momentum=nan", "search.weights.momentum", "nan", "number"),
        ("search.steps_per_epoch=all", "search.steps_per_epoch", "all", "None"),
        ("search.order=third", "search.order", "third", "second"),
        ("search.flip=maybe", "search.flip", "maybe", "boolean"),
        ("search.stages=5", "search.stages.1", "5", "cells, operations"),
        ("search.stages=[5]", "search.stages.1", "5", "cells, operations"),
        ("search.stages=[{]", "search.stages", "[{]", "JSON"),
        ('search.stages=[{"cells": 3}]', "search.stages.1.operations", "missing", ""),
        ('search.stages=[{"cells": true}]', "search.stages.1.cells", "True", "from 3 to 200"),
        ("search.space.candidates=[1]", "search.space.candidates.1", "1", "string"),
        ("search.channels=0", "search.channels", "0", "from 2 to 1,024"),
        ("training.epochs=1000000000", "training.epochs", "1000000000", "100,000"),
        ("search.stages.2.epochs=0", "search.stages.2.epochs", "0", "100,000"),
        ("search.stages.2.weights_only_epochs=9", "search.stages.2.weights_only", "9", "epochs, 4"),
    ],
)
def test_values_that_do_not_fit_are_named(
    assignment: str, what: str, found: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        preset_with("tiny", [assignment])
    assert what in caught.value.what
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert "\n" not in str(caught.value)


def test_a_setting_and_a_part_of_it_contradict() -> None:
    whole, part = "search.stages=[]", "search.stages.1.epochs=2"
    for both in ([whole, part], [part, whole]):
        with pytest.raises(SettingsError, match=r"stages\.1\.epochs .*search\.stages;"):
            preset_with("tiny", both)


def test_short_options_of_a_training() -> None:
    short = {"--epochs": ("training.epochs", 50), "--lr": ("training.learning_rate", None)}
    preset = preset_with("tiny", ["training.learning_rate=0.5"], short=short)
    assert preset == TINY.with_training(epochs=50, learning_rate=0.5)


def test_a_short_option_and_the_setting_contradict(run: Run, tmp_path: Path) -> None:
    words = ("train", "dtd-10@2", tmp_path / "data", "--set", "training.learning_rate=0.1")
    shown = run(*words, "--lr", "0.2")
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert "--lr 0.2" in shown.err
    assert "training.learning_rate=0.1" in shown.err


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--epochs", "training.epochs"),
        ("--lr", "training.learning_rate"),
        ("--batch-size", "training.batch_size"),
        ("--image-size", "training.image_size"),
    ],
)
def test_short_options_are_checked_as_their_settings(
    option: str, key: str, run: Run, tmp_path: Path
) -> None:
    shown = run("train", "dtd-10@2", tmp_path / "data", option, "-1")
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert f"{key} is" in shown.err


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every single value of plain JSON data by its path; lists of objects count from 1."""
    if isinstance(value, dict):
        pairs = [(name, part) for name, part in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        pairs = [(str(number), part) for number, part in enumerate(value, start=1)]
    else:
        return {path: value}
    return {
        k: v for n, part in pairs for k, v in leaves(part, f"{path}.{n}" if path else n).items()
    }


def as_typed(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


@given(
    data=st.data(), start=st.sampled_from(sorted(PRESETS)), goal=st.sampled_from(sorted(PRESETS))
)
def test_any_preset_can_be_reached_from_any_other(
    data: st.DataObject, start: str, goal: str
) -> None:
    """So every field is open, and every value reads back what it is written as."""
    wanted = {
        "name": PRESETS[goal].name,
        "search": settings_json(PRESETS[goal].search),
        "training": dataclasses.asdict(PRESETS[goal].training),
        "selection": dataclasses.asdict(PRESETS[goal].selection),
        "choice": dataclasses.asdict(PRESETS[goal].choice),
    }
    every = [f"{path}={as_typed(value)}" for path, value in leaves(wanted).items()]
    assert preset_with(start, data.draw(st.permutations(every))) == PRESETS[goal]


@given(
    key=st.sampled_from(sorted(leaves(settings_json(TINY.search), "search"))),
    value=st.text(max_size=20),
)
def test_any_text_is_a_value_or_a_settings_error(key: str, value: str) -> None:
    try:
        found = preset_with("tiny", [f"{key}={value}"])
    except (SettingsError, SpaceError):
        return
    before, after = (leaves(settings_json(p.search), "search") for p in (TINY, found))
    assert {name for name in before if after[name] != before[name]} <= {key}


@pytest.mark.parametrize("key", ["search.channels", "search.stages.1.epochs", "selection.epochs"])
def test_a_training_has_no_settings_of_a_search(key: str, run: Run, tmp_path: Path) -> None:
    words = ("train", "dtd-10@2", tmp_path / "data", "--set", f"{key}=8")
    shown = run(*words)
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert key in shown.err
    assert "training" in shown.err


def test_no_flip_is_for_all_parts_and_contradicts_another_value() -> None:
    found = preset_with("tiny", None, no_flip=True)
    assert found == TINY.without_flips()
    assert [found.search.flip, found.training.flip, found.selection.flip] == [False] * 3
    assert preset_with("tiny", None).training.flip
    with pytest.raises(SettingsError, match=r"--no-flip and --set training\.flip=yes"):
        preset_with("tiny", ["training.flip=yes"], no_flip=True)
