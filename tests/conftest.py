"""Fixtures for every test: caches that are thrown away, and data that may not be there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's cache directory."""
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared_data() -> Iterator[Path]:
    """Directory of real image data that lies beside the project on some machines."""
    return _existing(_SHARED / "data")


@pytest.fixture
def shared_probe() -> Iterator[Path]:
    """Weights of an ImageNet probe (MobileNetV2) that lies beside the project on some machines."""
    return _existing(_SHARED / "probe" / "mobilenetv2_100.safetensors")


def _existing(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared)")
    return path
