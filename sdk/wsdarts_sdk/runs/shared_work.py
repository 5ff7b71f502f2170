"""Work that several processes share through a database, each job of it under a lease.

A lease is a row that names the worker at work on a job, with a count that it raises every few
seconds. Clocks are never compared: whoever wants the job looks at the count again and again, and
when that has stood still for a number of looks, takes the lease over. Looks that fail count for
nothing, so an interrupted connection takes no job from anyone. A worker that was only slow goes
on, so a job may be done twice: of what two workers keep by one name, the first stays.
"""

import hashlib
import json
import os
import random
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)

from wsdarts_registry._files import exists, is_directory, read_regular, write_atomically
from wsdarts_registry._libraries import install_extra
from wsdarts_registry._memory import check_threads
from wsdarts_registry.errors import RunWarning, StorageError
from wsdarts_sdk.progress import Progress

STORAGE_VARIABLE = "WSDARTS_HUB_STORAGE"
"""Environment variable with the URL of the database, which other users of the machine cannot see
as they see a command line."""

_BEAT = 5.0  # seconds between two counts of a lease
_PAUSE = 5.0  # seconds between two looks at the leases of others, or at a database that is away
_LOOKS = 12  # that have to find the same count before a lease is taken over
_RETRIED = 600.0  # seconds for which a database that was there is waited for
_RACES = 20  # attempts to make tables that others are making at the same time
_EXPECTED = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
# Of libpq: a server that has vanished is noticed within two minutes.
_LIBPQ = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_SECRETS = ("password", "sslpassword")
_WORKER = ".worker"
_FACTS = "facts.json"

