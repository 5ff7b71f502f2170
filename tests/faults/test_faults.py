"""A short share of `make faults`, and that it notices what it is there for."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.documentation.workplace import Programs
from tests.faults.campaign import Outcome, pairs, run, run_disk_faults
from tests.faults.disk import KINDS, compiler
from tests.faults.jobs import Found, Job, Place, all_jobs

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def campaign(
    jobs: list[Job], beginning: Path, programs: Programs, port: int, scratch: Path
) -> Outcome:
    scratch.mkdir()
    return run(
        {job.name: job for job in jobs},
        kills=2 * len(jobs),
        seed=3,
        beginning=beginning,
        programs=programs,
        port=port,
        scratch=scratch,
        progress=lambda outcome: None,
    )


def test_what_is_killed_ends_as_if_it_had_not_been(
    beginning: Path, programs: Programs, hub_port: int, tmp_path: Path
) -> None:
    jobs = [all_jobs()[name] for name in ("search", "push", "push to a Hub")]
    outcome = campaign(jobs, beginning, programs, hub_port, tmp_path / "scratch")
    assert outcome.failures == []
    assert outcome.kills.total() >= len(jobs)


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
def test_what_a_failing_disk_stops_goes_on_when_it_is_cured(
    beginning: Path, programs: Programs, hub_port: int, tmp_path: Path
) -> None:
    names = ("push", "pull", "pull from a Hub", "gallery", "training", "push to a Hub")
    outcome = run_disk_faults(
        {name: all_jobs()[name] for name in names},
        faults=2 * len(names),
        seed=5,
        beginning=beginning,
        programs=programs,
        port=hub_port,
        scratch=tmp_path,
        progress=lambda outcome: None,
    )
    assert outcome.failures == []
    assert sorted(outcome.kills.values()) == [1] * 2 * len(names)  # each another pair


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
def test_what_a_lack_of_memory_stops_goes_on_when_there_is_enough(
    beginning: Path, programs: Programs, hub_port: int, tmp_path: Path
) -> None:
    outcome = run_disk_faults(
        {"training": all_jobs()["training"]},
        faults=2,
        seed=1,
        beginning=beginning,
        programs=programs,
        port=hub_port,
        scratch=tmp_path,
        progress=lambda outcome: None,
        kinds=("memory",),
    )
    assert outcome.failures == []
    assert outcome.kills == {"training: memory": 2}


def test_all_pairs_come_up_before_any_again() -> None:
    jobs, draws = tuple(all_jobs().values()), np.random.default_rng(0)
    drawn = [(job.name, kind) for job, kind, _ in islice(pairs(jobs, KINDS, draws), 156)]
    assert len(set(drawn[:78])) == len(set(drawn[78:])) == len(jobs) * len(KINDS) - 2
    again = [where for *_, where in islice(pairs(jobs[:1], KINDS, np.random.default_rng(0)), 16)]
    assert sorted(again) == [False] * 8 + [True] * 8  # in the directory and in the cache


def test_another_result_and_what_is_left_behind_are_failures(
    beginning: Path, programs: Programs, hub_port: int, tmp_path: Path
) -> None:
    calls = list[int]()

    def changing(place: Place) -> Found:
        (place.directory / "half.tmp").touch()
        calls.append(len(calls))
        return {"file": str(calls[-1])}

    job = replace(all_jobs()["pull"], found=changing)
    outcome = campaign([job], beginning, programs, hub_port, tmp_path / "scratch")
    assert outcome.failures[:2] == [
        "pull: not what it is undisturbed: ['file']",
        "pull: left ['half.tmp'] behind",
    ]
