"""kill -9 at random points, then resume: the same α, genotype and weights to the last bit."""

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.processes

Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]
_KILLS = 20
SLACK = 8  # as in killed_work.py


@pytest.fixture(scope="module")
def worker() -> Iterator["subprocess.Popen[str]"]:
    """The script, which has loaded its libraries and forks for each work."""
    script = Path(__file__).with_name("killed_work.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def work(
    worker: "subprocess.Popen[str]", what: str, data: Path, root: Path, deaths: list[str]
) -> tuple[list[int], dict[str, Any]]:
    """Let the script work to the end; return what it printed, and what it found."""
    root.mkdir()
    assert worker.stdin is not None
    assert worker.stdout is not None
    asked = shlex.join([what, str(data), str(root / "run"), str(root / "found.json"), *deaths])
    worker.stdin.write(f"{asked}\n")
    worker.stdin.flush()
    code, *counts = map(int, worker.stdout.readline().split())
    assert code == 0
    return counts, json.loads((root / "found.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["search", "training", "choices", "fine-tuning"])
def test_killed_and_resumed(
    what: str, digits: Digits, tmp_path: Path, worker: "subprocess.Popen[str]"
) -> None:
    data = tmp_path / "digits.npz"
    images, labels = digits
    np.savez(data, images=images, labels=labels)
    _, whole = work(worker, what, data, tmp_path / "whole", [])
    # Random numbers of events, at most 0.9 of the whole in all with what follows the last of each,
    # so that none of the processes comes to the end: some die before their first checkpoint, most
    # between two steps or in one, and every third in the middle of writing a checkpoint.
    shares = np.random.default_rng(len(what)).uniform(size=_KILLS)
    left = 0.9 * whole["events"] - _KILLS * SLACK
    events = np.maximum(left * shares / shares.sum(), 1).astype(int)
    manners = itertools.cycle(("event", "instant", "write"))
    deaths = [f"{number}:{next(manners)}" for number in events]
    (kills, checkpoints), found = work(worker, what, data, tmp_path / "killed", deaths)
    assert kills == _KILLS  # none of them had come to the end
    assert checkpoints >= 3  # they did get ahead from one to the next
    assert found["facts"] == whole["facts"]
    with (
        np.load(tmp_path / "whole" / "found.npz") as expected,
        np.load(tmp_path / "killed" / "found.npz") as resumed,
    ):
        assert set(expected) == set(resumed)
        for name in expected:
            assert expected[name].tobytes() == resumed[name].tobytes(), name
    assert not list((tmp_path / "killed" / "run").glob("*.tmp"))
