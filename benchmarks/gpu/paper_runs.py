"""Searches at preset ``paper`` on a GPU: what the paper's own hours are held against.

    python benchmarks/gpu/paper_runs.py --data carry/data --probe-file FILE

Call it again until it says "done". First TAS of flowers102, which is its cold search, too, and its
warm start from the shipped zoo without the artifacts of flowers102; then λ_meta over flowers,
birds and textures; then TAS and warm start of the other sets. Sets that are not in ``--data`` are
passed over. ``--data`` holds a folder or parquet file for each set, by the names in
``benchmarks/six_sets.py`` or as ``carry_data.py`` unpacks them.

Each run goes on where it was: when the time of a call is over, it ends at the next checkpoint.
Runs are under ``--runs``; bring that folder along to go on on another machine. Whatever a run has
found is published to ``RUNS/registry`` under the name that it has in the shipped zoo
(``place_in_zoo.py`` puts it there), warm starts as NAME-warm. Times are in
``benchmarks/results/gpu/paper_runs.json``: of search steps alone, and of the whole.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job import Results, Time, parser_for, say

_GRACE = 40.0  # seconds after the end of a call in which a checkpoint has to come


class TimeIsUp(Exception):  # noqa: N818 (nothing is wrong)
    """The call has to end; the run goes on in the next."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        name: Of the run, and of what it publishes.
        warm: Whether it is a warm start.
        sets: What it searches on.
    """

    name: str
    warm: bool
    sets: tuple[str, ...]


class Until:
    """Progress that ends a run right after a checkpoint, once the time is over.

    Args:
        left: Time of the call.
        run: The run's directory.
    """

    def __init__(self, left: Time, run: Path) -> None:
        self._left, self._run = left, run
        self._seen: float | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Tell what is new; raise when it is time.

        Raises:
            TimeIsUp: There is a checkpoint that is newer than the end of the time.
        """
        if what != self._what:
            self._what = what
            print(f"{self._run.name}: {what} ({done}/{total})", flush=True)
        if self._left.left() > 0:
            return
        newest = max(
            (file.stat().st_mtime for file in self._run.glob("*.checkpoint.safetensors")),
            default=0.0,
        )
        if self._seen is None:
            self._seen = newest
        if newest != self._seen or self._left.left() < -_GRACE:
            raise TimeIsUp


def main() -> None:
    """Go on with the runs that are left."""
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("carry/data"))
    parser.add_argument("--probe-file", help="a further probe for the embeddings")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--sets", nargs="+", help="only these sets")
    arguments = parser.parse_args()
    os.environ.setdefault("WSDARTS_HUB_CACHE", str(arguments.runs / "cache"))
    left = Time(arguments.seconds)
    asked = {"preset": arguments.preset}
    results = Results(arguments.results / "paper_runs.json", arguments.device, asked)
    todo = [plan for plan in plans(arguments) if plan.name not in results.done]
    for number, plan in enumerate(todo):
        try:
            results.keep(plan.name, carried_out(plan, arguments, left))
        except TimeIsUp:
            say(len(todo) - number, "runs")
            return
        print(f"{plan.name}: {results.done[plan.name]}", flush=True)
    say(0, "runs")


def plans(arguments: argparse.Namespace) -> Iterator[Plan]:
    """What there is to do, the most valuable first."""
    from six_sets import META, SETS  # noqa: PLC0415

    there = [name for name in SETS if place_of(name, arguments.data) is not None]
    there = [name for name in there if not arguments.sets or name in arguments.sets]
    for position, name in enumerate(there):
        published = name.replace("_", "-")
        yield Plan(name=published, warm=False, sets=(name,))
        yield Plan(name=f"{published}-warm", warm=True, sets=(name,))
        if position == 0 and set(META) <= set(there):
            yield Plan(name="meta-flowers-birds-textures", warm=False, sets=META)


def place_of(name: str, data: Path) -> Path | None:
    """Where a set is, unpacked or as it came."""
    from six_sets import SETS  # noqa: PLC0415

    return next((path for path in (data / name, data / SETS[name]) if path.exists()), None)


def carried_out(plan: Plan, arguments: argparse.Namespace, left: Time) -> dict[str, Any]:
    """Carry a plan out, or go on with it, and publish what it found.

    Raises:
        TimeIsUp: There was not enough of it.
    """
    from build_zoo import LICENCES  # noqa: PLC0415
    from leave_one_out import registry_without  # noqa: PLC0415

    from wsdarts_hub import ImageTask, push, search, warm_start  # noqa: PLC0415
    from wsdarts_registry.stores.directory import DirectoryStore  # noqa: PLC0415
    from wsdarts_sdk.task2vec.loading import load_probe  # noqa: PLC0415

    out = arguments.runs / plan.name
    common: dict[str, Any] = {
        "out": out,
        "preset": arguments.preset,
        "resume": True,
        "device": str(arguments.device),
        "progress": Until(left, out),
    }
    begun = time.monotonic()
    places = {name: place_of(name, arguments.data) for name in plan.sets}
    tasks = [ImageTask.load(place, name=name) for name, place in places.items()]
    if plan.warm:
        copy = arguments.runs / "registries" / plan.name
        # A run that has decided on its start had the whole copy.
        decided = (out / "decision.json").exists()
        registry = DirectoryStore(copy) if decided else registry_without(tasks[0], copy)
        run: Any = warm_start(tasks[0], registry=registry, **common)
    else:
        files = [None, *([arguments.probe_file] if arguments.probe_file else [])]
        probes = [load_probe(file, device=str(arguments.device)) for file in files]
        run = search(*tasks, probes=probes, **common)
    registry = DirectoryStore(arguments.runs / "registry", create=True)
    licences = "; ".join(dict.fromkeys(LICENCES[name] for name in plan.sets))
    entry = push(
        run.path, plan.name, registry=registry, license="research-only", description=licences
    )
    return {
        "reference": str(entry.reference),
        "source": run.source if plan.warm else "cold",
        "mode": run.mode if plan.warm else "cold",
        "search_seconds": round(run.seconds["search"], 3),
        "seconds": {phase: round(value, 3) for phase, value in run.seconds.items()},
        "last_call_seconds": round(time.monotonic() - begun, 3),
        "genotype": run.genotype.to_darts(),
        "steps_run": [row["steps_run"] for row in run.result.rows[-1:]],
        "compute_dtype": run.result.rows[-1]["compute_dtype"],
    }


if __name__ == "__main__":
    sys.exit(main())
