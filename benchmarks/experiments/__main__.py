"""Experiments as declared tables of cells.

    python benchmarks/experiments run NAME [PART …]     measure what is left, from where it was
    python benchmarks/experiments status NAME           how much is done
    python benchmarks/experiments table NAME            the figures of what is done, as JSON
    python benchmarks/experiments collect NAME          write results that are in the --storage

Each cell has a JSON file of its own under ``benchmarks/results/experiments``, which holds the
command that measures it again. Several processes may run one table. Their state is under
``--runs``; a run that is stopped goes on from its last checkpoint. With ``--storage URL``, or the
URL in WSDARTS_HUB_STORAGE, several machines run one table: each cell is measured by one of them,
and all write its result. States stay where they are: a machine makes the ones that it needs again,
so give cells that need each other to one machine, by their PARTs.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arms import ARMS
from cells import Experiment, print_status, run, share
from criteria import CRITERIA
from inheritance import INHERITANCE
from probes import PROBES
from sources import SOURCE_TRAINING
from transfer import TRANSFER

from wsdarts_registry.errors import SettingsError, WsdartsError
from wsdarts_sdk.runs.shared_work import storage_address

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (ARMS, INHERITANCE, CRITERIA, TRANSFER, PROBES, SOURCE_TRAINING)
}


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "status", "table", "collect"])
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument(
        "parts", nargs="*", help="only these cells, or those with one of these in their name"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--storage", metavar="URL", help="database that machines share")
    arguments = parser.parse_intermixed_args()
    try:
        act(arguments, EXPERIMENTS[arguments.experiment], storage_address(arguments.storage))
    except WsdartsError as error:
        sys.exit(f"error: {error}")


def act(arguments: argparse.Namespace, experiment: Experiment, storage: str | None) -> None:
    """Do one action."""
    if arguments.action == "run":
        run(experiment, arguments.runs, only=arguments.parts, storage=storage)
    elif arguments.action == "collect":
        if storage is None:
            raise SettingsError(
                "there is no storage to collect from", hint="name it: --storage URL"
            )
        share(experiment, storage, arguments.runs)
        print_status(experiment)
    elif arguments.action == "status":
        print_status(experiment)
    else:
        print(json.dumps(experiment.summary(experiment.finished()), indent=1))


if __name__ == "__main__":
    main()