_TABLES = MetaData()
_LEASES = Table(
    "wsdarts_leases",
    _TABLES,
    Column("work", String(200), primary_key=True),
    Column("job", String(200), primary_key=True),
    Column("worker", String(200), nullable=False),
    Column("beat", Integer, nullable=False),
)
_FILES = Table(
    "wsdarts_files",
    _TABLES,
    Column("work", String(200), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A database that several workers can reach: SQLite on one machine, or PostgreSQL.

    Attributes:
        url: Its URL, perhaps with a password, so never shown.
        place: The URL without user, password and options, to be shown.
    """

    url: URL = field(repr=False)
    place: str

    @classmethod
    def of(cls, address: str) -> Self:
        """Read the URL of a database, and make the tables in it.

        Raises:
            StorageError: It is no such URL, its driver is missing, or it cannot be used.
        """
        try:
            url = make_url(address)
        except (ArgumentError, ValueError):  # whose texts may quote a part of a password
            raise StorageError(
                "the storage is no URL that can be read",
                expected=_EXPECTED,
                hint="write special characters of a password as %XX, or leave it to ~/.pgpass",
            ) from None
        if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
            storage = cls.of_file(Path(str(url.database)))
        elif url.drivername in _POSTGRESQL:
            storage = cls(url=_postgresql(url), place=_place(url))
        else:
            raise StorageError(
                "the kind of storage",
                found=url.drivername if url.drivername != "sqlite" else "SQLite without a file",
                expected=_EXPECTED,
            )
        storage.check()
        return storage

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Return the SQLite database in a file, which is made if it does not exist."""
        absolute = str(path.absolute())
        return cls(url=URL.create("sqlite", database=absolute), place=f"sqlite:///{absolute}")

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of an engine: a connection for each use, so that none is held or goes stale."""
        options: dict[str, Any] = {"timeout": 60}
        if self.url.drivername != "sqlite":
            options = {key: value for key, value in _LIBPQ.items() if key not in self.url.query}
        return {"poolclass": NullPool, "hide_parameters": True, "connect_args": options}

    @property
    def full_url(self) -> str:
        """The URL as text, with the password."""
        return self.url.render_as_string(hide_password=False)

    def engine(self) -> Engine:
        """Return an engine.

        Raises:
            StorageError: The driver is not installed.
        """
        try:
            return create_engine(self.url, **self.settings)
        except ImportError as error:
            raise StorageError(
                f"the driver of PostgreSQL is missing ({error})",
                hint=f"install it with {install_extra('postgresql')}",
            ) from error

    def check(self) -> None:
        """Connect, and make the tables.

        Raises:
            StorageError: The driver is missing, or there is no such database.
        """
        if self.url.drivername == "sqlite":
            folder = Path(str(self.url.database)).parent
            if not is_directory(folder):
                raise StorageError(
                    f"the storage {self.place} is in no directory",
                    hint=f"make {folder}, which all workers have to reach",
                )
        engine = self.engine()
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise self.unusable(error) from error
        self.made(lambda: _TABLES.create_all(engine))

    def unusable(self, error: BaseException, hint: str = "") -> StorageError:
        """Return the error of a database that cannot be used, without its password."""
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        secrets = [self.url.password, *(self.url.query.get(name) for name in _SECRETS)]
        for secret in filter(None, map(str, filter(None, secrets))):
            said = said.replace(secret, "***")
        return StorageError(
            f"the storage {self.place} cannot be used ({' '.join(said.split())})",
            hint=hint or "check address, user and password, and whether the database is running",
        )

    def retried(self, call: Callable[[], _Found]) -> _Found:
        """Call a function again while the database is away, for up to ten minutes.

        Raises:
            StorageError: It is away for longer, or refuses.
        """
        began: float | None = None
        while True:
            try:
                return call()
            except IntegrityError:
                raise
            except DBAPIError as error:
                now = time.monotonic()
                if not self._is_away(error) or (began is not None and now - began > _RETRIED):
                    hint = "repeat the command with --resume when it can: nothing is lost"
                    raise self.unusable(error, hint) from error
                if began is None:
                    began = now
                    what = f"the storage {self.place} does not answer; trying for ten minutes"
                    warnings.warn(what, RunWarning, stacklevel=2)
            time.sleep(_PAUSE)

    def _is_away(self, error: DBAPIError) -> bool:
        """Return whether a database may answer later: of SQLite a lock, not a full disk."""
        if self.url.drivername == "sqlite":
            return "locked" in str(error.orig)
        return isinstance(error, OperationalError | InterfaceError)

    def made(self, make: Callable[[], _Found]) -> _Found:
        """Make tables while others may be making them, too: some of those fail, and try again.

        Raises:
            StorageError: It fails again and again.
        """
        attempts = 0
        while True:
            try:
                return make()
            except SQLAlchemyError as error:
                attempts += 1
                if attempts == _RACES:
                    hint = "its user has to be able to make tables in it"
                    raise self.unusable(error, hint) from error
            time.sleep(random.uniform(0, 0.5))  # noqa: S311 - no secret


def _postgresql(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    port = "" if url.port is None else f":{url.port}"
    return f"postgresql://{host}{port}/{url.database or ''}"


def worker_of(directory: Path) -> str:
    """Return the name of whoever works in a directory, which has it from then on.

    A worker that is started again there is the same one and goes on with what it had leased.
    """
    file = directory / _WORKER
    if not exists(file):
        write_atomically(file, f"{uuid.uuid4().hex}\n".encode())
    return read_regular(file).decode(errors="replace").strip()[:100]


def work_name(kind: str, facts: Mapping[str, Any]) -> str:
    """Return a name for work of a kind, in which the facts are that its results depend on."""
    return f"{kind}-{hashlib.sha256(_as_text(facts)).hexdigest()[:16]}"


def _as_text(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, indent=1).encode()


class SharedWork:
    """Jobs that any number of workers do, and the files that they keep for each other.

    Args:
        storage: The database.
        name: Of the work; workers that give the same name share it.
        facts: JSON data on which the results depend, the same for all workers.
        worker: Name of this worker, such as ``worker_of`` gives.

    Raises:
        StorageError: The database cannot be used, or holds work of that name with other facts.
    """

    def __init__(
        self, storage: Storage, name: str, *, facts: Mapping[str, Any], worker: str
    ) -> None:
        self.storage, self.name, self.worker = storage, name, worker
        self._engine = storage.engine()
        self._seen: dict[str, tuple[tuple[str, int], int, float | None]] = {}
        storage.made(lambda: _TABLES.create_all(self._engine))
        self.keep(_FACTS, _as_text(facts))
        if self.kept(_FACTS) != _as_text(facts):
            raise StorageError(
                f"{name} in {storage.place} is something else than this command does",
                hint="name another database",
            )

    def keep(self, name: str, content: bytes) -> None:
        """Keep a file for all workers; where there is one of that name, that one stays."""
        values = {"work": self.name, "name": name, "content": content}

        def add() -> None:
            with self._engine.begin() as connection:
                connection.execute(insert(_FILES).values(values))

        with suppress(IntegrityError):
            self.storage.retried(add)

    def kept(self, name: str) -> bytes | None:
        """Return a file that a worker has kept; None where there is none."""
        wanted = select(_FILES.c.content).where(_FILES.c.work == self.name, _FILES.c.name == name)

        def read() -> bytes | None:
            with self._engine.connect() as connection:
                found = connection.execute(wanted).scalar_one_or_none()
            return None if found is None else bytes(found)

        return self.storage.retried(read)

    def names(self) -> set[str]:
        """Return the names of all files that workers have kept."""

        def read() -> set[str]:
            with self._engine.connect() as connection:
                rows = connection.execute(select(_FILES.c.name).where(_FILES.c.work == self.name))
                return {name for (name,) in rows} - {_FACTS}

        return self.storage.retried(read)

    def do_all(
        self,
        jobs: Sequence[str],
        do: Callable[[str], None],
        *,
        finished: Callable[[], Collection[str]],
        progress: Progress,
    ) -> None:
        """Do jobs that nobody else is at, and return when all are finished, here or elsewhere.

        Args:
            jobs: Names of all jobs.
            do: Does one, and keeps what shows that it is finished.
            finished: Returns which are finished.
            progress: Told for what others do this worker waits.
        """
        while left := sorted(set(jobs) - set(finished()), key=jobs.index):
            if not any(self._done(job, do, finished) for job in left):
                what = f"waiting for other workers: {', '.join(left)}"
                progress(what, len(jobs) - len(left), len(jobs))
                time.sleep(_PAUSE)

    def _done(
        self, job: str, do: Callable[[str], None], finished: Callable[[], Collection[str]]
    ) -> bool:
        """Do a job, unless another worker is at it; whether it is finished."""
        with self.lease(job) as held:
            if held and job not in finished():  # it may have been finished since the last look
                do(job)
            return held

    @contextmanager
    def lease(self, job: str) -> Iterator[bool]:
        """Lease a job for a block, which is told whether it has the lease."""
        if not self.storage.retried(lambda: self._claimed(job)):
            yield False
            return
        ended = Event()
        beating = Thread(target=self._beat, args=(job, ended), daemon=True)
        check_threads(1)
        beating.start()
        try:
            yield True
        finally:
            ended.set()
            beating.join()
            self._release(job)

    def _claimed(self, job: str) -> bool:
        """Take the lease of a job that nobody has, or whose worker has ended."""
        this = (_LEASES.c.work == self.name, _LEASES.c.job == job)
        found = select(_LEASES.c.worker, _LEASES.c.beat).where(*this)
        try:
            with self._engine.begin() as connection:
                row = connection.execute(found).first()
                if row is None:
                    first = {"work": self.name, "job": job, "worker": self.worker, "beat": 0}
                    connection.execute(insert(_LEASES).values(first))
                    return True
                if not self._has_ended(job, (row.worker, row.beat)):
                    return False
                unchanged = (_LEASES.c.worker == row.worker, _LEASES.c.beat == row.beat)
                mine = {"worker": self.worker, "beat": row.beat + 1}
                taken = connection.execute(update(_LEASES).where(*this, *unchanged).values(mine))
                return taken.rowcount == 1
        except IntegrityError:  # another worker was first
            return False

    def _has_ended(self, job: str, lease: tuple[str, int]) -> bool:
        """Return whether a lease is this worker's own, or unchanged for a number of looks."""
        if lease[0] == self.worker:
            return True
        now = time.monotonic()
        before, looks, last = self._seen.get(job, (lease, 0, None))
        if before != lease:
            looks, last = 0, None
        if last is None or now - last >= _PAUSE:
            looks, last = looks + 1, now
        self._seen[job] = (lease, looks, last)
        return looks > _LOOKS

    def _beat(self, job: str, ended: Event) -> None:
        mine = (_LEASES.c.work == self.name, _LEASES.c.job == job, _LEASES.c.worker == self.worker)
        raised = update(_LEASES).where(*mine).values(beat=_LEASES.c.beat + 1)
        while not ended.wait(_BEAT):
            with suppress(SQLAlchemyError), self._engine.begin() as connection:
                connection.execute(raised)

    def _release(self, job: str) -> None:
        mine = (_LEASES.c.work == self.name, _LEASES.c.job == job, _LEASES.c.worker == self.worker)
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(_LEASES.delete().where(*mine))


def storage_address(given: str | None) -> str | None:
    """Return the URL that was given, else the one of the environment; None without one."""
    return given or os.environ.get(STORAGE_VARIABLE) or None
