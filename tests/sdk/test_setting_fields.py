"""Every field of the settings: bounds, types, and the nearest right name of a wrong one."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from wsdarts_registry import _json
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import SettingsError, SpaceError
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.models.timm_model import PDARTS
from wsdarts_sdk.presets import PAPER, PRESETS, TINY, find_preset
from wsdarts_sdk.setting_fields import setting_kinds
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.variational import VariationalSettings

GROUPS: tuple[Any, ...] = (
    TINY,
    TINY.search,
    TINY.search.stages[0],
    TINY.search.weights,
    TINY.search.alpha,
    TINY.training,
    FisherSettings(),
    VariationalSettings(),
)
FIELDS = [(group, field.name) for group in GROUPS for field in dataclasses.fields(group)]
# What no field may have, as a number.
ABSURD = (-1, -(10**30), 10**30 + 10**20, 10**400, -0.5, 1e31, math.nan, math.inf, -math.inf)
NO_VALUES = (b"8", [8], {}, object(), 8j, (8,), print)


@pytest.mark.parametrize(
    ("group", "name"), FIELDS, ids=[f"{type(g).__name__}.{n}" for g, n in FIELDS]
)
def test_every_field_refuses_absurd_values(group: Any, name: str) -> None:
    for value in (*ABSURD, *NO_VALUES):
        with pytest.raises(SettingsError) as caught:
            dataclasses.replace(group, **{name: value})
        said = str(caught.value)
        assert caught.value.what.split(".")[0] == name
        assert caught.value.found
        assert caught.value.expected
        assert "\n" not in said
        assert len(said) < 300


@given(
    field=st.sampled_from(FIELDS),
    value=st.one_of(
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.text(max_size=5),
        st.sampled_from(ABSURD),
        st.sampled_from([0, 1, 2, 8, 100, 4000, 65_536, 100_000, 10**9, 0.0, 1.0]),
    ),
)
@example(field=(TINY.search, "channels"), value=100_000)
@example(field=(TINY.training, "epochs"), value=10**9)
@example(field=next(field for field in FIELDS if field[1] == "weight_decay"), value=2**53 + 1)
@example(field=next(field for field in FIELDS if field[1] == "weight_decay"), value=2**63 + 2048)
def test_any_value_is_refused_or_kept(field: tuple[Any, str], value: Any) -> None:
    group, name = field
    try:
        found = dataclasses.replace(group, **{name: value})
    except SettingsError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert name in said
        return
    kept = getattr(found, name)
    # A whole number becomes the nearest float where a setting is one.
    assert kept is value or kept == (float(value) if isinstance(kept, float) else value)
    if isinstance(value, float):
        assert math.isfinite(value)
    if type(value) in (int, float):
        assert 0 <= value <= 1e30
        assert _json.load(_json.dump([kept]), what="value") == [kept]


@pytest.mark.parametrize(
    ("group", "values", "bounds"),
    [
        (TINY.training, {"epochs": 0}, ("1", "100,000")),
        (TINY.training, {"momentum": 1}, ("0", "below 1")),
        (TINY.training, {"gradient_clip": 0.0}, ("above 0", "1e+30")),
        (TINY.training, {"steps_per_epoch": 0}, ("1", "None")),
        (TINY.training, {"channels": 2000}, ("1,024", "33 GB")),
        (TINY.search.stages[0], {"cells": 2}, ("3", "normal cell")),
        (TINY.search, {"order": "third"}, ("first", "second")),
    ],
)
def test_errors_state_the_bounds_and_their_reasons(
    group: Any, values: dict[str, Any], bounds: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        dataclasses.replace(group, **values)
    ((name, value),) = values.items()
    assert (caught.value.what, caught.value.found) == (name, repr(value))
    for bound in bounds:
        assert bound in caught.value.expected


def test_missing_fields_are_named() -> None:
    with pytest.raises(SettingsError, match="cells") as caught:
        type(TINY.search.stages[0])(epochs=1)  # type: ignore[call-arg]
    assert caught.value.found == "missing"


def test_whole_numbers_become_floats() -> None:
    found = dataclasses.replace(TINY.training, gradient_clip=5)
    assert type(found.gradient_clip) is float


@pytest.mark.parametrize(
    ("group", "wrong", "meant"),
    [
        (TINY, "epochs", "training.epochs"),
        (TINY, "lerning_rate", "training.learning_rate"),
        (TINY.search, "chanels", "channels"),
        (TINY.search, "epochs", "stages.N.epochs"),
        (TINY.search, "learning_rate", "weights.learning_rate"),
        (TINY.search.stages[0], "epoch", "epochs"),
        (TINY.training, "batchsize", "batch_size"),
        (FisherSettings(), "image", "images"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(group: Any, wrong: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        dataclasses.replace(group, **{wrong: 1})
    question = str(caught.value).partition("did you mean ")[2].partition("?")[0]
    assert meant in question.replace(" or ", ", ").split(", ")
    assert wrong in str(caught.value)


def test_paths_are_those_of_set() -> None:
    kinds = list(setting_kinds(PAPER))
    assert [path for path, _ in kinds][:3] == [
        "name",
        "search.space.nodes",
        "search.space.candidates",
    ]
    assert {"search.stages", "search.stages.3.skip_dropout"} <= dict(kinds).keys()
    assert dict(kinds)["search.flip"] is bool
    assert len(kinds) == len(dict(kinds))
    assert "stages.N.epochs" in dict(setting_kinds(type(PAPER.search)))


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, 2**63])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(SettingsError, match="seed is"):
        find_preset("tiny", seed=seed)


def test_presets_that_are_none() -> None:
    with pytest.raises(SettingsError, match="'smal'") as caught:
        find_preset("smal")
    assert "small" in caught.value.hint
    for wrong in (None, TINY.search, 3):
        with pytest.raises(SettingsError, match=type(wrong).__name__):
            find_preset(wrong)  # type: ignore[arg-type]
    for name in ("", "two\nlines", "x" * 101):
        with pytest.raises(SettingsError, match="name is"):
            dataclasses.replace(TINY, name=name)


@pytest.mark.parametrize("name", ["classes", "cells", "channels", "seed"])
@pytest.mark.parametrize("value", [-1, 10**9 + 0.5, 10**30, "10", True, ["cat", "dog"]])
def test_networks_refuse_absurd_numbers(name: str, value: Any) -> None:
    fields: dict[str, Any] = {"classes": 3, "cells": 2, "channels": 4, name: value}
    with pytest.raises(SettingsError, match=f"^{name} is "):
        DerivedNetwork(Genotype.from_darts(PDARTS), **fields)


def test_networks_take_whole_numbers_of_numpy_and_torch() -> None:
    classes = np.array([0, 2]).max() + 1
    found = DerivedNetwork(
        Genotype.from_darts(PDARTS), classes=classes, cells=1, channels=torch.tensor(4)
    )
    assert (found.config["classes"], type(found.config["classes"])) == (3, int)
    assert type(found.config["channels"]) is int


@pytest.mark.parametrize(
    "fields",
    [
        {"nodes": 2.0},
        {"nodes": True},
        {"nodes": "4"},
        {"candidates": "none"},
        {"candidates": ["none"]},
        {"candidates": (1, 2)},
    ],
)
def test_spaces_of_other_types(fields: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match=next(iter(fields))):
        SearchSpace(**fields)


def test_the_presets_are_within_the_bounds() -> None:
    for preset in PRESETS.values():
        assert dataclasses.replace(preset) == preset
