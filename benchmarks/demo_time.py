"""The demo's time before and after a change, phase by phase.

    python benchmarks/demo_time.py --before DIRECTORY --commit COMMIT

DIRECTORY holds an older commit of this project (``git worktree add DIRECTORY COMMIT``, or a ``git
archive`` of it). The demo of either tree runs in turn as a process of its own, with the paths of
its tree first, a new cache and a new directory, so that it has everything to do, the compilation
of its kernels included. The phases are those that its runs write down; "everything" is the wall
time of the whole command. One thread each, as ``make demo`` sets it. Writes
``results/demo_time.json``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import save, spread

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("", "registry", "sdk", "cards")
THREADS = "1"
WHOLE = "everything"
# What the demo's runs write down: directory, name in its costs, name here.
PHASES = (
    ("warm-start", "search", "warm start"),
    ("cold", "search", "cold search"),
    ("training", "training", "training"),
)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="directory of an older commit")
    parser.add_argument("--commit", required=True, help="which commit that is, for the results")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve(), "after": HERE}
    for tree in trees.values():
        if not (tree / "wsdarts_hub").is_dir():
            raise SystemExit(f"{tree} holds no wsdarts_hub; expected a checkout of this project")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(arguments.rounds):
        for name in list(trees)[:: 1 if number % 2 == 0 else -1]:  # either is first in turn
            found[name].append(demo(trees[name]))
            print(name, json.dumps(found[name][-1]), flush=True)
    results = {
        "commit_before": arguments.commit,
        "rounds": arguments.rounds,
        **compared(found["before"], found["after"]),
    }
    print(save("demo_time", results, threads=int(THREADS)))


def demo(tree: Path) -> dict[str, float]:
    """Run the demo of a tree with nothing at hand.

    Returns:
        Seconds of each phase, and of the whole.
    """
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": THREADS,
            "PYTHONPATH": os.pathsep.join(str(tree / package) for package in PACKAGES),
            "WSDARTS_HUB_CACHE": str(scratch / "cache"),
        }
        environment.pop("WSDARTS_HUB_REGISTRY", None)
        out = scratch / "demo"
        command = [sys.executable, "-m", "wsdarts_hub", "demo", "--quiet", "--out", str(out)]
        begun = time.perf_counter()
        subprocess.run(command, check=True, env=environment, cwd=tree, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - begun
        phases = {name: seconds(out / run / "costs.json", phase) for run, phase, name in PHASES}
    return {**phases, WHOLE: whole}


def seconds(costs: Path, phase: str) -> float:
    """Return what a phase took; older commits wrote the phases without anything around them."""
    found = json.loads(costs.read_bytes())
    return float(found.get("phases", found)[phase])


def compared(
    before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]
) -> dict[str, object]:
    """Spreads of both by phase, and how many times faster it is after."""
    seconds = {
        phase: {
            "before": spread([each[phase] for each in before]),
            "after": spread([each[phase] for each in after]),
        }
        for phase in before[0]
    }
    return {
        "seconds": seconds,
        "times_faster": {
            phase: round(both["before"]["median"] / both["after"]["median"], 2)
            for phase, both in seconds.items()
        },
    }


if __name__ == "__main__":
    main()
