"""`python -m tests.faults --kills 200 --seed 1`, which is what `make faults` runs."""

import argparse
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.documentation.beginning import make_beginning
from tests.documentation.workplace import Programs
from tests.faults.campaign import Outcome, run, run_disk_faults
from tests.faults.disk import KINDS, compiler, library
from tests.faults.jobs import all_jobs
from wsdarts_registry._files import cache_directory, make_directories

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "faults.json"


def main() -> int:
    """Kill, and tell what happened; the exit code says whether anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many processes to kill")
    parser.add_argument("--disks", type=int, default=0, help="how many disks are to fail")
    parser.add_argument("--seed", type=int, default=1, help="chooses the instants")
    parser.add_argument("--job", action="append", help="only this job; may be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of fault")
    parser.add_argument("--save", action="store_true", help=f"write {_RESULTS.name}")
    chosen = parser.parse_args()
    jobs = all_jobs()
    unknown = set(chosen.job or ()) - set(jobs)
    if unknown:
        parser.error(f"--job is one of {', '.join(jobs)}")
    jobs = {name: job for name, job in jobs.items() if name in (chosen.job or jobs)}
    begun = time.monotonic()

    def progress(outcome: Outcome) -> None:
        spent, done = time.monotonic() - begun, outcome.kills.total()
        print(
            f"{done} faults in {spent:.0f} s, {outcome.ends.total()} jobs ended, "
            f"{len(outcome.failures)} failures: {outcome.failures[-1:]}",
            file=sys.stderr,
            flush=True,
        )

    kernels = cache_directory() / "kernels"  # to compile them takes a minute
    make_directories(kernels)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        root = Path(folder)
        for name in ("programs", "beginning", "scratch", "jobs"):
            (root / name).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        endpoint = f"http://127.0.0.1:{port}"
        programs = Programs(
            root / "programs",
            kernels=kernels,
            endpoint=endpoint,
            preload=library(root) if compiler() else None,
        )
        try:
            make_beginning(root / "beginning", root / "scratch", programs)

            def campaign(work: Callable[..., Outcome], **count: int) -> Outcome:
                return work(
                    jobs,
                    **count,
                    seed=chosen.seed,
                    beginning=root / "beginning",
                    programs=programs,
                    port=port,
                    scratch=root / "jobs",
                    progress=progress,
                )

            killed = campaign(run, kills=chosen.kills)
            work = partial(run_disk_faults, kinds=chosen.kind or KINDS)
            failed = campaign(work, faults=chosen.disks if compiler() else 0)
        finally:
            programs.close()
    return report(killed, failed, chosen, time.monotonic() - begun)


def report(killed: Outcome, failed: Outcome, chosen: argparse.Namespace, seconds: float) -> int:
    """Print the counts, and write them if that was asked for."""
    told = {
        "command": (
            f"python -m tests.faults --kills {chosen.kills} --disks {chosen.disks} "
            f"--seed {chosen.seed}"
        ),
        "seconds": round(seconds),
        "kills": dict(killed.kills),
        "ended": dict(killed.ends),
        "pairs of job and fault": sum(count > 0 for count in failed.kills.values()),
        "faults of disks and memory": dict(failed.kills),
        "ended after these": dict(failed.ends),
        "failures": killed.failures + failed.failures,
    }
    print(json.dumps(told, indent=1))
    if chosen.save:
        _RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if told["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
