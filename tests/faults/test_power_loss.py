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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.disk import SURVIVORS, Disk, compiler, instants, library, read_changes
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


def run(*arguments: str, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=True,
    )


@pytest.mark.parametrize("name", WORK)
def test_power_cut(name: str, tmp_path: Path) -> None:
    work, place, log = WORK[name], tmp_path / "place", tmp_path / "log"
    place.mkdir()
    with cache_in(place):
        work.begin(place)
    disk = Disk(place)
    environment = {
        "LD_PRELOAD": str(library(tmp_path)),
        "FAULTS_ROOT": str(place),
        "FAULTS_LOG": str(log),
        CACHE_VARIABLE: str(place / "cache"),
    }
    run("-m", "tests.faults.recorded", name, str(place), environment=environment)
    changes = read_changes(log, place)
    with cache_in(place):
        expected = work.check(place)
    cuts, done = set(instants(changes)), 0
    assert len(cuts) > 5
    for number in range(len(changes) + 1):
        for survivor in SURVIVORS if number in cuts else ():
            after = tmp_path / "after"
            disk.write_to(after, survivor)
            where = f"{survivor} after {number} of {len(changes)} changes"
            with cache_in(after):
                there = work.check(after)
                if number == len(changes):  # it said that it was done
                    assert there == expected, where
                work.do(after)
                assert work.check(after) == expected, where
            shutil.rmtree(after)
            done += 1
        if number < len(changes):
            disk.apply(changes[number])
    assert done > 20


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
    run(str(script), str(place), environment=environment)
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
