"""Fixtures to run the pages of the documentation and to look at them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.documentation.beginning import make_beginning
from tests.documentation.pages import ROOT
from tests.documentation.workplace import Programs, Shell
from tests.gallery.conftest import _chromium, browser
from tests.hub_server.server import HubServer

__all__ = ["_chromium", "browser"]

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Once:
    """Make a directory once for all processes that run the tests: ``once(NAME, MAKE)``."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def make(name: str, write: Callable[[Path], None]) -> Path:
        directory, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
                write(directory)
                done.touch()
        return directory

    return make


@pytest.fixture(scope="session")
def beginning(once: Once, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that readers are told to imagine."""
    scratch = tmp_path_factory.mktemp("scratch")
    return once("beginning", lambda directory: make_beginning(directory, scratch, programs))


@pytest.fixture
def hub(hub_port: int, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without a repository, in which dora belongs to the organisation lab."""
    server = HubServer(tmp_path / "hub", port=hub_port)
    try:
        yield server
    finally:
        server.close()
    assert server.failures == []


@pytest.fixture
def shell(programs: Programs, tmp_path: Path, hub: HubServer) -> Shell:
    """A shell in the empty directory ``page`` of the test's own."""
    for name in ("page", "scratch"):
        (tmp_path / name).mkdir()
    return Shell(tmp_path / "page", tmp_path / "scratch", programs)


@pytest.fixture(scope="session")
def site(once: Once) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    return once("documentation-site", _build)


def _build(directory: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    built = subprocess.run(
        [*command, "--site-dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
