"""Kill a job at random instants until it ends, and compare what it left with an undisturbed one."""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from tests.documentation.workplace import Programs
from tests.faults.disk import KINDS, Fault, read_changes
from tests.faults.jobs import Found, Job, Place

_MOST_KILLS = 8  # of one job, before it may come to its end
_SLOW = 800.0
_IN_CACHE = 0.25  # share of the first faults of disks that concern the cache
_DRAWS = 9  # of an instant, until the fault happens before the job has ended
_MEMORY = (12, 26)  # logarithms of the fewest and most bytes that are left where memory ends
# A pull from a directory and a gallery ask for no time of day: what they write has none.
_SENSELESS = {("pull", "clock"), ("gallery", "clock")}
_JUMPS = (-3600, 86400)  # of the clock, in seconds


@dataclass(kw_only=True)
class Outcome:
    """What a campaign has found so far.

    Attributes:
        kills: Processes that were killed, by job; faults that happened, by job and kind.
        ends: Jobs that came to their end, by job.
        failures: What went wrong, as sentences.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a job leaves when nothing happens to it.

    Attributes:
        found: What it leaves behind.
        seconds: How long it takes.
        changes: How many changes it makes in its directory and in its cache, where they are
            counted.
    """

    found: Found
    seconds: float
    changes: tuple[int, int]


class Measured:
    """What jobs leave undisturbed; each is measured once."""

    def __init__(self, make: Callable[[Path], Place], scratch: Path) -> None:
        self._make, self._scratch = make, scratch
        self._known: dict[str, Undisturbed] = {}

    def __getitem__(self, job: Job) -> Undisturbed:
        if job.name not in self._known:
            directory = self._scratch / "undisturbed"
            directory.mkdir()
            place = self._make(directory)
            try:
                for command in job.before:
                    place.run(*command)
                log, begun = directory / "log", time.monotonic()
                process = place.start(job.command, FAULTS_ROOT=str(directory), FAULTS_LOG=str(log))
                said, _ = process.communicate(timeout=_SLOW)
                assert process.returncode == 0, f"{job.name}: {said.decode(errors='replace')}"
                seconds = time.monotonic() - begun
                paths = [change.path for change in read_changes(log, directory)]
                below = sum(path.startswith(place.directory.name) for path in paths)
                self._known[job.name] = Undisturbed(
                    found=job.found(place), seconds=seconds, changes=(below, len(paths) - below)
                )
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
    undisturbed = Measured(lambda d: Place(d, beginning, programs, port), scratch)
    while outcome.kills.total() < kills:
        for job in jobs.values():
            if outcome.kills.total() >= kills:
                break
            directory = scratch / "killed"
            directory.mkdir()
            expected = undisturbed[job]
            place = Place(directory, beginning, programs, port)
            try:
                _kill_until_it_ends(job, place, expected.seconds, random, outcome)
                _compare(job, place, expected.found, outcome)
            except AssertionError as error:
                outcome.failures.append(f"{job.name}: {error}")
            finally:
                place.close()
                shutil.rmtree(directory)
            progress(outcome)
    return outcome


