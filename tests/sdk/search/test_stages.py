"""The search as a whole: stages, masks, fresh starts, weights-only epochs, optimisers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import TrainPart, seed_of
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import Checkpoint, MemoryJournal
from wsdarts_sdk.search.derivation import derive_genotype
from wsdarts_sdk.search.loop import Search, SearchResult, search
from wsdarts_sdk.search.settings import AlphaOptimiser, SearchSettings, WeightOptimiser, darts
from wsdarts_sdk.supernet.network import Supernet

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
Run = tuple[SearchResult, list[Checkpoint]]


class EveryCheckpoint(MemoryJournal):
    """A journal that keeps what a file would have held after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Checkpoint] = []

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep this one, too."""
        super().checkpoint(checkpoint)
        last = self.restore()
        assert last is not None
        self.kept.append(last)


def run(task: ImageTask, settings: SearchSettings, make_part: MakePart) -> Run:
    journal = EveryCheckpoint()
    return search([make_part(task, settings)], settings, journal=journal), journal.kept


@pytest.fixture(scope="module")
def default_run(digits_task: ImageTask, make_settings: Make, make_part: MakePart) -> Run:
    """One search with the default settings, for all tests that look at it."""
    return run(digits_task, make_settings(), make_part)


def test_masks_are_carried_over(default_run: Run) -> None:
    result, kept = default_run
    assert [masks.widest for masks in result.stage_masks] == [3, 2, 2]
    sizes = [{sum(row) for row in masks.normal + masks.reduction} for masks in result.stage_masks]
    assert sizes == [{3}, {2}, {2}]  # every edge, and nothing is discretised after the last stage
    first, second, last = (
        np.concatenate([masks.array(kind) for kind in CELL_KINDS]) for masks in result.stage_masks
    )
    assert (first >= second).all()  # what was dropped stays dropped
    assert np.array_equal(second, last)
    # The masks follow from α at the end of the stage before: row 1 is its last epoch.
    for kind in CELL_KINDS:
        shares = np.array(result.rows[1]["probabilities"][kind])
        weakest_kept = np.where(result.stage_masks[0].array(kind), shares, 2).min(axis=1)
        strongest_lost = np.where(result.stage_masks[0].array(kind), -1, shares).max(axis=1)
        assert (weakest_kept >= strongest_lost).all()
    assert len(kept) == 6


def test_each_stage_starts_from_fresh_weights_and_alpha(
    default_run: Run, make_settings: Make
) -> None:
    result, kept = default_run
    settings = make_settings()
    for stage, checkpoint in ((1, kept[1]), (2, kept[3])):  # when stage − 1 has just ended
        assert checkpoint.facts["position"] == [stage, 0, 0]
        fresh = Supernet(
            result.stage_masks[stage - 1],
            cells=settings.stages[stage].cells,
            channels=2,
            classes=[3],
            seed=seed_of(settings.seed, "supernet", stage),
        ).state_dict()
        for name, value in fresh.items():
            assert torch.equal(value, checkpoint.tensors[f"net.{name}"]), name
        assert not any(name.startswith("optimiser.") for name in checkpoint.tensors)


def test_alpha_differs_between_the_stages_starts(default_run: Run) -> None:
    _, kept = default_run
    assert not torch.equal(kept[1].tensors["net.alpha.normal"], kept[3].tensors["net.alpha.normal"])


def test_weights_only_epochs_leave_alpha_exactly_alone(default_run: Run) -> None:
    result, kept = default_run
    for stage_start, after_first, after_second in ((1, 2, 3), (3, 4, 5)):
        start, first = kept[stage_start].tensors, kept[after_first].tensors
        for kind in CELL_KINDS:
            assert torch.equal(start[f"net.alpha.{kind}"], first[f"net.alpha.{kind}"])
            assert f"optimiser.exp_avg.alpha.{kind}" not in first
        assert not torch.equal(start["net.stem.0.weight"], first["net.stem.0.weight"])
        if after_second == 5:  # the end: α has moved in the second epoch
            end = kept[after_second].tensors
            assert not torch.equal(first["net.alpha.normal"], end["net.alpha.normal"])
            assert "optimiser.exp_avg.alpha.normal" in end
    assert [row["alpha_loss"] is None for row in result.rows] == [True, False] * 3


def test_rows(default_run: Run) -> None:
    result, _ = default_run
    assert [(row["stage"], row["epoch"]) for row in result.rows] == [
        (stage, epoch) for stage in range(3) for epoch in range(2)
    ]
    assert [row["learning_rate"] for row in result.rows] == pytest.approx([0.025, 0.0125] * 3)
    assert [row["skip_dropout"] for row in result.rows] == pytest.approx([0.15, 0.3] * 3)
    assert {row["steps"] for row in result.rows} == {2}
    assert len(result.seconds) == 3
    ends = [row["seconds"] for row in result.rows[1::2]]
    assert ends == pytest.approx(list(result.seconds))
    assert all(0 <= row["weights_accuracy"] <= 1 for row in result.rows)
    assert result.source == "cold"


def test_skip_connects_are_counted_in_both_cells_before_refinement(
    default_run: Run, make_settings: Make
) -> None:
    result, _ = default_run
    for row in result.rows:
        # log softmax is α but for a constant on each edge, which no choice depends on.
        masks = result.stage_masks[max(0, row["stage"] - 1)]
        shares = {kind: np.array(row["probabilities"][kind]) for kind in CELL_KINDS}
        if row["stage"] == 0:
            masks = OperationMasks.full(make_settings().space)
        with np.errstate(divide="ignore"):
            alpha = {kind: np.log(shares[kind]) for kind in CELL_KINDS}
        cells = derive_genotype(masks, alpha, skip_connects=None)
        assert row["skip_connects"] == cells.count("skip_connect", "normal")
        assert row["skip_connects_reduction"] == cells.count("skip_connect", "reduction")


def test_genotype_is_derived_from_the_last_alpha(default_run: Run, make_settings: Make) -> None:
    result, _ = default_run
    assert result.genotype == derive_genotype(
        result.stage_masks[-1], result.alpha, skip_connects=make_settings().skip_connects
    )
    assert not any(name.startswith(("heads", "alpha")) for name in result.weights)


def test_the_same_seed_finds_the_same_twice(
    default_run: Run, digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    result, _ = default_run
    torch.manual_seed(123)  # the global generator must not matter
    again, _ = run(digits_task, make_settings(), make_part)
    other, _ = run(digits_task, make_settings(seed=1), make_part)
    assert again.genotype == result.genotype
    assert again.stage_masks == result.stage_masks
    for kind in CELL_KINDS:
        assert np.array_equal(again.alpha[kind], result.alpha[kind])
        assert not np.array_equal(other.alpha[kind], result.alpha[kind])
    for name, value in result.weights.items():
        assert torch.equal(again.weights[name], value), name
    assert not torch.equal(again.weights["stem.0.weight"], other.weights["stem.0.weight"])


def test_alpha_is_in_every_checkpoint(default_run: Run) -> None:
    for checkpoint in default_run[1]:
        assert {"net.alpha.normal", "net.alpha.reduction"} <= set(checkpoint.tensors)


def test_second_order_search_runs(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(order="second", stages=make_settings().stages[:1])
    first = replace(settings, order="first")
    found, plain = (run(digits_task, each, make_part)[0] for each in (settings, first))
    assert not np.array_equal(found.alpha["normal"], plain.alpha["normal"])
    assert np.isfinite(found.alpha["normal"]).all()


def test_plain_darts(digits_task: ImageTask, make_settings: Make, make_part: MakePart) -> None:
    settings = darts(make_settings(), cells=3, epochs=2)
    result, _ = run(digits_task, settings, make_part)
    assert result.stage_masks == (OperationMasks.full(settings.space),)
    assert [row["alpha_loss"] is None for row in result.rows] == [False, False]
    assert {row["skip_dropout"] for row in result.rows} == {0}
    assert result.genotype == derive_genotype(result.stage_masks[0], result.alpha)


def test_progress_rises_to_the_end(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    seen: list[tuple[str, float]] = []
    settings = make_settings()
    search(
        [make_part(digits_task, settings)],
        settings,
        progress=lambda what, done, total: seen.append((what, done / total)),
    )
    seen = [(what, share) for what, share in seen if not what.startswith("compiling")]
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert shares[-1] == 1
    assert seen[0][0] == "stage 1/3, epoch 1/2"


def test_divergence_is_an_error(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(weights=WeightOptimiser(learning_rate=1e30, gradient_clip=1e30))
    with pytest.raises(SettingsError, match="epoch 1 of stage 1"):
        run(digits_task, settings, make_part)


def test_a_cold_search_needs_room_for_all_candidates(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(stages=make_settings().stages[1:])
    with pytest.raises(SettingsError, match="cold is 5; ") as caught:
        Search([make_part(digits_task, settings)], settings)
    assert "widened_to" in caught.value.hint


def test_settings_of_both_optimisers_reach_them(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(
        weights=WeightOptimiser(momentum=0.0),
        alpha=AlphaOptimiser(learning_rate=0.5, weight_decay=0.0),
        stages=make_settings().stages[:1],
    )
    result, kept = run(digits_task, settings, make_part)
    assert not any("momentum_buffer" in name for name in kept[-1].tensors)
    moved = max(np.abs(result.alpha[kind]).max() for kind in CELL_KINDS)
    assert 0.3 < moved < 2.1  # two Adam steps of about 0.5
