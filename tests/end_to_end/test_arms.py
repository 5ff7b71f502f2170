"""The experiment of arms and controls: statistics by hand, its table, its page, and tiny cells."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wsdarts_hub import TINY, ImageTask, load_probe, push, search
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.presets import Preset

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
Module = Callable[[str], Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Import a module of the benchmarks by its name."""
    folders = [str(_BENCHMARKS), str(_BENCHMARKS / "experiments")]
    monkeypatch.setattr(sys, "path", [*folders, *sys.path])
    return importlib.import_module


@pytest.fixture
def paired(module: Module) -> Any:
    return module("paired_differences")


def spread(paired: Any, found: Any) -> float:
    """Return the deviation of a task's resampled means."""
    draws = np.random.default_rng(0)
    return float(paired.resampled_means(np.array(found, dtype=np.int8), draws, 20000).std())


def test_hits_survive_the_way_through_text(paired: Any) -> None:
    right = np.array([True, False, False, True, True, False, True, False, True])
    assert (paired.unpack_hits(paired.pack_hits(right), 9) == right).all()


def test_differences_pair_seeds_and_images(paired: Any) -> None:
    one, other = np.array([True, True, False]), np.array([False, True, True])
    assert paired.differences({0: one, 1: one}, {1: other, 2: other}).tolist() == [[1, 0, -1]]
    # An arm without seeds meets each seed of the other.
    assert paired.differences({0: one, 1: other}, {None: other}).tolist() == [[1, 0, -1], [0, 0, 0]]
    assert paired.differences({0: one}, {1: other}).size == 0


def test_an_image_is_drawn_for_all_seeds_at_once(paired: Any) -> None:
    # Five seeds agree on 100 images, half of them 1 and half -1: deviation 1 / sqrt(100). Taking
    # the 500 differences for independent ones would give 1 / sqrt(500) = 0.045.
    found = np.tile([1, -1] * 50, (5, 1))
    assert spread(paired, found) == pytest.approx(0.1, rel=0.03)


def test_a_seed_is_drawn_for_all_images_at_once(paired: Any) -> None:
    # Two seeds, 1 and -1 on every image: the unbiased variance is 2, that of the mean 2 / 2.
    # Drawing two of two seeds would give sqrt(1 / 2); independent images nearly nothing.
    assert spread(paired, [[1] * 100, [-1] * 100]) == pytest.approx(1.0, rel=0.03)
    # Four seeds, of which one is 1 and the others 0: s² = 1/4, and of the mean 1/16.
    found = [[1] * 50, [0] * 50, [0] * 50, [0] * 50]
    assert spread(paired, found) == pytest.approx(0.25, rel=0.03)


def test_equal_arms_differ_by_nothing(paired: Any) -> None:
    # Unpaired resampling of two arms with a hit on every second image has a deviation of 0.1.
    found = paired.compare({"one": np.zeros((2, 50), dtype=np.int8)})
    assert found["interval"] == [0, 0]
    assert found["interval_of_tasks"] is None


def test_tasks_count_alike_whatever_their_size(paired: Any) -> None:
    small, large = np.ones((1, 10), dtype=np.int8), np.zeros((1, 990), dtype=np.int8)
    found = paired.compare({"small": small, "large": large})
    assert found["mean"] == 0.5  # by images it would be 0.01
    assert found["interval"] == [0.5, 0.5]  # on these tasks nothing varies
    assert found["interval_of_tasks"] == [0, 1]  # one of two is drawn


def test_sign_flip_by_hand(paired: Any) -> None:
    # Sums of ±3 ±1: 4, 2, -2, -4, of which two are as far from 0 as 4. One-sided: 1/4.
    assert paired.sign_flip([3.0, 1.0]) == 0.5
    # ±2 ±1: all four are at least as far as 1. A strict comparison would leave two of them.
    assert paired.sign_flip([2.0, -1.0]) == 1.0
    # Six tasks of one sign: 2/64, and never less. 0.1 + 0.2 is not 0.3 in floats.
    assert paired.sign_flip([0.1, 0.2, 0.3, 0.1, 0.2, 0.3]) == 2 / 64
    assert paired.compare({str(n): np.ones((1, 3), dtype=np.int8) for n in range(6)})[
        "least_p"
    ] == pytest.approx(0.03125)


def test_the_threshold_leaves_a_task_out_on_both_sides(module: Module) -> None:
    # Nearest others: a-b 1, b-a 1, c-b 4, d-c 6: the largest is 6. Without b a's nearest is d, 9,
    # which leaving out b's row alone would not show (6).
    matrix = [[0, 1, 10, 9], [1, 0, 4, 8], [10, 4, 0, 6], [9, 8, 6, 0]]
    near = module("six_sets").near_threshold
    assert near("abcd", matrix, left_out="nothing") == 6
    assert near("abcd", matrix, left_out="b") == 9
    assert near("abcd", matrix, left_out="d") == 4


