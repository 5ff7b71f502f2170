from pathlib import Path

import platformdirs
import pytest

from wsdarts_registry._files import cache_directory


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_CACHE", "~/somewhere")
    assert cache_directory() == Path.home() / "somewhere"


@pytest.mark.parametrize("value", [None, ""])
def test_otherwise_it_is_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("WSDARTS_HUB_CACHE")
    if value is not None:
        monkeypatch.setenv("WSDARTS_HUB_CACHE", value)
    assert cache_directory() == platformdirs.user_cache_path("wsdarts-hub")
