"""A short share of `make soak`."""

from pathlib import Path

import pytest

from tests.soak.campaign import soak

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def test_processes_share_two_registries(tmp_path: Path) -> None:
    found = soak(tmp_path, processes=3, seconds=20, seed=1)
    assert found.failures == []
    assert set(found.actions) == {"directory", "Hub"}
    assert all(actions.total() > 0 for actions in found.actions.values())
    assert min(found.versions.values()) > 0
