"""Cells of an experiment: each a job that resumes, with a JSON file of its own as its result."""

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measure import RESULTS, machine

from wsdarts_registry._file_lock import try_lock
from wsdarts_registry._files import write_atomically
from wsdarts_sdk.runs.shared_work import SharedWork, Storage, work_name, worker_of

PAUSE = 20.0  # seconds between two looks at cells that another process is at work on
FINISHED = "finished"  # an empty file beside the state of a finished cell


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement of an experiment.

    Attributes:
        name: Unique in its experiment; its result is the file ``NAME.json``.
        asked: What is measured, as JSON data.
        work: Measures it, with its state in the directory that it is given, from where it goes on
            when it is called again. Returns the figures as JSON data.
        needs: Names of the cells whose states it reads. Where such a state is gone, though the
            result is kept, the cell is run again.
        kind: Name that it shares with cells that take about as long.
        expected: Seconds that it is expected to take where none of its kind was measured.
    """

    name: str
    asked: Mapping[str, Any]
    work: Callable[[Path], dict[str, Any]]
    needs: Sequence[str] = ()
    kind: str = ""
    expected: float | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A declared table of cells.

    Attributes:
        name: What it is called; its results lie in ``benchmarks/results/experiments/NAME``.
        cells: In the order in which they are run.
        summary: Makes the figures that are published of the results of the finished cells.
    """

    name: str
    cells: Sequence[Cell]
    summary: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]

    def __post_init__(self) -> None:
        names = [cell.name for cell in self.cells]
        if len(set(names)) != len(names):
            raise ValueError(f"cells of {self.name} share a name")

    @property
    def results(self) -> Path:
        """Directory of the results."""
        return RESULTS / "experiments" / self.name

    def result(self, cell: Cell | str) -> Path:
        """Return the file of a cell's result."""
        name = cell if isinstance(cell, str) else cell.name
        return self.results / f"{name}.json"

    def finished(self) -> list[dict[str, Any]]:
        """Return the results that are there, in the order of the table."""
        files = map(self.result, self.cells)
        return [json.loads(file.read_bytes()) for file in files if file.exists()]


def run(
    experiment: Experiment, runs: Path, *, only: Sequence[str] = (), storage: str | None = None
) -> None:
    """Measure what is not measured yet; several processes may do so at once.

    Args:
        experiment: The table.
        runs: Directory of the states.
        only: Names of cells, or parts of names; all cells by default.
        storage: URL of a database through which machines share the cells, but not their states.
    """
    shared = None if storage is None else share(experiment, storage, runs)
    known = {cell.name: cell for cell in experiment.cells}
    chosen = [cell for cell in experiment.cells if not only or _is_meant(cell.name, only, known)]
    while left := [cell for cell in chosen if not experiment.result(cell).exists()]:
        # One at a time: what has become ready meanwhile may come first in the table.
        wanted = (_first(experiment, cell, runs, known) for cell in left)
        if not any(_take(experiment, cell, runs, len(left), shared) for cell in wanted):
            print(f"waiting for others ({len(left)} left)", flush=True)
            time.sleep(PAUSE)
        if shared is not None:
            write_shared(experiment, shared)


def _is_meant(name: str, only: Sequence[str], known: Mapping[str, Cell]) -> bool:
    """Return whether a cell is asked for; a whole name asks for that cell alone."""
    return any(part == name if part in known else part in name for part in only)


def share(experiment: Experiment, storage: str, runs: Path) -> SharedWork:
    """Join the workers that share a table, and exchange the results that are there.

    All processes of one directory of states are one worker: a lock on a state keeps them apart.
    """
    facts = {"cells": {cell.name: dict(cell.asked) for cell in experiment.cells}}
    name = work_name(f"wsdarts-experiment-{experiment.name}", facts)
    runs.mkdir(parents=True, exist_ok=True)
    shared = SharedWork(Storage.of(storage), name, facts=facts, worker=worker_of(runs))
    there = shared.names()
    for cell in experiment.cells:
        if cell.name not in there and experiment.result(cell).exists():
            shared.keep(cell.name, experiment.result(cell).read_bytes())
    write_shared(experiment, shared)
    return shared


def write_shared(experiment: Experiment, shared: SharedWork) -> None:
    """Write the results of other machines that are not here yet."""
    there = shared.names()
    for cell in experiment.cells:
        if cell.name in there and not experiment.result(cell).exists():
            _write_result(experiment, cell, shared.kept(cell.name) or b"")