def run_disk_faults(
    jobs: Mapping[str, Job],
    *,
    faults: int,
    seed: int,
    beginning: Path,
    programs: Programs,
    port: int,
    scratch: Path,
    progress: Callable[[Outcome], None],
    kinds: Sequence[str] = KINDS,
) -> Outcome:
    """Let a disk or the memory fail under jobs, so many times, and do each again when it is cured.

    Args:
        jobs: The jobs.
        faults: How many.
        seed: The same seed chooses the same faults.
        beginning: What each job begins with.
        programs: Runs the commands, with the library of ``disk`` loaded.
        port: Port of the Hub.
        scratch: An empty directory.
        progress: Told after each job.
        kinds: The kinds of faults, among ``KINDS``.
    """
    outcome, random = Outcome(), np.random.default_rng(seed)
    undisturbed = Measured(lambda d: Place(d, beginning, programs, port), scratch)
    for job, kind, in_cache in islice(pairs(tuple(jobs.values()), kinds, random), faults):
        expected, what = undisturbed[job], f"{job.name}: {kind}"
        before = outcome.kills.total()
        for draw in range(_DRAWS):
            directory = scratch / "faulty"
            directory.mkdir()
            place = Place(directory, beginning, programs, port)
            in_it = in_cache or not expected.changes[0] or (kind == "vanished" and not job.uses)
            changes = expected.changes[in_it] >> draw  # earlier each time: more is to come then
            fault = _drawn(job, place, kind, changes, in_it, random)
            where = f"{job.name}, {'cache' if in_it else 'directory'} {fault}"
            try:
                for command in job.before:
                    place.run(*command)
                _fail_and_repeat(job, place, fault, place.cache if in_it else place.directory)
                outcome.ends[job.name] += 1
                _compare(replace(job, name=where), place, expected.found, outcome)
            except AssertionError as error:
                outcome.failures.append(f"{where}: {error}")
            finally:
                outcome.kills[what] += place.fault_happened.exists()
                place.close()
                shutil.rmtree(directory)
            progress(outcome)
            if outcome.kills.total() > before:
                break
        else:
            outcome.failures.append(f"{what}: did not happen in {_DRAWS} draws")
    return outcome


def pairs(
    jobs: Sequence[Job], kinds: Sequence[str], random: np.random.Generator
) -> Iterator[tuple[Job, str, bool]]:
    """Yield pairs of job and kind in turn, all of them before any again; whether in the cache.

    Each job allocates memory and writes at least into its cache, so all but ``_SENSELESS`` make
    sense. What pushes to a Hub or makes its index writes nothing else here, so that its faults are
    in the cache each time; those of other jobs are there and in the directory by turns.
    """
    in_cache: dict[tuple[str, str], bool] = {}
    while True:
        orders = [[str(kind) for kind in random.permutation(kinds)] for _ in jobs]
        for those in zip(*orders, strict=True):
            for job, kind in zip(jobs, those, strict=True):
                pair = job.name, kind
                if pair not in _SENSELESS:
                    first = bool(random.random() < _IN_CACHE)
                    in_cache[pair] = not in_cache.get(pair, not first)
                    yield job, kind, in_cache[pair]


def _drawn(
    job: Job, place: Place, kind: str, changes: int, in_cache: bool, random: np.random.Generator
) -> Fault:
    fault = Fault(kind=kind, change=int(random.integers(max(1, changes))))
    if kind == "vanished":
        gone = place.cache if in_cache else place.directory / str(random.choice(job.uses))
        return replace(fault, extra=str(gone))
    if kind == "clock":
        return replace(fault, extra=str(random.choice(_JUMPS)))
    if kind == "memory":
        return replace(fault, extra=str(int(2 ** random.uniform(*_MEMORY))))
    return fault


def _fail_and_repeat(job: Job, place: Place, fault: Fault, root: Path) -> None:
    process = place.start(job.command, **fault.variables(root, place.fault_happened))
    try:
        said, _ = process.communicate(timeout=_SLOW)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it had not ended after {_SLOW:g} s") from None
    lines = said.decode(errors="replace").strip().splitlines()
    fault.cure()
    if process.returncode == 0:
        return
    errors = [line for line in lines if not line.startswith("warning: ")]
    if fault.kind != "killed" or errors:
        assert process.returncode == 1, f"exit code {process.returncode}: {lines[-3:]}"
        assert len(errors) == 1, lines[-5:]
        assert errors[0].startswith("error: "), errors
    process = place.start(job.command)
    again, _ = process.communicate(timeout=_SLOW)
    told = again.decode(errors="replace").strip()
    assert process.returncode == 0 or (job.again and job.again in told), (
        f"after {errors[-1:]}, cured: {told[-300:]}"
    )


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
    if place.in_parts():  # their norms are not those of whole batches, so neither are results
        found, expected = dict.fromkeys(found, ""), dict.fromkeys(expected, "")
    differing = sorted(
        name for name in {*found, *expected} if found.get(name) != expected.get(name)
    )
    if differing:
        outcome.failures.append(f"{job.name}: not what it is undisturbed: {differing[:5]}")
    left = place.left_behind()
    if left:
        outcome.failures.append(f"{job.name}: left {left[:5]} behind")
