"""A genotype chosen among candidates: halving, limits, resuming, and the test against chance."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.documentation.workplace import Programs
from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import (
    SMALL,
    TINY,
    SearchRun,
    WarmStart,
    load_network,
    report,
    search,
    train,
    warm_start,
)
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.errors import RunError, SettingsError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.network import DerivedNetwork, count
from wsdarts_sdk.pipelines.genotype_choice import gain_and_margin, training_lengths
from wsdarts_sdk.presets import PRESETS, Preset
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.runs.records import read_costs
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.search.settings import ChoiceSettings


def preset(**changes: Any) -> Preset:
    """A search of a second whose candidates take three steps."""
    found = QUICK.with_choice(**{"candidates": 5, "steps": 3, "checked": 3, **changes})
    return replace(found, selection=replace(found.selection, batch_size=8, cutout=2))


def run(task: ImageTask, out: Path, progress: Progress = silent, **changes: Any) -> SearchRun:
    return search(
        task, out=out, preset=preset(**changes), device="cpu", progress=progress,
        resume=out.exists(),
    )  # fmt: skip


def made(found: SearchRun | WarmStart) -> GenotypeChoice:
    assert found.choice is not None
    return found.choice


@pytest.fixture(scope="module")
def found(digits_task: ImageTask, tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    return run(digits_task, tmp_path_factory.mktemp("choice") / "run")


def test_alpha_decides_but_at_small() -> None:
    assert [name for name, each in PRESETS.items() if each.choice.trains] == ["small"]
    assert not any(each.choice.limits for each in PRESETS.values())
    assert TINY.choice_json() == {}
    # One round, whose cost is that of five short trainings.
    assert training_lengths(SMALL.choice, SMALL.choice.candidates) == [1] * 5


def test_halving(found: SearchRun) -> None:
    choice = made(found)
    accuracies = [each.accuracies for each in choice.candidates]
    # 5 candidates, of which 2 go on, of which 1 is chosen.
    assert choice.steps == (3, 6)
    assert sorted(map(len, accuracies)) == [1, 1, 1, 2, 2]

    def rank(place: int, rung: int) -> tuple[float, float, int]:
        each = choice.candidates[place]
        return -each.accuracies[rung], each.losses[rung], place

    kept = sorted(range(5), key=lambda place: rank(place, 0))[:2]
    assert {place for place, each in enumerate(accuracies) if len(each) == 2} == set(kept)
    assert choice.chosen == min(kept, key=lambda place: rank(place, 1))
    assert found.genotype == choice.best.cells == found.result.genotype
    assert choice.own
    assert choice.test is not None
    assert (choice.test.candidates, choice.test.others) == (5, 2)
    assert choice.judged_on == "α half"


def test_what_a_run_keeps_of_it(found: SearchRun) -> None:
    choice = made(found)
    result = json.loads((found.path / "result.json").read_text("utf-8"))
    assert result["choice"] == choice.to_json()
    assert result["genotype"] == choice.best.cells.to_darts()
    assert report(found.path).to_json()["runs"][0]["choice"] == choice.to_json()
    page = found.report.read_text("utf-8")
    assert 'id="choice"' in page
    assert str(choice.test) in page
    manifest, _ = read_manifest(found.artifact)
    assert manifest.config["choice"] == preset().choice_json()["choice"]
    assert manifest.metrics["choice_candidates"] == 5
    assert load_network(found.artifact, classes=3).config["genotype"] == choice.best.genotype
    assert read_costs(found.path).phases["choice"] > 0
    assert not list(found.path.glob("choice-*"))
    assert "choice" in found._repr_html_().lower()


def test_sizes_are_those_of_the_network_that_is_trained(
    found: SearchRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    shape = preset().training
    for each in made(found).candidates:
        network = DerivedNetwork(each.cells, classes=3, cells=shape.cells, channels=shape.channels)
        size = count(network, shape.image_size)
        assert (each.parameters, each.multiply_adds) == (size.parameters, size.multiply_adds)
    trained = train(
        found.path, digits_task, preset=preset(), out=tmp_path / "net", baseline=None,
        device="cpu", progress=silent,
    )  # fmt: skip
    assert trained.result.parameters == made(found).best.parameters


def test_a_finished_run_is_left_as_it_is(found: SearchRun, digits_task: ImageTask) -> None:
    spent = read_costs(found.path)
    again = run(digits_task, found.path)
    assert made(again) == made(found)
    assert read_costs(found.path) == spent


class StopError(Exception):
    """What stops a run here."""


@pytest.mark.parametrize("moment", [4, 7, 9])
def test_stopped_in_a_training_and_resumed(
    moment: int, found: SearchRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    """Ten trainings: five, two, and three a second time; one of each is stopped in its middle."""
    seen: list[str] = []

    def stop(what: str, done: int, total: int, /) -> None:
        if what.startswith("choosing") and what not in seen[-1:]:
            seen.append(what)
            if len(seen) == moment:
                raise StopError

    out = tmp_path / "run"
    with pytest.raises(StopError):
        run(digits_task, out, stop)
    shown = report(out).to_json()["runs"][0]
    assert not shown["finished"]
    assert shown["choice"] is None
    again = run(digits_task, out)
    assert made(again) == made(found)
    assert again.genotype == found.genotype


_KILLED = """
import os, signal, sys
import numpy as np
import torch
from tests.sdk.pipelines.test_choice import run
from wsdarts_sdk.data.task import ImageTask

