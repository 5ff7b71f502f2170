import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Run
from wsdarts_hub.cli.shared.options import Mode, PresetName
from wsdarts_hub.cli.shared.settings_option import preset_with
from wsdarts_registry.errors import SettingsError, SpaceError
from wsdarts_sdk.pipelines.start import MODES
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
    with pytest.raises(SettingsError, match="later stages keep fewer"):
        preset_with("tiny", both[:1])


def test_of_one_key_given_twice_the_last_counts() -> None:
    assert preset_with("tiny", ["search.seed=1", "search.seed=2"]).search.seed == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search.channels", "has no value; expected KEY=VALUE, such as search.channels=8"),
        ("search.chanels=8", "no setting search.chanels; did you mean search.channels?"),
        ("serch.channels=8", r"no setting serch; did you mean search\.channels, .* there are name"),
        (
            "epochs=100",
            r"no setting epochs; did you mean training\.epochs, selection\.epochs or se",
        ),
        ("search.epochs=9", r"no setting search\.epochs; did you mean search\.stages\.1\.epochs"),
        ("lerning_rate=1", r"did you mean .*training\.learning_rate"),
        ("zzz=8", "there is no setting zzz; there are name, search, training, selection"),
        ("=8", "there is no setting ; there are name"),
        ("search.weights=1", "is a group of settings; set one of search.weights.learning_rate"),
        ("search.weights.q=1", "no setting search.weights.q; search.weights has learning_rate"),
        ("search.channels.x=1", "search.channels is a single value; set it as search.channels="),
        ("search.channels=many", "search.channels is 'many'; expected a whole number"),
        ("search.channels=1.5", "search.channels is '1.5'; expected a whole number"),
        ("search.weights.momentum=nan", "expected a finite number"),
        ("search.steps_per_epoch=all", "is 'all'; expected a whole number or none"),
        ("search.order=third", "expected one of first, second"),
        ("search.flip=maybe", "search.flip is 'maybe'; expected true or false"),
        ("search.stages.0.epochs=1", "no setting search.stages.0; .* search.stages has 1, 2, 3"),
        ("search.stages.4.epochs=1", "no setting search.stages.4; .* search.stages has 1, 2, 3"),
        ("search.stages=5", "expected a JSON list of objects with cells, operations"),
        ("search.stages=[5]", "search.stages.1 is 5; expected objects with cells, operations"),
        ("search.stages=[{]", "expected a JSON list of objects with cells, operations"),
        ('search.stages=[{"cells": 1}]', "search.stages.1 has no operations, epochs, weights_only"),
        ('search.stages=[{"cels": 1}]', "no setting search.stages.1.cels; did you mean"),
        ("search.space.candidates=[1]", "search.space.candidates.1 is 1; expected text"),
        ("search.channels=0", "search: channels is 0; expected a whole number from 2 to 1,024$"),
        ("training.epochs=1000000000", "training: epochs is 1000000000; .* from 1 to 100,000$"),
        ("search.stages.2.epochs=0", "search.stages.2: epochs is 0; .* from 1 to 100,000$"),
    ],
)
def test_what_does_not_fit_is_named(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        preset_with("tiny", [assignment])
    assert "\n" not in str(caught.value)


def test_contradicting_assignments() -> None:
    whole, part = "search.stages=[]", "search.stages.1.epochs=2"
    with pytest.raises(SettingsError, match="changes a part of what another --set replaces"):
        preset_with("tiny", [whole, part])
    with pytest.raises(SettingsError, match="replaces what another --set changes a part of"):
        preset_with("tiny", [part, whole])


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
        **{
            group: settings_json(getattr(PRESETS[goal], group))
            for group in ("search", "training", "selection")
        },
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
    words = ("train", "dtd-10@1", tmp_path / "data", "--set", f"{key}=8")
    shown = run(*words)
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert key in shown.err
    assert "training" in shown.err
