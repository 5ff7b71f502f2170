"""Leases and files of workers that share a database."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import event, select, text

from tests import postgresql
from tests.registry.factories import make_genotype
from wsdarts_registry.errors import RunWarning, StorageError
from wsdarts_sdk.pipelines._sweep import Trial, TrialStudy
from wsdarts_sdk.progress import silent
from wsdarts_sdk.runs import shared_work
from wsdarts_sdk.runs.shared_work import SharedWork, Storage, worker_of

pytestmark = pytest.mark.processes
Join = Callable[[str], SharedWork]


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    with postgresql.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared {of} all.db'}"
    server: postgresql.Server = request.getfixturevalue("server")
    return server.make(tmp_path.name)


@pytest.fixture
def join(url: str) -> Join:
    storage = Storage.of(url)
    return lambda worker: SharedWork(storage, "work", facts={"seed": 1}, worker=worker)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_BEAT", 0.02), ("_PAUSE", 0.05), ("_RETRIED", 0.2)):
        monkeypatch.setattr(shared_work, name, seconds)


def count_of(work: SharedWork) -> int:
    """Return the count of the only lease."""
    with work._engine.connect() as connection:
        return int(connection.execute(select(shared_work._LEASES.c.beat)).scalar_one())


def test_one_of_two_has_a_lease(join: Join) -> None:
    first, second = join("first"), join("second")
    with first.lease("job") as held, second.lease("job") as other, second.lease("more") as more:
        assert (held, other, more) == (True, False, True)
    with second.lease("job") as held:
        assert held


def test_a_lease_that_is_counted_stays_and_one_that_is_not_is_taken(join: Join) -> None:
    first, second = join("first"), join("second")
    with first.lease("job"):
        for _ in range(3 * shared_work._LOOKS):
            counted = count_of(second)
            with second.lease("job") as held:
                assert not held
            while count_of(second) == counted:  # on a busy machine its turn comes late
                time.sleep(shared_work._PAUSE)
    assert first._claimed("job")  # and is never counted: as if its worker had been killed
    looks = 0
    while not second._claimed("job"):
        looks += 1
        time.sleep(shared_work._PAUSE)
    assert looks == shared_work._LOOKS
    # The worker was slow, and not dead: it does not release what is the other's now.
    first._release("job")
    assert not join("third")._claimed("job")


def test_looks_in_quick_succession_count_once(join: Join) -> None:
    first, second = join("first"), join("second")
    assert first._claimed("job")
    shared_work._PAUSE = 1000.0
    assert not any(second._claimed("job") for _ in range(3 * shared_work._LOOKS))


def test_a_worker_that_comes_back_goes_on_at_once(join: Join, tmp_path: Path) -> None:
    name = worker_of(tmp_path)
    assert join(name)._claimed("job")
    assert worker_of(tmp_path) == name
    assert join(name)._claimed("job")


def test_the_first_file_of_a_name_stays(join: Join) -> None:
    first, second = join("first"), join("second")
    content = bytes(range(256)) * 4096
    first.keep("file", content)
    second.keep("file", b"other")
    assert second.kept("file") == content
    assert second.kept("another") is None
    assert second.names() == {"file"}


def test_jobs_are_done_once_and_waited_for(join: Join) -> None:
    first, second = join("first"), join("second")
    done: list[str] = []
    told: list[str] = []

    def do(job: str) -> None:
        done.append(job)
        second.keep(job, b"")

    def progress(what: str, finished: int, total: int, /) -> None:
        told.append(what)
        assert (finished, total) == (1, 2)
        first.keep("a", b"")

    with first.lease("a"):
        second.do_all(["a", "b"], do, finished=second.names, progress=progress)
    assert done == ["b"]
    assert len(told) == 1
    assert "a" in told[0]


def test_a_failed_job_is_free_for_others(join: Join) -> None:
    first = join("first")

    def fail(job: str) -> None:
        raise ZeroDivisionError(job)

    with pytest.raises(ZeroDivisionError):
        first.do_all(["job"], fail, finished=set, progress=silent)
    assert join("second")._claimed("job")


def test_other_facts_under_the_name_are_refused(url: str, join: Join) -> None:
    join("first")
    with pytest.raises(StorageError) as refused:
        SharedWork(Storage.of(url), "work", facts={"seed": 2}, worker="second")
    assert refused.value.what.startswith("work in ")


def test_tables_are_made_by_many_at_once(url: str) -> None:
    together = Barrier(4)
    trial = Trial(rate=0.3, genotype=make_genotype(), accuracy=0.5, seconds=1.0, worker="a")

    def begin(number: int) -> bool:
        together.wait()
        storage = Storage.of(url)
        work = SharedWork(storage, "work", facts={"seed": 1}, worker=str(number))
        study = TrialStudy(storage, "study")
        study.add(trial)
        with work.lease("job") as held:
            together.wait()
        assert study.trials() == {0.3: trial}
        return held

    with ThreadPoolExecutor(4) as threads:
        held = list(threads.map(begin, range(4)))
    assert sorted(held) == [False, False, False, True]


_WORKER = """
import sys
from wsdarts_sdk.runs.shared_work import SharedWork, Storage
work = SharedWork(Storage.of(sys.argv[1]), "work", facts={"seed": 1}, worker="killed")
with work.lease("job") as held:
    print(held, flush=True)
    sys.stdin.readline()
