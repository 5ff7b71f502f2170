"""What a run costs: the clock's total over all sessions, of parts that add up."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import report, search, train
from wsdarts_hub.cli.searches import show_search
from wsdarts_registry.errors import RunError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import counting_from, silent
from wsdarts_sdk.reports.report_files import read_run, seconds_spent
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.runs.records import CostMeter, read_costs
from wsdarts_sdk.task2vec.embedding import embedding_seconds
from wsdarts_sdk.task2vec.loading import load_probe

pytestmark = pytest.mark.processes


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_parts_add_up_to_the_clock_over_all_sessions(tmp_path: Path) -> None:
    run, clock = RunDirectory(tmp_path), Hands()
    began = clock()
    clock.work(5)  # imports
    first = CostMeter(run, began, clock)
    with first.phase("embedding"):
        clock.work(10)
    clock.work(3)  # compiling

    def interrupted() -> None:
        with first.session(), first.phase("loading"):
            clock.work(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    clock.work(500)  # nobody works
    kept = read_costs(tmp_path)
    assert kept.seconds == {"embedding": 10.0, "loading": 2.0, "other": 8.0}
    assert (kept.total, kept.finished) == (20.0, False)

    second = CostMeter(run, clock(), clock)
    with second.session():
        clock.work(4)
        with second.phase("loading"):
            clock.work(1)
        second.record("search", 30.0)
        clock.work(31)
        second.finish()
        clock.work(7)  # after the end
    assert second.seconds == {"embedding": 10.0, "loading": 3.0, "search": 30.0, "other": 13.0}
    assert sum(second.seconds.values()) == 20 + 4 + 1 + 31
    again = CostMeter(run, clock() - 50, clock)
    with again.session(), again.phase("loading"):
        clock.work(100)
    assert again.seconds == second.seconds


def test_a_session_that_is_killed_has_kept_its_time(tmp_path: Path) -> None:
    run, clock = RunDirectory(tmp_path), Hands()
    told: list[str] = []
    costs = CostMeter(run, clock(), clock)
    progress = costs.saving(lambda what, done, total: told.append(what))
    progress("a", 0, 9)
    assert not (tmp_path / "costs.json").exists()
    clock.work(25)
    progress("b", 1, 9)
    assert told == ["a", "b"]
    assert read_costs(tmp_path).seconds == {"other": 25.0}
    assert CostMeter(run, clock(), clock).seconds == {"other": 25.0}


def test_what_came_from_a_cache_is_not_counted(tmp_path: Path) -> None:
    run, clock = RunDirectory(tmp_path), Hands()
    costs = CostMeter(run, clock(), clock)
    with costs.phase("embedding", known=lambda: 60.0):
        clock.work(0.5)
    assert costs.cached == {"embedding": 60.0}
    assert costs.seconds == {"embedding": 0.5}
    (row,) = read_costs(tmp_path).rows
    assert (row.seconds, row.cached) == (0.5, 60.0)
    # What an earlier session of the run computed itself is no gift of a cache.
    other = RunDirectory(tmp_path / "other")
    first = CostMeter(other, clock(), clock)
    with first.phase("embedding", known=lambda: None):
        clock.work(60)
    second = CostMeter(other, clock(), clock)
    with second.phase("embedding", known=lambda: 60.0):
        clock.work(1)
    assert (second.cached, second.seconds) == ({}, {"embedding": 61.0})


def test_costs_of_earlier_versions(tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text('{"embedding": 7.5, "search": 2.5}')
    assert read_costs(tmp_path).seconds == {"embedding": 7.5, "search": 2.5}


@pytest.mark.parametrize(
    "text", ["[]", '{"search": "long"}', '{"format": 3}', '{"format": 2, "phases": {}}', "{"]
)
def test_damaged_costs_are_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text(text)
    with pytest.raises(RunError, match=r"costs\.json"):
        read_costs(tmp_path)


def test_everything_that_tells_of_costs_tells_the_same(
    digits_task: ImageTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"preset": QUICK, "device": "cpu", "progress": silent}
    first = search(digits_task, out=tmp_path / "first", **given)
    assert first.cached == {}
    with counting_from(time.monotonic() - 7200):  # a process that took long to begin
        found = search(digits_task, out=tmp_path / "second", **given)
    assert list(found.seconds) == ["embedding", "loading", "search", "other"]
    assert found.seconds["other"] > 7200
    assert found.cached == {"embedding": embedding_seconds(digits_task, load_probe())}
    total = sum(found.seconds.values())

    (shown,) = report(found.path).to_json()["runs"]
    assert shown["costs"] == found.seconds
    assert shown["cached"] == found.cached
    assert shown["figures"]["seconds"] == pytest.approx(total)
    kept = json.loads((found.path / "result.json").read_text())
    assert (kept["seconds"], kept["cached"]) == (found.seconds, found.cached)
    rows = read_run(found.path).costs
    assert {row.phase: row.seconds for row in rows} == found.seconds
    assert seconds_spent(found.path) == pytest.approx(total)
    page = found.report.read_text()
    assert "other (imports, compiling, …)" in page
    assert re.search(r"computing it took [0-9.]+ m?s", page)
    show_search(found, quiet=False)
    terminal = capsys.readouterr().out
    assert re.search(r"embedding +\S+ m?s, from a cache", terminal)
    assert re.search(r"other \(imports, compiling, …\) +2 h", terminal)
    assert re.search(r"total +2 h", terminal)
    # Reading it all again costs nothing more.
    again = search(digits_task, out=found.path, resume=True, **given)
    assert (again.seconds, again.cached) == (found.seconds, found.cached)


def test_a_training_costs_what_the_clock_says(digits_task: ImageTask, tmp_path: Path) -> None:
    given: dict[str, Any] = {"preset": QUICK, "device": "cpu", "progress": silent}
    found = search(digits_task, out=tmp_path / "run", **given)
    with counting_from(time.monotonic() - 7200):
        trained = train(found.path, digits_task, out=tmp_path / "net", **given)
    assert list(trained.seconds) == ["baseline", "training", "evaluation", "other"]
    assert trained.seconds["other"] > 7200
    (shown,) = report(trained.path).to_json()["runs"]
    assert shown["costs"] == trained.seconds
