"""Fixtures of the documentation's tests, with programs whose disks can fail."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.conftest import beginning, once
from tests.documentation.workplace import Programs
from tests.faults.disk import compiler, library

__all__ = ["beginning", "once"]


@pytest.fixture(scope="session")
def programs(hub_port: int, pytestconfig: pytest.Config) -> Iterator[Programs]:
    """The programs that jobs run."""
    assert pytestconfig.cache is not None
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        running = Programs(
            Path(directory),
            kernels=pytestconfig.cache.mkdir("kernels"),
            endpoint=f"http://127.0.0.1:{hub_port}",
            preload=library(Path(directory)) if compiler() else None,
        )
        try:
            yield running
        finally:
            running.close()
