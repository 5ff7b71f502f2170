"""Runs read back: finished, cut off, from before, and none at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.reports.samples import SPACE, make_asked, make_genotype, make_report
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports.facts import AlphaHistory, RunReport
from wsdarts_sdk.reports.page import render_report
from wsdarts_sdk.reports.report_files import (
    add_training,
    keep_report,
    read_run,
    save_report,
    seconds_spent,
    trainings_within,
)
from wsdarts_sdk.runs.directory import RunDirectory


def begin(path: Path, report: RunReport) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text('{"format": 1, "split_rule": 2}')
    keep_report(RunDirectory(path), report)
    return path


def begun_search() -> RunReport:
    none = np.zeros((0, *SPACE.shape))
    return RunReport(
        title="Search on digits",
        summary="This run has not finished.",
        created="today",
        asked=make_asked(command="search"),
        unfinished="It has only begun.",
        alpha=AlphaHistory(space=SPACE, normal=none, reduction=none),
    )


def row(stage: int, epoch: int, seconds: float) -> dict[str, Any]:
    share = [[0.25] * SPACE.shape[1]] * SPACE.shape[0]
    return {
        "stage": stage,
        "epoch": epoch,
        "seconds": seconds,
        "steps": 3,
        "skip_connects": 1,
        "weights_loss": 2.5,
        "weights_accuracy": 0.3,
        "alpha_loss": None,
        "alpha_accuracy": None,
        "learning_rate": 0.02,
        "skip_dropout": 0.1,
        "probabilities": dict.fromkeys(CELL_KINDS, share),
    }


def write_rows(path: Path, *rows: dict[str, Any], name: str = "search") -> None:
    text = "".join(json.dumps(each) + "\n" for each in rows)
    (path / f"{name}.metrics.jsonl").write_text(f'{text}{{"cut')


def test_a_finished_run_is_what_it_says(tmp_path: Path) -> None:
    found = read_run(begin(tmp_path / "run", make_report()))
    assert found.title == "Warm start on digits"
    assert found.unfinished == ""


def test_a_search_that_was_killed_is_shown_as_far_as_it_came(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", begun_search())
    assert "no whole epoch yet" in read_run(run).unfinished
    # Rows hold the seconds of their stage so far: 2, 5 - 2 = 3, and 4 from 0 again.
    write_rows(run, row(0, 0, 2.0), row(0, 1, 5.0), row(1, 0, 4.0))
    (run / "costs.json").write_text('{"embedding": 7.5}')
    (run / "decision.json").write_text('{"mode": "trained", "sources": ["a@1"], "why": "near"}')
    found = read_run(run)
    assert "epoch 1 of stage 2." in found.unfinished
    assert [(r.stage, r.epoch, r.seconds) for r in found.epochs] == [
        (1, 1, 2.0),
        (1, 2, 3.0),
        (2, 1, 4.0),
    ]
    assert [(c.phase, c.seconds) for c in found.costs] == [("embedding", 7.5), ("search", 9.0)]
    assert seconds_spent(run) == 16.5
    assert seconds_spent(tmp_path) == 0  # no run
    assert found.decision is not None
    assert found.decision.sources == ("a@1",)
    assert found.alpha is not None
    assert found.alpha.normal.shape == (3, *SPACE.shape)
    page = render_report(found)
    assert "has not finished." in page
    assert found.unfinished in page
    assert 'class="stack"' in page


def test_a_sweep_shows_the_search_written_last(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", begun_search())
    write_rows(run, row(0, 0, 2.0), row(0, 1, 3.0), name="search-0")
    write_rows(run, row(0, 0, 2.0), name="search-0.1")
    ranked = {"epoch": 0, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "seconds": 4.0}
    write_rows(run, ranked, name="selection-0")
    # Rows hold the seconds of their stage so far: 3 and 2 of two searches, 4 of a training.
    assert seconds_spent(run) == 9
    found = read_run(run)
    assert len(found.epochs) == 1
    assert "begun 2 of its searches" in found.unfinished
    assert "dropout of 0.1" in found.unfinished


def test_a_training_that_was_killed(tmp_path: Path) -> None:
    begun = replace(begun_search(), asked=make_asked(command="train"), alpha=None)
    run = begin(tmp_path / "run", replace(begun, genotype=make_genotype(*["sep_conv_3x3"] * 4)))
    rows = [
        {"epoch": e, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "seconds": 2.0 * e + 1}
        for e in range(3)
    ]
    write_rows(run, *rows, name="training")
    found = read_run(run)
    assert "epoch is 3." in found.unfinished
    assert found.training is not None
    assert [e.seconds for e in found.training.epochs] == [1.0, 2.0, 2.0]
    assert (found.training.accuracy, found.training.parameters) == (None, None)
    assert "no selection has seen" not in render_report(found)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r"row 2 of .*search\.metrics\.jsonl"),
        ('{"stage": 0}', r"row 2 of .*search\.metrics\.jsonl.* epoch: "),
        (json.dumps(row(0, 0, -1.0)), "row 2 of .* seconds: "),
        (
            json.dumps({**row(0, 1, 2.0), "probabilities": {"normal": [[0.5]]}}),
            "α of another shape",
        ),
    ],
)
def test_damaged_metrics_are_one_line(line: str, says: str, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", begun_search())
    (run / "search.metrics.jsonl").write_text(f"{json.dumps(row(0, 0, 1.0))}\n{line}\n")
    with pytest.raises(RunError, match=says):
        read_run(run)


@pytest.mark.parametrize("name", ["costs", "decision"])
def test_other_damaged_files_are_one_line(name: str, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", begun_search())
    (run / f"{name}.json").write_text('{"search": "long"}')
    with pytest.raises(RunError, match=rf"{name}\.json is not valid: "):
        read_run(run)


def test_no_run_and_a_run_from_before(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="not a run directory"):
            read_run(path)
    (tmp_path / "config.json").write_text('{"format": 1, "split_rule": 2}')
    with pytest.raises(RunError, match=r"no report\.json") as caught:
        read_run(tmp_path)
    assert f"--out {tmp_path} --resume" in caught.value.hint
    (tmp_path / "config.json").write_text('{"format": 1}')
    with pytest.raises(RunError, match=r"no report\.json") as caught:
        read_run(tmp_path)
    assert "another --out" in caught.value.hint


def test_an_unfinished_run_from_before_is_not_told_to_go_on(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", begun_search())
    (run / "config.json").write_text('{"format": 1}')
    write_rows(run, row(0, 0, 2.0))
    found = read_run(run)
    assert len(found.epochs) == 1
    assert "--resume" not in found.unfinished
    assert "earlier version" in found.unfinished


def test_trainings_of_what_a_run_found(tmp_path: Path) -> None:
    search = replace(make_report(), training=None)
    run = begin(tmp_path / "run", search)
    begin(run / "training", make_report())
    begin(run / "again", make_report())
    begin(run / "killed", replace(make_report(), unfinished="It was stopped."))
    begin(run / "other", replace(make_report(), genotype=make_genotype(*["sep_conv_3x3"] * 4)))
    elsewhere = (replace(search.tasks[0], digest="sha256:" + "ef" * 32),)
    begin(run / "on-another-task", replace(make_report(), tasks=elsewhere))
    assert [name for name, _ in trainings_within(run, search)] == ["again", "training"]
    assert trainings_within(run, replace(search, genotype=None)) == ()
    assert trainings_within(run, make_report()) == ()  # a training has none within


def test_a_training_is_added_to_the_page_of_its_run(tmp_path: Path) -> None:
    search = replace(make_report(), training=None)
    page = save_report(RunDirectory(begin(tmp_path / "run", search)), search)
    before = page.read_text(encoding="utf-8")
    begin(tmp_path / "run" / "training", make_report())
    add_training(tmp_path / "run")
    assert page.read_text(encoding="utf-8") == render_report(search, [make_report()]) != before
    add_training(tmp_path / "no run")
    assert not (tmp_path / "no run").exists()


OLD = Path(__file__).parent / "old_run"


def test_a_run_of_the_first_version_is_read(tmp_path: Path) -> None:
    found = read_run(OLD)
    assert found.decision is not None
    assert (found.decision.sources, found.decision.mode) == (("noise@1",), "topology")
    assert [n.reference for n in found.decision.neighbours] == ["noise@1"]
    assert [cost.phase for cost in found.costs] == ["embedding", "nearest", "loading", "search"]
    assert all(cost.cached is None for cost in found.costs)
    ((name, training),) = trainings_within(OLD, found)
    assert name == "training"
    assert training.training is not None
    assert training.training.accuracy == 0.5
    render_report(found)
    # As if it had been stopped: its decision has no ranking, its costs have no total.
    shutil.copytree(OLD, tmp_path / "run")
    stopped = replace(found, unfinished="It has only begun.", epochs=(), alpha=None, decision=None)
    space = found.alpha.space if found.alpha else SPACE
    none = np.zeros((0, *space.shape))
    history = AlphaHistory(space=space, normal=none, reduction=none)
    keep_report(RunDirectory(tmp_path / "run"), replace(stopped, alpha=history))
    again = read_run(tmp_path / "run")
    assert again.decision is not None
    assert (again.decision.why, again.decision.neighbours) == (found.decision.why, ())
    assert again.costs == found.costs
