import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_start_up import TORCH, loaded_by
from tests.sdk.reports.compared import make_cold, make_training, make_warm
from tests.sdk.reports.samples import make_asked
from wsdarts_hub import WsdartsError, report
from wsdarts_sdk.reports.facts import RunReport
from wsdarts_sdk.reports.report_files import add_training, save_report
from wsdarts_sdk.runs.directory import RunDirectory


def save(path: Path, found: RunReport) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"format": 1}')
    save_report(RunDirectory(path), found)
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """A cold search, and warm starts by two seeds, the first of them trained."""
    monkeypatch.chdir(tmp_path)
    cold = save(tmp_path / "runs" / "cold", make_cold())
    warm = save(tmp_path / "runs" / "warm", make_warm())
    save(warm / "training", make_training())
    add_training(warm)
    return cold, warm, save(tmp_path / "runs" / "again", make_warm_by_another_seed())


def make_warm_by_another_seed() -> RunReport:
    found = make_warm()
    return RunReport(**{**vars(found), "asked": make_asked(seed=1)})


def test_the_report_of_one_run_is_written_anew(runs: tuple[Path, ...], run: Run) -> None:
    page = runs[1] / "report.html"
    written = page.read_bytes()
    page.unlink()
    shown = run("report", runs[1], "-q")
    assert (shown.code, shown.out) == (0, f"{page}\n")
    assert page.read_bytes() == written
    assert not Path("report.html").exists()


def test_several_are_compared(runs: tuple[Path, ...], run: Run) -> None:
    shown = run("report", *runs)
    assert shown.code == 0, shown.err
    assert shown.lines[0] == "comparison.html"
    assert "3 runs compared" in Path("comparison.html").read_text(encoding="utf-8")
    text = [" ".join(line.split()) for line in shown.lines]
    assert "A,cold,cold,search,digits,tiny,0,finished" in [row.replace(" ", ",") for row in text]
    assert "B,warm,warm,start,digits,trained,tiny,0,finished" in [
        row.replace(" ", ",") for row in text
    ]
    assert "accuracy, held-out images – 71.3 % –" in text
    assert any(row.endswith("2 min 00 s 30 s 30 s") for row in text)
    assert any(re.match(r"B took 30 s .*20 s", line) for line in text)
    assert any(line.startswith("B, C differ in") for line in text)
    # Equal losses: 1 ± 0.
    assert "loss, weights half 1 0" in text


def test_json_writes_a_page_only_where_one_is_named(runs: tuple[Path, ...], run: Run) -> None:
    shown = run("report", *runs, "--json")
    found = json.loads(shown.out)
    assert sorted(found) == ["costs", "edges", "runs", "seeds"]
    assert not Path("comparison.html").exists()
    assert [each["letter"] for each in found["runs"]] == ["A", "B", "C"]
    assert found["runs"][1]["figures"]["accuracy"] == 0.7134
    assert found["runs"][1]["trainings"][0]["name"] == "training"
    assert [(c["run"], c["cold"], c["comparable"]) for c in found["costs"]] == [
        ("B", "A", True),
        ("C", "A", True),
    ]
    assert found["seeds"][0]["runs"] == ["B", "C"]
    assert found["edges"]["normal"][0]["operations"]["A"] == "skip_connect"
    assert run("report", *runs, "--json", "--out", "page.html").code == 0
    assert Path("page.html").is_file()


def test_only_a_page_of_ours_is_written_over(runs: tuple[Path, ...], run: Run) -> None:
    assert run("report", *runs, "-q").code == 0
    assert run("report", *runs, "-q").code == 0
    Path("report.html").write_text("<html>my own</html>")
    Path("link.html").symlink_to("comparison.html")
    Path("folder").mkdir()
    for name in ("report.html", "link.html", "folder"):
        refused = run("report", runs[0], "--out", name)
        assert refused.code == 1
        assert refused.err.startswith(f"error: {name} is there and")
        assert "--out" in refused.err
        assert refused.err.count("\n") == 1
    assert Path("report.html").read_text() == "<html>my own</html>"
    nowhere = run("report", runs[0], "--out", "report.html/x.html")
    assert nowhere.err.startswith("error: cannot write report.html/x.html: ")


def test_what_is_no_run_is_one_line(runs: tuple[Path, ...], run: Run, tmp_path: Path) -> None:
    refused = run("report", runs[0], tmp_path)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert f"{tmp_path} is not" in refused.err
    assert "config.json" in refused.err
    (runs[0] / "report.json").unlink()
    old = run("report", runs[0])
    assert "has no report.json" in old.err
    assert "another --out" in old.err


def test_as_many_as_a_page_can_tell_apart(runs: tuple[Path, ...]) -> None:
    for named in ([runs[0]] * 13, []):
        with pytest.raises(WsdartsError) as caught:
            report(*named)
        assert (caught.value.found, caught.value.expected) == (str(len(named)), "1 to 12")


def test_directories_of_one_name_are_told_apart(runs: tuple[Path, ...]) -> None:
    names = [each.name for each in report(runs[1] / "training", runs[1] / "training", runs[0]).runs]
    assert names == ["warm/training", "warm/training", "cold"]


def test_reports_are_read_without_torch(runs: tuple[Path, ...]) -> None:
    assert not loaded_by("report", *map(str, runs)) & TORCH
