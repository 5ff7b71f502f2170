"""Kill a job at random instants until it ends, and compare what it left with an undisturbed one."""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.documentation.workplace import Programs
from tests.faults.jobs import Found, Job, Place

_MOST_KILLS = 8  # of one job, before it may come to its end
_SLOW = 800.0


@dataclass(kw_only=True)
class Outcome:
    """What a campaign has found so far.

    Attributes:
        kills: Processes that were killed, by job.
        ends: Jobs that came to their end, by job.
        failures: What went wrong, as sentences.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Undisturbed:
    """What jobs leave when nobody kills them, and how long that takes; each is measured once."""

    def __init__(self, make: Callable[[Path], Place], scratch: Path) -> None:
        self._make, self._scratch = make, scratch
        self._known: dict[str, tuple[Found, float]] = {}

    def __getitem__(self, job: Job) -> tuple[Found, float]:
        if job.name not in self._known:
            directory = self._scratch / "undisturbed"
            directory.mkdir()
            place = self._make(directory)
            try:
                for command in job.before:
                    place.run(*command)
                begun = time.monotonic()
                place.run(*job.command)
                seconds = time.monotonic() - begun
                self._known[job.name] = job.found(place), seconds
            finally:
                place.close()
                shutil.rmtree(directory)
        return self._known[job.name]


def run(
    jobs: Mapping[str, Job],
    *,
    kills: int,
    seed: int,
    beginning: Path,
    programs: Programs,
    port: int,
    scratch: Path,
    progress: Callable[[Outcome], None],
) -> Outcome:
    """Kill jobs in turn until so many processes have been killed.

    Args:
        jobs: The jobs.
        kills: How many processes to kill in all.
        seed: The same seed chooses the same shares of a job's time.
        beginning: What each job begins with.
        programs: Runs the commands.
        port: Port of the Hub.
        scratch: An empty directory.
        progress: Told after each job.
    """
    outcome, random = Outcome(), np.random.default_rng(seed)
    undisturbed = Undisturbed(lambda d: Place(d, beginning, programs, port), scratch)
    while outcome.kills.total() < kills:
        for job in jobs.values():
            if outcome.kills.total() >= kills:
                break
            directory = scratch / "killed"
            directory.mkdir()
            expected, seconds = undisturbed[job]
            place = Place(directory, beginning, programs, port)
            try:
                _kill_until_it_ends(job, place, seconds, random, outcome)
                _compare(job, place, expected, outcome)
            except AssertionError as error:
                outcome.failures.append(f"{job.name}: {error}")
            finally:
                place.close()
                shutil.rmtree(directory)
            progress(outcome)
    return outcome


def _kill_until_it_ends(
    job: Job, place: Place, seconds: float, random: np.random.Generator, outcome: Outcome
) -> None:
    for command in job.before:
        place.run(*command)
    for _ in range(int(random.integers(1, _MOST_KILLS + 1))):
        process = place.start(job.command)
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(random.uniform(0, seconds)))
        if process.poll() is None:
            process.kill()
            outcome.kills[job.name] += 1
        said, _ = process.communicate(timeout=_SLOW)  # until its fork has ended, too
        if process.returncode == 0:
            break
    else:
        process = place.start(job.command)
        said, _ = process.communicate(timeout=_SLOW)
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        one_line = len(lines) == 1 and lines[0].startswith("error: ")
        assert job.again, f"exit code {process.returncode}: {lines[-3:]}"
        assert one_line, f"exit code {process.returncode}: {lines[-3:]}"
        assert job.again in lines[0]
    outcome.ends[job.name] += 1


def _compare(job: Job, place: Place, expected: Found, outcome: Outcome) -> None:
    found = job.found(place)
    differing = sorted(
        name for name in {*found, *expected} if found.get(name) != expected.get(name)
    )
    if differing:
        outcome.failures.append(f"{job.name}: not what it is undisturbed: {differing[:5]}")
    left = place.left_behind()
    if left:
        outcome.failures.append(f"{job.name}: left {left[:5]} behind")
