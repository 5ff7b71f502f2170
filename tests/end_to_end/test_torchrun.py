"""Searches and trainings of processes that ``torchrun`` starts; a process or a node is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.processes

_SECONDS = 850
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


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Make a folder of two classes: dark and bright noise."""
    random = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(20):
            noise = random.integers(low, low + 120, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number:02}.png")
    return tmp_path / "images"


def torchrun(*arguments: str | Path, processes: int = 2, restarts: int = 0) -> list[str]:
    """Return the command that runs a command of ours in several processes."""
    ours = ("-m", "wsdarts_hub", *map(str, arguments))
    how = ("--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(restarts))
    return [sys.executable, "-m", "torch.distributed.run", *how, *ours]


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def errors(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of ours that tell an error."""
    return [line for line in finished.stderr.splitlines() if line.startswith("error:")]


def found_in(run: Path) -> dict[str, bytes]:
    """Return the genotype, the masks, and the weights with α that a search has found."""
    names = ("genotype.json", "op_masks.safetensors", "weights.safetensors")
    return {name: (run / "artifact" / name).read_bytes() for name in names}


def test_search_warm_start_and_training(images: Path, tmp_path: Path) -> None:
    cold, warm, trained = tmp_path / "cold", tmp_path / "warm", tmp_path / "trained"
    searched = ran(torchrun("search", images, "--out", cold, *QUICK, *STAGES, "--json"))
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["devices"] == 2
    assert "epoch 1/1, 2 devices" in searched.stderr
    assert json.loads((cold / "environment.json").read_text())["devices"] == 2
    assert "time of all devices" in (cold / "report.html").read_text()
    steps = [json.loads(row) for row in (cold / "search.metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in steps] == [0, 1]

    other = ran(torchrun("warm-start", images, "--out", warm, *QUICK, *STAGES, "--mode", "cold"))
    assert other.returncode == 0, other.stderr
    assert "2 devices for" in other.stdout
    assert found_in(warm) == found_in(cold)

    training = ran(
        torchrun("train", cold, images, "--out", trained, *QUICK_TRAINING, "--no-baseline", "-q")
    )
    assert training.returncode == 0, training.stderr
    assert len(training.stdout.splitlines()) == 1
    assert json.loads((trained / "result.json").read_text())["images"] == 14


def workers(process: int) -> list[int]:
    """Return the processes that a process has started."""
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(each) for each in children.read_text().split()] if children.exists() else []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the processes")
def test_a_killed_rank_changes_nothing(images: Path, tmp_path: Path) -> None:
    longer = ("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8, 'epochs': 12}])}")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = ran(torchrun("search", images, "--out", whole, *QUICK, *longer, "-q"))
    assert undisturbed.returncode == 0, undisturbed.stderr

    command = torchrun("search", images, "--out", cut, *QUICK, *longer, "--resume", restarts=2)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    ) as process:
        until = time.monotonic() + _SECONDS
        rows = cut / "search.metrics.jsonl"
        while time.monotonic() < until and process.poll() is None:
            if rows.exists() and 1 < len(rows.read_text().splitlines()) < 10:
                os.kill(workers(process.pid)[-1], signal.SIGKILL)
                break
            time.sleep(0.02)
        text, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, text
    assert "Signal 9" in text or "SIGKILL" in text or "exitcode: -9" in text, text
    assert found_in(cut) == found_in(whole)


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


def node(port: int, log: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start one of two nodes: ``torchrun`` with one process of ours."""
    how = ("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--local-addr")
    where = ("127.0.0.1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}")
    ours = ("-m", "wsdarts_hub", *map(str, arguments))
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *how, *where, *ours],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **NEW_STORE},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a node: its torchrun, and all processes that this has started, as a power cut would."""
    for each in (process.pid, *workers(process.pid)):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(_SECONDS)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the processes")
def test_a_lost_node_changes_nothing(images: Path, tmp_path: Path) -> None:
    longer = ("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8, 'epochs': 12}])}")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = ran(torchrun("search", images, "--out", whole, *QUICK, *longer, "-q"))
    assert undisturbed.returncode == 0, undisturbed.stderr

    port = free_port()
    command = ("search", images, "--out", cut, *QUICK, *longer, "--resume", "-q")
    logs = [tmp_path / f"node{number}.log" for number in range(3)]
    nodes = [node(port, logs[0], *command)]
    try:
        await_port(port)  # the first node keeps the rendezvous; the other one is lost
        nodes.append(node(port, logs[1], *command))
        until = time.monotonic() + _SECONDS
        rows = cut / "search.metrics.jsonl"
        while time.monotonic() < until and nodes[0].poll() is None:
            if rows.exists() and 1 < len(rows.read_text().splitlines()) < 10:
                end(nodes[1])
                nodes.append(node(port, logs[2], *command))
                break
            time.sleep(0.02)
        assert len(nodes) == 3
        ended = [each.wait(_SECONDS) for each in (nodes[0], nodes[2])]
        assert ended == [0, 0], "\n".join(log.read_text() for log in logs)
    finally:
        for each in nodes:
            end(each)
    assert found_in(cut) == found_in(whole)


def test_an_error_is_one_line(images: Path, tmp_path: Path) -> None:
    once = ran(torchrun("search", tmp_path / "missing", "--out", tmp_path / "run", *QUICK))
    assert once.returncode != 0
    assert len(errors(once)) == 1, once.stderr
    sweep = ran(torchrun("warm-start", images, "--out", tmp_path / "run", "--sweep"))
    assert sweep.returncode != 0
    assert len(errors(sweep)) == 1, sweep.stderr
    assert "/wsdarts_sdk/" not in sweep.stderr  # a traceback of ours; torchrun prints its own
    other = ran(torchrun("list"))
    assert other.returncode != 0
    assert len(errors(other)) == 1, other.stderr


def test_another_number_of_ranks_is_refused(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    longer = ("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8, 'epochs': 60}])}")
    command = torchrun("search", images, "--out", run, *QUICK, *longer, "-q")
    with subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    ) as process:
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until and process.poll() is None:
            if (run / "search.checkpoint.safetensors").exists():
                process.terminate()
                break
            time.sleep(0.05)
        process.wait(_SECONDS)
    alone = (sys.executable, "-m", "wsdarts_hub", "search", images, "--out", run)
    again = ran([*map(str, alone), *QUICK, *longer, "--resume"])
    assert again.returncode == 1
    assert len(errors(again)) == 1, again.stderr
    assert "torchrun --nproc-per-node" in again.stderr
