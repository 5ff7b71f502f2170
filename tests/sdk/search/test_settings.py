"""Search settings: what is refused and why, presets, JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from tests.error_fields import assert_fields
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.gallery._items import DEFAULTS
from wsdarts_sdk.presets import PAPER, PRESETS, SMALL, TINY
from wsdarts_sdk.search.settings import (
    AlphaOptimiser,
    SearchSettings,
    StageSettings,
    WeightOptimiser,
    darts,
    settings_json,
)

Make = Callable[..., SearchSettings]


def stage(operations: int) -> StageSettings:
    return StageSettings(cells=3, operations=operations, epochs=1, weights_only_epochs=0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("order", "third", ("'first'", "'second'")),
        ("compute_dtype", "float16", "'bfloat16'"),
        ("warm_skip_connects", -1, "whole number from 0"),
        ("channels", 100_000, ("whole number from 2", "1,024", "33 GB")),
        ("batch_size", 1, "whole number from 2"),
        ("image_size", 7, "whole number from 8"),
        ("skip_connects", -1, "whole number from 0"),
        ("crop_padding", -1, ("whole number from 0", "or None")),
        ("crop_padding", 9, "at most image_size, 8"),
        ("steps_per_epoch", 0, ("whole number from 1", "or None")),
        ("weights", None, "WeightOptimiser"),
        ("flip", 1, "boolean"),
    ],
)
def test_values_that_are_refused(
    make_settings: Make, name: str, value: object, expected: object
) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(**{name: value})
    assert (caught.value.what, caught.value.found) == (name, repr(value))
    assert_fields(caught.value, expected=expected)


def test_too_few_channels_need_no_reason(make_settings: Make) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(channels=1)
    assert (caught.value.what, caught.value.found) == ("channels", "1")
    assert caught.value.expected.endswith(" from 2 to 1,024")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"stages": ()}, {"what": "no stages", "expected": "at least one"}),
        ({"stages": (stage(3), stage(5))}, {"what": "stages.operations", "found": [3, 5]}),
        ({"stages": [stage(3)]}, {"what": "stages", "expected": "tuple"}),
        ({"space": SearchSpace(candidates=("skip_connect", ""))}, {"what": "space.candidates"}),
        ({"stages": (stage(1),)}, {"what": ("last stage", "1 operation", "`none`")}),
    ],
)
def test_stages_and_spaces_that_are_refused(
    make_settings: Make, changes: dict[str, Any], fields: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError) as caught:
        make_settings(**changes)
    assert_fields(caught.value, **fields)


def test_one_operation_is_fine_without_none(make_settings: Make) -> None:
    space = SearchSpace(nodes=1, candidates=("skip_connect", "sep_conv_3x3"))
    assert make_settings(space=space, stages=(stage(1),)).stages[-1].operations == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"operations": 0},
        {"epochs": 0},
        {"weights_only_epochs": 3},
        {"weights_only_epochs": -1},
        {"skip_dropout": 1.0},
        {"skip_dropout": -0.1},
    ],
)
def test_refused_stages(changes: dict[str, Any]) -> None:
    fields = {"cells": 3, "operations": 2, "epochs": 2, "weights_only_epochs": 0}
    with pytest.raises(SettingsError, match=next(iter(changes))) as caught:
        StageSettings(**(fields | changes))
    assert str(next(iter(changes.values()))) in str(caught.value)


def test_fewer_cells_than_three_are_refused() -> None:
    # ⌊L/3⌋ and ⌊2L/3⌋ are all the cells there are.
    with pytest.raises(SettingsError, match=r"cells is 2; .* from 3 to 200"):
        StageSettings(cells=2, operations=2, epochs=1, weights_only_epochs=0)


def test_paper_preset_is_the_reference() -> None:
    search = PAPER.search
    assert search.space == DARTS
    assert [(s.cells, s.operations) for s in search.stages] == [(5, 8), (11, 5), (17, 3)]
    assert {(s.epochs, s.weights_only_epochs) for s in search.stages} == {(25, 10)}
    assert (search.image_size, search.batch_size, search.channels) == (84, 96, 16)
    assert (search.order, search.skip_connects, search.steps_per_epoch) == ("first", 2, None)
    weights, alpha = search.weights, search.alpha
    assert (weights.learning_rate, weights.learning_rate_min) == (0.025, 0.0)
    assert (weights.momentum, weights.weight_decay, weights.gradient_clip) == (0.9, 3e-4, 5)
    assert (alpha.learning_rate, alpha.beta1, alpha.beta2) == (6e-4, 0.5, 0.999)
    assert (alpha.weight_decay, alpha.gradient_clip) == (1e-3, 5)
    final = PAPER.training
    assert (final.cells, final.channels, final.epochs, final.batch_size) == (20, 16, 300, 96)
    assert (final.cutout, final.drop_path, final.auxiliary_weight) == (16, 0.3, 0.4)
    assert (final.learning_rate, final.momentum, final.weight_decay) == (0.025, 0.9, 3e-4)
    assert replace(PAPER.selection, epochs=300) == final
    assert PAPER.selection.epochs == 75


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_alpha_can_outgrow_its_random_start(name: str) -> None:
    # Adam moves α by about one learning rate a step; α starts at 1e-3 · randn.
    search = PRESETS[name].search
    assert search.steps_per_epoch is not None
    for each in search.stages:
        steps = (each.epochs - each.weights_only_epochs) * search.steps_per_epoch
        assert steps * search.alpha.learning_rate > 20 * 1e-3


def test_warm_starts_have_a_limit_on_skip_connects_of_their_own() -> None:
    # The paper's warm starts are discretised as in DARTS; M = 2 is P-DARTS', its cold baseline.
    assert PAPER.search.skip_connects == 2
    assert PAPER.search.last_stage_only().skip_connects is None
    assert PAPER.search.from_trained().skip_connects is None
    assert PAPER.search.with_skip_dropout(0.3).last_stage_only().skip_connects is None
    for preset in (SMALL, TINY):
        assert preset.search.skip_connects == 2
        assert preset.search.last_stage_only().skip_connects == 2
        uncapped = replace(preset.search, warm_skip_connects=None)
        assert uncapped.from_trained().skip_connects is None
        assert uncapped.skip_connects == 2


def test_last_stage_only_and_its_dropout() -> None:
    search = PAPER.search.last_stage_only()
    assert [(s.cells, s.operations, s.skip_dropout) for s in search.stages] == [(17, 3, 0.7)]
    changed = PAPER.search.with_skip_dropout(0.2)
    assert [s.skip_dropout for s in changed.stages] == [0.1, 0.4, 0.2]
    assert changed.with_skip_dropout(0.7) == PAPER.search


def test_a_start_from_trained_weights_can_be_shorter() -> None:
    assert PAPER.search.from_trained() == PAPER.search.last_stage_only()
    last = replace(PAPER.search.stages[-1], trained_epochs=4)
    search = replace(PAPER.search, stages=(*PAPER.search.stages[:-1], last))
    (found,) = search.from_trained().stages
    assert (found.cells, found.epochs, found.weights_only_epochs) == (17, 4, 0)
    (whole,) = search.last_stage_only().stages  # as from a bare transfer architecture
    assert (whole.epochs, whole.weights_only_epochs) == (25, 10)
    with pytest.raises(SettingsError, match="trained_epochs is 0; "):
        replace(last, trained_epochs=0)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), 1e300, "0.1", None, True])
def test_learning_rates_that_are_none(rate: Any) -> None:
    for optimiser in (WeightOptimiser, AlphaOptimiser):
        with pytest.raises(SettingsError, match=r"learning_rate is .* from 0 to"):
            optimiser(learning_rate=rate)
    with pytest.raises(SettingsError, match=r"learning_rate_min is 0\.2; "):
        WeightOptimiser(learning_rate=0.1, learning_rate_min=0.2)


def test_plain_darts_is_one_stage_of_everything() -> None:
    settings = darts(TINY.search, cells=8, epochs=50)
    (only,) = settings.stages
    assert (only.cells, only.operations, only.epochs, only.weights_only_epochs) == (8, 8, 50, 0)
    assert only.skip_dropout == 0
    assert settings.skip_connects is None  # no refinement


def test_settings_are_json() -> None:
    data = settings_json(PAPER.search)
    assert json.loads(json.dumps(data)) == data
    assert data["space"] == DARTS.to_json()
    assert data["stages"][1]["cells"] == 11
    assert data["alpha"]["beta1"] == 0.5
    left_out = {"synchronised_norms"}  # while it is off, so that earlier runs have equal settings
    assert set(data) == set(SearchSettings.__slots__) - left_out


def test_padding_is_an_eighth_unless_given(make_settings: Make) -> None:
    assert make_settings(image_size=32).padding == 4  # DARTS: 4 pixels for 32
    assert make_settings(crop_padding=0).padding == 0


def test_the_gallery_folds_away_the_defaults_that_are_defaults() -> None:
    settings = {field.name: field.default for field in fields(SearchSettings)}
    own = {name: value for name, value in DEFAULTS.items() if name not in ("weights", "alpha")}
    assert own == {name: settings[name] for name in own}
    assert DEFAULTS["weights"] == asdict(WeightOptimiser())
    assert DEFAULTS["alpha"] == asdict(AlphaOptimiser())
