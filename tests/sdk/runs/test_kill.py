"""kill -9 at random moments, then resume: the same α, genotype and weights to the last bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.processes

Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]
_KILLS = 20


def work(what: str, data: Path, root: Path, delays: list[float]) -> tuple[str, dict[str, Any]]:
    """Run the script to the end; what it printed, and what it found."""
    root.mkdir()
    found = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("killed_work.py"),
            what,
            data,
            root / "run",
            root / "found.json",
            *map(str, delays),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout, json.loads((root / "found.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["search", "training", "choices"])
def test_killed_and_resumed(what: str, digits: Digits, tmp_path: Path) -> None:
    data = tmp_path / "digits.npz"
    images, labels = digits
    np.savez(data, images=images, labels=labels)
    _, whole = work(what, data, tmp_path / "whole", [])
    # Random moments, 0.8 of the whole in all, and what each kill loses comes on top: some lives
    # end before their first checkpoint, most in the middle of a step, some in a write.
    moments = np.random.default_rng(len(what)).uniform(size=_KILLS)
    delays = (0.8 * whole["seconds"] * moments / moments.sum()).tolist()
    printed, found = work(what, data, tmp_path / "killed", delays)
    kills, checkpoints = map(int, printed.split())
    assert kills == _KILLS  # none of them had come to the end
    assert checkpoints >= 3  # they did get ahead from life to life
    assert found["facts"] == whole["facts"]
    with (
        np.load(tmp_path / "whole" / "found.npz") as expected,
        np.load(tmp_path / "killed" / "found.npz") as resumed,
    ):
        assert set(expected) == set(resumed)
        for name in expected:
            assert expected[name].tobytes() == resumed[name].tobytes(), name
    assert not list((tmp_path / "killed" / "run").glob("*.tmp"))
