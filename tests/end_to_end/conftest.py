"""A preloaded process whose forks are the commands of tests that start many."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.workplace import Programs

_TOGETHER = Path(__file__).resolve().parents[1] / "shared_sweep"


@pytest.fixture(scope="session")
def programs(kernel_cache: Path) -> Iterator[Programs]:
    """``wsdarts-hub`` and ``python`` in forks that take all steps, on the CPU."""
    # Not below pytest's own directory: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="e2e-") as directory:
        running = Programs(
            Path(directory),
            kernels=kernel_cache,
            endpoint="http://127.0.0.1:9",
            added={"DOCUMENTATION_STEPS": "all", "CUDA_VISIBLE_DEVICES": ""},
            modules=_TOGETHER,
        )
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def environment(programs: Programs) -> dict[str, str]:
    """The environment of their commands, with the cache of this test."""
    return programs.environment | {"WSDARTS_HUB_CACHE": os.environ["WSDARTS_HUB_CACHE"]}
