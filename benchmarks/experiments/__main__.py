"""Experiments as declared tables of cells.

    python benchmarks/experiments run NAME [PART …]     measure what is left, from where it was
    python benchmarks/experiments status NAME           how much is done
    python benchmarks/experiments table NAME            the figures of what is done, as JSON

Each cell has a JSON file of its own under ``benchmarks/results/experiments``, which holds the
command that measures it again. Several processes may run one table. Their state is under
``--runs``; a run that is stopped goes on from its last checkpoint.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arms import ARMS
from cells import print_status, run
from criteria import CRITERIA
from inheritance import INHERITANCE

EXPERIMENTS = {experiment.name: experiment for experiment in (ARMS, INHERITANCE, CRITERIA)}


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "status", "table"])
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument("parts", nargs="*", help="only cells with one of these in their name")
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"))
    arguments = parser.parse_args()
    experiment = EXPERIMENTS[arguments.experiment]
    if arguments.action == "run":
        run(experiment, arguments.runs, only=arguments.parts)
    elif arguments.action == "status":
        print_status(experiment)
    else:
        print(json.dumps(experiment.summary(experiment.finished()), indent=1))


if __name__ == "__main__":
    main()
