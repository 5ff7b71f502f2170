"""Warm starts: masks of λ; masks, weights and α of λ̂; what does not fit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.error_fields import assert_fields
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.pipelines.starting_points import settings_of_mode
from wsdarts_sdk.runs.checkpoints import Checkpoint, MemoryJournal
from wsdarts_sdk.search.loop import Search, SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import SearchState, StartingPoint, transferable

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(digits_task: ImageTask, make_settings: Make, make_part: MakePart) -> SearchResult:
    """A finished search on three classes, whose λ̂ others start from."""
    settings = make_settings()
    return search([make_part(digits_task, settings)], settings)


@pytest.fixture
def trained(source: SearchResult) -> StartingPoint:
    """Its λ̂."""
    return StartingPoint(
        masks=source.stage_masks[-1],
        weights=source.weights,
        alpha=source.alpha,
        source="digits@1",
    )


def test_trained_start_takes_weights_and_alpha_exactly(
    trained: StartingPoint, make_settings: Make
) -> None:
    settings = make_settings(seed=5).last_stage_only()
    fresh = SearchState.fresh(settings, 0, trained.masks, [2], CPU)
    state = SearchState.fresh(settings, 0, trained.masks, [2], CPU)
    state.start_from(trained)
    found, before = state.net.state_dict(), fresh.net.state_dict()
    assert trained.weights is not None
    assert trained.alpha is not None
    taken = set(trained.weights) | {f"alpha.{kind}" for kind in CELL_KINDS}
    counts = {name for name in found if name.endswith("num_batches_tracked")}
    assert set(found) == taken | counts | {"heads.0.weight", "heads.0.bias"}
    for name, value in trained.weights.items():
        assert torch.equal(found[name], value), name  # running statistics, too
    for kind in CELL_KINDS:
        assert np.array_equal(found[f"alpha.{kind}"].double().numpy(), trained.alpha[kind])
    for name in ("heads.0.weight", "heads.0.bias"):
        assert torch.equal(found[name], before[name])  # fresh, for this task's classes
    assert not torch.equal(found["stem.0.weight"], before["stem.0.weight"])


@pytest.mark.parametrize("mode", ["trained", "topology", "meta", "union"])
@pytest.mark.parametrize("limit", [None, 2])
def test_warm_starts_keep_the_skip_connects_that_alpha_prefers(
    fewer_digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
    mode: str,
    limit: int | None,
) -> None:
    # M = 2 is P-DARTS' refinement; the paper's warm starts are discretised as in DARTS.
    base = make_settings(warm_skip_connects=limit)
    settings = settings_of_mode(base, mode).widened_to(len(base.space.candidates))
    full = OperationMasks.full(settings.space)
    column = settings.space.candidate_index("skip_connect")
    alpha = {kind: np.zeros(settings.space.shape) for kind in CELL_KINDS}
    for values in alpha.values():
        values[:, column] = 50.0  # so strong that no step of Adam changes the order
    weights = transferable(SearchState.fresh(settings, 0, full, [2], CPU).net)
    start = StartingPoint(masks=full, weights=weights, alpha=alpha, source="made@1")
    found = search([make_part(fewer_digits_task, settings)], settings, start=start)
    assert base.skip_connects == 2
    chosen = sum(len(node) for node in found.genotype.normal)
    assert found.genotype.count("skip_connect") == (chosen if limit is None else limit)


def test_nothing_is_frozen(
    trained: StartingPoint,
    fewer_digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    settings = make_settings().last_stage_only()
    result = search([make_part(fewer_digits_task, settings)], settings, start=trained)
    assert trained.weights is not None
    assert trained.alpha is not None
    for name, value in trained.weights.items():
        if value.is_floating_point():
            assert not torch.equal(result.weights[name], value), name
    for kind in CELL_KINDS:
        assert not np.array_equal(result.alpha[kind], trained.alpha[kind])
    assert result.stage_masks == (trained.masks,)
    assert result.source == "digits@1"


def test_the_source_is_not_changed_by_the_search(
    trained: StartingPoint,
    source: SearchResult,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    before = {name: value.clone() for name, value in source.weights.items()}
    settings = make_settings().last_stage_only()
    search([make_part(digits_task, settings)], settings, start=trained)
    assert all(torch.equal(source.weights[name], value) for name, value in before.items())


def test_topology_start_keeps_the_masks_and_nothing_else(
    trained: StartingPoint, make_settings: Make
) -> None:
    settings = make_settings().last_stage_only()
    state = SearchState.fresh(settings, 0, trained.masks, [3], CPU)
    before = {name: value.clone() for name, value in state.net.state_dict().items()}
    state.start_from(StartingPoint(masks=trained.masks, source="digits@1"))
    assert all(torch.equal(state.net.state_dict()[name], value) for name, value in before.items())
    for kind in CELL_KINDS:
        plans = [plan for plan in state.net.plans if plan.kind == kind]
        assert plans
        for plan in plans:
            for edge in range(len(trained.masks.space.edges)):
                computed = {group.operation for group in plan.groups if edge in group.edges}
                assert computed == set(trained.masks.operations(kind, edge)) - {"none"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"channels": 3}, ("cells.0", "there and of shape", "here", "(4 cells, 3 channels)")),
        ({"cells": 3}, ("cells.3", "there and absent here", "(3 cells, 2 channels)")),
        ({"cells": 5}, ("cells.2", "there and", "here (5 cells, 2 channels)")),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    change: dict[str, int],
    what: tuple[str, ...],
    trained: StartingPoint,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    settings = make_settings().last_stage_only()
    if "cells" in change:
        settings = replace(settings, stages=(replace(settings.stages[0], **change),))
    else:
        settings = replace(settings, **change)
    with pytest.raises(SettingsError) as caught:
        search([make_part(digits_task, settings)], settings, start=trained)
    assert_fields(caught.value, what=("digits@1 do not fit", *what), hint="mode 'topology'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [np.zeros((1, 5)), np.full((5, 5), np.nan)])
def test_alpha_that_does_not_fit_is_refused(
    wrong: np.ndarray, trained: StartingPoint, make_settings: Make
) -> None:
    # One row would broadcast without a word.
    settings = make_settings().last_stage_only()
    assert trained.alpha is not None
    start = replace(trained, alpha=trained.alpha | {"reduction": wrong})
    state = SearchState.fresh(settings, 0, trained.masks, [3], CPU)
    with pytest.raises(SettingsError, match=r"digits@1 .*reduction is"):
        state.start_from(start)


def test_another_search_space_is_refused(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings()
    start = StartingPoint(masks=OperationMasks.full(SearchSpace(nodes=1)), source="other@2")
    with pytest.raises(SettingsError, match=r"other@2 .*1 node, operations none"):
        Search([make_part(digits_task, settings)], settings, start=start)


class Untouched(MemoryJournal):
    """A journal of a search that must not begin."""

    def restore(self) -> Checkpoint | None:
        """Never asked for."""
        raise AssertionError


def test_masks_without_a_genotype_are_refused_before_any_work(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings()
    mask = np.ones(settings.space.shape, dtype=bool)
    mask[1] = [True, False, False, False, False]  # only `none` on one of node 2's two edges
    masks = OperationMasks.from_arrays(settings.space, np.ones_like(mask), mask)
    start = StartingPoint(masks=masks, source="hollow@1")
    with pytest.raises(SettingsError, match="hollow@1: node 2"):
        search([make_part(digits_task, settings)], settings, start=start, journal=Untouched())


def test_wider_masks_widen_the_first_stage(
    trained: StartingPoint,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    # The union of two neighbours may keep more operations than the last stage allows.
    settings = make_settings().last_stage_only()
    wide = trained.masks.union(OperationMasks.full(settings.space))
    start = StartingPoint(masks=wide, source="a@1 + b@1")
    with pytest.raises(SettingsError, match="widened_to"):
        search([make_part(digits_task, settings)], settings, start=start)
    settings = settings.widened_to(wide.widest)
    result = search(
        [make_part(digits_task, settings)],
        settings,
        start=start,
    )
    assert result.stage_masks == (wide,)
    assert result.source == "a@1 + b@1"
