"""`python -m tests.soak --seconds 3600`, which is what `make soak` runs."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.campaign import soak

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "soak.json"


def main() -> int:
    """Use two registries for long; the exit code says whether anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="for how long")
    parser.add_argument("--processes", type=int, default=8, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="chooses the actions")
    parser.add_argument("--save", action="store_true", help=f"write {_RESULTS.name}")
    chosen = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(
            Path(folder),
            processes=chosen.processes,
            seconds=chosen.seconds,
            seed=chosen.seed,
        )
    told = {
        "command": (
            f"python -m tests.soak --seconds {chosen.seconds:g} --processes {chosen.processes} "
            f"--seed {chosen.seed}"
        ),
        "seconds": round(time.monotonic() - begun),
        "actions": {name: dict(counts) for name, counts in found.actions.items()},
        "versions": found.versions,
        "processes": found.processes,
        "failures": found.failures,
    }
    text = json.dumps(told, indent=1)
    sys.stdout.write(text + "\n")
    if chosen.save:
        _RESULTS.write_text(text + "\n")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
