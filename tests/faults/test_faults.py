"""A short share of `make faults`, and that it notices what it is there for."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.documentation.workplace import Programs
from tests.faults.campaign import Outcome, run, run_disk_faults
from tests.faults.disk import compiler
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
    assert outcome.ends.total() == 2 * len(names)


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
