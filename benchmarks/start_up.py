"""How long the command line takes to start, beside the libraries that it prints with.

    python benchmarks/start_up.py

Each command runs in a process of its own, in turn with the baseline, which is a Python that
imports typer and what Typer uses of rich. Its output is thrown away. ``list`` and ``show`` read
the zoo that comes with the package. Writes ``results/start_up.json``; with ``--quick``
three rounds, to stdout only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

from measure import interleaved, save, spread

BASELINE = "import typer, rich.console, rich.panel, rich.table"
COMMANDS = {
    "help": ("--help",),
    "list": ("list",),
    "show": ("show", "flowers102"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else arguments.rounds
    works = {
        "python alone": process("-c", "pass"),
        "baseline": process("-c", BASELINE),
        **{name: process("-m", "wsdarts_hub", *words) for name, words in COMMANDS.items()},
    }
    found = interleaved(works, repeats=rounds, warm=1 if arguments.quick else 2)
    baseline = statistics.median(found["baseline"])
    results = {
        "baseline": f'python -c "{BASELINE}"',
        "commands": {name: " ".join(("wsdarts-hub", *words)) for name, words in COMMANDS.items()},
        "rounds": rounds,
        "seconds": {name: spread(seconds) for name, seconds in found.items()},
        "times_the_baseline": {
            name: round(statistics.median(found[name]) / baseline, 2) for name in COMMANDS
        },
    }
    if not arguments.quick:
        save("start_up", results, threads=1)
    print(json.dumps(results, indent=1))


def process(*words: str) -> Callable[[], object]:
    """Runs this Python with those arguments, as a user's shell would."""
    environment = {k: v for k, v in os.environ.items() if k != "WSDARTS_HUB_REGISTRY"}

    def run() -> None:
        subprocess.run(
            [sys.executable, *words], check=True, env=environment, stdout=subprocess.DEVNULL
        )

    return run


if __name__ == "__main__":
    main()