torch.set_num_threads(1)
data, out, last = sys.argv[1:]
with np.load(data) as arrays:
    task = ImageTask.load((arrays["images"], arrays["labels"]), name="digits")
calls = 0

def progress(what, done, total, /):
    global calls
    calls += what.startswith("choosing")
    if calls == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

from pathlib import Path
run(task, Path(out), progress)
"""


@pytest.mark.processes
def test_killed_and_resumed(
    found: SearchRun,
    digits: Any,
    digits_task: ImageTask,
    tmp_path: Path,
    programs: Programs,
    environment: dict[str, str],
) -> None:
    images, labels = digits
    script = tmp_path / "killed.py"
    script.write_text(_KILLED, "utf-8")
    del environment["OMP_NUM_THREADS"]  # as many threads as here: they change what is found
    environment |= {k: v for k, v in os.environ.items() if k == "OMP_NUM_THREADS"}
    data, out = tmp_path / "digits.npz", tmp_path / "run"
    np.savez(data, images=images, labels=labels)
    for last in (5, 19):  # calls of the progress, in the first and in a later training
        killed = subprocess.run(
            [programs.path("python"), script, data, out, str(last)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert made(run(digits_task, out)) == made(found)


def test_another_choice_of_the_same_search(
    found: SearchRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = run(digits_task, out, candidates=1)
    assert first.choice is None
    spent = read_costs(out)
    second = run(digits_task, out)
    assert made(second) == made(found)
    assert read_manifest(second.artifact)[0].config["choice"] == preset().choice_json()["choice"]
    costs = read_costs(out)
    assert costs.phases["search"] == spent.phases["search"]
    assert costs.finished
    back = run(digits_task, out, candidates=0)
    assert back.choice is None
    assert back.genotype == first.genotype
    assert "choice" not in read_manifest(back.artifact)[0].config
    assert not (out / "choice.json").exists()


def test_another_search_is_refused(found: SearchRun, digits_task: ImageTask) -> None:
    with pytest.raises(RunError) as refused:
        search(
            digits_task, out=found.path, preset=preset().with_search(channels=4), resume=True,
            device="cpu", progress=silent,
        )  # fmt: skip
    assert "channels" in refused.value.what


def test_a_damaged_record_is_named(digits_task: ImageTask, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(digits_task, out)
    file = out / "choice.json"
    data = json.loads(file.read_text("utf-8"))
    data["choice"]["chosen"] = 77
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(RunError) as refused:
        run(digits_task, out)
    assert "choice.json" in refused.value.what


def test_limits(found: SearchRun, digits_task: ImageTask, tmp_path: Path) -> None:
    sizes = sorted(each.parameters for each in made(found).candidates)
    within = run(digits_task, tmp_path / "run", max_parameters=sizes[1], max_multiply_adds=10**9)
    choice = made(within)
    assert choice.limits == {"max_parameters": sizes[1], "max_multiply_adds": 10**9}
    assert all(each.parameters <= sizes[1] for each in choice.candidates)
    assert choice.own == (made(found).candidates[0].parameters <= sizes[1])


def test_alpha_decides_within_limits(
    found: SearchRun, digits_task: ImageTask, tmp_path: Path
) -> None:
    own = made(found).candidates[0]
    limit = own.parameters - 1
    within = run(digits_task, tmp_path / "run", candidates=1, max_parameters=limit)
    choice = made(within)
    assert choice.steps == ()
    assert not choice.own
    assert within.genotype == choice.best.cells
    assert choice.best.parameters <= limit
    wide = run(digits_task, tmp_path / "wide", candidates=1, max_parameters=10**9)
    assert made(wide).own
    assert made(wide).best.genotype == own.genotype


@pytest.mark.parametrize("limit", ["max_parameters", "max_multiply_adds"])
def test_a_limit_that_nothing_keeps(limit: str, digits_task: ImageTask, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(SettingsError) as refused:
        run(digits_task, out, **{limit: 10})
    assert limit in refused.value.what
    assert refused.value.found == "10"
    assert "parameters" in refused.value.expected
    assert "multiply-adds" in refused.value.expected
    assert f"--{limit.replace('_', '-')}" in refused.value.hint
    # Before the search began, so the command can be put right in the same place.
    run(digits_task, out, candidates=1)


def test_the_smallest_cell_is_found_for_a_tight_limit(
    digits_task: ImageTask, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as refused:
        within_limit(10, digits_task, tmp_path / "none")
    smallest = int(refused.value.expected.split()[2].strip(":").replace(",", ""))
    assert made(within_limit(smallest, digits_task, tmp_path / "run")).best.parameters == smallest
    with pytest.raises(SettingsError):
        within_limit(smallest - 1, digits_task, tmp_path / "less")


def within_limit(limit: int, task: ImageTask, out: Path) -> SearchRun:
    """Without the refinement, for which the smallest cell has too many skip-connects."""
    limited = preset(candidates=1, max_parameters=limit).with_search(skip_connects=None)
    return search(task, out=out, preset=limited, device="cpu", progress=silent)


def test_a_joint_search_takes_what_alpha_gives(
    digits_task: ImageTask, fewer_digits_task: ImageTask, tmp_path: Path
) -> None:
    found = search(
        digits_task, fewer_digits_task, out=tmp_path / "run", preset=preset(), device="cpu",
        progress=silent,
    )  # fmt: skip
    assert made(found).own
    assert made(found).steps == ()


@pytest.mark.parametrize("sweep", [False, True])
def test_a_warm_start(
    sweep: bool, zoo: DirectoryStore, digits_task: ImageTask, tmp_path: Path
) -> None:
    found = warm_start(
        digits_task, out=tmp_path / "run", registry=zoo, mode="topology", source="a",
        preset=preset(candidates=3), device="cpu", progress=silent, sweep_skip_dropout=sweep,
    )  # fmt: skip
    choice = made(found)
    assert found.genotype == choice.best.cells
    result = json.loads((found.path / "result.json").read_text("utf-8"))
    assert result["choice"]["chosen"] == choice.chosen


def test_names_are_no_part_of_it(found: SearchRun, digits: Any, tmp_path: Path) -> None:
    """Classes named in another order, and so with other labels, give the same choice."""
    images, labels = digits
    renamed = ImageTask.load((images, 2 - labels), name="z", cache_dir=tmp_path / "cache")
    other = run(renamed, tmp_path / "run")
    assert made(other) == made(found)


def test_lengths_of_the_trainings() -> None:
    assert training_lengths(ChoiceSettings(checked=4), 8) == [1] * 8 + [1] * 4 + [2] * 2 + [1] * 4
    assert training_lengths(ChoiceSettings(reduction_factor=4, checked=2), 8) == [1] * 8 + [3] * 2
    assert training_lengths(ChoiceSettings(), 1) == []


def test_gain_and_margin_by_hand() -> None:
    right = np.array(
        [[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]], dtype=bool
    )
    first = np.array([0.75, 0.25, 0.25])
    gain, margin = gain_and_margin(first, right)
    # Second accuracies are 6/8, 4/8 and 2/8, so 0.75 − 0.375. Differences of first and second are
    # 0, −1/4 and 0, whose variance with n − 1 is 1/48, and half of it is that of one training;
    # 0.0104 · (1 + 1/2). On the images: 0, 0, ½, ½, 1, 1, 0, 0 with variance 11/56, over 8.
    assert gain == pytest.approx(0.375)
    assert margin == pytest.approx(2.92 * (1 / 96 * 1.5 + 11 / 56 / 8) ** 0.5)


def test_the_test_does_not_take_luck_for_skill() -> None:
    """Of equal candidates the best one passes seldom; of different ones it passes often."""
    draws = np.random.default_rng(0)
    passed = {0.0: 0, 0.1: 0}
    for spread in passed:
        for _ in range(200):
            skill = 0.5 + spread * np.linspace(-1, 1, 4)
            first = (draws.random((400, 4)) < skill + 0.02 * draws.normal(size=4)).mean(axis=0)
            right = (draws.random((400, 4)) < skill + 0.02 * draws.normal(size=4)).T
            order = np.argsort(-first)
            gain, margin = gain_and_margin(first[order], right[order])
            passed[spread] += gain > margin
    assert passed[0.0] <= 20
    assert passed[0.1] >= 120
