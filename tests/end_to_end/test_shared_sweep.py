"""Sweeps of several processes: some of them killed, the result is that of one alone."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import postgresql
from tests.documentation.workplace import Programs, fork_of, kill

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(3000)]

_SECONDS = 1500
_STAGE = {"cells": 3, "operations": 3, "epochs": 2, "weights_only_epochs": 0}
_QUICK = (
    *("--mode", "cold", "--sweep", "--preset", "tiny", "--candidates", "2", "--device", "cpu"),
    *("--set", "search.channels=2", "--set", "search.image_size=8"),
    *("--set", "search.steps_per_epoch=4", "--set", "search.batch_size=5"),
    *("--set", f"search.stages={json.dumps([{**_STAGE, 'operations': 8}, _STAGE])}"),
    *("--set", "selection.epochs=1", "--set", "selection.steps_per_epoch=2"),
    *("--set", "selection.cells=3", "--set", "selection.channels=2"),
    *("--set", "selection.image_size=8"),
)
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Path:
    """One cache for this module, of one task."""
    directory = tmp_path_factory.mktemp("cache")
    (directory / "kernels").symlink_to(kernel_cache)
    return directory


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes: dark and bright noise."""
    root = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        folder = root / name
        folder.mkdir()
        for number in range(20):
            noise = draws.integers(low, low + 120, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number:02}.png")
    return root


@dataclass(frozen=True)
class Worker:
    """A process that takes part in a sweep: a client, and the fork that works for it."""

    process: "subprocess.Popen[str]"
    forks: Path
    run: Path

    @property
    def name(self) -> str:
        return (self.run / ".worker").read_text().strip()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return its exit status and all that it printed."""
        out, said = self.process.communicate(timeout=_SECONDS)
        return self.process.returncode, out + said

    def signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            kill(self.process.pid, self.forks)
        else:
            fork = fork_of(self.process.pid, self.forks)
            assert fork is not None
            os.kill(fork, number)


Start = Callable[..., Worker]


@pytest.fixture(scope="module")
def start(
    images: Path, programs: Programs, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """Start a worker: ``start(RUN, STORAGE, BEGIN, *MORE)``; its environment names the storage."""
    forks = tmp_path_factory.mktemp("forks")

    def started(
        run: Path, storage: str | None = None, begin: Path | None = None, *more: str
    ) -> Worker:
        added = {
            "DOCUMENTATION_FORKS": str(forks),
            "DOCUMENTATION_IMPORT": "tests.end_to_end.together",
            "DOCUMENTATION_STEPS": "all",
            "WSDARTS_HUB_CACHE": str(cache),
        }
        if storage is not None:
            added["WSDARTS_HUB_STORAGE"] = storage
        if begin is not None:
            added["WORKERS_BEGIN"] = str(begin)
        process = subprocess.Popen(
            [programs.path("wsdarts-hub"), "warm-start", images, *_QUICK, *more, "--out", run],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=programs.environment | added,
        )
        return Worker(process, forks, run)

    return started


@pytest.fixture
def start_all(start: Start, tmp_path: Path) -> Iterator[Callable[[str, int], list[Worker]]]:
    """Start workers that begin together; end what is left of them."""
    begun: list[Worker] = []

    def started(storage: str, count: int) -> list[Worker]:
        begin = tmp_path / "begin"
        begin.mkdir()
        begun.extend(start(tmp_path / str(number), storage, begin) for number in range(count))
        while len(list(begin.iterdir())) < count:
            for worker in begun:
                assert worker.process.poll() is None, worker.ended()[1]
            time.sleep(0.1)
        (begin / "all").touch()
        return begun

    yield started
    for worker in begun:
        worker.signal(signal.SIGKILL)
        worker.process.communicate()


@pytest.fixture(scope="module")
def alone(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one worker without a storage."""
    run = tmp_path_factory.mktemp("alone") / "run"
    status, said = start(run).ended()
    assert status == 0, said
    return run