def _write_result(experiment: Experiment, cell: Cell, content: bytes) -> None:
    experiment.results.mkdir(parents=True, exist_ok=True)
    write_atomically(experiment.result(cell), content)


def _first(experiment: Experiment, cell: Cell, runs: Path, known: Mapping[str, Cell]) -> Cell:
    """Return the cell, or the first one of those that it needs whose state is not there."""
    for name in cell.needs:
        if not _state_marker(experiment, known[name], runs).exists():
            return _first(experiment, known[name], runs, known)
    return cell


def _state_marker(experiment: Experiment, cell: Cell, runs: Path) -> Path:
    """Return the file that says that the state of a finished cell is there."""
    return runs / experiment.name / cell.name / FINISHED


def _take(
    experiment: Experiment, cell: Cell, runs: Path, left: int, shared: SharedWork | None
) -> bool:
    """Measure a cell, unless another process or machine is at work on it."""
    marker = _state_marker(experiment, cell, runs)
    state = marker.parent
    state.mkdir(parents=True, exist_ok=True)
    lock = try_lock(state)
    if lock is None:
        return False
    with lock:
        known = experiment.result(cell).exists()
        if known and marker.exists():
            return False
        # A cell that is run again for its state alone is nobody else's.
        with nullcontext(True) if shared is None or known else shared.lease(cell.name) as held:
            if not held:
                return False
            if shared is not None and not known and cell.name in shared.names():
                return True  # finished elsewhere since the last look
            print(f"{cell.name} ({left} left)", flush=True)
            content = _measured(experiment, cell, state)
            if shared is not None:
                shared.keep(cell.name, content)
                content = shared.kept(cell.name) or content
            _write_result(experiment, cell, content)
            write_atomically(marker, b"")
    return True


def _measured(experiment: Experiment, cell: Cell, state: Path) -> bytes:
    """Measure a cell; return its result as JSON."""
    began = time.perf_counter()
    measured = cell.work(state)
    row = {
        "cell": cell.name,
        **cell.asked,
        **measured,
        "seconds_here": round(time.perf_counter() - began, 1),
        "command": reproduction(experiment, cell),
        "commit": commit(),
        "machine": machine(threads=torch.get_num_threads()),
    }
    return (json.dumps(row, indent=1) + "\n").encode()


def reproduction(experiment: Experiment, cell: Cell) -> str:
    """Return the command that measures a cell, and what it needs, again."""
    names = [*cell.needs, cell.name]
    return shlex.join(["python", "benchmarks/experiments", "run", experiment.name, *names])


def core_hours(experiment: Experiment) -> tuple[float, float | None]:
    """Return the core-hours of the finished cells, and an estimate of those of the others.

    A cell is estimated by the median of the finished ones of its kind, else by what is expected of
    it; None where nothing is known of one of them.
    """
    done: dict[str, list[float]] = {}
    left = []
    for cell in experiment.cells:
        file = experiment.result(cell)
        if file.exists():
            row = json.loads(file.read_bytes())
            cores = row["seconds_here"] * row["machine"]["threads"]
            done.setdefault(cell.kind, []).append(cores)
        else:
            left.append(cell)
    known = {kind: statistics.median(seconds) for kind, seconds in done.items() if kind}
    estimates = [known.get(cell.kind, cell.expected) for cell in left]
    spent = sum(map(sum, done.values())) / 3600
    missing = any(estimate is None for estimate in estimates)
    return spent, None if missing else sum(e for e in estimates if e is not None) / 3600


def commit() -> str | None:
    """Return the commit of the checkout that runs, with ``+`` where it has changes."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.decode().strip() + ("+" if changed.stdout.strip() else "")


def print_status(experiment: Experiment) -> None:
    """Print how many cells are finished, and which come next."""
    done = [cell for cell in experiment.cells if experiment.result(cell).exists()]
    left = [cell.name for cell in experiment.cells if cell not in done]
    print(f"{experiment.name}: {len(done)} of {len(experiment.cells)} cells are finished")
    spent, expected = core_hours(experiment)
    if expected is not None:
        print(f"core-hours: {spent:.1f} measured, about {expected:.1f} left")
    if left:
        print(f"next: {', '.join(left[:5])}", file=sys.stdout)
