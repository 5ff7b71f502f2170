"""Searches and trainings of processes that ``torchrun`` starts; a process or a node is killed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.documentation.workplace import Programs, fork_of, kill
from wsdarts_hub import push
from wsdarts_sdk.runs.directory import METRICS_SUFFIX, MODEL_FILE, RESULT_FILE

pytestmark = pytest.mark.processes

_SECONDS = 850
TORCHRUN = ("python", "-m", "torch.distributed.run")
# The program whose processes are forks of one that has loaded torch.
OURS = ("--no-python", "wsdarts-hub")
# Else a new node waits for an address that the first one publishes in the first round alone.
NEW_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
STAGE = {"cells": 3, "operations": 3, "epochs": 1, "weights_only_epochs": 0}
QUICK = (
    *("--preset", "tiny", "--set", "search.channels=2", "--set", "search.image_size=8"),
    *("--set", "search.steps_per_epoch=2", "--set", "search.batch_size=5"),
)
STAGES = ("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8}, STAGE])}")
QUICK_TRAINING = (
    *("--preset", "tiny", "--set", "training.epochs=2", "--set", "training.cells=3"),
    *("--set", "training.channels=2", "--set", "training.image_size=8"),
    *("--set", "training.batch_size=8", "--set", "training.steps_per_epoch=2"),
)


LONGER = ("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8, 'epochs': 12}])}")
# From the weights of such a search, in its shape.
WARM = ("--mode", "trained", *QUICK, *LONGER)
LONG_TRAINING = (*QUICK_TRAINING, "--set", "training.epochs=12")
SEARCH_ROWS, TRAINING_ROWS = (f"{name}{METRICS_SUFFIX}" for name in ("search", "training"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of two classes: dark and bright noise."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(20):
            noise = random.integers(low, low + 120, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def whole(images: Path, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two processes that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    environment = programs.environment | {"DOCUMENTATION_STEPS": "all"}
    command = torchrun("search", images, "--out", run, *QUICK, *LONGER, "-q")
    undisturbed = ran(command, environment | {"CUDA_VISIBLE_DEVICES": ""})
    assert undisturbed.returncode == 0, undisturbed.stderr
    return run


def torchrun(*arguments: str | Path, processes: int = 2, restarts: int = 0) -> list[str]:
    """Return the command that runs a command of ours in several processes."""
    how = ("--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(restarts))
    return [*TORCHRUN, *how, *OURS, *map(str, arguments)]


def ran(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [found(command[0], environment), *command[1:]],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=environment,
    )


def found(program: str, environment: dict[str, str]) -> str:
    """Return the path of a program."""
    path = shutil.which(program, path=environment["PATH"])
    assert path is not None
    return path


def errors(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of ours that tell an error."""
    return [line for line in finished.stderr.splitlines() if line.startswith("error:")]


def found_in(run: Path) -> dict[str, bytes]:
    """Return the genotype, the masks, and the weights with α that a search has found."""
    names = ("genotype.json", "op_masks.safetensors", "weights.safetensors")
    return {name: (run / "artifact" / name).read_bytes() for name in names}


def trained_in(run: Path) -> dict[str, bytes]:
    """Return the weights of a trained network, and what it is worth."""
    result = json.loads((run / RESULT_FILE).read_text())
    worth = {name: result[name] for name in ("accuracy", "loss")}
    return {"model": (run / MODEL_FILE).read_bytes(), "worth": json.dumps(worth).encode()}