def found_in(run: Path) -> dict[str, Any]:
    """Return what a sweep has found, to the bit."""
    names = ("genotype.json", "op_masks.safetensors", "weights.safetensors")  # with α
    files = {name: (run / "artifact" / name).read_bytes() for name in names}
    result = json.loads((run / "result.json").read_text())
    trials = [(trial["skip_dropout"], trial["accuracy"]) for trial in result["trials"]]
    return {**files, "trials": trials, "choice": result["choice"], "genotype": result["genotype"]}


def stopped_at_work(
    workers: list[Worker], leases: Callable[[], list[Row]], draws: random.Random
) -> Worker:
    """Return a worker that is stopped while it holds a lease."""
    while True:
        worker = draws.choice(workers)
        time.sleep(draws.uniform(0, 1))
        worker.signal(signal.SIGSTOP)
        if worker.name in {name for (name,) in leases()}:
            return worker
        worker.signal(signal.SIGCONT)


def test_two_of_four_workers_are_killed(
    alone: Path, start: Start, start_all: Callable[[str, int], list[Worker]]
) -> None:
    with postgresql.running() as server:
        url = server.make("sweeps")

        def leases() -> list[Row]:
            return server.execute("SELECT worker FROM wsdarts_leases", "sweeps")

        workers = start_all(url, 4)
        draws = random.Random(0)  # noqa: S311
        while len(leases()) < 4:
            time.sleep(0.05)
        killed = []
        for _ in range(2):
            left = [worker for worker in workers if worker not in killed]
            worker = stopped_at_work(left, leases, draws)
            worker.signal(signal.SIGKILL)
            killed.append(worker)
        assert {worker.name for worker in killed} <= {name for (name,) in leases()}

        printed = ""
        for worker in workers:
            status, said = worker.ended()
            printed += said
            assert status == (-signal.SIGKILL if worker in killed else 0), said
        expected = found_in(alone)
        for worker in workers:
            if worker not in killed:
                assert found_in(worker.run) == expected
        assert leases() == []
        # The trials are those of a study that Optuna's own tools can read.
        (trials,) = server.execute("SELECT count(*) FROM trials", "sweeps")
        assert trials[0] >= 10

        # A worker that comes back reads what the others have found.
        back = start(killed[0].run, url, None, "--resume")
        status, said = back.ended()
        assert status == 0, said
        assert found_in(back.run) == expected
    printed += said
    # A finished run is whole: it needs no database any more.
    status, said = start(killed[0].run, None, None, "--resume").ended()
    assert status == 0, said
    assert found_in(back.run) == expected
    assert_no_password(printed + said, [worker.run for worker in workers])


def assert_no_password(printed: str, runs: list[Path]) -> None:
    secrets = [postgresql.PASSWORD, postgresql.QUOTED]
    assert not [secret for secret in secrets if secret in printed]
    for run in runs:
        for file in run.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            assert not [s for s in secrets if s.encode() in content], file


def test_two_workers_share_a_file(
    alone: Path, tmp_path: Path, start_all: Callable[[str, int], list[Worker]]
) -> None:
    database = tmp_path / "shared.db"
    workers = start_all(f"sqlite:///{database}", 2)
    for worker in workers:
        status, said = worker.ended()
        assert status == 0, said
        assert found_in(worker.run) == found_in(alone)
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT value_json FROM trial_user_attributes WHERE key = 'worker'"
        ).fetchall()
    assert {json.loads(name) for (name,) in rows} == {worker.name for worker in workers}
    connection.close()


def test_a_storage_that_cannot_be_reached_is_one_line(start: Start, tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:9/base"
    status, said = start(tmp_path / "run", url, None, "--quiet").ended()
    assert status == 1
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert "127.0.0.1:9/base" in said
    assert "hunter2" not in said
    assert not (tmp_path / "run").exists()