def test_the_declared_order(module: Module) -> None:
    arms = module("arms")
    names = [cell.name for cell in arms.ARMS.cells]
    known = set(names)
    for place, cell in enumerate(arms.ARMS.cells):
        assert set(cell.needs) <= known
        assert all(names.index(need) < place for need in cell.needs), cell.name
    headline = [arm.name for arm in arms.HEADLINE]
    first = {f"{name}-{arm}-0" for name in arms.ORDER for arm in headline}
    trained = [cell.name for cell in arms.ARMS.cells if "arm" in cell.asked]
    assert set(trained[: len(first)]) == first
    by_arm = [
        (cell.asked["arm"], cell.asked["set"]) for cell in arms.ARMS.cells if "arm" in cell.asked
    ]
    assert all(by_arm.count((arm, name)) == 5 for arm in headline for name in arms.ORDER)
    others = {arm.name for arm in arms.ARMS_BY_NAME.values() if not arm.linear} - set(headline)
    assert all(by_arm.count((arm, name)) in (0, 2) for arm in others for name in arms.ORDER)
    metas = {name for arm, name in by_arm if arm == "warm-meta"}
    assert metas == set(arms.ORDER) - set(arms.META)


def test_random_masks_have_the_size_of_the_others(module: Module) -> None:
    arms = module("arms")
    full = OperationMasks.full(DARTS)
    three = full.keep_strongest(*[np.random.default_rng(1).normal(size=DARTS.shape)] * 2, 3)
    one, other = (arms.random_masks(three, seed) for seed in (0, 1))
    assert one != other
    assert one == arms.random_masks(three, 0)
    for kind in ("normal", "reduction"):
        assert (one.array(kind).sum(axis=1) == 3).all()
    # Every candidate is drawn from, not those of λ alone.
    assert (one.array("normal") & ~three.array("normal")).any()


SECONDS = {"cold": 200.0, "cold-chosen": 200.0, "trained": 10.0, "chosen": 10.0}


def fake_rows(paired: Any) -> list[dict[str, Any]]:
    """Return results of two sets, in which ``warm-trained`` is right where nothing else is."""
    rows: list[dict[str, Any]] = []
    for name, images in (("dtd_10", 8), ("aircraft_edges", 16)):
        rows.append(
            {
                "set": name,
                "decision": "auto",
                "mode": "trained",
                "sources": ["one@1"],
                "distance": 0.25,
                "threshold": 0.375,
                "arm": "warm-trained",
                "embedding_seconds": 30.0,
            }
        )
        for kind, seconds in SECONDS.items():
            took = {"search": seconds, "choice": 20.0 * ("chosen" in kind), "other": 1.0}
            rows.append({"set": name, "search": kind, "seed": 0, "took": took, "work": 1})
        for arm, right in (("warm-trained", 4), ("cold-inherited", 2), ("linear", 1)):
            for seed in [None] if arm == "linear" else [0, 1]:
                hits = np.arange(images) < right
                figures = {"accuracy": right / images, "images": images, "parameters": 100}
                asked = {"set": name, "arm": arm, "seed": seed, "hits": paired.pack_hits(hits)}
                rows.append({**asked, **figures})
    return rows


def test_the_summary_of_results(module: Module, paired: Any) -> None:
    found = module("arms_summary").summarise(fake_rows(paired), tuned=["dtd_10"])
    compared = {(each["first"], each["second"]): each for each in found["comparisons"]}
    warm = compared["warm-trained", "cold-inherited"]
    assert warm["mean"] == pytest.approx((2 / 8 + 2 / 16) / 2, abs=1e-4)
    assert (warm["tuned"], warm["apart"]) == (0.25, 0.125)
    assert compared["auto-before", "cold-inherited"]["by_task"] == warm["by_task"]
    assert compared["warm-trained", "linear"]["by_task"]["dtd_10"]["seeds"] == 2
    assert ("cold", "darts-v2") not in compared
    assert found["accuracy"]["auto-before"]["dtd_10"]["mean"] == 0.5
    # 10 of 200 seconds, and 40 with the embedding.
    assert [len(goal["reached"]) for goal in found["goals"]] == [2, 2, 2, 0, 0, 0, 2, 0]
    shares = module("arms_summary").shares_of_cold
    assert shares(found["costs"], "trained")["dtd_10"] == pytest.approx((0.05, 0.2))
    # 10 of 200 seconds to search, and 30 to embed, 10 to search and 20 to choose of 220.
    chosen = shares(found["costs"], "chosen", "cold-chosen")
    assert chosen["dtd_10"] == pytest.approx((0.05, 60 / 220))