def test_search_warm_start_and_training(
    images: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    cold, warm, trained = tmp_path / "cold", tmp_path / "warm", tmp_path / "trained"
    searched = ran(
        torchrun("search", images, "--out", cold, *QUICK, *STAGES, "--json"), environment
    )
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["devices"] == 2
    assert "epoch 1/1, 2 devices" in searched.stderr
    assert json.loads((cold / "environment.json").read_text())["devices"] == 2
    assert "time of all devices" in (cold / "report.html").read_text()
    steps = [json.loads(row) for row in (cold / "search.metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in steps] == [0, 1]

    other = ran(
        torchrun("warm-start", images, "--out", warm, *QUICK, *STAGES, "--mode", "cold"),
        environment,
    )
    assert other.returncode == 0, other.stderr
    assert "2 devices for" in other.stdout
    assert found_in(warm) == found_in(cold)

    training = ran(
        torchrun("train", cold, images, "--out", trained, *QUICK_TRAINING, "--no-baseline", "-q"),
        environment,
    )
    assert training.returncode == 0, training.stderr
    assert len(training.stdout.splitlines()) == 1
    assert json.loads((trained / "result.json").read_text())["images"] == 14


class Torchrun:
    """``torchrun`` as it runs: a client, and the fork that does its work.

    Args:
        command: Its command.
        environment: Of its processes.
        log: A new file for what it prints; beside it, the numbers of the forks are written.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.forks, self._log = log.with_suffix(".forks"), log
        self.forks.mkdir()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [found(command[0], environment), *command[1:]],
                env=environment | {"DOCUMENTATION_FORKS": str(self.forks)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[int]:
        """Return the processes that it has started."""
        fork = fork_of(self.process.pid, self.forks)  # none yet: nor has it started any
        children = Path(f"/proc/{fork}/task/{fork}/children")
        return [int(each) for each in children.read_text().split()] if children.exists() else []

    def end(self) -> None:
        """Kill it and all processes that it has started, as a power cut would."""
        workers = self.workers()
        for each in (self.process.pid, *workers):
            kill(each, self.forks)
        self.process.wait(_SECONDS)


@dataclass(frozen=True, kw_only=True)
class LongWork:
    """A command of several processes that takes long enough to be killed, and its run undisturbed.

    Attributes:
        command: Without the run directory.
        rows: The file of the run to which each epoch adds a row.
        whole: The run that nothing disturbed.
        found: Returns what a run has found.
    """

    command: tuple[str | Path, ...]
    rows: str
    whole: Path
    found: Callable[[Path], dict[str, bytes]]


@pytest.fixture(params=["search", "warm-start", "train"])
def long_work(
    request: pytest.FixtureRequest,
    images: Path,
    whole: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> LongWork:
    """Return the long work of a command."""
    command: tuple[str | Path, ...] = ("search", images, *QUICK, *LONGER)
    if request.param == "search":
        return LongWork(command=command, rows=SEARCH_ROWS, whole=whole, found=found_in)
    undisturbed = tmp_path / "undisturbed"
    if request.param == "train":
        command = ("train", whole, images, *LONG_TRAINING, "--no-baseline")
        work = LongWork(command=command, rows=TRAINING_ROWS, whole=undisturbed, found=trained_in)
    else:
        registry = tmp_path / "registry"
        push(whole, "both", registry=registry, license="research-only")
        command = ("warm-start", images, *WARM, "--registry", registry)
        work = LongWork(command=command, rows=SEARCH_ROWS, whole=undisturbed, found=found_in)
    ended = ran(torchrun(*work.command, "--out", undisturbed, "--json"), environment)
    assert ended.returncode == 0, ended.stderr
    if request.param == "warm-start":
        result = json.loads(ended.stdout)
        assert (result["source"], result["mode"], result["devices"]) == ("both@1", "trained", 2)
    return work


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the processes")
def test_a_killed_rank_changes_nothing(
    long_work: LongWork, tmp_path: Path, environment: dict[str, str]
) -> None:
    cut = tmp_path / "cut"
    # One is needed. On a busy machine a fork may hold its run for longer than its client lives.
    command = torchrun(*long_work.command, "--out", cut, "--resume", restarts=5)
    running = Torchrun(command, environment, tmp_path / "printed")
    try:
        until = time.monotonic() + _SECONDS
        rows = cut / long_work.rows
        while time.monotonic() < until and running.process.poll() is None:
            if rows.exists() and 1 < len(rows.read_text().splitlines()) < 10:
                kill(running.workers()[-1], running.forks)
                break
            time.sleep(0.02)
        assert running.process.wait(_SECONDS) == 0, running.printed
    finally:
        running.end()
    text = running.printed
    # torchrun names the first rank that it finds ended: the killed one, or the one that lost it
    assert "exitcode: -9" in text or "lost the other ranks" in text, text
    assert long_work.found(cut) == long_work.found(long_work.whole)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def await_port(port: int) -> None:
    """Wait until somebody listens on a port of loopback."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")


def node(port: int, log: Path, environment: dict[str, str], *arguments: str | Path) -> Torchrun:
    """Start one of two nodes: ``torchrun`` with one process of ours."""
    how = ("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--local-addr")
    where = ("127.0.0.1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}")
    command = [*TORCHRUN, *how, *where, *OURS, *map(str, arguments)]
    return Torchrun(command, environment | NEW_STORE, log)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the processes")
def test_a_lost_node_changes_nothing(
    images: Path, whole: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    cut, port = tmp_path / "cut", free_port()
    command = ("search", images, "--out", cut, *QUICK, *LONGER, "--resume", "-q")
    logs = [tmp_path / f"node{number}.log" for number in range(3)]
    nodes = [node(port, logs[0], environment, *command)]
    try:
        await_port(port)  # the first node keeps the rendezvous; the other one is lost
        nodes.append(node(port, logs[1], environment, *command))
        until = time.monotonic() + _SECONDS
        rows = cut / "search.metrics.jsonl"
        while time.monotonic() < until and nodes[0].process.poll() is None:
            if rows.exists() and 1 < len(rows.read_text().splitlines()) < 10:
                nodes[1].end()
                nodes.append(node(port, logs[2], environment, *command))
                break
            time.sleep(0.02)
        assert len(nodes) == 3
        ended = [each.process.wait(_SECONDS) for each in (nodes[0], nodes[2])]
        assert ended == [0, 0], "\n".join(each.printed for each in nodes)
    finally:
        for each in nodes:
            each.end()
    assert found_in(cut) == found_in(whole)


def test_an_error_is_one_line(images: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    missing = torchrun("search", tmp_path / "missing", "--out", tmp_path / "run", *QUICK)
    once = ran(missing, environment)
    assert once.returncode != 0
    assert len(errors(once)) == 1, once.stderr
    sweep = ran(torchrun("warm-start", images, "--out", tmp_path / "run", "--sweep"), environment)
    assert sweep.returncode != 0
    assert len(errors(sweep)) == 1, sweep.stderr
    assert "/wsdarts_sdk/" not in sweep.stderr  # a traceback of ours; torchrun prints its own
    # Nothing of it is preloaded: both programs as users start them.
    how = ("--standalone", "--nproc-per-node", "2", "-m", "wsdarts_hub")
    for command in (["list"], ["search", "--no-such-option"]):
        alone = [sys.executable, "-m", "torch.distributed.run", *how, *command]
        other = ran(alone, dict(os.environ))
        assert other.returncode != 0
        assert len(errors(other)) == 1, other.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell to let one process begin late")
def test_the_first_process_says_why_however_late(tmp_path: Path) -> None:
    late = tmp_path / "late.sh"
    late.write_text(f'[ "$RANK" = 0 ] && sleep 4\nexec "{sys.executable}" -m wsdarts_hub "$@"\n')
    how = ("--standalone", "--nproc-per-node", "2", "--no-python", "sh", str(late), "list")
    told = ran([sys.executable, "-m", "torch.distributed.run", *how], dict(os.environ))
    assert told.returncode != 0
    assert len(errors(told)) == 1, told.stderr


@pytest.mark.parametrize("synchronised", [False, True])
def test_another_number_of_ranks(
    synchronised: bool, images: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = tmp_path / "run"
    epochs = 30 if synchronised else 60
    longer = (
        "--set",
        f"search.stages={json.dumps([{**STAGE, 'operations': 8, 'epochs': epochs}])}",
    )
    norms = ("--set", f"search.synchronised_norms={str(synchronised).lower()}")
    command = ("search", images, "--out", run, *QUICK, *longer, *norms, "-q")
    running = Torchrun(torchrun(*command), environment, tmp_path / "printed")
    try:
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until and running.process.poll() is None:
            if (run / "search.checkpoint.safetensors").exists():
                running.process.terminate()
                break
            time.sleep(0.05)
        running.process.wait(_SECONDS)
    finally:
        running.end()
    assert not (run / "artifact").exists()
    again = ran(["wsdarts-hub", *map(str, command), "--resume"], environment)
    if synchronised:  # the norms of any number of ranks are those of one
        assert again.returncode == 0, again.stderr
        assert (run / "artifact" / "genotype.json").exists()
        return
    assert again.returncode == 1
    assert len(errors(again)) == 1, again.stderr
    assert "torchrun --nproc-per-node" in again.stderr