"""


def test_a_lease_outlives_its_worker_until_it_is_taken(url: str, join: Join) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "True\n", worker.communicate()[1]
    worker.kill()
    worker.communicate()
    other, looks = join("other"), 0
    while not other._claimed("job"):
        looks += 1
        time.sleep(shared_work._PAUSE)
    assert looks == shared_work._LOOKS


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("mysql://me:hunter2@host/base", "kind of storage"),
        ("sqlite://", "kind of storage"),
        ("sqlite:///:memory:", "kind of storage"),
        ("me:hunter2@host/base", "URL"),
        ("postgresql://me:hunter2@host:hunter2/base", "URL"),
        ("postgresql://me:hunter2@127.0.0.1:9/base", "127.0.0.1:9/base"),
        ("postgresql://127.0.0.1:9/base?user=me&password=hunter2", "127.0.0.1:9/base"),
        ("sqlite:////nowhere/at/all/shared.db", "/nowhere/at/all/shared.db"),
    ],
)
def test_an_unusable_storage_is_named_without_its_password(address: str, what: str) -> None:
    with pytest.raises(StorageError) as refused:
        Storage.of(address)
    assert what in refused.value.what
    assert refused.value.hint or refused.value.expected
    assert "hunter2" not in str(refused.value)


def test_a_wrong_password_is_not_shown(server: postgresql.Server) -> None:
    wrong = server.url().replace("s3cret", "hunter2")
    with pytest.raises(StorageError) as refused:
        Storage.of(wrong)
    assert "password" in refused.value.what  # PostgreSQL says what is wrong
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(Storage.of(server.url()))
    assert postgresql.PASSWORD not in repr(Storage.of(server.url()))


def test_a_full_disk_is_not_waited_for(tmp_path: Path) -> None:
    storage = Storage.of_file(tmp_path / "shared.db")
    work = SharedWork(storage, "work", facts={}, worker="first")
    with storage.engine().connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    def settings(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(work._engine, "connect", settings)
    with pytest.raises(StorageError) as refused:
        work.keep("file", bytes(10**6))
    assert "full" in refused.value.what
    assert work.names() == set()


def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError) as refused:
        Storage.of("postgresql://me@127.0.0.1:9/base")
    assert "[postgresql]" in refused.value.hint


def test_a_database_that_goes_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql.running() as server:
        work = SharedWork(Storage.of(server.url()), "work", facts={}, worker="first")
        with work.lease("job"):
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            work.keep("file", b"content")
    with pytest.raises(StorageError) as refused, pytest.warns(RunWarning):
        work.kept("file")
    assert "--resume" in refused.value.hint
    assert postgresql.PASSWORD not in str(refused.value)