def test_the_default_is_the_arm_that_auto_decides_for(module: Module) -> None:
    arms = {"warm-chosen": 0.1, "auto-chosen": 0.2, "warm-trained": 0.3, "gain-chosen": 0.4}
    rows = [
        {"set": name, "arm": arm, "accuracy": accuracy}
        for name in ("near", "elsewhere")
        for arm, accuracy in arms.items()
    ]
    decisions = {"near": {"arm": "warm-trained"}, "elsewhere": {"arm": "warm-meta"}}
    found = module("arms_summary")._with_auto(rows, decisions)
    before = {row["set"]: row["accuracy"] for row in found if row["arm"] == "default-before"}
    assert before == {"near": 0.1, "elsewhere": 0.2}
    assert [row["accuracy"] for row in found if row["arm"] == "default"] == [0.4, 0.4]


def test_the_page_of_few_and_of_no_results(
    module: Module, paired: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cells, page = module("cells"), module("arms_page")
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    empty = page.section()
    assert "0 of " in empty
    assert "### Accuracy\n" not in empty
    folder = tmp_path / "experiments" / "arms"
    folder.mkdir(parents=True)
    for row in fake_rows(paired):
        part = row.get("arm") if "hits" in row else f"search-{row.get('search')}"
        part = "decision" if "decision" in row else part
        tail = "" if row.get("seed") is None else f"-{row['seed']}"
        row |= {"seconds_here": 36, "machine": {"threads": 1}}
        (folder / f"{row['set']}-{part}{tail}.json").write_text(json.dumps(row))
    text = page.section()
    assert "20 of " in text
    assert "0.2 core-hours" in text  # 20 cells of 36 seconds
    lines = {line.split(" | ")[0].strip("| *`"): line for line in text.splitlines()}
    assert "50.0 ± 0.0 (2)" in lines["warm-trained"]
    assert "12.5 (1)" in lines["linear"]
    assert "| dtd_10 | 200 | 30 | 5 % |" in text  # seconds of a cold search and an embedding
    assert "/ 50.00" in lines["dtd"]  # beside the paper's 49.57


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, ImageTask]:
    """Two tasks of grey digits."""
    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * 15).astype(np.uint8)
    found = {}
    for name, classes in (("low", (0, 1, 2)), ("high", (7, 8))):
        chosen = np.concatenate([np.flatnonzero(labels == each)[:20] for each in classes])
        data = (grey[chosen], labels[chosen].astype(np.int64))
        found[name] = ImageTask.load(data, name=name, cache_dir=tmp_path / name)
    return found


def tiny() -> Preset:
    """Return a preset of single steps."""
    stages = tuple(replace(s, epochs=1, weights_only_epochs=0) for s in TINY.search.stages)
    found = replace(TINY, search=replace(TINY.search, stages=stages, steps_per_epoch=1))
    return found.with_training(channels=4, epochs=1, steps_per_epoch=2)


@pytest.mark.slow
def test_tiny_cells_end_to_end(
    module: Module,
    tasks: dict[str, ImageTask],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells, arms = module("cells"), module("arms")
    monkeypatch.setattr(cells, "RESULTS", tmp_path / "results")
    registry = DirectoryStore(tmp_path / "registry", create=True)
    run = search(tasks["high"], out=tmp_path / "run", preset=tiny())
    push(run.path, "high", registry=registry, license="research-only")

    def copied(name: str, path: Path) -> DirectoryStore:
        return DirectoryStore(shutil.copytree(tmp_path / "registry", path, dirs_exist_ok=True))

    conditions = arms.Conditions(
        load=tasks.__getitem__,
        nearest={"low": "high"},
        meta_parts=["low"],
        registry=copied,
        probe=load_probe,
        default_probe=load_probe,
        preset=tiny(),
        training=lambda name, seed: replace(tiny().training, seed=seed),
    )
    toy = arms.Experiment(name="toy", cells=arms.table(conditions, ["low"], [], []), summary=dict)
    wanted = ["warm-trained-0", "random-in-masks-0", "cold-inherited-0", "decision", "linear"]
    cells.run(toy, tmp_path / "runs", only=[f"low-{name}" for name in wanted])
    masks = arms._search_cell(conditions, "low", "random-masks", 0)
    found = {row["cell"]: row for row in toy.finished()}
    masked = masks.work(tmp_path / "runs" / masks.name)
    assert set(found) >= {"low-search-trained-0", *(f"low-{n}" for n in wanted)}
    warm, random = found["low-warm-trained-0"], found["low-random-in-masks-0"]
    assert warm["share_inherited"] == pytest.approx(random["share_inherited"], abs=0.5)
    assert warm["genotype"] == found["low-search-trained-0"]["genotype"] != random["genotype"]
    assert found["low-search-trained-0"]["sources"] == [["high@1", registry.resolve("high").digest]]
    assert found["low-decision"]["sources"] == ["high@1"] or found["low-decision"]["mode"] == "cold"
    assert masked["sources"][0][0] == "random-masks@1"
    hits = module("paired_differences").unpack_hits(warm["hits"], warm["images"])
    assert hits.mean() == pytest.approx(warm["accuracy"])
    assert module("arms_summary").summarise(list(found.values()), tuned=["low"])["comparisons"]
