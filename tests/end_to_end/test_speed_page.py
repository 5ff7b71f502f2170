"""The speed page says what the committed results say, and takes up those of a GPU."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def write_speed() -> Any:
    path = _ROOT / "benchmarks" / "write_speed.py"
    specification = importlib.util.spec_from_file_location("write_speed", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_results(write_speed: Any) -> None:
    committed = (_ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert committed == write_speed.page(), "run `python benchmarks/write_speed.py`"


def test_results_of_a_gpu_fill_their_rows(
    write_speed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"device": "Card", "cpu": "c", "cores": 1, "threads": 1, "torch": "2", "date": "d"}
    common = {"command": "python x", "machine": machine}
    row = {
        "engines": {},
        "times_faster": {write_speed.PUBLIC: 7.04, write_speed.LEAN_MIXED: 3.5},
        "share_of_memory": {write_speed.MIXED: 0.314},
        "times_the_floor": 2.25,
    }
    steps = {**common, "baseline": "B", "done": {"1": row, "task2vec": {"times_faster": 21.0}}}
    runs = {**common, "preset": "paper", "done": {"flowers102": {"search_seconds": 230.4}}}
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "steps.json").write_text(json.dumps(steps))
    (tmp_path / "gpu" / "paper_runs.json").write_text(json.dumps(runs))
    monkeypatch.setattr(write_speed, "RESULTS", tmp_path)
    found = [row[3] for row in write_speed._gpu()]
    assert found == [
        "0.31 / – / –",
        "7.0 / – / –×; 2.2 / – / –× the floor",
        "3.5 / – / –×",
        "21.0×",
        "230 s on Card",
        write_speed.NEEDS_GPU,  # the warm start has not run
    ]
    assert "`python x`: Card, c" in write_speed.page()
    runs["preset"] = "tiny"
    (tmp_path / "gpu" / "paper_runs.json").write_text(json.dumps(runs))
    assert [row[3] for row in write_speed._gpu()][4] == write_speed.NEEDS_GPU
