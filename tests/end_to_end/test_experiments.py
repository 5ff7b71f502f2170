"""The tables of experiments: what is run, in which order, and by several processes at once."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

import pytest

from tests.documentation.workplace import Programs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# A table of three cells, the last of which needs the others.
_TOY = """
import sys, time
from pathlib import Path
sys.path[:0] = [{benchmarks!r}, {experiments!r}]
import cells
cells.RESULTS = Path({results!r})
cells.PAUSE = 0.01
from wsdarts_sdk.runs import shared_work
shared_work._BEAT = shared_work._PAUSE = 0.1

def work(name):
    def measure(state):
        with (Path({results!r}) / "began").open("a") as file:
            file.write(name + chr(10))
        while (Path({results!r}) / "hang").exists():
            time.sleep(0.01)
        return {{"accuracy": 0.5, "at": state.name}}
    return measure

table = [
    cells.Cell(name="sum", asked={{"set": "all"}}, work=work("sum"), needs=["one", "two"]),
    *(cells.Cell(name=n, asked={{"set": n}}, work=work(n)) for n in ("one", "two")),
]
toy = cells.Experiment(name="toy", cells=table, summary=lambda rows: {{"rows": len(rows)}})
storage = sys.argv[1] or None
cells.run(toy, Path({results!r}) / "runs", only=sys.argv[2:], storage=storage)
"""


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def python(programs: Programs, environment: dict[str, str], tmp_path: Path) -> Start:
    """Start Python with a text and arguments, in a fork of a process that has torch loaded."""

    scripts = (tmp_path / f"script-{number}" / "script.py" for number in count())

    def started(text: str, *arguments: str) -> "subprocess.Popen[str]":
        script = next(scripts)
        script.parent.mkdir()
        script.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [programs.path("python"), script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return started


@pytest.fixture
def start(python: Start) -> Start:
    """Start the table of three cells: ``start(RESULTS, *ONLY, storage=STORAGE)``."""

    def started(results: Path, *only: str, storage: str = "") -> "subprocess.Popen[str]":
        text = _TOY.format(
            benchmarks=str(BENCHMARKS),
            experiments=str(BENCHMARKS / "experiments"),
            results=str(results),
        )
        return python(text, storage, *only)

    return started


@pytest.mark.processes
def test_two_processes_measure_each_cell_once(tmp_path: Path, start: Start) -> None:
    for worker in [start(tmp_path), start(tmp_path)]:
        _, said = worker.communicate()
        assert worker.returncode == 0, said
    began = (tmp_path / "began").read_text().split()
    assert sorted(began) == ["one", "sum", "two"]
    assert began[-1] == "sum"
    row = json.loads((tmp_path / "experiments" / "toy" / "sum.json").read_text())
    assert (row["set"], row["accuracy"], row["at"]) == ("all", 0.5, "sum")
    assert row["command"] == "python benchmarks/experiments run toy one two sum"
    assert row["machine"]["torch"]


def test_a_cell_is_run_with_what_it_needs_and_that_again_where_it_is_gone(
    tmp_path: Path, start: Start
) -> None:
    _, said = (worker := start(tmp_path, "sum")).communicate()
    assert worker.returncode == 0, said
    assert (tmp_path / "began").read_text().split() == ["one", "two", "sum"]
    shutil.rmtree(tmp_path / "runs" / "toy" / "one")
    (tmp_path / "experiments" / "toy" / "sum.json").unlink()
    start(tmp_path, "sum").communicate()
    assert (tmp_path / "began").read_text().split() == ["one", "two", "sum", "one", "sum"]
    start(tmp_path, "sum").communicate()  # finished: nothing is needed any more
    assert len((tmp_path / "began").read_text().split()) == 5


@pytest.mark.processes
def test_machines_that_share_a_storage_measure_each_cell_once(tmp_path: Path, start: Start) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    machines = [tmp_path / "first", tmp_path / "second"]
    for machine in machines:
        machine.mkdir()
    for worker in [start(machine, "one", "two", storage=storage) for machine in machines]:
        _, said = worker.communicate()
        assert worker.returncode == 0, said
    began = [(m / "began").read_text().split() for m in machines if (m / "began").exists()]
    assert sorted(chain(*began)) == ["one", "two"]
    for name in ("one", "two"):
        first, second = (m / "experiments" / "toy" / f"{name}.json" for m in machines)
        assert first.read_bytes() == second.read_bytes()
    # A state stays on its machine: what a cell needs is run again there, and keeps its result.
    result = (machines[0] / "experiments" / "toy" / "one.json").read_bytes()
    _, said = (worker := start(machines[1], "sum", storage=storage)).communicate()
    assert worker.returncode == 0, said
    assert (machines[1] / "began").read_text().split()[-1] == "sum"
    assert (machines[1] / "runs" / "toy" / "one" / "finished").exists()
    assert (machines[1] / "experiments" / "toy" / "one.json").read_bytes() == result


@pytest.mark.processes
def test_a_killed_worker_s_cell_is_measured_by_another(tmp_path: Path, start: Start) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    machines = [tmp_path / "first", tmp_path / "second"]
    for machine in machines:
        machine.mkdir()
    (machines[0] / "hang").touch()
    killed = start(machines[0], "one", storage=storage)
    while not (machines[0] / "began").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    other = start(machines[1], "one", "two", storage=storage)
    _, said = other.communicate()
    assert other.returncode == 0, said
    assert sorted((machines[1] / "began").read_text().split()) == ["one", "two"]
    # The killed one comes back, and takes what is finished.
    (machines[0] / "hang").unlink()
    _, said = (back := start(machines[0], "one", "two", storage=storage)).communicate()
    assert back.returncode == 0, said
    assert (machines[0] / "began").read_text().split() == ["one"]
    for name in ("one", "two"):
        first, second = (m / "experiments" / "toy" / f"{name}.json" for m in machines)
        assert first.read_bytes() == second.read_bytes()


def test_the_declared_tables_are_whole(python: Start) -> None:
    names = ("arms", "inheritance", "criteria", "sources")
    program = (
        "import runpy, sys\n"
        f"for name in {names!r}:\n"
        "    sys.argv[1:] = ['status', name]\n"
        f"    runpy.run_path({str(BENCHMARKS / 'experiments')!r}, run_name='__main__')\n"
    )
    listed, said = (process := python(program)).communicate()
    assert process.returncode == 0, said
    assert listed.count("cells are finished") == len(names)
