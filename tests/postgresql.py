"""A PostgreSQL server of a test: in a temporary folder, on loopback, with a password."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "WSDARTS_HUB_POSTGRESQL_TESTS"
PASSWORD = "s3cret/of:a@test"  # noqa: S105
QUOTED = "s3cret%2Fof%3Aa%40test"
_INSTALLED = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Server:
    """A server that is running.

    Attributes:
        port: Where it listens.
    """

    port: int

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, with the password."""
        return f"postgresql://worker:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def make(self, database: str) -> str:
        """Make a database; return its URL."""
        self.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement; return its rows."""
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)  # type: ignore[arg-type]
            return found.fetchall() if found.description else []


def program(name: str) -> str | None:
    """Return a program of PostgreSQL; Debian has them beside the path, by version."""
    versions = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name)


def needed() -> None:
    """Skip a test where there is no PostgreSQL, or fail where there has to be one."""
    missing = [name for name in ("initdb", "postgres") if program(name) is None]
    if missing and os.environ.get(REQUIRED) != "required":
        pytest.skip(f"PostgreSQL is not installed ({missing[0]})")
    assert not missing, f"PostgreSQL is not installed ({missing[0]}), and {REQUIRED} asks for it"


def ordinary_user() -> dict[str, Any]:
    """Return how to start a program as somebody else than root, whom initdb refuses."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def running() -> Iterator[Server]:
    """Run a server for a block."""
    needed()
    who = ordinary_user()
    with tempfile.TemporaryDirectory(prefix="wsdarts-postgresql-") as folder:
        place, secret = Path(folder), Path(folder) / "password"
        secret.write_text(PASSWORD)
        for path in (place, secret):
            if who:
                os.chown(path, who["user"], who["group"])
        data = str(place / "data")
        begun = subprocess.run(
            [
                *(str(program("initdb")), "--pgdata", data, "--username", "worker", "--no-sync"),
                *("--auth", "scram-sha-256", "--pwfile", str(secret), "--encoding", "UTF8"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=place,
            **who,
        )
        assert begun.returncode == 0, begun.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        options = [part for setting in settings for part in ("-c", setting)]
        log = place / "log"
        with log.open("w") as lines:
            server = subprocess.Popen(
                [str(program("postgres")), "-D", data, "-p", str(port), *options],
                stdout=lines,
                stderr=lines,
                cwd=place,
                **who,
            )
        try:
            _wait_for(port, server, log)
            yield Server(port)
        finally:
            server.send_signal(2)  # ends connections, and ends
            server.wait(60)


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    while "ready to accept connections" not in log.read_text():
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", port)):
        pass
