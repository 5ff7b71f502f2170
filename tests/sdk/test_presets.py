"""Preset ``paper`` is the paper's: every number of its sections 4 and 5, written out."""

from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.presets import (
    MEDIUM,
    PAPER,
    PRESETS,
    TINY,
    ChoiceChanges,
    SearchChanges,
    TrainingChanges,
    find_preset,
)
from wsdarts_sdk.search.settings import AlphaOptimiser, ChoiceSettings, SearchSettings


def test_the_search_of_the_paper() -> None:
    search = PAPER.search
    assert [(stage.cells, stage.operations) for stage in search.stages] == [
        (5, 8),
        (11, 5),
        (17, 3),
    ]
    assert {(stage.epochs, stage.weights_only_epochs) for stage in search.stages} == {(25, 10)}
    assert (search.channels, search.image_size, search.batch_size) == (16, 84, 96)
    assert search.steps_per_epoch is None
    assert search.order == "first"
    assert search.space == DARTS
    assert search.space.shape == (14, 8)
    weights = search.weights
    assert (weights.learning_rate, weights.learning_rate_min, weights.momentum) == (0.025, 0.0, 0.9)
    assert (weights.weight_decay, weights.gradient_clip) == (3e-4, 5.0)
    alpha = search.alpha
    assert (alpha.learning_rate, alpha.beta1, alpha.beta2) == (6e-4, 0.5, 0.999)
    assert (alpha.weight_decay, alpha.gradient_clip) == (1e-3, 5.0)


def test_a_warm_start_of_the_paper_is_its_last_stage() -> None:
    (stage,) = PAPER.search.last_stage_only().stages
    assert (stage.cells, stage.operations, stage.epochs) == (17, 3, 25)


def test_the_trainings_of_the_paper() -> None:
    for training, epochs in ((PAPER.training, 300), (PAPER.selection, 75)):
        assert (training.cells, training.channels, training.epochs) == (20, 16, epochs)
        assert (training.image_size, training.batch_size) == (84, 96)
        assert training.steps_per_epoch is None
        assert (training.learning_rate, training.momentum) == (0.025, 0.9)
        assert training.weight_decay == 3e-4
        assert (training.cutout, training.drop_path, training.auxiliary_weight) == (16, 0.3, 0.4)


def test_finding_and_seeding() -> None:
    assert set(PRESETS) == {"paper", "medium", "small", "tiny"}
    assert find_preset("tiny") is TINY
    assert find_preset(TINY) is TINY
    found = find_preset("tiny", seed=7)
    assert (found.search.seed, found.training.seed, found.selection.seed) == (7, 7, 7)
    assert find_preset(found, seed=0) == TINY
    with pytest.raises(SettingsError, match="'huge'") as caught:
        find_preset("huge")
    assert caught.value.expected == "one of paper, medium, small, tiny"


def test_only_small_has_a_shorter_start_from_trained_weights() -> None:
    found = {name: preset.search.from_trained().stages for name, preset in PRESETS.items()}
    epochs = {name: (s.epochs, s.weights_only_epochs) for name, (s,) in found.items()}
    assert epochs == {"paper": (25, 10), "medium": (12, 4), "small": (2, 0), "tiny": (4, 1)}


def test_a_training_at_medium_can_inherit_from_its_search() -> None:
    assert MEDIUM.search.channels == MEDIUM.training.channels
    assert MEDIUM.search.image_size == MEDIUM.training.image_size
    assert MEDIUM.with_training(weights="inherited").training.weights == "inherited"


def without_bounds(kind: Any) -> Any:
    """A type without what pydantic reads of it."""
    if get_origin(kind) is Annotated:
        return without_bounds(get_args(kind)[0])
    parts = get_args(kind)
    if type(None) not in parts:
        return kind
    return without_bounds(parts[0]) | None


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        (SearchChanges, SearchSettings),
        (TrainingChanges, TrainingSettings),
        (ChoiceChanges, ChoiceSettings),
    ],
)
def test_every_setting_can_be_changed_by_its_name(changes: Any, settings: Any) -> None:
    kinds = get_type_hints(settings, include_extras=True)
    names = [field.name for field in fields(settings)]
    assert get_type_hints(changes) == {name: without_bounds(kinds[name]) for name in names}


def test_settings_are_changed_in_one_call() -> None:
    changed = TINY.with_training(epochs=50, learning_rate=0.01)
    assert (changed.training.epochs, changed.training.learning_rate) == (50, 0.01)
    assert (changed.search, changed.selection) == (TINY.search, TINY.selection)
    assert TINY.with_choice(candidates=4, steps=9).choice == ChoiceSettings(candidates=4, steps=9)
    assert TINY.with_selection(epochs=1).selection.epochs == 1
    alpha = AlphaOptimiser(learning_rate=0.5)
    assert TINY.with_search(channels=8, alpha=alpha).search.alpha.learning_rate == 0.5


def test_a_changed_setting_is_checked_and_the_nearest_right_name_is_told() -> None:
    with pytest.raises(SettingsError) as unknown:
        TINY.with_training(epochz=5)  # type: ignore[call-arg]
    assert unknown.value.what.endswith("training.epochz")
    assert "training.epochs" in unknown.value.hint
    with pytest.raises(SettingsError) as spoilt:
        TINY.with_training(epochs=0)
    assert (spoilt.value.what, spoilt.value.found) == ("training.epochs", "0")
