"""After a power cut at any instant everything opens, verifies, and comes to its end.

Each job runs once in a process whose changes are recorded. Then the disk is made again as a power
cut between any two of them may leave it: with what was flushed only; with all names, but without
what was written to files since they were flushed; with a half of that; or with everything.
"""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.documentation.workplace import Programs
from tests.faults.disk import (
    SURVIVORS,
    Change,
    Disk,
    compiler,
    instants,
    library,
    read_changes,
)
from tests.faults.recorded import WORK
from wsdarts_registry._files import CACHE_VARIABLE

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(
        compiler() is None or not sys.platform.startswith("linux"),
        reason="the recorder needs a C compiler and Linux",
    ),
]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def cache_in(directory: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv(CACHE_VARIABLE, str(directory / "cache"))
        yield


def run(*arguments: str, programs: Programs, environment: dict[str, str]) -> None:
    """Run Python in a fork of a process that has loaded the recorder, and torch."""
    subprocess.run(
        [programs.path("python"), *arguments],
        cwd=ROOT,
        env={**programs.environment, "DOCUMENTATION_STEPS": "all", **environment},
        check=True,
    )


def different_cuts(disk: Disk, changes: Sequence[Change]) -> list[tuple[int, str]]:
    """Return power cuts that leave different disks: after how many changes, and what survives.

    Those at the end come last, and of these the one that loses most.
    """
    known, cuts, after = set[str](), list[tuple[int, str]](), set(instants(changes))
    for number, change in enumerate(changes):
        for survivor in SURVIVORS if number in after else ():
            left = disk.digest(survivor)
            cuts += [] if left in known else [(number, survivor)]
            known.add(left)
        disk.apply(change)
    return [*cuts, *((len(changes), survivor) for survivor in reversed(SURVIVORS))]


def some(cuts: list[tuple[int, str]], most: int | None) -> list[tuple[int, str]]:
    """Return the power cuts that are tried: the last, and some others at random."""
    if most is None or len(cuts) <= most:
        return cuts
    *others, last = cuts
    chosen = np.random.default_rng(1).choice(len(others), most - 1, replace=False)
    return [*(others[number] for number in sorted(chosen)), last]


@pytest.mark.parametrize("name", WORK)
def test_power_cut(name: str, tmp_path: Path, kernel_cache: Path, programs: Programs) -> None:
    work, place, log = WORK[name], tmp_path / "place", tmp_path / "log"
    (place / "cache").mkdir(parents=True)
    (place / "cache" / "kernels").symlink_to(kernel_cache.resolve())
    with cache_in(place):
        work.begin(place)
    disk, again = Disk(place), Disk(place)
    environment = {
        "FAULTS_ROOT": str(place),
        "FAULTS_LOG": str(log),
        CACHE_VARIABLE: str(place / "cache"),
    }
    run("-m", "tests.faults.recorded", name, str(place), programs=programs, environment=environment)
    changes = read_changes(log, place)
    with cache_in(place):
        expected = work.check(place)
    cuts = different_cuts(disk, changes)
    assert len(cuts) > 8
    applied, after = 0, tmp_path / "after"
    for number, survivor in some(cuts, work.most):
        for change in changes[applied:number]:
            again.apply(change)
        applied = number
        again.write_to(after, survivor)
        where = f"{survivor} after {number} of {len(changes)} changes"
        with cache_in(after):
            there = work.check(after)
            if number == len(changes):  # it said that it was done
                assert there == expected, where
            work.do(after)
            assert work.check(after) == expected, where
        shutil.rmtree(after)


def test_what_is_not_flushed_is_lost(tmp_path: Path) -> None:
    # The recorder notices what it is there for: content, a name, and a directory.
    place, log = tmp_path / "place", tmp_path / "log"
    place.mkdir()
    (place / "file").write_text("old")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "place = sys.argv[1]\n"
        "with open(f'{place}/new', 'w') as file: file.write('content')\n"
        "os.replace(f'{place}/new', f'{place}/file')\n"
        "os.mkdir(f'{place}/folder')\n"
    )
    disk = Disk(place)
    environment = {
        "LD_PRELOAD": str(library(tmp_path)),
        "FAULTS_ROOT": str(place),
        "FAULTS_LOG": str(log),
    }
    command = [sys.executable, str(script), str(place)]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    for change in read_changes(log, place):
        disk.apply(change)
    found = {}
    for survivor in SURVIVORS:
        disk.write_to(tmp_path / survivor, survivor)
        found[survivor] = (
            (tmp_path / survivor / "file").read_text(),
            (tmp_path / survivor / "folder").exists(),
        )
    assert found == {
        "flushed": ("old", False),
        "names": ("", True),
        "halves": ("con", True),
        "all": ("content", True),
    }
