"""Fixtures for every test: caches that are thrown away, and data that may not be there."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Triton decides when it is imported whether Python runs its kernels; it must where no GPU is.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# A shell that starts the tests in the background has them ignore SIGINT, and so would all programs
# that they start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No test depends on how fast the machine is.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")
# On PYTHONPATH it shortens the pauses between what the libraries of a program try again.
SHORT_PAUSES = Path(__file__).parent / "short_pauses"
_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    """Keep every test out of the user's own directories; compile the kernels once for all."""
    cache = tmp_path_factory.mktemp("cache")
    assert pytestconfig.cache is not None
    (cache / "kernels").symlink_to(pytestconfig.cache.mkdir("kernels"))
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(cache))
    monkeypatch.delenv("WSDARTS_HUB_POLICY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(cache / "no-configuration"))


@pytest.fixture
def shared_data() -> Path:
    """Directory of real image data that lies beside the project on some machines."""
    return _existing(_SHARED / "data")


@pytest.fixture
def shared_probe() -> Path:
    """Weights of an ImageNet probe (MobileNetV2) that lies beside the project on some machines."""
    return _existing(_SHARED / "probe" / "mobilenetv2_100.safetensors")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `pytest --update-golden` write golden files anew instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a committed file, or write it with ``--update-golden``."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing; run pytest --update-golden"
        committed = path.read_text(encoding="utf-8")
        assert text == committed, f"{path.name} is out of date; run pytest --update-golden"

    return compare


def _existing(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared)")
    return path
